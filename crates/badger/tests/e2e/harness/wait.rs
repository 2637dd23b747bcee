//! Waiting for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Looks until `probe` has something or `limit` is over.
pub(crate) fn within<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        let began = Instant::now();
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        // A look that starts a program would otherwise keep a core busy, and what is waited for from it.
        thread::sleep(BETWEEN_LOOKS.max(began.elapsed() * 2));
    }
}

/// Looks until `probe` has something; fails the test if it has nothing after `limit`.
pub(crate) fn eventually<T>(what: &str, limit: Duration, probe: impl FnMut() -> Option<T>) -> T {
    within(limit, probe).unwrap_or_else(|| panic!("{what}: not within {limit:?}"))
}
