//! Who runs a game on this volume: one launcher at a time, by a lock of the kernel on the server's directory.
//!
//! A pod that is evicted may still be saving its world when its successor is up on the same machine, with the same volume:
//! `ReadWriteOnce` means one machine, not one pod, and a deployment replaces a pod that is still ending. The lock ends with
//! the launcher that holds it, and with it everything that ran below it, so it also tells a mover whose launcher is gone
//! that its game is. File systems that lock no directories (some of the network) leave only the word of Kubernetes.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode};
use tokio::time::Instant;

use crate::disk;

/// A mover that looks whether it is taken holds it for an instant.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

/// Held while a game runs. It is released when this is dropped, or when the process ends.
#[derive(Debug)]
pub(crate) struct Possession {
    _lock: File,
}

impl Possession {
    /// Takes the directory of the server, or says that another pod has it.
    pub(crate) async fn take(home: &Path) -> Result<Self, AgentError> {
        let lock = File::open(home).map_err(|e| disk::failed("open", home, &e))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { _lock: lock }),
                Err(TryLockError::WouldBlock) if Instant::now() < until => tokio::time::sleep(LOOK).await,
                Err(TryLockError::WouldBlock) => return Err(taken()),
                Err(TryLockError::Error(error)) => {
                    tracing::warn!(%error, "this volume cannot be locked: that no other pod uses it is taken on trust");
                    return Ok(Self { _lock: lock });
                }
            }
        }
    }

    /// Whether nobody has it. Where nothing can be locked nobody knows.
    pub(super) fn is_free(home: &Path) -> io::Result<bool> {
        match File::open(home)?.try_lock_shared() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn taken() -> AgentError {
    AgentError::new(
        ErrorCode::Conflict,
        "another pod with this volume still runs the game: it can start here as soon as it has ended there",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_directory_is_had_by_one_and_free_after_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Possession::is_free(dir.path()).unwrap());
        let mine = Possession::take(dir.path()).await.unwrap();
        assert!(!Possession::is_free(dir.path()).unwrap());
        assert_eq!(Possession::take(dir.path()).await.unwrap_err().code, ErrorCode::Conflict);
        drop(mine);
        assert!(Possession::is_free(dir.path()).unwrap());
        Possession::take(dir.path()).await.unwrap();
    }
}
