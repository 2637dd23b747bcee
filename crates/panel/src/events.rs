//! Placeholder of the event hub.

use model::{CopyProgress, NodeId, TransferId};

/// Where progress of transfers goes to be seen.
#[derive(Debug, Default)]
pub struct Hub {}

impl Hub {
    /// An agent's news about a copy. Called by `link` for each such notice; must not block.
    pub fn copy_progress(&self, from: NodeId, transfer_id: TransferId, progress: &CopyProgress) {
        tracing::trace!(%from, transfer = %transfer_id, bytes = progress.bytes_written, "progress");
    }
}
