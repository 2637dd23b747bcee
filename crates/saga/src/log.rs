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
    /// Held by a person; this attempt was the last that began, 0 for none.
    Paused(u32),
    /// It took effect.
    Done,
    /// It was given up, half its work may stand.
    Failed,
    /// This attempt to take it back began.
    Undoing(u32),
    /// Nothing is left of it.
    Undone,
    /// A person must look.
    Stuck(Halt),
}

/// Where a step got stuck: after this attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// To do it.
    Forward(u32),
    /// To take it back.
    Back(u32),
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
    /// Attempts that do not count as failed: those that were paused, and all that a person has forgiven.
    excused: u32,
    /// How often it was paused inside.
    interrupted: u32,
}

impl Entry {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), phase: Phase::Idle, output: None, failure: None, excused: 0, interrupted: 0 }
    }
}

impl Log {
    pub(crate) fn empty(steps: &[String]) -> Self {
        Self { steps: steps.iter().map(|name| Entry::new(name)).collect(), length: 0, failure: None }
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
        let entry = self.steps.iter().find(|entry| matches!(entry.phase, Phase::Stuck(_)))?;
        Some((entry.name.as_str(), entry.failure.as_ref()?))
    }

    /// Attempts of the step at `index` that do not count against its retries.
    pub(crate) fn excused(&self, index: usize) -> u32 {
        self.steps[index].excused
    }

    /// Whether a pause ever interrupted `step`: what it had under way then has ended.
    #[must_use]
    pub fn was_interrupted(&self, step: &str) -> bool {
        self.entry(step).is_some_and(|entry| entry.interrupted > 0)
    }

    fn entry(&self, step: &str) -> Option<&Entry> {
        self.steps.iter().find(|entry| entry.name == step)
    }

    /// Takes over a legal event.
    pub(crate) fn apply(&mut self, at: usize, phase: Phase, event: &Event) {
        let entry = &mut self.steps[at];
        match (entry.phase, phase) {
            (Phase::Running(_), Phase::Paused(_)) => {
                entry.interrupted += 1;
                entry.excused += 1;
            }
            // Somebody has looked and lets it be tried again, from the first attempt of as many.
            (Phase::Stuck(Halt::Forward(last)), Phase::Running(_))
            | (Phase::Stuck(Halt::Back(last)), Phase::Undoing(_)) => {
                entry.excused = last;
            }
            (Phase::Done | Phase::Failed, Phase::Undoing(_)) => entry.excused = 0,
            _ => {}
        }
        entry.phase = phase;
        match event {
            Event::Done { output, .. } => entry.output = Some(output.clone()),
            Event::Failed { error, .. } | Event::Stuck { error, .. } => {
                entry.failure = Some(error.clone());
                self.failure.get_or_insert_with(|| (entry.name.clone(), error.clone()));
            }
            Event::Started { .. } | Event::Paused { .. } | Event::UndoStarted { .. } | Event::Undone { .. } => {}
        }
        self.length += 1;
    }
}
