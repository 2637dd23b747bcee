//! Servers on two real clusters and two real engines, and every way between them.
//!
//! `scripts/test-kubernetes.sh` starts the clusters and engines, makes the images and runs these tests; alone they are
//! ignored. They share a panel, orchestrators and daemons, and run beside each other with a server of their own each, but
//! for those in [`alone`].

mod addresses;
mod admit;
mod alone;
mod cluster;
mod directions;
mod fleet;
mod hands;
mod kubectl;
mod lifecycle;
mod moment;
mod refusals;
mod site;

use fleet::{Fleet, Game, Place};
use site::Company;
