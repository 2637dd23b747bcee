//! Where progress of transfers goes to be seen: kept events and passing news in one stream.
//!
//! ```text
//!   the driver of a transfer ──record──► transfer_events (durable, numbered) ──► news ──► every open stream
//!   an agent's copy notice ──copy_progress──► latest value ──► watchdog      └─► news (progress has no number)
//! ```
//!
//! A client that was away asks for what is behind the number that it saw last; progress is not kept, only its latest
//! value. A stream that falls behind reads the database again instead of missing something.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{CopyProgress, CopyReceipt, EvacuationId, FreezePrediction, NodeId, ServerId, Timestamp, TransferId};
use serde_json::Value;
use tokio::sync::{broadcast, watch};

/// News that a stream may fall behind before it has to read the database again.
const BACKLOG: usize = 1024;

/// One piece of news about a transfer.
#[derive(Clone, Debug)]
pub struct News {
    /// Which transfer.
    pub transfer_id: TransferId,
    /// Its server.
    pub server_id: ServerId,
    /// Its number, if it is kept.
    pub seq: Option<u64>,
    /// `stage`, `progress`, `log` or `end`.
    pub kind: &'static str,
    /// What it says.
    pub body: Arc<Value>,
    /// When.
    pub at: Timestamp,
}

/// One piece of news about an evacuation: how it stands.
#[derive(Clone, Debug)]
pub struct EvacuationNews {
    /// Which.
    pub id: EvacuationId,
    /// How it stands.
    pub body: Arc<Value>,
    /// When.
    pub at: Timestamp,
}

/// A copy that goes on now.
struct Copying {
    source: NodeId,
    target: NodeId,
    latest: watch::Sender<CopyProgress>,
}

/// Where progress of transfers goes to be seen.
pub struct Hub {
    news: broadcast::Sender<News>,
    evacuations: broadcast::Sender<EvacuationNews>,
    copies: Mutex<HashMap<TransferId, Copying>>,
}

impl Default for Hub {
    fn default() -> Self {
        let (news, evacuations) = (broadcast::Sender::new(BACKLOG), broadcast::Sender::new(BACKLOG));
        Self { news, evacuations, copies: Mutex::default() }
    }
}

impl Hub {
    /// An agent's news about a copy. Called by `link` for each such notice; does not block.
    ///
    /// What an agent says about a transfer that is not its own is ignored.
    pub fn copy_progress(&self, from: NodeId, transfer_id: TransferId, progress: &CopyProgress) {
        let copies = self.copies();
        let Some(copy) = copies.get(&transfer_id) else { return };
        if from == copy.source {
            copy.latest.send_if_modified(|latest| replace(latest, seen_by_source(latest, progress)));
        } else if from == copy.target {
            copy.latest.send_if_modified(|latest| replace(latest, seen_by_target(latest, progress)));
        }
    }

    /// Everything that happens from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// How evacuations stand from now on.
    #[must_use]
    pub fn listen_evacuations(&self) -> broadcast::Receiver<EvacuationNews> {
        self.evacuations.subscribe()
    }

    /// Tells everybody how an evacuation stands. Nobody listening is fine.
    pub(crate) fn tell_evacuation(&self, news: EvacuationNews) {
        if let Err(unheard) = self.evacuations.send(news) {
            tracing::trace!(evacuation = %unheard.0.id, "nobody listens");
        }
    }

    /// Tells everybody. Nobody listening is fine.
    pub(crate) fn tell(&self, news: News) {
        if let Err(unheard) = self.news.send(news) {
            tracing::trace!(transfer = %unheard.0.transfer_id, "nobody listens");
        }
    }

    /// Opens the door for an agent's news about a copy; they end when the receivers and the guard are dropped.
    pub(crate) fn follow(self: &Arc<Self>, id: TransferId, source: NodeId, target: NodeId) -> Following {
        let latest = watch::Sender::new(CopyProgress::default());
        let watch = latest.subscribe();
        self.copies().insert(id, Copying { source, target, latest });
        Following { hub: self.clone(), id, watch }
    }

