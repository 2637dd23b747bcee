//! Why the agent as a whole gives up. What goes wrong with one request is a [`model::agent_api::AgentError`] instead.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// By what the person who started the agent does next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Correct the command line.
    #[error("{0}")]
    Config(String),
    /// Get a new enrolment command.
    #[error(
        "the panel refuses this agent ({reason}): get a new command with `badger node token` or POST \
         /api/v1/admin/nodes/{{id}}/enrolment-token, and run it here"
    )]
    Refused {
        /// What the panel said.
        reason: String,
    },
    /// Look at the data directory.
    #[error("cannot use {}", path.display())]
    Disk {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Choose another address for the data listener.
    #[error(
        "cannot listen on {address}: {reason}; end what listens there, or choose another with --data-listen or \
         BADGER_DATA_LISTEN"
    )]
    Listen {
        /// Where it was to be.
        address: SocketAddr,
        /// Why not.
        reason: String,
    },
    /// Look at the cluster: rights, the API server, what was configured for it.
    #[error("cannot use the cluster: {0}")]
    Cluster(String),
    /// Look at the Docker engine.
    #[error("cannot use the runtime: {0}")]
    Runtime(String),
}
