//! What a server's task can be asked.

use model::agent_api::{AgentError, ConsoleMark};
use model::{Permit, ServerSpec, Timestamp, TransferId};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::console::Stretch;

/// Where an answer goes. Whoever asked may have stopped listening.
pub(super) type Answer<T> = oneshot::Sender<Result<T, AgentError>>;

/// Commands to one server. Each is answered once.
pub(super) enum Command {
    /// Take this spec, and install unless that was done.
    Install { spec: Box<ServerSpec>, answer: Answer<()> },
    /// Take this spec for the next start.
    Configure { spec: Box<ServerSpec>, answer: Answer<()> },
    /// Run under this permit.
    Start { permit: Permit, answer: Answer<()> },
    /// Ask the game to end; answered when it has, or when its patience is over.
    Stop { answer: Answer<()> },
    /// End it; answered when it has.
    Kill { answer: Answer<()> },
    /// Type a line.
    Type { line: String, answer: Answer<()> },
    /// The last lines.
    Console { lines: usize, answer: Answer<Vec<String>> },
    /// The lines behind a mark.
    Behind { mark: Option<ConsoleMark>, lines: usize, answer: Answer<Stretch> },
    /// Stop for a transfer, under a lease.
    Freeze { transfer: TransferId, lease_ms: u64, answer: Answer<Frozen> },
    /// Is it still frozen for this transfer? Answers what will tell if that ends.
    Watch { transfer: TransferId, answer: Answer<CancellationToken> },
    /// Lay a tombstone on the epoch; ends the lease.
    Fence { transfer: TransferId, answer: Answer<()> },
    /// Lay a tombstone on the epoch, whatever the server does.
    Disown { answer: Answer<()> },
    /// Lift it under a newer epoch.
    Unfence { permit: Permit, answer: Answer<()> },
    /// End the lease and run again if `start`.
    Resume { permit: Permit, start: bool, answer: Answer<()> },
    /// Let go of it: what the runtime made is removed and the task ends. Its files are the caller's now.
    Retire { answer: Answer<()> },
}

/// A server that stands still for a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frozen {
    pub(crate) was_running: bool,
    pub(crate) stopped_at: Timestamp,
}

/// Answers; that nobody listens any more is no failure of what was done.
pub(super) fn reply<T>(to: Answer<T>, outcome: Result<T, AgentError>) {
    if to.send(outcome).is_err() {
        tracing::debug!("an answer came too late for whoever asked");
    }
}
