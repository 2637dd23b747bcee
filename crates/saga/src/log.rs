//! The fold of a saga's events: where each step stands, and what it said.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Cause, Event};

/// Where one step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not begun.
    Idle,
    /// This attempt began.
    Running(u32),
    /// It took effect.
    Done,
    /// It was given up, half its work may stand.
    Failed,
    /// This attempt to take it back began.
    Undoing(u32),
    /// Nothing is left of it.
    Undone,
    /// A person must look.
    Stuck,
}

/// The state of a saga. Only [`Plan::record`](crate::Plan::record) changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub(crate) steps: Vec<Entry>,
    pub(crate) length: u64,
    failure: Option<(String, Cause)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    name: String,
    pub(crate) phase: Phase,
    output: Option<Value>,
    failure: Option<Cause>,
}

impl Log {
    pub(crate) fn empty(steps: &[String]) -> Self {
        let entry = |name: &String| Entry { name: name.clone(), phase: Phase::Idle, output: None, failure: None };
        Self { steps: steps.iter().map(entry).collect(), length: 0, failure: None }
    }

    /// How many events it is made of: the sequence number of the next one.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Where `step` stands; none if there is no such step.
    #[must_use]
    pub fn phase(&self, step: &str) -> Option<Phase> {
        self.entry(step).map(|entry| entry.phase)
    }

    /// What `step` left for others to read. It stays readable while the step is being undone.
    ///
    /// None if it was never done, or its output is not a `T`.
    #[must_use]
    pub fn output<T: DeserializeOwned>(&self, step: &str) -> Option<T> {
        let output = self.entry(step)?.output.clone()?;
        serde_json::from_value(output).ok()
    }

    /// Why `step` failed or got stuck, if it did.
    #[must_use]
    pub fn failure_of(&self, step: &str) -> Option<&Cause> {
        self.entry(step)?.failure.as_ref()
    }

    /// The step that failed first, and why: the reason for a roll-back, or for being stuck without one.
    #[must_use]
    pub fn failure(&self) -> Option<(&str, &Cause)> {
        self.failure.as_ref().map(|(step, cause)| (step.as_str(), cause))
    }

    /// The step at which a person must look, and at what.
    #[must_use]
    pub fn stuck(&self) -> Option<(&str, &Cause)> {
        let entry = self.steps.iter().find(|entry| entry.phase == Phase::Stuck)?;
        Some((entry.name.as_str(), entry.failure.as_ref()?))
    }

    fn entry(&self, step: &str) -> Option<&Entry> {
        self.steps.iter().find(|entry| entry.name == step)
    }

    /// Takes over a legal event.
    pub(crate) fn apply(&mut self, at: usize, phase: Phase, event: &Event) {
        let entry = &mut self.steps[at];
        entry.phase = phase;
        match event {
            Event::Done { output, .. } => entry.output = Some(output.clone()),
            Event::Failed { error, .. } | Event::Stuck { error, .. } => {
                entry.failure = Some(error.clone());
                self.failure.get_or_insert_with(|| (entry.name.clone(), error.clone()));
            }
            Event::Started { .. } | Event::UndoStarted { .. } | Event::Undone { .. } => {}
        }
        self.length += 1;
    }
}
