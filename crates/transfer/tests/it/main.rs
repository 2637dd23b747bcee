//! The engine from outside: two ends over loopback, real files, and peers that mean harm.
#![allow(clippy::unwrap_used)]

mod base;
mod fidelity;
mod lost_and_found;
mod no_lost_write;
mod support;
mod trouble;
mod unprivileged;
mod ways;
