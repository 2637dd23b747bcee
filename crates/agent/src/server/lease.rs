//! How long a server that was stopped for a transfer stays stopped without a word from the panel.
//!
//! ```text
//! held ─ panel silent for lease_ms, not fenced ─► lost: the server runs again, and the transfer will be told
//!   │
//!   └─ fence, resume ─► gone
//! ```
//!
//! The record is written before the game is asked to stop, so that an agent that dies in between knows what it was
//! doing. The clock begins anew with the agent: a panel may need that long to find it again.

use std::sync::Mutex;
use std::time::Duration;

use model::{Timestamp, TransferId};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// `lease.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeaseRecord {
    pub(super) transfer: TransferId,
    pub(super) lease_ms: u64,
    pub(super) was_running: bool,
    /// Known once it has stopped.
    pub(super) stopped_at: Option<Timestamp>,
    pub(super) lost: bool,
}

/// A lease in force.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) record: LeaseRecord,
    /// From when on the panel's silence counts; none while the game still runs.
    counts_from: Option<Instant>,
    /// Tells a copy that the files are no longer still.
    pub(super) broken: CancellationToken,
}

impl Lease {
    pub(super) fn new(record: LeaseRecord) -> Self {
        let broken = CancellationToken::new();
        if record.lost {
            broken.cancel();
        }
        Self { record, counts_from: None, broken }
    }

    pub(super) fn stopped(&mut self, at: Timestamp) {
        self.record.stopped_at.get_or_insert(at);
        self.counts_from.get_or_insert_with(Instant::now);
    }

    /// When it is lost unless the panel is heard again. A server that did not run has nothing to go back to.
    pub(super) fn deadline(&self, heard: Instant) -> Option<Instant> {
        let from = self.counts_from.filter(|_| self.record.was_running && !self.record.lost)?;
        Some(from.max(heard) + Duration::from_millis(self.record.lease_ms))
    }

    pub(super) fn lose(&mut self) {
        self.record.lost = true;
        self.broken.cancel();
    }
}

/// When the panel last asked something of this agent.
#[derive(Debug)]
pub(crate) struct Heard(Mutex<Instant>);

impl Heard {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    pub(crate) fn now(&self) {
        *self.0.lock().expect("nobody panics with it") = Instant::now();
    }

    pub(crate) fn last(&self) -> Instant {
        *self.0.lock().expect("nobody panics with it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(was_running: bool) -> LeaseRecord {
        LeaseRecord { transfer: TransferId::new(), lease_ms: 20_000, was_running, stopped_at: None, lost: false }
    }

    #[tokio::test(start_paused = true)]
    async fn it_counts_from_the_stop_or_the_panels_last_word() {
        let heard = Instant::now();
        let mut lease = Lease::new(record(true));
        assert_eq!(lease.deadline(heard), None, "the game still runs");
        lease.stopped(Timestamp::UNIX_EPOCH);
        assert_eq!(lease.deadline(heard), Some(heard + Duration::from_secs(20)));
        let later = heard + Duration::from_secs(5);
        assert_eq!(lease.deadline(later), Some(heard + Duration::from_secs(25)));
        lease.lose();
        assert_eq!(lease.deadline(later), None);
        assert!(lease.broken.is_cancelled());
    }

    #[test]
    fn a_server_that_did_not_run_is_not_started() {
        let mut lease = Lease::new(record(false));
        lease.stopped(Timestamp::UNIX_EPOCH);
        assert_eq!(lease.deadline(Instant::now()), None);
    }
}
