//! The game of a pod, seen from the mover beside it: another container, reached through its launcher's socket.
//!
//! The mover has the volume and the launcher has the game; neither sees the other's processes. What comes over the socket
//! is believed as far as it concerns the game itself and not beyond: the game runs as the launcher's user and could sit
//! in its place. So lines are bounded and no path is taken from them.
//!
//! A pod without a launcher, which is there to read the files of a server that stands still, has a game that never runs.
//!
//! ```text
//! mover ── records, permits, lease, copies ──► /volume/servers/<id>
//!   │ launcher.sock                                  │ read-only, as the launcher's place
//!   ▼                                                ▼
//! launcher ── checks the recorded permit, runs ──► the game, with servers/<id>/data as its home
//! ```

mod attached;
mod possession;
pub(crate) mod protocol;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use model::agent_api::{AgentError, ErrorCode, Owner};
use model::{RuntimeKind, ServerId, ServerSpec, StopHow};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::process::boot_id;
use super::{Exit, House, LINES_WAITING, Running, Runtime, Unit};
use crate::disk;
use crate::layout::Place;
use attached::{Attached, bounded};
use protocol::{Answer, Ask};
use wire::{Wire, broken, is_absence};

pub(crate) use possession::Possession;

/// The containers of a pod start in any order, and an image may take a while to be unpacked.
const PREPARE_WAITS: Duration = Duration::from_secs(30);
const START_WAITS: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(50);
const HISTORY_LINES: usize = 1000;

/// The other half of this pod.
pub(crate) struct Pod {
    socket: PathBuf,
    owner: Owner,
    boot: String,
}

impl Pod {
    /// Through the launcher's `socket`, which need not be there yet. `owner` is the pod's user and group.
    pub(crate) fn connect(socket: PathBuf, owner: Owner) -> Self {
        Self { socket, owner, boot: pod_id() }
    }

    async fn call(&self, ask: Ask) -> Result<Answer, AgentError> {
        match Wire::ask(&self.socket, ask).await {
            Ok(mut wire) => wire.answer().await,
            Err(error) => Err(self.not_there(&error)),
        }
    }

    /// [`Self::call`] of something that is done already where no launcher is and no game runs.
    async fn call_if_there(&self, place: &Place, ask: Ask) -> Result<(), AgentError> {
        match Wire::ask(&self.socket, ask).await {
            Ok(mut wire) => done(&wire.answer().await?),
            Err(error) if is_absence(&error) && self.is_free(place).await => Ok(()),
            Err(error) => Err(self.not_there(&error)),
        }
    }

    async fn is_free(&self, place: &Place) -> bool {
        let home = place.home.clone();
        let free = disk::blocking(move || Possession::is_free(&home)).await;
        free.unwrap_or_else(|error| {
            tracing::debug!(%error, "whether a game has the volume cannot be told");
            true
        })
    }

    async fn await_launcher(&self, patience: Duration) -> Result<(), AgentError> {
        let until = Instant::now() + patience;
        loop {
            match Wire::ask(&self.socket, Ask::Find).await {
                Ok(_) => return Ok(()),
                Err(error) if is_absence(&error) && Instant::now() < until => tokio::time::sleep(LOOK).await,
                Err(error) => return Err(self.not_there(&error)),
            }
        }
    }

    fn not_there(&self, error: &io::Error) -> AgentError {
        if !is_absence(error) {
            return broken(error);
        }
        let message = format!(
            "this pod has no game container, or its launcher is not up ({}: {error}): start the server through the \
             panel, which makes a whole pod, or look at the container `game`",
            self.socket.display()
        );
        AgentError::new(ErrorCode::Conflict, message)
    }

    fn running(&self, place: &Place, wire: Wire, run: Uuid, age_ms: u64) -> Running {
        let (sender, lines) = mpsc::channel(LINES_WAITING);
        let (ended, exit) = oneshot::channel();
        let (socket, home) = (self.socket.clone(), place.home.clone());
        let attached = Attached { socket, home, run, next: 0, lines: sender };
        tokio::spawn(attached.follow(wire, ended));
        let since = Instant::now().checked_sub(Duration::from_millis(age_ms)).unwrap_or_else(Instant::now);
        let exit = Box::pin(async move {
            match exit.await {
                Ok(exit) => exit,
                // Only when this whole process ends. That is not the game's end.
                Err(_) => std::future::pending::<Exit>().await,
            }
        });
        Running { since, lines, exit }
    }
}

