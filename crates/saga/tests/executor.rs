//! What the executor does with each way to fail, with cancels and with other executors.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use saga::{
    CANCELLED, Call, Cancel, Cause, Event, Executor, Failure, Hold, Log, MemoryStore, Phase, Rest, Retries, RunError,
    SagaId, Silent, Step, Store,
};
use serde_json::Value;

/// A step that answers from a list, then with success.
struct Scripted {
    name: &'static str,
    run: Mutex<Vec<Failure>>,
    undo: Mutex<Vec<Failure>>,
    attempts: Mutex<Vec<(u32, bool)>>,
}

#[derive(Clone)]
struct Handle(std::sync::Arc<Scripted>);

fn step(name: &'static str, run: Vec<Failure>, undo: Vec<Failure>) -> Handle {
    Handle(std::sync::Arc::new(Scripted { name, run: run.into(), undo: undo.into(), attempts: Mutex::default() }))
}

fn answer(script: &Mutex<Vec<Failure>>) -> Result<(), Failure> {
    let mut script = script.lock().unwrap();
    if script.is_empty() { Ok(()) } else { Err(script.remove(0)) }
}

#[async_trait]
impl Step<()> for Handle {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn retries(&self) -> Retries {
        Retries { attempts: 3, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(2) }
    }

    fn undo_retries(&self) -> Retries {
        Retries { attempts: 2, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(2) }
    }

    async fn run(&self, (): &(), call: &Call<'_>) -> Result<Value, Failure> {
        self.0.attempts.lock().unwrap().push((call.attempt(), call.is_resumed()));
        answer(&self.0.run).map(|()| Value::Null)
    }

    async fn undo(&self, (): &(), _call: &Call<'_>) -> Result<(), Failure> {
        answer(&self.0.undo)
    }
}

fn cause() -> Cause {
    Cause::new("broken", "it broke")
}

fn retry() -> Failure {
    Failure::Retry(cause())
}

fn saga() -> SagaId {
    SagaId("one".into())
}

