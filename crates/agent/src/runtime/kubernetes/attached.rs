//! Following a game through its launcher, across everything that can happen to the connection.
//!
//! ```text
//! lines ──► exit told
//!   │ the connection breaks
//!   ▼
//! look again ─ same run ─────────────────► lines
//!   │  ▲ └───── nothing, or another run ─► gone
//!   │  └─ nobody answers, the game's directory is held
//!   └──── nobody answers, the directory is free ─► gone
//! ```
//!
//! That a game is gone is never concluded from silence: its files would be copied while it writes them.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::possession::Possession;
use super::protocol::{Answer, Ask};
use super::wire::{Wire, is_absence};
use crate::disk;
use crate::runtime::Exit;
use crate::runtime::lines::LINE_BYTES;

const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// The kernel releases a launcher's lock an instant before it ends what ran below it.
const SETTLED: Duration = Duration::from_secs(1);

/// What is followed.
pub(super) struct Attached {
    pub(super) socket: PathBuf,
    /// The server's directory on the volume.
    pub(super) home: PathBuf,
    pub(super) run: Uuid,
    /// The first line that was not told yet.
    pub(super) next: u64,
    pub(super) lines: mpsc::Sender<String>,
}

impl Attached {
    /// Until it ends, or nobody wants to know.
    pub(super) async fn follow(mut self, mut wire: Wire, mut exit: oneshot::Sender<Exit>) {
        let ended = loop {
            let told = tokio::select! {
                () = exit.closed() => return,
                told = self.told(&mut wire) => told,
            };
            let error = match told {
                Ok(exit) => break exit,
                Err(error) => error,
            };
            tracing::warn!(run = %self.run, %error, "lost the launcher, looking again");
            let again = tokio::select! {
                () = exit.closed() => return,
                again = self.look_again() => again,
            };
            match again {
                Some(again) => wire = again,
                None => break Exit::with(None),
            }
        };
        if exit.send(ended).is_err() {
            tracing::trace!("nobody wants to know its end");
        }
    }

    /// Passes lines on until the end.
    async fn told(&mut self, wire: &mut Wire) -> io::Result<Exit> {
        loop {
            match wire.next().await? {
                Answer::Line { n, .. } if n < self.next => {}
                Answer::Line { n, line } => {
                    self.next = n.saturating_add(1);
                    // That nobody reads the console any more says nothing about who waits for the end.
                    drop(self.lines.send(bounded(line)).await);
                }
                Answer::Exit { code, evicted } => return Ok(Exit { code, evicted }),
                other => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{other:?} is no news"))),
            }
        }
    }

    /// The same run, found again; none if it is gone.
    async fn look_again(&self) -> Option<Wire> {
        loop {
            match self.look().await {
                Ok(found) => return found,
                Err(error) => tracing::debug!(run = %self.run, %error, "nobody there yet"),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn look(&self) -> io::Result<Option<Wire>> {
        let mut wire = match Wire::ask(&self.socket, Ask::Find).await {
            Err(error) if is_absence(&error) && self.is_free().await? => {
                tokio::time::sleep(SETTLED).await;
                return if self.is_free().await? { Ok(None) } else { Err(error) };
            }
            other => other?,
        };
        match wire.answer().await.map_err(io::Error::other)? {
            Answer::Running { run, .. } if run == self.run => Ok(Some(wire)),
            Answer::Running { .. } | Answer::Nothing => Ok(None),
            other => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{other:?} is no answer"))),
        }
    }

    async fn is_free(&self) -> io::Result<bool> {
        let home = self.home.clone();
        disk::blocking(move || Possession::is_free(&home)).await
    }
}

/// A launcher cuts lines. What a game says in its place is cut here.
pub(super) fn bounded(mut line: String) -> String {
    if line.len() > LINE_BYTES * 3 {
        line.truncate(line.floor_char_boundary(LINE_BYTES));
    }
    line
}
