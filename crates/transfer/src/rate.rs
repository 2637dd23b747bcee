//! Bandwidth limit: a token bucket that several transfers may share and that may be changed while they run.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a burst may be, as time at the full rate.
const BURST: Duration = Duration::from_millis(100);

/// Bytes per second, shared through an `Arc`.
#[derive(Debug)]
pub struct RateLimit {
    bucket: Mutex<Bucket>,
    changed: Condvar,
}

#[derive(Debug)]
struct Bucket {
    /// None: no limit.
    rate: Option<u64>,
    /// May be negative: a frame is let through whole and paid for afterwards.
    tokens: f64,
    filled: Instant,
}

impl RateLimit {
    /// `None` lets everything through.
    pub fn new(bytes_per_s: Option<u64>) -> Self {
        let bucket = Bucket { rate: bytes_per_s, tokens: 0.0, filled: Instant::now() };
        Self { bucket: Mutex::new(bucket), changed: Condvar::new() }
    }

    /// Takes effect at once, also for those that wait.
    pub fn set_rate(&self, bytes_per_s: Option<u64>) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.refill();
        bucket.rate = bytes_per_s;
        bucket.tokens = bucket.tokens.max(0.0);
        self.changed.notify_all();
    }

    /// Blocks until `bytes` may be sent, or `stop` says not to wait any longer.
    pub(crate) fn take(&self, bytes: u64, stop: impl Fn() -> bool) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        while !stop() {
            let Some(wait) = bucket.wait() else {
                bucket.spend(bytes);
                return;
            };
            let wait = wait.min(Duration::from_millis(100));
            bucket = self.changed.wait_timeout(bucket, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[allow(clippy::cast_precision_loss)] // rates and frames are far below 2^52
impl Bucket {
    fn refill(&mut self) {
        let now = Instant::now();
        if let Some(rate) = self.rate {
            let rate = rate.max(1) as f64;
            let earned = rate * now.duration_since(self.filled).as_secs_f64();
            self.tokens = (self.tokens + earned).min(rate * BURST.as_secs_f64());
        }
        self.filled = now;
    }

    /// How long until somebody may send; none: now.
    fn wait(&mut self) -> Option<Duration> {
        self.refill();
        let rate = self.rate?.max(1) as f64;
        (self.tokens < 0.0).then(|| Duration::from_secs_f64(-self.tokens / rate))
    }

    fn spend(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.tokens -= bytes as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_kept_over_many_frames() {
        let limit = RateLimit::new(Some(10 << 20));
        let start = Instant::now();
        for _ in 0..16 {
            limit.take(128 << 10, || false);
        }
        // 2 MiB at 10 MiB/s take 200 ms; the last frame is not waited for.
        assert!(start.elapsed() >= Duration::from_millis(150), "{:?}", start.elapsed());
    }

    #[test]
    fn lifting_the_limit_wakes_those_that_wait() {
        let limit = RateLimit::new(Some(1));
        limit.take(1 << 30, || false);
        std::thread::scope(|s| {
            let waiting = s.spawn(|| limit.take(1, || false));
            limit.set_rate(None);
            assert!(waiting.join().is_ok());
        });
    }

    #[test]
    fn somebody_who_must_stop_does_not_wait() {
        let limit = RateLimit::new(Some(1));
        limit.take(1 << 30, || false);
        limit.take(1, || true);
    }
}