async fn end(steps: &[Handle], pivot: usize) -> (Rest, Vec<Event>) {
    let store = MemoryStore::new();
    let steps = steps.iter().map(|s| Box::new(s.clone()) as Box<dyn Step<()>>).collect();
    let rest =
        Executor::new(steps, pivot).run(&saga(), &(), &store, &Cancel::new(), &Hold::new(), &Silent).await.unwrap();
    (rest, store.load(&saga()).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_twice_as_long_each_time_and_names_the_reason() {
    let began = tokio::time::Instant::now();
    let a = step("a", vec![retry(), retry()], vec![]);
    let (rest, events) = end(std::slice::from_ref(&a), 1).await;
    assert_eq!(rest, Rest::Committed);
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    assert_eq!(*a.0.attempts.lock().unwrap(), [(1, false), (2, false), (3, false)]);
    assert_eq!(events[1], Event::Started { step: "a".into(), attempt: 2, because: Some(cause()) });
}

#[tokio::test(start_paused = true)]
async fn retries_are_bounded_and_then_it_is_undone() {
    let (rest, events) = end(&[step("a", vec![retry(), retry(), retry()], vec![])], 1).await;
    assert_eq!(rest, Rest::RolledBack);
    assert!(events.contains(&Event::Failed { step: "a".into(), error: cause() }));
}

#[tokio::test(start_paused = true)]
async fn past_the_pivot_giving_up_means_stuck() {
    for failures in [vec![Failure::Undo(cause())], vec![retry(), retry(), retry()], vec![Failure::Stuck(cause())]] {
        let (rest, events) = end(&[step("a", vec![], vec![]), step("b", failures, vec![])], 1).await;
        assert_eq!(rest, Rest::Stuck);
        assert_eq!(events.last(), Some(&Event::Stuck { step: "b".into(), error: cause() }));
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_cannot_be_done_is_stuck() {
    for failures in [vec![retry(), retry()], vec![Failure::Undo(cause())], vec![Failure::Stuck(cause())]] {
        let steps = [step("a", vec![], failures), step("b", vec![Failure::Undo(cause())], vec![])];
        let (rest, events) = end(&steps, 2).await;
        assert_eq!(rest, Rest::Stuck);
        assert_eq!(events.last(), Some(&Event::Stuck { step: "a".into(), error: cause() }));
    }
}

#[tokio::test(start_paused = true)]
async fn stuck_before_the_pivot_undoes_nothing() {
    let steps = [step("a", vec![], vec![]), step("b", vec![Failure::Stuck(cause())], vec![])];
    let (rest, events) = end(&steps, 2).await;
    assert_eq!(rest, Rest::Stuck);
    assert_eq!(events.len(), 4);
}

/// Hangs for ever; counts how often its future was dropped.
struct Hanging(std::sync::Arc<AtomicU32>);

struct Dropped(std::sync::Arc<AtomicU32>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Step<()> for Hanging {
    fn name(&self) -> &'static str {
        "hanging"
    }

    async fn run(&self, (): &(), _call: &Call<'_>) -> Result<Value, Failure> {
        let _guard = Dropped(self.0.clone());
        std::future::pending().await
    }

    async fn undo(&self, (): &(), _call: &Call<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_drops_the_running_step_before_the_pivot() {
    let dropped = std::sync::Arc::new(AtomicU32::new(0));
    let executor = Executor::new(vec![Box::new(Hanging(dropped.clone())) as Box<dyn Step<()>>], 1);
    let (store, cancel, id) = (MemoryStore::new(), Cancel::new(), saga());
    let hold = Hold::new();
    let run = executor.run(&id, &(), &store, &cancel, &hold, &Silent);
    let (rest, ()) = tokio::join!(run, async {
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(cancel.request());
    });
    assert_eq!(rest.unwrap(), Rest::RolledBack);
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    let log = executor.plan().fold(store.load(&id).await.unwrap()).unwrap();
    assert_eq!(log.failure().unwrap().1.code, CANCELLED);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_past_the_pivot_is_ignored() {
    let executor = Executor::new(vec![Box::new(Hanging(std::sync::Arc::default())) as Box<dyn Step<()>>], 0);
    let (store, cancel, id) = (MemoryStore::new(), Cancel::made(), saga());
    let hold = Hold::new();
    let run = executor.run(&id, &(), &store, &cancel, &hold, &Silent);
    let ended = tokio::time::timeout(Duration::from_hours(1), run).await;
    assert!(ended.is_err(), "it goes on");
}

/// Succeeds, and takes no cancel.
struct Closed;

#[async_trait]
impl Step<()> for Closed {
    fn name(&self) -> &'static str {
        "closed"
    }

    fn takes_cancel(&self, _log: &Log) -> bool {
        false
    }

    async fn run(&self, (): &(), _call: &Call<'_>) -> Result<Value, Failure> {
        tokio::time::sleep(Duration::from_mins(1)).await;
        Ok(Value::Null)
    }

    async fn undo(&self, (): &(), _call: &Call<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_takes_no_cancel_closes_it_for_good_before_it_begins() {
    let steps: Vec<Box<dyn Step<()>>> = vec![Box::new(step("open", vec![], vec![])), Box::new(Closed)];
    let executor = Executor::new(steps, 2);
    let (store, cancel, id) = (MemoryStore::new(), Cancel::new(), saga());
    assert!(executor.takes_cancel(&executor.plan().empty_log()));
    let hold = Hold::new();
    let run = executor.run(&id, &(), &store, &cancel, &hold, &Silent);
    let (rest, ()) = tokio::join!(run, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let log = executor.plan().fold(store.load(&id).await.unwrap()).unwrap();
        assert_eq!(log.phase("closed"), Some(Phase::Running(1)));
        assert!(!executor.takes_cancel(&log));
        assert!(!cancel.request(), "nobody is promised what is not done");
    });
    assert_eq!(rest.unwrap(), Rest::Committed);
}

#[tokio::test(start_paused = true)]
async fn the_second_of_two_executors_gives_way() {
    let store = MemoryStore::new();
    let make = || Executor::new(vec![Box::new(Hanging(std::sync::Arc::default())) as Box<dyn Step<()>>], 0);
    let (first, second) = (make(), make());
    let (never, hold, id) = (Cancel::new(), Hold::new(), saga());
    let (one, two) = tokio::join!(
        tokio::time::timeout(Duration::from_mins(1), first.run(&id, &(), &store, &never, &hold, &Silent)),
        tokio::time::timeout(Duration::from_mins(1), async {
            // Loaded before the first wrote, writes after it.
            store_that_is_behind(&second, &store).await
        }),
    );
    assert!(one.is_err(), "the first goes on");
    assert!(matches!(two, Ok(Err(RunError::Superseded(_)))), "{two:?}");
}

async fn store_that_is_behind(executor: &Executor<()>, store: &MemoryStore) -> Result<Rest, RunError> {
    struct Behind<'a>(&'a MemoryStore);

    #[async_trait]
    impl Store for Behind<'_> {
        async fn open(&self, saga: &SagaId) -> Result<(), saga::StoreError> {
            self.0.open(saga).await
        }
        async fn append(&self, saga: &SagaId, seq: u64, event: &Event) -> Result<(), saga::StoreError> {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.0.append(saga, seq, event).await
        }
        async fn load(&self, _saga: &SagaId) -> Result<Vec<Event>, saga::StoreError> {
            Ok(vec![])
        }
        async fn unfinished(&self) -> Result<Vec<SagaId>, saga::StoreError> {
            self.0.unfinished().await
        }
        async fn close(&self, saga: &SagaId) -> Result<(), saga::StoreError> {
            self.0.close(saga).await
        }
    }
    executor.run(&saga(), &(), &Behind(store), &Cancel::new(), &Hold::new(), &Silent).await
}

#[tokio::test]
async fn a_log_that_this_plan_cannot_have_written_is_refused() {
    let store = MemoryStore::new();
    store.append(&saga(), 0, &Event::Undone { step: "a".into() }).await.unwrap();
    let executor = Executor::new(vec![Box::new(step("a", vec![], vec![])) as Box<dyn Step<()>>], 1);
    let refused = executor.run(&saga(), &(), &store, &Cancel::new(), &Hold::new(), &Silent).await;
    assert!(matches!(refused, Err(RunError::Illegal(_))));
}
