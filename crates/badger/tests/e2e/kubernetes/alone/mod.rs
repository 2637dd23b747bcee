//! Tests that kill, hold, cut off or configure what others use: each has the site to itself, one after the other.

mod aborts;
mod faults;
mod install;
mod ladder;
mod ports;
mod settings;

use super::moment::{Moment, STEPS};
use super::{Company, Fleet, Game, Place};
