//! Time: tokio's paused clock, which stands still while the database works.
//!
//! A paused runtime jumps to the next timer whenever all tasks wait. SQLite answers from a thread of its own, so "all
//! wait" is also true while a query runs, and every timeout in the panel would seem to run out. [`flow`] keeps one task
//! awake as long as a connection is at work, and otherwise lets time pass in small sips.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{Clock, Timestamp};
use panel::db::Db;
use tokio::sync::Notify;
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

/// A moment while the database works: so many turns of the runtime into the stretch of work with this number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// From 1. Queries without a pause between them are one stretch.
    pub stretch: u64,
    /// From 1. If the stretch is shorter, its end.
    pub turn: u64,
}

/// Counts when the database works, to die in the middle of it.
#[derive(Clone, Debug, Default)]
pub struct Accesses(Arc<Counter>);

#[derive(Debug, Default)]
struct Counter {
    now: Mutex<(Moment, Option<Moment>)>,
    reached: Notify,
}

impl Accesses {
    /// Counts from the beginning again; [`Accesses::reached`] returns once, at `at`.
    pub(crate) fn restart(&self, at: Option<Moment>) {
        *self.now() = (Moment::default(), at);
    }

    pub(crate) fn stretches(&self) -> u64 {
        self.now().0.stretch
    }

    pub(crate) async fn reached(&self) {
        self.0.reached.notified().await;
    }

    fn turn(&self, worked: bool, works: bool) {
        let mut guard = self.now();
        let (now, at) = &mut *guard;
        match (worked, works) {
            (false, true) => *now = Moment { stretch: now.stretch + 1, turn: 1 },
            (true, true) => now.turn += 1,
            _ => {}
        }
        let due = |at: Moment| now.stretch == at.stretch && (now.turn >= at.turn || (worked && !works));
        if at.is_some_and(due) {
            *at = None;
            self.0.reached.notify_one();
        }
    }

    fn now(&self) -> MutexGuard<'_, (Moment, Option<Moment>)> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets time pass whenever nothing is at work. Never returns.
pub async fn flow(db: Db, accesses: Accesses) {
    let mut sip = SMALLEST;
    let mut working = false;
    loop {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
            let works = db.connections_in_use() > 0;
            accesses.turn(working, works);
            working = works;
        }
        if working {
            sip = SMALLEST;
            // The database's thread needs the core more than we do.
            std::thread::sleep(Duration::from_micros(20));
            continue;
        }
        tokio::time::sleep(sip).await;
        sip = (sip * 2).min(LARGEST);
    }
}
