//! The agent: keeps the servers of one machine, runs them, and does its half of a migration.
//!
//! `badger daemon` calls [`run`] and nothing else. The agent dials the panel ([`link`]), obeys it through
//! [`model::agent_api`], and decides by itself only what must not wait for a panel: whether a permit is good, and
//! what happens to a server that was stopped for a transfer when the panel falls silent.

mod error;

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

pub use error::{Error, Result};

/// What an agent is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the panel is: `http://host:port` or `https://host`.
    pub panel_url: String,
    /// Single-use word of the panel that this machine may join. Not needed once it has.
    pub enrolment_token: Option<String>,
    /// Where everything is kept: identity, servers, staging.
    pub data_dir: PathBuf,
    /// Where other agents deliver to (TLS). Port 0 takes any.
    pub data_listen: SocketAddr,
    /// `host:port` at which other agents reach `data_listen`, where that differs from what the machine sees itself.
    pub advertise: Option<String>,
    /// What servers run with.
    pub runtime: RuntimeConfig,
    /// Name of the machine for people.
    pub name: String,
}

/// What servers run with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeConfig {
    /// Child processes of this machine.
    Process,
    /// A Docker engine.
    Docker {
        /// `unix:///path` or `http://host:port`.
        socket: String,
        /// `uid:gid` that games run as.
        user: String,
    },
}

/// Runs the agent until `shutdown`, or until the panel refuses it for good. Games go on running either way.
#[allow(clippy::unused_async, reason = "the skeleton")]
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<()> {
    drop((config, shutdown));
    Ok(())
}
