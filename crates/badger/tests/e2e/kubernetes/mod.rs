//! Servers on two real clusters and two real engines, and every way between them.
//!
//! `scripts/test-kubernetes.sh` starts the clusters and engines, makes the images and runs these tests; alone they are
//! ignored. They take turns: a cluster has one orchestrator, and each test brings its own panel.

mod aborts;
mod admit;
mod cluster;
mod directions;
mod faults;
mod fleet;
mod install;
mod kubectl;
mod ladder;
mod lifecycle;
mod moment;
mod refusals;

use fleet::{Fleet, Game, Place};
