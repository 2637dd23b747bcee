//! What can go wrong, sorted by what the caller does next.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a copy did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path cannot be carried over faithfully. A person must change it, or the target.
    #[error("{} cannot be carried: {why}", path.display())]
    CannotCarry {
        /// Relative to the tree.
        path: PathBuf,
        /// What stands in the way.
        why: String,
    },
    /// The target has no room.
    #[error("no space left on the target (at {}): {detail}", path.display())]
    NoSpace {
        /// Relative to the tree; empty where the tree as a whole does not fit.
        path: PathBuf,
        /// What was needed and what there is.
        detail: String,
    },
    /// The peer is not the one we want, or what it sends is not acceptable. Trying again does not help.
    #[error("refused: {0}")]
    Refused(String),
    /// The peer cannot be reached, or the connection broke. Time may help.
    #[error("the other side cannot be reached or went away")]
    Unreachable(#[source] io::Error),
    /// The target's disk gives back something else than was sent, and repairing did not help.
    #[error("source and target differ after the copy: {}", list(paths))]
    RootsDiffer {
        /// Relative to the tree.
        paths: Vec<PathBuf>,
    },
    /// The last pass met a tree that still moves.
    #[error("{} changes although the tree should be still", path.display())]
    Changed {
        /// Relative to the tree.
        path: PathBuf,
    },
    /// Somebody asked for an end.
    #[error("cancelled")]
    Cancelled,
    /// The file system failed.
    #[error("the file system failed at {}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// How.
        #[source]
        source: io::Error,
    },
    /// The peer broke the protocol; a defect, or another version.
    #[error("protocol violated: {0}")]
    Protocol(String),
}

impl Error {
    /// For `map_err` on a system call: full disks get their own variant.
    pub(crate) fn io(path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.as_ref().to_owned(), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { path, detail: source.to_string() }
            }
            _ => Self::Io { path, source },
        }
    }

    pub(crate) fn cannot_carry(path: impl AsRef<Path>, why: impl Into<String>) -> Self {
        Self::CannotCarry { path: path.as_ref().to_owned(), why: why.into() }
    }
}

/// The first few, and how many more.
fn list(paths: &[PathBuf]) -> String {
    let mut shown: Vec<_> = paths.iter().take(5).map(|p| p.display().to_string()).collect();
    if paths.len() > shown.len() {
        shown.push(format!("and {} more", paths.len() - shown.len()));
    }
    shown.join(", ")
}
