//! Time: tokio's paused clock, which stands still while the database works.
//!
//! A paused runtime jumps to the next timer whenever all tasks wait. SQLite answers from a thread of its own, so "all
//! wait" is also true while a query runs, and every timeout in the panel would seem to run out. [`flow`] keeps one task
//! awake as long as a connection is at work, and otherwise lets time pass in small sips.

use std::time::Duration;

use model::{Clock, Timestamp};
use panel::db::Db;
use tokio::time::Instant;

/// Time of day that follows tokio's clock.
#[derive(Debug)]
pub struct SimClock {
    began: Instant,
}

impl SimClock {
    /// Shows a moment in 2026 now. Needs a runtime.
    #[must_use]
    pub fn new() -> Self {
        Self { began: Instant::now() }
    }
}

impl Default for SimClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        const START_MS: i64 = 1_780_000_000_000;
        let elapsed = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX / 2);
        Timestamp::from_millisecond(START_MS + elapsed).unwrap_or(Timestamp::MAX)
    }
}

const SMALLEST: Duration = Duration::from_millis(1);
const LARGEST: Duration = Duration::from_millis(100);
/// How many turns every other task gets before time passes.
const TURNS: u32 = 4;

/// Lets time pass whenever nothing is at work. Never returns.
pub async fn flow(db: Db) {
    let mut sip = SMALLEST;
    loop {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        if db.connections_in_use() > 0 {
            sip = SMALLEST;
            // The database's thread needs the core more than we do.
            std::thread::sleep(Duration::from_micros(20));
            continue;
        }
        tokio::time::sleep(sip).await;
        sip = (sip * 2).min(LARGEST);
    }
}
