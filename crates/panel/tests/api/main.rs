//! The panel as its users and agents meet it: a real panel on a free port of loopback, a real database in a directory
//! of its own, agents that speak the real protocol over real sockets.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as expected")]
#![allow(missing_docs, reason = "tests document themselves by their names")]

mod addresses;
mod admitting;
mod agent;
mod at_once;
mod auth;
mod backups;
mod cluster_addresses;
mod clusters;
mod console;
mod databases;
mod dns;
mod eggs;
mod evacuations;
mod harness;
mod idempotency;
mod ladder;
mod link;
mod login;
mod minio;
mod notices;
mod openapi;
mod operating;
mod orphans;
mod own;
mod people;
mod places;
mod power;
mod relay;
mod schedules;
mod servers;
mod startup;
mod transfers;
mod users;
mod webhooks;
