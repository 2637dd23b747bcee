//! Bandwidth limit: a token bucket that several transfers may share and that may be changed while they run.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a burst may be, as time at the full rate.
const BURST: Duration = Duration::from_millis(100);

/// Longest sleep of somebody who waits, so that a changed rate takes effect soon.
const LONGEST_NAP: Duration = Duration::from_millis(50);

/// Bytes per second, shared through an `Arc`.
#[derive(Debug)]
pub struct RateLimit(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    /// None: no limit.
    rate: Option<u64>,
    /// May be negative: a piece is let through whole and paid for afterwards.
    tokens: f64,
    filled: Instant,
}

impl RateLimit {
    /// `None` lets everything through.
    #[must_use]
    pub fn new(bytes_per_s: Option<u64>) -> Self {
        Self(Mutex::new(Bucket { rate: bytes_per_s, tokens: 0.0, filled: Instant::now() }))
    }

    /// Takes effect within 50 ms, also for those that wait.
    pub fn set_rate(&self, bytes_per_s: Option<u64>) {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.refill(Instant::now());
        bucket.rate = bytes_per_s;
        // A debt made at the old rate would be paid at the new one.
        bucket.tokens = bucket.tokens.max(0.0);
    }

    /// Takes `bytes` and returns none, or how long to sleep before asking again.
    pub(crate) fn take(&self, bytes: usize) -> Option<Duration> {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(bytes, Instant::now())
    }
}

#[allow(clippy::cast_precision_loss)] // rates and pieces are far below 2^52
impl Bucket {
    fn take(&mut self, bytes: usize, now: Instant) -> Option<Duration> {
        self.refill(now);
        let rate = self.rate?.max(1) as f64;
        if self.tokens < 0.0 {
            return Some(Duration::from_secs_f64((-self.tokens / rate).min(60.0)).min(LONGEST_NAP));
        }
        self.tokens -= bytes as f64;
        None
    }

    fn refill(&mut self, now: Instant) {
        if let Some(rate) = self.rate {
            let rate = rate.max(1) as f64;
            let earned = rate * now.duration_since(self.filled).as_secs_f64();
            self.tokens = (self.tokens + earned).min(rate * BURST.as_secs_f64());
        }
        self.filled = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_kept_over_many_pieces() {
        let start = Instant::now();
        let mut bucket = Bucket { rate: Some(10 << 20), tokens: 0.0, filled: start };
        let (mut now, mut sent) = (start, 0);
        while now < start + Duration::from_secs(1) {
            match bucket.take(128 << 10, now) {
                None => sent += 128 << 10,
                Some(nap) => now += nap.max(Duration::from_micros(100)),
            }
        }
        assert!((10 << 20..11 << 20).contains(&sent), "{sent}");
    }

    #[test]
    fn lifting_the_limit_forgives_the_debt() {
        let limit = RateLimit::new(Some(1));
        assert_eq!(limit.take(1 << 30), None);
        assert!(limit.take(1).is_some());
        limit.set_rate(None);
        assert_eq!(limit.take(1 << 30), None);
        limit.set_rate(Some(1 << 20));
        assert_eq!(limit.take(1), None);
    }
}
