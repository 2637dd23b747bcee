//! Time as a dependency, so that a test can own it.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// Where code takes the time of day from.
///
/// # Guarantees
///
/// Calls are cheap and never fail. Nothing is promised about monotony: the wall clock may step. Durations are measured
/// with `std::time::Instant` or tokio's clock instead.
pub trait Clock: Send + Sync + 'static {
    /// The time of day, UTC.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub struct ManualClock {
    ms: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self { ms: AtomicI64::new(start.as_millisecond()) }
    }

    /// Moves the clock forward.
    pub fn advance_ms(&self, ms: i64) {
        self.ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.ms.load(Ordering::SeqCst)).expect("a test's clock stays within jiff's range")
    }
}