    fn copies(&self) -> MutexGuard<'_, HashMap<TransferId, Copying>> {
        // A map of plain values: whoever panicked while holding it left nothing half-done.
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Access to the progress of one copy, for as long as it is driven.
pub(crate) struct Following {
    hub: Arc<Hub>,
    id: TransferId,
    watch: watch::Receiver<CopyProgress>,
}

impl Following {
    /// The latest progress, and to wait for the next.
    pub(crate) fn watch(&self) -> watch::Receiver<CopyProgress> {
        self.watch.clone()
    }

    /// The latest progress.
    pub(crate) fn latest(&self) -> CopyProgress {
        self.watch.borrow().clone()
    }

    /// What the end of the live copy says: a short one ends before its agents report anything.
    pub(crate) fn precopied(&self, prediction: &FreezePrediction) {
        self.settle(|progress| {
            progress.round = progress.round.max(prediction.rounds);
            progress.bytes_written = progress.bytes_written.max(prediction.bytes_live);
            progress.predicted_freeze_ms = Some(prediction.predicted_freeze_ms);
        });
    }

    /// What the receipt says: everything is there.
    pub(crate) fn copied(&self, receipt: &CopyReceipt) {
        self.settle(|progress| {
            (progress.bytes_total, progress.files_total) = (receipt.bytes_total, receipt.files);
            progress.files_done = receipt.files;
            progress.bytes_read = progress.bytes_read.max(receipt.bytes_total);
            progress.bytes_written = progress.bytes_written.max(receipt.bytes_live + receipt.bytes_frozen);
            progress.bytes_sent = progress.bytes_sent.max(receipt.bytes_wire);
            (progress.round, progress.eta_s) = (progress.round.max(receipt.rounds), 0);
        });
    }

    fn settle(&self, change: impl FnOnce(&mut CopyProgress)) {
        if let Some(copy) = self.hub.copies().get(&self.id) {
            copy.latest.send_modify(change);
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.hub.copies().remove(&self.id);
    }
}

fn replace(latest: &mut CopyProgress, new: CopyProgress) -> bool {
    let changed = *latest != new;
    *latest = new;
    changed
}

/// The source counts everything, except that only the target knows what it has written.
fn seen_by_source(latest: &CopyProgress, seen: &CopyProgress) -> CopyProgress {
    let mut new = seen.clone();
    new.bytes_written = new.bytes_written.max(latest.bytes_written);
    new.files_done = new.files_done.max(latest.files_done);
    new
}

fn seen_by_target(latest: &CopyProgress, seen: &CopyProgress) -> CopyProgress {
    let mut new = latest.clone();
    new.bytes_written = new.bytes_written.max(seen.bytes_written);
    new.files_done = new.files_done.max(seen.files_done);
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_agents_of_a_copy_are_believed_and_each_about_its_side() {
        let hub = Arc::new(Hub::default());
        let (id, source, target) = (TransferId::new(), NodeId::new(), NodeId::new());
        let following = hub.follow(id, source, target);
        let seen = |sent, written| CopyProgress { bytes_sent: sent, bytes_written: written, ..CopyProgress::default() };
        hub.copy_progress(NodeId::new(), id, &seen(99, 99));
        assert_eq!(*following.watch().borrow(), CopyProgress::default());
        hub.copy_progress(source, id, &seen(10, 0));
        hub.copy_progress(target, id, &seen(0, 7));
        assert_eq!(*following.watch().borrow(), seen(10, 7));
        hub.copy_progress(source, id, &seen(12, 0));
        assert_eq!(*following.watch().borrow(), seen(12, 7));
        drop(following);
        hub.copy_progress(source, id, &seen(13, 0));
        assert!(hub.copies().is_empty());
    }
}
