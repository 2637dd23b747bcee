//! What servers run with: one contract, several implementations.
//!
//! A runtime knows processes and containers. It does not know permits, epochs (beyond writing them on what it makes)
//! or transfers, and it never decides to start or end anything. Its only caller is a server's task, one call at a time
//! per server, so an implementation needs no locks between calls for the same server.

#[cfg(test)]
pub(crate) mod contract;
pub(crate) mod docker;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod inside;
pub(crate) mod kubernetes;
mod lines;
pub(crate) mod process;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use model::agent_api::{AgentError, Owner};
use model::{Allocation, Epoch, RuntimeKind, ServerId, ServerSpec, StopHow};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::layout::Place;

/// One server as a runtime needs to know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unit<'a> {
    pub(crate) place: &'a Place,
    pub(crate) spec: &'a ServerSpec,
    /// Epoch that it runs in; written on a container for people and scripts.
    pub(crate) epoch: Epoch,
}

/// What a way of running games asks of those who bring files to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct House {
    /// To whom a server's files must belong; none: to whom they belonged before.
    pub(crate) owner: Option<Owner>,
    /// `data` is mounted into what runs: it is filled and emptied, never replaced or removed.
    pub(crate) data_is_mounted: bool,
    /// Games bind their allocations on this machine, so that a port can be tried before.
    pub(crate) binds_ports: bool,
}

/// Something that runs servers.
///
/// # Guarantees
///
/// What was started outlives the agent, whatever ends it, and is found again by [`Runtime::find`]. Nothing is killed
/// except by [`Runtime::kill`]. All calls may be repeated.
///
/// # Assumptions
///
/// The directory of the server exists; `data` in it exists before `start` and is not replaced while it runs.
#[async_trait]
pub(crate) trait Runtime: Send + Sync + 'static {
    /// Which it is.
    fn kind(&self) -> RuntimeKind;

    /// What it asks of those who bring files to it.
    fn house(&self) -> House;

    /// Changes whenever everything that ran is gone for a reason that is not the games': this machine was booted, the
    /// pod is another one. A server that ran before such a change should run after it.
    fn boot(&self) -> String {
        process::boot_id()
    }

    /// Gets from elsewhere what a start will need. May take long, and may be dropped anywhere.
    async fn fetch(&self, spec: &ServerSpec) -> Result<(), AgentError>;

    /// Fails now for whatever a start would fail for later: an image, a program, a port, a name. Starts nothing.
    async fn prepare(&self, unit: Unit<'_>) -> Result<(), AgentError>;

    /// Makes an empty `data` fit for the game and runs the egg's installation in it, to its end.
    async fn install(&self, unit: Unit<'_>) -> Result<(), AgentError>;

    /// Runs it; what runs already is returned as it is.
    async fn start(&self, unit: Unit<'_>) -> Result<Running, AgentError>;

    /// What of it runs, for example since before the agent was started.
    async fn find(&self, place: &Place) -> Result<Option<Running>, AgentError>;

    /// The last console lines of what ran here and does not now.
    async fn history(&self, place: &Place) -> Vec<String>;

    /// Writes a line to its console.
    async fn send(&self, place: &Place, line: &str) -> Result<(), AgentError>;

    /// Asks it to end, and does not wait.
    async fn ask_to_end(&self, place: &Place, how: &StopHow) -> Result<(), AgentError>;

    /// Ends it at once, and does not wait.
    async fn kill(&self, place: &Place) -> Result<(), AgentError>;

    /// Removes what the runtime made for it outside its directory. It must not run.
    async fn destroy(&self, place: &Place) -> Result<(), AgentError>;

    /// Servers for which something of this agent exists outside their directories.
    async fn list(&self) -> Result<Vec<ServerId>, AgentError>;

    /// Where the game itself answers, past any proxy that would accept in its place.
    async fn game_address(&self, unit: Unit<'_>) -> Option<SocketAddr>;
}

/// A server that runs.
pub(crate) struct Running {
    /// When its process began.
    pub(crate) since: Instant,
    /// Its console from the beginning of this run, or as much as is kept. Ends some time after the game.
    pub(crate) lines: mpsc::Receiver<String>,
    /// Resolves when nothing of it is left.
    pub(crate) exit: BoxFuture<'static, Exit>,
}

/// How a game ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Where it is known: not for a process that was adopted. 128 + n for signal n, as shells have it.
    pub(crate) code: Option<i32>,
    /// It was asked to end because what it ran in had to go, as a pod that is evicted: nobody meant the server.
    pub(crate) evicted: bool,
}

impl Exit {
    /// An end by itself, or at our word.
    pub(crate) fn with(code: Option<i32>) -> Self {
        Self { code, evicted: false }
    }
}

/// Lines that wait for the server's task; a game that floods waits in its own log.
pub(crate) const LINES_WAITING: usize = 1024;

/// Where one connects to reach an allocation from this machine.
pub(crate) fn reachable(allocation: &Allocation) -> Option<SocketAddr> {
    let ip: IpAddr = allocation.ip_address.parse().ok()?;
    let ip = if ip.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { ip };
    Some(SocketAddr::new(ip, allocation.port))
}
