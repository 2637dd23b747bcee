//! The servers of this agent: one task each, to which everybody else sends messages.
//!
//! ```text
//!            install            start               a line of the egg's says so
//!  Installing ──────► Offline ────────► Starting ───────────────────────────────► Running
//!      │ failed          ▲                │  │                                     │  │
//!      ▼                 │ it ended       │  │ it ended, nobody had asked           │  │
//!  InstallFailed         └── Stopping ◄───┘  └────────────► Crashed ◄──────────────┘  │
//!                              ▲  stop, kill, freeze                                  │
//!                              └──────────────────────────────────────────────────────┘
//! ```
//!
//! Because there is one task, a fence, a lease that runs out and a start cannot happen at once: they are messages in
//! one queue.

mod console;
mod freeze;
mod install;
mod lease;
mod life;
mod load;
mod message;
pub(crate) mod ownership;
mod shown;
mod task;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use model::agent_api::{AgentError, ConsoleMark, ErrorCode, Notice, Reply};
use model::{Clock, Permit, ServerId, ServerObservation, ServerSpec, TransferId};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::permit::Permits;
use crate::runtime::Runtime;

pub(crate) use lease::Heard;
pub(crate) use load::{OWNERSHIP, PERMIT, load, write_new};
pub(crate) use message::Frozen;
use message::{Answer, Command};

/// What a server's task needs of the agent around it.
#[derive(Clone)]
pub(crate) struct Around {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) permits: Arc<Permits>,
    pub(crate) heard: Arc<Heard>,
    /// To whoever listens; a heartbeat tells the rest.
    pub(crate) news: broadcast::Sender<Notice>,
    /// Ends the tasks, not the games.
    pub(crate) shutdown: CancellationToken,
}

/// What can be seen of a server without asking its task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) observation: ServerObservation,
    /// When the process that runs now began.
    pub(crate) began: Option<Instant>,
    /// When it said that it is up.
    pub(crate) up: Option<Instant>,
}

/// A server, as everybody but its task knows it.
#[derive(Clone)]
pub(crate) struct Server {
    id: ServerId,
    inbox: mpsc::Sender<Command>,
    seen: watch::Receiver<Seen>,
    spec: watch::Receiver<Arc<ServerSpec>>,
    /// Number of the console's last line.
    said: watch::Receiver<u64>,
}

impl Server {
    pub(crate) fn observation(&self) -> ServerObservation {
        self.seen.borrow().observation.clone()
    }

    pub(crate) fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.clone()
    }

    pub(crate) fn spec(&self) -> Arc<ServerSpec> {
        Arc::clone(&self.spec.borrow())
    }

    pub(crate) async fn install(&self, spec: Box<ServerSpec>) -> Result<(), AgentError> {
        self.ask(|answer| Command::Install { spec, answer }).await
    }

    pub(crate) async fn configure(&self, spec: Box<ServerSpec>) -> Result<(), AgentError> {
        self.ask(|answer| Command::Configure { spec, answer }).await
    }

    pub(crate) async fn start(&self, permit: Permit) -> Result<(), AgentError> {
        self.ask(|answer| Command::Start { permit, answer }).await
    }

    pub(crate) async fn stop(&self) -> Result<(), AgentError> {
        self.ask(|answer| Command::Stop { answer }).await
    }

    pub(crate) async fn kill(&self) -> Result<(), AgentError> {
        self.ask(|answer| Command::Kill { answer }).await
    }

    pub(crate) async fn send(&self, line: String) -> Result<(), AgentError> {
        self.ask(|answer| Command::Type { line, answer }).await
    }

    pub(crate) async fn console(&self, lines: usize) -> Result<Vec<String>, AgentError> {
        self.ask(|answer| Command::Console { lines, answer }).await
    }

    /// The console's lines behind `mark`, waiting up to `wait` for one. Whoever waits costs the task nothing.
    pub(crate) async fn follow(
        &self,
        mark: Option<ConsoleMark>,
        lines: usize,
        wait: Duration,
    ) -> Result<Reply, AgentError> {
        let behind = || self.ask(|answer| Command::Behind { mark: mark.clone(), lines, answer });
        let found = behind().await?;
        if !found.is_end_for(mark.as_ref()) {
            return Ok(found.into());
        }
        let mut said = self.said.clone();
        let heard = timeout(wait, said.wait_for(|last| *last >= found.first)).await.is_ok();
        if heard { Ok(behind().await?.into()) } else { Ok(found.into()) }
    }

    pub(crate) async fn freeze(&self, transfer: TransferId, lease_ms: u64) -> Result<Frozen, AgentError> {
        self.ask(|answer| Command::Freeze { transfer, lease_ms, answer }).await
    }

    pub(crate) async fn watch_freeze(&self, transfer: TransferId) -> Result<CancellationToken, AgentError> {
        self.ask(|answer| Command::Watch { transfer, answer }).await
    }

    pub(crate) async fn fence(&self, transfer: TransferId) -> Result<(), AgentError> {
        self.ask(|answer| Command::Fence { transfer, answer }).await
    }

    pub(crate) async fn disown(&self) -> Result<(), AgentError> {
        self.ask(|answer| Command::Disown { answer }).await
    }

    pub(crate) async fn unfence(&self, permit: Permit) -> Result<(), AgentError> {
        self.ask(|answer| Command::Unfence { permit, answer }).await
    }

    pub(crate) async fn resume(&self, permit: Permit, start: bool) -> Result<(), AgentError> {
        self.ask(|answer| Command::Resume { permit, start, answer }).await
    }

    pub(crate) async fn retire(&self) -> Result<(), AgentError> {
        self.ask(|answer| Command::Retire { answer }).await
    }

    /// Waits as long as the task takes: it bounds what it does by the game's patience.
    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, AgentError> {
        let (answer, outcome) = oneshot::channel();
        self.inbox.send(command(answer)).await.map_err(|_| self.gone())?;
        outcome.await.map_err(|_| self.gone())?
    }

    fn gone(&self) -> AgentError {
        AgentError::new(ErrorCode::NotFound, format!("server {} is not here any more", self.id))
    }
}

pub(crate) fn conflict(message: impl Into<String>) -> AgentError {
    AgentError::new(ErrorCode::Conflict, message)
}