#[async_trait]
impl Runtime for Pod {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Kubernetes
    }

    fn house(&self) -> House {
        House { owner: Some(self.owner), data_is_mounted: true, binds_ports: false }
    }

    fn boot(&self) -> String {
        self.boot.clone()
    }

    /// The kubelet has pulled the image before there was a container to ask.
    async fn fetch(&self, _spec: &ServerSpec) -> Result<(), AgentError> {
        Ok(())
    }

    async fn prepare(&self, unit: Unit<'_>) -> Result<(), AgentError> {
        self.await_launcher(PREPARE_WAITS).await?;
        done(&self.call(Ask::Check { spec: Box::new(unit.spec.clone()) }).await?)
    }

    async fn install(&self, unit: Unit<'_>) -> Result<(), AgentError> {
        if unit.spec.install.as_ref().is_some_and(|install| !install.script.trim().is_empty()) {
            return Err(AgentError::new(
                ErrorCode::Unsupported,
                "an installation script runs in a pod of its own, which the orchestrator makes before it asks the \
                 server's pod: create the server through the panel",
            ));
        }
        let data = unit.place.data();
        let made = data.clone();
        let made = disk::blocking(move || std::fs::create_dir_all(made)).await;
        made.map_err(|e| disk::failed("make", &data, &e))
    }

    async fn start(&self, unit: Unit<'_>) -> Result<Running, AgentError> {
        self.await_launcher(START_WAITS).await?;
        let wire = Wire::ask(&self.socket, Ask::Start { spec: Box::new(unit.spec.clone()) }).await;
        let mut wire = wire.map_err(|error| self.not_there(&error))?;
        match wire.answer().await? {
            Answer::Running { run, age_ms } => Ok(self.running(unit.place, wire, run, age_ms)),
            other => Err(unexpected(&other)),
        }
    }

    async fn find(&self, place: &Place) -> Result<Option<Running>, AgentError> {
        let mut wire = match Wire::ask(&self.socket, Ask::Find).await {
            Ok(wire) => wire,
            Err(error) if is_absence(&error) => {
                if !self.is_free(place).await {
                    tracing::warn!(server = %place.server, "another pod still runs it; this one waits for its end");
                }
                return Ok(None);
            }
            Err(error) => return Err(broken(&error)),
        };
        match wire.answer().await? {
            Answer::Running { run, age_ms } => Ok(Some(self.running(place, wire, run, age_ms))),
            Answer::Nothing => Ok(None),
            other => Err(unexpected(&other)),
        }
    }

    async fn history(&self, place: &Place) -> Vec<String> {
        let mut lines = Vec::new();
        let Ok(mut wire) = Wire::ask(&self.socket, Ask::History).await else { return lines };
        // As many as a launcher keeps, and not one more for who is none.
        while lines.len() < HISTORY_LINES {
            match wire.answer().await {
                Ok(Answer::Line { line, .. }) => lines.push(bounded(line)),
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(server = %place.server, %error, "cannot read all of its last lines");
                    break;
                }
            }
        }
        lines
    }

    async fn send(&self, _place: &Place, line: &str) -> Result<(), AgentError> {
        done(&self.call(Ask::Send { line: line.to_owned() }).await?)
    }

    async fn ask_to_end(&self, _place: &Place, how: &StopHow) -> Result<(), AgentError> {
        done(&self.call(Ask::End { how: how.clone() }).await?)
    }

    async fn kill(&self, place: &Place) -> Result<(), AgentError> {
        self.call_if_there(place, Ask::Kill).await
    }

    async fn destroy(&self, place: &Place) -> Result<(), AgentError> {
        self.call_if_there(place, Ask::Clear).await
    }

    /// Whatever exists of it outside its directory is the cluster's, and the orchestrator's business.
    async fn list(&self) -> Result<Vec<ServerId>, AgentError> {
        Ok(Vec::new())
    }

    /// The containers of a pod share its network.
    async fn game_address(&self, unit: Unit<'_>) -> Option<SocketAddr> {
        let port = unit.spec.allocations.first()?.port;
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }
}

fn done(answer: &Answer) -> Result<(), AgentError> {
    match answer {
        Answer::Done => Ok(()),
        other => Err(unexpected(other)),
    }
}

fn unexpected(answer: &Answer) -> AgentError {
    broken(&io::Error::new(io::ErrorKind::InvalidData, format!("{answer:?} is no answer to that")))
}

/// A pod's containers have its name as their host name, and no two pods of a deployment have the same.
fn pod_id() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}/{}", boot_id(), name.trim())
}
