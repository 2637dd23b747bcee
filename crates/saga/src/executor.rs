//! The mechanics: writes down what begins, calls the step, writes down what came of it, until the saga rests.
//!
//! A crash is the executor being dropped, at whatever await it stands. Every life begins by loading the log.

use async_trait::async_trait;
use serde_json::Value;

use crate::{
    CANCELLED, Call, Cancel, Cause, Event, Failure, Halt, Hold, Log, Next, Pausing, Phase, Plan, SagaId, Step, Store,
    StoreError,
};

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
        matches!(self.plan.next(log), Next::Run { step, .. } | Next::Hold { step, .. } if self.is_cancellable(step, log))
    }

    fn is_cancellable(&self, step: usize, log: &Log) -> bool {
        self.plan.is_before_pivot(step) && self.steps[step].takes_cancel(log)
    }

    /// Whether what is stuck where `log` stands may be given up by a person, as by a cancel: with `Failed`, and taken back.
    #[must_use]
    pub fn may_be_given_up(&self, log: &Log) -> bool {
        let Next::Stuck { step } = self.plan.next(log) else { return false };
        let forward = matches!(log.phase(self.plan.name(step)), Some(Phase::Stuck(Halt::Forward(_))));
        forward && self.is_cancellable(step, log)
    }

    /// Whether a pause would be honoured where `log` stands, as [`Self::takes_cancel`] for a cancel.
    #[must_use]
    pub fn takes_hold(&self, log: &Log) -> bool {
        matches!(self.plan.next(log), Next::Run { step, .. } | Next::Hold { step, .. } if self.pausing(step) != Pausing::Never)
    }

    fn pausing(&self, step: usize) -> Pausing {
        if self.plan.is_before_pivot(step) { self.steps[step].pausing() } else { Pausing::Never }
    }

    /// Runs `saga` until it rests, from wherever its log says that it stands.
    pub async fn run(
        &self,
        saga: &SagaId,
        context: &C,
        store: &dyn Store,
        cancel: &Cancel,
        hold: &Hold,
        watcher: &dyn Watcher,
    ) -> Result<Rest, RunError> {
        let events = store.load(saga).await.map_err(RunError::Store)?;
        let log = self.plan.fold(events)?;
        watcher.recorded(&log, None).await;
        let mut life = Life { executor: self, saga, context, store, cancel, hold, watcher, log, begun_here: None };
        loop {
            match self.plan.next(&life.log) {
                Next::Run { step, attempt, begun } => life.forward(step, attempt, begun).await?,
                Next::Hold { step, attempt } => life.held(step, attempt).await?,
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
    hold: &'a Hold,
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
        match self.executor.pausing(index) {
            Pausing::Never => drop(self.hold.close()),
            Pausing::Around | Pausing::Inside if !begun && self.hold.is_held() => {
                return self.write(Event::Paused { step: name }).await;
            }
            Pausing::Around | Pausing::Inside => {}
        }
        if !begun {
            self.write_start(Event::Started { step: name.clone(), attempt, because: None }).await?;
        }
        let Some(came) = self.attempt(index, attempt).await else {
            return self.write(Event::Paused { step: name }).await;
        };
        let event = match came {
            Ok(_) if self.is_last_chance_to_hold(index) && !self.cancel.is_requested() && !self.hold.close() => {
                Event::Paused { step: name }
            }
            Ok(_) if self.is_last_chance_to_cancel(index) && !self.cancel.close() => {
                Event::Failed { step: name, error: cancelled() }
            }
            Ok(output) => Event::Done { step: name, output },
            Err(Failure::Retry(cause)) => {
                match self.executor.steps[index].retries().pause_after(self.counted(index, attempt)) {
                    Some(pause) => {
                        self.pause(index, pause).await;
                        if self.executor.pausing(index) != Pausing::Never && self.hold.is_held() {
                            return self.write(Event::Paused { step: name }).await;
                        }
                        let again = Event::Started { step: name, attempt: attempt + 1, because: Some(cause) };
                        return self.write_start(again).await;
                    }
                    None => self.given_up(index, cause),
                }
            }
            Err(Failure::Undo(cause)) => self.given_up(index, cause),
            Err(Failure::Stuck(error)) => Event::Stuck { step: name, error },
        };
        self.write(event).await
    }

    /// Stands still until the hold is released, or a cancel is requested.
    async fn held(&mut self, index: usize, attempt: u32) -> Result<(), RunError> {
        let step = self.name(index);
        let rest = async {
            if attempt > 1 {
                self.executor.steps[index].hold(self.context, &self.call(attempt - 1)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = self.cancel.requested() => {}
            () = self.hold.released() => {}
            () = rest => {}
        }
        if self.cancel.is_requested() {
            return self.write(Event::Failed { step, error: cancelled() }).await;
        }
        self.write_start(Event::Started { step, attempt, because: None }).await
    }

    async fn backward(&mut self, index: usize, attempt: u32, begun: bool) -> Result<(), RunError> {
        self.hold.end();
        let name = self.name(index);
        if !begun {
            self.write_start(Event::UndoStarted { step: name.clone(), attempt, because: None }).await?;
        }
        let step = &self.executor.steps[index];
        let event = match step.undo(self.context, &self.call(attempt)).await {
            Ok(()) => Event::Undone { step: name },
            Err(Failure::Retry(cause)) => match step.undo_retries().pause_after(self.counted(index, attempt)) {
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

    /// Runs the step. Where it may, a cancel interrupts it: its future is dropped, its undo cleans up. So may a pause: then
    /// there is no answer, and it is begun again later.
    async fn attempt(&self, index: usize, attempt: u32) -> Option<Result<Value, Failure>> {
        let call = self.call(attempt);
        let run = self.executor.steps[index].run(self.context, &call);
        let (cancellable, inside) = (self.is_cancellable(index), self.executor.pausing(index) == Pausing::Inside);
        if cancellable && self.cancel.is_requested() {
            return Some(Err(Failure::Undo(cancelled())));
        }
        if inside && self.hold.is_held() {
            return None;
        }
        tokio::select! {
            biased;
            result = run => Some(result),
            () = self.cancel.requested(), if cancellable => Some(Err(Failure::Undo(cancelled()))),
            () = self.hold.held(), if inside => None,
        }
    }

    /// Attempts that count against the retries.
    fn counted(&self, index: usize, attempt: u32) -> u32 {
        attempt.saturating_sub(self.log.excused(index))
    }

    /// Waits between two attempts; a cancel or a pause cuts it short, and whoever comes next notices it.
    async fn pause(&self, index: usize, pause: std::time::Duration) {
        let (cancellable, pausable) = (self.is_cancellable(index), self.executor.pausing(index) != Pausing::Never);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.cancel.requested(), if cancellable => {}
            () = self.hold.held(), if pausable => {}
        }
    }

    /// A cancel that arrived while a step ran is honoured in front of the next one, so that the step's output is kept
    /// for the undo. In front of a step that takes none there is no such next one.
    fn is_last_chance_to_cancel(&self, index: usize) -> bool {
        let next = index + 1;
        self.is_cancellable(index) && (next == self.executor.steps.len() || !self.is_cancellable(next))
    }

    /// The same for a pause. The step is begun again when the saga goes on: what it did may be stale by then.
    fn is_last_chance_to_hold(&self, index: usize) -> bool {
        let (next, steps) = (index + 1, self.executor.steps.len());
        let pausing = |index| self.executor.pausing(index) != Pausing::Never;
        pausing(index) && (next == steps || !pausing(next))
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
