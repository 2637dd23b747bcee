//! A generic saga over a world of switches, in which everything can go wrong at every point.
#![allow(clippy::unwrap_used, dead_code, reason = "shared by test binaries; each uses its part")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use saga::{
    Call, Cancel, Cause, Event, Executor, Failure, MemoryStore, Rest, Retries, SagaId, Silent, Step, Store, StoreError,
};
use serde_json::Value;
use tokio::sync::Notify;

/// How a step fails, each time that it is attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Before its effect.
    Before,
    /// After half its effect.
    Half,
    /// After its effect: the failure is a lie.
    After,
}

pub(crate) const FAULTS: [Fault; 3] = [Fault::Before, Fault::Half, Fault::After];

/// What the saga acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    Off,
    Half,
    On,
}

#[derive(Debug)]
pub(crate) struct World {
    pub switches: Vec<Switch>,
    pub faults: Vec<(usize, Fault, u32)>,
    pub fired: u32,
    /// How many more points may be passed before the process dies.
    pub fuel: Option<u32>,
    pub passed: u32,
    pub crashed: bool,
    pub death: Arc<Notify>,
    pub runs: Vec<(String, u32)>,
    pub cancel_at: Option<(u32, Cancel)>,
    /// Whether that cancel was accepted.
    pub accepted: Option<bool>,
}

#[derive(Clone)]
pub(crate) struct Shared(pub Arc<Mutex<World>>);

impl Shared {
    pub(crate) fn new(steps: usize) -> Self {
        Self(Arc::new(Mutex::new(World {
            switches: vec![Switch::Off; steps],
            faults: vec![],
            fired: 0,
            fuel: None,
            passed: 0,
            crashed: false,
            death: Arc::default(),
            runs: vec![],
            cancel_at: None,
            accepted: None,
        })))
    }

    /// A place where the process may die. It dies by never getting any further; the test then drops the executor.
    pub(crate) async fn point(&self) {
        let dies = {
            let mut world = self.0.lock().unwrap();
            world.passed += 1;
            if let Some((at, cancel)) = &world.cancel_at
                && *at == world.passed
            {
                world.accepted = Some(cancel.request());
            }
            if world.fuel == Some(0) && !world.crashed {
                world.crashed = true;
                world.death.notify_one();
            }
            world.fuel = world.fuel.map(|fuel| fuel.saturating_sub(1));
            world.crashed
        };
        if dies {
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
    }

    fn set(&self, index: usize, to: Switch) {
        self.0.lock().unwrap().switches[index] = to;
    }
}

pub(crate) struct Flip {
    pub index: usize,
    pub name: &'static str,
    pub world: Shared,
}

pub(crate) const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

#[async_trait]
impl Step<()> for Flip {
    fn name(&self) -> &'static str {
        self.name
    }

    fn retries(&self) -> Retries {
        Retries { attempts: 3, ..Retries::DEFAULT }
    }

    async fn run(&self, (): &(), call: &Call<'_>) -> Result<Value, Failure> {
        {
            let mut world = self.world.0.lock().unwrap();
            world.runs.push((self.name.to_owned(), call.attempt()));
            let earlier = &world.switches[..self.index];
            assert!(earlier.iter().all(|s| *s == Switch::On), "{} ran before its time: {earlier:?}", self.name);
        }
        self.world.point().await;
        let fault = self.next_fault();
        if fault == Some(Fault::Before) {
            return Err(broken());
        }
        self.world.set(self.index, Switch::Half);
        self.world.point().await;
        if fault == Some(Fault::Half) {
            return Err(broken());
        }
        self.world.set(self.index, Switch::On);
        self.world.point().await;
        if fault == Some(Fault::After) { Err(broken()) } else { Ok(Value::from(self.index)) }
    }

    async fn undo(&self, (): &(), _call: &Call<'_>) -> Result<(), Failure> {
        {
            let world = self.world.0.lock().unwrap();
            let later = &world.switches[self.index + 1..];
            assert!(later.iter().all(|s| *s == Switch::Off), "{} undone before {later:?}", self.name);
        }
        self.world.point().await;
        if self.world.0.lock().unwrap().switches[self.index] == Switch::On {
            self.world.set(self.index, Switch::Half);
        }
        self.world.point().await;
        self.world.set(self.index, Switch::Off);
        self.world.point().await;
        Ok(())
    }
}

impl Flip {
    /// Faults with a count fire that often: a few times to be retried, more often than that to give up.
    fn next_fault(&self) -> Option<Fault> {
        let mut world = self.world.0.lock().unwrap();
        let (_, fault, left) = world.faults.iter_mut().find(|(step, _, left)| *step == self.index && *left > 0)?;
        *left -= 1;
        let fault = *fault;
        world.fired += 1;
        Some(fault)
    }
}

fn broken() -> Failure {
    Failure::Retry(Cause::new("broken", "it broke"))
}

/// A store in front of which, and behind which, the process may die.
pub(crate) struct DyingStore {
    pub world: Shared,
    pub inner: MemoryStore,
}

#[async_trait]
impl Store for DyingStore {
    async fn open(&self, saga: &SagaId) -> Result<(), StoreError> {
        self.inner.open(saga).await
    }

    async fn append(&self, saga: &SagaId, seq: u64, event: &Event) -> Result<(), StoreError> {
        self.world.point().await;
        self.inner.append(saga, seq, event).await?;
        self.world.point().await;
        Ok(())
    }

    async fn load(&self, saga: &SagaId) -> Result<Vec<Event>, StoreError> {
        self.inner.load(saga).await
    }

    async fn unfinished(&self) -> Result<Vec<SagaId>, StoreError> {
        self.inner.unfinished().await
    }

    async fn close(&self, saga: &SagaId) -> Result<(), StoreError> {
        self.inner.close(saga).await
    }
}

pub(crate) struct Outcome {
    pub rest: Rest,
    pub world: Shared,
    pub events: Vec<Event>,
    pub lives: u32,
}

/// Runs a saga of `steps` to rest, reviving it after each crash.
pub(crate) async fn run(world: &Shared, steps: usize, pivot: usize, cancel: &Cancel) -> Outcome {
    let store = DyingStore { world: world.clone(), inner: MemoryStore::new() };
    let saga = SagaId("test".into());
    for lives in 1..=10 {
        let flip = |index| -> Box<dyn Step<()>> { Box::new(Flip { index, name: NAMES[index], world: world.clone() }) };
        let executor = Executor::new((0..steps).map(flip).collect(), pivot);
        let hold = saga::Hold::new();
        let rest = tokio::select! {
            biased;
            rest = executor.run(&saga, &(), &store, cancel, &hold, &Silent) => Some(rest.unwrap()),
            () = died(world) => None,
        };
        if let Some(rest) = rest {
            let events = store.inner.load(&saga).await.unwrap();
            return Outcome { rest, world: world.clone(), events, lives };
        }
        let mut world = world.0.lock().unwrap();
        world.crashed = false;
        world.fuel = None;
    }
    panic!("it does not come to rest");
}

async fn died(world: &Shared) {
    let death = world.0.lock().unwrap().death.clone();
    death.notified().await;
}
