//! Counters of one copy, for whoever watches it. They only grow, except that a new round starts `bytes_total` anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Shared between the threads of a copy and those that show it.
#[derive(Debug, Default)]
pub struct Progress {
    pub(crate) bytes_total: AtomicU64,
    pub(crate) bytes_read: AtomicU64,
    /// The link's own counter, so that it is current while a block is on its way.
    pub(crate) bytes_sent: Arc<AtomicU64>,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) files_total: AtomicU64,
    pub(crate) files_done: AtomicU64,
    pub(crate) round: AtomicU32,
}

/// [`Progress`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgressSnapshot {
    /// Bytes of content in the tree.
    pub bytes_total: u64,
    /// Bytes read and hashed by the source, all rounds.
    pub bytes_read: u64,
    /// Bytes put on the wire, all rounds.
    pub bytes_sent: u64,
    /// Bytes of content written by the target, all rounds.
    pub bytes_written: u64,
    /// Files, directories and links in the tree.
    pub files_total: u64,
    /// Of these, how many the current round is done with.
    pub files_done: u64,
    /// 1 for the first pass; 0 before it.
    pub round: u32,
}

impl Progress {
    /// Reads all counters.
    #[must_use]
    pub fn snapshot(&self) -> ProgressSnapshot {
        ProgressSnapshot {
            bytes_total: self.bytes_total.load(Relaxed),
            bytes_read: self.bytes_read.load(Relaxed),
            bytes_sent: self.bytes_sent.load(Relaxed),
            bytes_written: self.bytes_written.load(Relaxed),
            files_total: self.files_total.load(Relaxed),
            files_done: self.files_done.load(Relaxed),
            round: self.round.load(Relaxed),
        }
    }
}
