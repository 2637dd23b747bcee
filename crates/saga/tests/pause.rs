//! Pauses: where they hold, what they interrupt, that they survive a crash, and when they come too late.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use saga::{
    CANCELLED, Call, Cancel, Event, Executor, Failure, Hold, MemoryStore, Pausing, Rest, SagaId, Silent, Step, Store,
};
use serde_json::Value;

/// A minute of work that may be held as `pausing` says; notes what happens to it.
struct Minute {
    name: &'static str,
    pausing: Pausing,
    notes: Notes,
}

type Notes = Arc<Mutex<Vec<String>>>;

impl Minute {
    fn note(&self, what: &str) {
        self.notes.lock().unwrap().push(format!("{what} {}", self.name));
    }
}

#[async_trait]
impl Step<()> for Minute {
    fn name(&self) -> &'static str {
        self.name
    }

    fn pausing(&self) -> Pausing {
        self.pausing
    }

    async fn hold(&self, (): &(), call: &Call<'_>) {
        self.note(&format!("hold after attempt {} of", call.attempt()));
    }

    async fn run(&self, (): &(), call: &Call<'_>) -> Result<Value, Failure> {
        self.note(&format!("attempt {} of", call.attempt()));
        tokio::time::sleep(Duration::from_mins(1)).await;
        Ok(Value::Null)
    }

    async fn undo(&self, (): &(), _call: &Call<'_>) -> Result<(), Failure> {
        self.note("undo");
        Ok(())
    }
}

/// `around`, `inside`, then `never`; all before the pivot.
fn executor() -> (Executor<()>, Notes) {
    let notes = Notes::default();
    let step = |name, pausing| Box::new(Minute { name, pausing, notes: notes.clone() }) as Box<dyn Step<()>>;
    let steps = [("around", Pausing::Around), ("inside", Pausing::Inside), ("never", Pausing::Never)];
    (Executor::new(steps.into_iter().map(|(name, pausing)| step(name, pausing)).collect(), 3), notes)
}

fn saga() -> SagaId {
    SagaId("one".into())
}

async fn at(second: u64) {
    tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_secs(second)).await;
}

fn pauses(events: &[Event]) -> Vec<&str> {
    events.iter().filter(|event| matches!(event, Event::Paused { .. })).map(Event::step).collect()
}

#[tokio::test(start_paused = true)]
async fn a_short_step_is_held_behind_and_a_long_one_inside() {
    for (second, held_at, attempts) in [(30, "inside", 1), (90, "inside", 2)] {
        let ((executor, notes), store, hold) = (executor(), MemoryStore::new(), Hold::new());
        let (id, cancel) = (saga(), Cancel::new());
        let run = executor.run(&id, &(), &store, &cancel, &hold, &Silent);
        let (rest, ()) = tokio::join!(run, async {
            at(second).await;
            assert!(hold.request());
            at(3600).await;
            let events = store.load(&saga()).await.unwrap();
            assert_eq!(pauses(&events), [held_at]);
            assert_eq!(events.last(), Some(&Event::Paused { step: held_at.into() }), "it stands still");
            hold.release();
        });
        assert_eq!(rest.unwrap(), Rest::Committed);
        let notes = notes.lock().unwrap().clone();
        assert!(notes.contains(&format!("attempt {attempts} of inside")), "{notes:?}");
        assert_eq!(notes.iter().any(|note| note.starts_with("hold")), attempts == 2, "{notes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_step_that_can_be_held_is_begun_again_if_the_pause_came_at_its_end() {
    let ((executor, notes), store, hold) = (executor(), MemoryStore::new(), Hold::new());
    let (id, cancel) = (saga(), Cancel::new());
    let run = executor.run(&id, &(), &store, &cancel, &hold, &Silent);
    let (rest, ()) = tokio::join!(run, async {
        at(120).await;
        // The very instant at which the step ends: either it is held or it is too late, and then it is refused.
        if hold.request() {
            at(60).await;
            hold.release();
        }
        at(30).await;
    });
    assert_eq!(rest.unwrap(), Rest::Committed);
    let events = store.load(&saga()).await.unwrap();
    assert!(pauses(&events).iter().all(|step| *step == "inside"), "{events:?}");
    assert_eq!(notes.lock().unwrap().iter().filter(|note| note.ends_with("of never")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_held_any_more_a_pause_is_refused() {
    let ((executor, _), store, hold) = (executor(), MemoryStore::new(), Hold::new());
    let (id, cancel) = (saga(), Cancel::new());
    assert!(executor.takes_hold(&executor.plan().empty_log()));
    let run = executor.run(&id, &(), &store, &cancel, &hold, &Silent);
    let (rest, ()) = tokio::join!(run, async {
        at(150).await;
        assert!(!hold.request(), "nobody is promised what is not done");
        let log = executor.plan().fold(store.load(&saga()).await.unwrap()).unwrap();
        assert!(!executor.takes_hold(&log));
    });
    assert_eq!(rest.unwrap(), Rest::Committed);
}

#[tokio::test(start_paused = true)]
async fn a_pause_survives_a_crash_and_a_cancel_ends_it() {
    for cancels in [false, true] {
        let ((executor, notes), store, hold) = (executor(), MemoryStore::new(), Hold::new());
        let (id, cancel) = (saga(), Cancel::new());
        let run = executor.run(&id, &(), &store, &cancel, &hold, &Silent);
        let life = tokio::time::timeout(Duration::from_mins(10), run);
        let (dead, ()) = tokio::join!(life, async {
            at(90).await;
            assert!(hold.request());
        });
        assert!(dead.is_err(), "it stands still until the process dies");
        // The wish is on record; so is the pause.
        let hold = Hold::made();
        let run = executor.run(&id, &(), &store, &cancel, &hold, &Silent);
        let (rest, ()) = tokio::join!(run, async {
            at(3600).await;
            assert_eq!(pauses(&store.load(&saga()).await.unwrap()), ["inside"]);
            if cancels {
                assert!(cancel.request());
            } else {
                hold.release();
            }
        });
        let log = executor.plan().fold(store.load(&saga()).await.unwrap()).unwrap();
        if cancels {
            assert_eq!(rest.unwrap(), Rest::RolledBack);
            assert_eq!(log.failure().map(|(step, cause)| (step, cause.code.as_str())), Some(("inside", CANCELLED)));
            assert!(notes.lock().unwrap().contains(&"undo inside".to_owned()));
            assert!(!hold.request(), "nothing is held that is being taken back");
        } else {
            assert_eq!(rest.unwrap(), Rest::Committed);
        }
    }
}
