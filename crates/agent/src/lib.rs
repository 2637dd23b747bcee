//! The agent: keeps the servers of one machine, runs them, and does its half of a migration.
//!
//! `badger daemon` calls [`run`] and nothing else. The agent dials the panel ([`link`]), obeys it through
//! [`model::agent_api`], and decides by itself only what must not wait for a panel: whether a permit is good, and
//! what happens to a server that was stopped for a transfer when the panel falls silent.

mod backup;
mod cluster;
mod configs;
mod daemon;
mod database;
mod disk;
mod error;
mod identity;
pub mod launcher;
mod layout;
mod link;
mod mover;
mod node;
mod permit;
mod resources;
mod runtime;
mod server;
mod transfer;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use model::{Clock, SystemClock};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

pub use cluster::{OrchestratorConfig, Settings, Survey, run as run_orchestrator, survey};
pub use error::{Error, Result};
pub use mover::{MoverConfig, run as run_mover};

use daemon::Daemon;
use identity::{Directory, Identity, Vault};
use layout::Layout;
use link::enrolment::Enrolment;
use link::{Address, Link};
use node::Node;
use permit::{Permits, Verifier};
use runtime::Runtime;
use runtime::docker::Containers;
use runtime::process::Processes;
use server::{Around, Heard};

/// Notices that wait for the link; a slow panel misses some and learns the rest from the next heartbeat.
const NEWS: usize = 256;

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
///
/// # Errors
///
/// Only what a person must correct; see [`Error`]. A panel that cannot be reached is waited for.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<()> {
    // Whatever ends this function ends the tasks that it started, and none of the games.
    let shutdown = shutdown.child_token();
    let _ending = shutdown.clone().drop_guard();
    let layout = Layout::new(absolute(&config.data_dir)?);
    let vault: Arc<dyn Vault> = Arc::new(Directory::open(layout.identity())?);
    let identity = Identity::open(&*vault, &config.name).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let key = Arc::clone(&identity.key);
    let runtime = runtime(&config.runtime, key.fingerprint().to_string(), Arc::clone(&clock)).await?;
    let listener = listen(&layout, config.data_listen, &key).await?;
    tracing::info!(data = %layout.root().display(), listens = %listener.local_addr(), "agent begins");
    let (news, _) = broadcast::channel(NEWS);
    let permits = Arc::new(Permits::default());
    if let Some(enrolled) = &identity.enrolled {
        let verifier = Verifier::new(enrolled.agent_id, &enrolled.permit_key);
        permits.set(verifier.map_err(|error| Error::Config(error.message))?);
    }
    let address = Address::parse(&config.panel_url)?;
    let panel_url = config.panel_url;
    let credential = Enrolment::new(&identity, vault, panel_url.clone(), config.enrolment_token)?;
    let around = Around { runtime, clock, permits, heard: Arc::new(Heard::new()), news, shutdown: shutdown.clone() };
    let node = Node::open(layout, around, key, listener).await?;
    node.transfers.set_panel(&panel_url);
    let daemon = Daemon { node, name: config.name, advertise: config.advertise };
    Box::pin(Link::new(Arc::new(daemon), address, Box::new(credential), shutdown).keep()).await
}

/// Opens the data listener. Where any port will do it is the same one again after a restart, if it is free: sources
/// were told that address.
async fn listen(layout: &Layout, wanted: SocketAddr, key: &Arc<::transfer::Identity>) -> Result<::transfer::Listener> {
    let path = layout.identity().join("data_port.json");
    let at = |source| Error::Disk { path: path.clone(), source };
    if wanted.port() == 0
        && let Some(port) = disk::read_json::<u16>(&path).map_err(at)?
        && let Ok(listener) = ::transfer::Listener::bind(SocketAddr::new(wanted.ip(), port), Arc::clone(key)).await
    {
        return Ok(listener);
    }
    let refused = |error| {
        let reason = match error {
            ::transfer::Error::Io { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        Error::Listen { address: wanted, reason }
    };
    let listener = ::transfer::Listener::bind(wanted, Arc::clone(key)).await.map_err(refused)?;
    disk::write_json(&path, &listener.local_addr().port()).map_err(at)?;
    Ok(listener)
}

async fn runtime(choice: &RuntimeConfig, agent: String, clock: Arc<dyn Clock>) -> Result<Arc<dyn Runtime>> {
    match choice {
        RuntimeConfig::Process => Ok(Arc::new(Processes::new(clock))),
        RuntimeConfig::Docker { socket, user } => Ok(Arc::new(Containers::connect(socket, user, agent, clock).await?)),
    }
}

/// Containers and games get paths of it, and neither has our working directory.
fn absolute(dir: &std::path::Path) -> Result<PathBuf> {
    let at = |source| Error::Disk { path: dir.to_owned(), source };
    std::fs::create_dir_all(dir).map_err(at)?;
    std::fs::canonicalize(dir).map_err(at)
}
