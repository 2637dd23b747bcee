//! The whole of it: the real executable as processes, a real game, real files, kills.
//!
//! Each test has a house of its own (a panel and two daemons below a temporary directory) that goes with all its
//! processes when the test ends, also when it fails. What a test needs beyond that is in its name: `docker_…` takes two
//! engines, `postgres_…` takes a PostgreSQL server, `minio_…` takes MinIO, `as_root_…` takes root, `kubernetes_…` takes two
//! clusters and two engines; all are ignored by default and run by
//! `scripts/test.sh` where they can be. Everything talks to this machine.

#![allow(clippy::unwrap_used, reason = "tests")]

mod backups;
mod cancel;
mod crash;
mod demo;
mod docker;
mod evacuation;
mod full_disk;
mod harness;
mod kubernetes;
mod live;
mod offline;
mod operate;
mod postgres;
mod refusals;
