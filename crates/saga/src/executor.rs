//! The mechanics: writes down what begins, calls the step, writes down what came of it, until the saga rests.
//!
//! A crash is the executor being dropped, at whatever await it stands. Every life begins by loading the log.

use async_trait::async_trait;
use serde_json::Value;

use crate::{CANCELLED, Call, Cancel, Cause, Event, Failure, Log, Next, Plan, SagaId, Step, Store, StoreError};

/// Where a saga ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Every step is done.
    Committed,
    /// Nothing is left of any step.
    RolledBack,
    /// A person must look.
    Stuck,
}

/// Why a run ended before the saga rested. The saga is as it was; running it again goes on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Another executor writes this history. Do not run it again here.
    #[error("another executor runs this saga")]
    Superseded(#[source] StoreError),
    /// The store failed. Run it again later.
    #[error("the log could not be read or written")]
    Store(#[source] StoreError),
    /// The log on record cannot have been written by this plan.
    #[error("the log on record is not one of this saga")]
    Illegal(#[from] crate::IllegalEvent),
}

/// Is told what is on record, each time that changes: to show it to people.
#[async_trait]
pub trait Watcher: Send + Sync {
    /// `log` now ends with `event`; none when it was just loaded. May be told the same twice.
    async fn recorded(&self, log: &Log, event: Option<&Event>);
}

/// A watcher that looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

#[async_trait]
impl Watcher for Silent {
    async fn recorded(&self, _log: &Log, _event: Option<&Event>) {}
}

/// Runs sagas of one kind.
pub struct Executor<C: ?Sized> {
    steps: Vec<Box<dyn Step<C>>>,
    plan: Plan,
}

impl<C: Sync + ?Sized> Executor<C> {
    /// An executor of `steps`; see [`Plan::new`] for `pivot`.
    #[must_use]
    pub fn new(steps: Vec<Box<dyn Step<C>>>, pivot: usize) -> Self {
        let plan = Plan::new(steps.iter().map(|step| step.name()), pivot);
        Self { steps, plan }
    }

    /// The order of its steps.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether a cancel would be honoured where `log` stands. A [`Cancel`] that is requested after this may still be
    /// refused: the saga goes on meanwhile.
    #[must_use]
    pub fn takes_cancel(&self, log: &Log) -> bool {
        matches!(self.plan.next(log), Next::Run { step, .. } if self.is_cancellable(step, log))
    }

    fn is_cancellable(&self, step: usize, log: &Log) -> bool {
        self.plan.is_before_pivot(step) && self.steps[step].takes_cancel(log)
    }

    /// Runs `saga` until it rests, from wherever its log says that it stands.
    pub async fn run(
        &self,
        saga: &SagaId,
        context: &C,
        store: &dyn Store,
        cancel: &Cancel,
        watcher: &dyn Watcher,
    ) -> Result<Rest, RunError> {
        let events = store.load(saga).await.map_err(RunError::Store)?;
        let log = self.plan.fold(events)?;
        watcher.recorded(&log, None).await;
        let mut life = Life { executor: self, saga, context, store, cancel, watcher, log, begun_here: None };
        loop {
            match self.plan.next(&life.log) {
                Next::Run { step, attempt, begun } => life.forward(step, attempt, begun).await?,
                Next::Undo { step, attempt, begun } => life.backward(step, attempt, begun).await?,
                Next::Committed => return Ok(Rest::Committed),
                Next::RolledBack => return Ok(Rest::RolledBack),
                Next::Stuck { .. } => return Ok(Rest::Stuck),
            }
        }
    }
}

/// One run from load to rest, or to the crash.
struct Life<'a, C: ?Sized> {
    executor: &'a Executor<C>,
    saga: &'a SagaId,
    context: &'a C,
    store: &'a dyn Store,
    cancel: &'a Cancel,
    watcher: &'a dyn Watcher,
    log: Log,
    /// The position in the log at which this life wrote the start of the attempt that comes next.
    begun_here: Option<u64>,
}

impl<C: Sync + ?Sized> Life<'_, C> {
    async fn forward(&mut self, index: usize, attempt: u32, begun: bool) -> Result<(), RunError> {
        let name = self.name(index);
        if !self.is_cancellable(index) {
            // Where the log begins here already, it is too late from the first instant of this life on.
            self.cancel.close();
        }
        if !begun {
            self.write_start(Event::Started { step: name.clone(), attempt, because: None }).await?;
        }
        let event = match self.attempt(index, attempt).await {
            Ok(_) if self.is_last_chance_to_cancel(index) && !self.cancel.close() => {
                Event::Failed { step: name, error: cancelled() }
            }
            Ok(output) => Event::Done { step: name, output },
            Err(Failure::Retry(cause)) => match self.executor.steps[index].retries().pause_after(attempt) {
                Some(pause) => {
                    self.pause(index, pause).await;
                    let again = Event::Started { step: name, attempt: attempt + 1, because: Some(cause) };
                    return self.write_start(again).await;
                }
                None => self.given_up(index, cause),
            },
            Err(Failure::Undo(cause)) => self.given_up(index, cause),
            Err(Failure::Stuck(error)) => Event::Stuck { step: name, error },
        };
        self.write(event).await
    }

    async fn backward(&mut self, index: usize, attempt: u32, begun: bool) -> Result<(), RunError> {
        let name = self.name(index);
        if !begun {
            self.write_start(Event::UndoStarted { step: name.clone(), attempt, because: None }).await?;
        }
        let step = &self.executor.steps[index];
        let event = match step.undo(self.context, &self.call(attempt)).await {
            Ok(()) => Event::Undone { step: name },
            Err(Failure::Retry(cause)) => match step.undo_retries().pause_after(attempt) {
                Some(pause) => {
                    tokio::time::sleep(pause).await;
                    let again = Event::UndoStarted { step: name, attempt: attempt + 1, because: Some(cause) };
                    return self.write_start(again).await;
                }
                None => Event::Stuck { step: name, error: cause },
            },
            Err(Failure::Undo(error) | Failure::Stuck(error)) => Event::Stuck { step: name, error },
        };
        self.write(event).await
    }

    /// Runs the step. Where it may, a cancel interrupts it: its future is dropped, its undo cleans up.
    async fn attempt(&self, index: usize, attempt: u32) -> Result<Value, Failure> {
        let call = self.call(attempt);
        let run = self.executor.steps[index].run(self.context, &call);
        if !self.is_cancellable(index) {
            return run.await;
        }
        if self.cancel.is_requested() {
            return Err(Failure::Undo(cancelled()));
        }
        tokio::select! {
            biased;
            result = run => result,
            () = self.cancel.requested() => Err(Failure::Undo(cancelled())),
        }
    }

    /// Waits between two attempts; a cancel cuts it short, and the next attempt notices it.
    async fn pause(&self, index: usize, pause: std::time::Duration) {
        if !self.is_cancellable(index) {
            return tokio::time::sleep(pause).await;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.cancel.requested() => {}
        }
    }

    /// A cancel that arrived while a step ran is honoured in front of the next one, so that the step's output is kept
    /// for the undo. In front of a step that takes none there is no such next one.
    fn is_last_chance_to_cancel(&self, index: usize) -> bool {
        let next = index + 1;
        self.is_cancellable(index) && (next == self.executor.steps.len() || !self.is_cancellable(next))
    }

    fn is_cancellable(&self, index: usize) -> bool {
        self.executor.is_cancellable(index, &self.log)
    }

    fn given_up(&self, index: usize, error: Cause) -> Event {
        let step = self.name(index);
        if self.executor.plan.is_before_pivot(index) {
            Event::Failed { step, error }
        } else {
            Event::Stuck { step, error }
        }
    }

    fn name(&self, index: usize) -> String {
        self.executor.plan.name(index).to_owned()
    }

    fn call(&self, attempt: u32) -> Call<'_> {
        let resumed = self.begun_here != Some(self.log.length());
        Call { log: &self.log, attempt, resumed }
    }

    async fn write_start(&mut self, event: Event) -> Result<(), RunError> {
        self.write(event).await?;
        self.begun_here = Some(self.log.length());
        Ok(())
    }

    /// The event is checked against the log before it is stored: what the store holds can always be read again.
    async fn write(&mut self, event: Event) -> Result<(), RunError> {
        let mut log = self.log.clone();
        self.executor.plan.record(&mut log, &event)?;
        self.store.append(self.saga, self.log.length(), &event).await.map_err(|error| match error {
            StoreError::Conflict { .. } => RunError::Superseded(error),
            StoreError::Corrupt { .. } | StoreError::Unavailable(_) => RunError::Store(error),
        })?;
        tracing::debug!(saga = %self.saga, ?event, "saga");
        self.log = log;
        self.watcher.recorded(&self.log, Some(&event)).await;
        Ok(())
    }
}

fn cancelled() -> Cause {
    Cause::new(CANCELLED, "cancelled on request")
}
