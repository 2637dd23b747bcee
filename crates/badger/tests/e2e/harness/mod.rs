//! What the tests stand on: processes, an HTTP client, a house with a panel and two daemons, a player, comparisons.

pub(crate) mod api;
pub(crate) mod events;
pub(crate) mod house;
pub(crate) mod minio;
pub(crate) mod node;
pub(crate) mod player;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod tree;
pub(crate) mod wait;
pub(crate) mod witness;

pub(crate) use house::{House, Setup};
pub(crate) use player::Player;
pub(crate) use wait::{eventually, within};
