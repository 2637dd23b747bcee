//! What counts for the copy that a source makes, and may change while it runs: how fast it goes, and for how long players
//! may wait.
//!
//! It is set by each command that copies, and by [`Request::AdjustCopy`](model::agent_api::Request::AdjustCopy) in between,
//! in the order in which they come off the wire. A copy that is taken up again keeps to the same limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::transfer::RateLimit;
use model::agent_api::TransferAction;

/// Of one transfer.
pub(super) struct Tuning {
    limit: Arc<RateLimit>,
    max_freeze_ms: AtomicU64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { limit: Arc::new(RateLimit::new(None)), max_freeze_ms: AtomicU64::new(u64::MAX) }
    }
}

impl Tuning {
    /// A command may say what counts from here on.
    pub(super) fn follow(&self, action: &TransferAction) {
        match action {
            TransferAction::Precopy { bandwidth_limit, max_freeze_ms, .. } => {
                self.set(*bandwidth_limit, *max_freeze_ms);
            }
            TransferAction::FinalCopy { bandwidth_limit, .. } => self.limit.set_rate(*bandwidth_limit),
            _ => {}
        }
    }

    pub(super) fn set(&self, bandwidth_limit: Option<u64>, max_freeze_ms: u64) {
        self.limit.set_rate(bandwidth_limit);
        self.max_freeze_ms.store(max_freeze_ms, Ordering::Relaxed);
    }

    /// Shared with the connection of the copy: a change takes effect within it.
    pub(super) fn limit(&self) -> Arc<RateLimit> {
        Arc::clone(&self.limit)
    }

    /// Looked at between two rounds.
    pub(super) fn max_freeze(&self) -> Duration {
        Duration::from_millis(self.max_freeze_ms.load(Ordering::Relaxed))
    }
}
