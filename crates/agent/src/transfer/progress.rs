//! Tells the panel how a copy goes on, about four times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::transfer::{Progress, ProgressSnapshot};
use model::agent_api::Notice;
use model::{CopyProgress, TransferId};
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

const EVERY: Duration = Duration::from_millis(250);
const UNKNOWN: u64 = u64::MAX;

/// Reports for as long as it is kept.
pub(super) struct Reporter {
    predicted_ms: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl Reporter {
    pub(super) fn start(transfer: TransferId, progress: Arc<Progress>, news: broadcast::Sender<Notice>) -> Self {
        let predicted_ms = Arc::new(AtomicU64::new(UNKNOWN));
        let task = report(transfer, progress, news, Arc::clone(&predicted_ms));
        Self { predicted_ms, _task: AbortOnDropHandle::new(tokio::spawn(task)) }
    }

    pub(super) fn predict(&self, freeze: Duration) {
        self.predicted_ms.store(millis(freeze), Ordering::Relaxed);
    }
}

async fn report(
    transfer: TransferId,
    progress: Arc<Progress>,
    news: broadcast::Sender<Notice>,
    predicted_ms: Arc<AtomicU64>,
) {
    let mut pace = Pace::new(progress.snapshot(), Instant::now());
    let mut last = None;
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        let now = progress.snapshot();
        pace.see(now, Instant::now());
        let predicted = Some(predicted_ms.load(Ordering::Relaxed)).filter(|ms| *ms != UNKNOWN);
        let state = pace.state(now, predicted);
        // An idle copy, between its last round and the stop, has nothing to tell.
        if last.as_ref() != Some(&state)
            && news.send(Notice::CopyProgress { transfer_id: transfer, progress: state.clone() }).is_err()
        {
            tracing::trace!(%transfer, "no panel listens to the transfer's progress");
        }
        last = Some(state);
    }
}

/// Moving average of the bytes that a copy gets through.
struct Pace {
    last: ProgressSnapshot,
    at: Instant,
    rate: u64,
    round: u32,
    /// Bytes read when this round began.
    round_from: u64,
}

impl Pace {
    fn new(now: ProgressSnapshot, at: Instant) -> Self {
        Self { last: now, at, rate: 0, round: now.round, round_from: now.bytes_read }
    }

    fn see(&mut self, now: ProgressSnapshot, at: Instant) {
        let passed = at.saturating_duration_since(self.at).as_millis().max(1);
        let bytes = seen(now).saturating_sub(seen(self.last));
        let rate = u64::try_from(u128::from(bytes) * 1000 / passed).unwrap_or(u64::MAX);
        self.rate = if self.rate == 0 { rate } else { (self.rate / 4) * 3 + rate / 4 };
        if now.round != self.round {
            self.round = now.round;
            self.round_from = self.last.bytes_read;
        }
        (self.last, self.at) = (now, at);
    }

    fn state(&self, now: ProgressSnapshot, predicted_freeze_ms: Option<u64>) -> CopyProgress {
        let in_round = now.bytes_read.saturating_sub(self.round_from);
        let left = now.bytes_total.saturating_sub(in_round);
        CopyProgress {
            bytes_total: now.bytes_total,
            bytes_read: now.bytes_read,
            bytes_sent: now.bytes_sent,
            bytes_written: now.bytes_written,
            files_total: now.files_total,
            files_done: now.files_done,
            round: now.round,
            rate_bytes_per_s: self.rate,
            eta_s: left.checked_div(self.rate).unwrap_or(0),
            predicted_freeze_ms,
        }
    }
}

/// What moves on this side: a source reads, a target writes.
fn seen(now: ProgressSnapshot) -> u64 {
    now.bytes_read.max(now.bytes_written)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rate_and_time_left_are_of_this_round() {
        let start = Instant::now();
        let mut pace = Pace::new(ProgressSnapshot::default(), start);
        let first = ProgressSnapshot { bytes_total: 1000, bytes_read: 500, round: 1, ..ProgressSnapshot::default() };
        pace.see(first, start + Duration::from_secs(1));
        let state = pace.state(first, Some(7));
        assert_eq!((state.rate_bytes_per_s, state.eta_s, state.predicted_freeze_ms), (500, 1, Some(7)));
        let done = ProgressSnapshot { bytes_read: 1000, ..first };
        pace.see(done, start + Duration::from_secs(2));
        assert_eq!(pace.state(done, None).eta_s, 0);
    }
}
