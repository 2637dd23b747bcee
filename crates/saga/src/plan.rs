//! The decisions: what happens next, and which event may follow. Pure and total.

use crate::{Event, Halt, Log, Phase};

/// The order of the steps, and the point of no return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<String>,
    pivot: usize,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Run this attempt of a step. Where `begun`, its start is on record: it may have had effects already.
    Run {
        /// Index of the step.
        step: usize,
        /// 1 for the first.
        attempt: u32,
        /// Whether `Started` is on record.
        begun: bool,
    },
    /// The same for taking a step back.
    Undo {
        /// Index of the step.
        step: usize,
        /// 1 for the first.
        attempt: u32,
        /// Whether `UndoStarted` is on record.
        begun: bool,
    },
    /// A person holds it here. Once that has ended, this attempt begins.
    Hold {
        /// Index of the step.
        step: usize,
        /// 1 for the first.
        attempt: u32,
    },
    /// Every step is done.
    Committed,
    /// Nothing is left of any step.
    RolledBack,
    /// A person must look at this step.
    Stuck {
        /// Index of the step.
        step: usize,
    },
}

/// An event that cannot follow what is on record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {event:?} cannot follow at position {position}")]
pub struct IllegalEvent {
    /// What was refused.
    pub event: Event,
    /// Where it would have been.
    pub position: u64,
}

impl Plan {
    /// A plan of these steps. The step at index `pivot` is the first that is only ever repeated, never undone;
    /// a pivot past the end means that everything can be taken back.
    ///
    /// # Panics
    ///
    /// If two steps have one name: the log could not tell them apart.
    #[must_use]
    pub fn new<S: Into<String>>(steps: impl IntoIterator<Item = S>, pivot: usize) -> Self {
        let steps: Vec<String> = steps.into_iter().map(Into::into).collect();
        for (at, step) in steps.iter().enumerate() {
            assert!(!steps[..at].contains(step), "step `{step}` is in the plan twice");
        }
        Self { steps, pivot }
    }

    /// The log of a saga that has not begun.
    #[must_use]
    pub fn empty_log(&self) -> Log {
        Log::empty(&self.steps)
    }

    /// The log that these events make, or the first of them that cannot be.
    pub fn fold(&self, events: impl IntoIterator<Item = Event>) -> Result<Log, IllegalEvent> {
        let mut log = self.empty_log();
        for event in events {
            self.record(&mut log, &event)?;
        }
        Ok(log)
    }

    /// Name of the step at `index`.
    #[must_use]
    pub fn name(&self, index: usize) -> &str {
        &self.steps[index]
    }

    /// Whether the step at `index` can be taken back.
    #[must_use]
    pub fn is_before_pivot(&self, index: usize) -> bool {
        index < self.pivot
    }

    /// Whether `log` stands where nothing is taken back any more.
    #[must_use]
    pub fn is_past_pivot(&self, log: &Log) -> bool {
        match self.next(log) {
            Next::Run { step, .. } | Next::Hold { step, .. } => !self.is_before_pivot(step),
            Next::Committed => true,
            Next::Undo { .. } | Next::RolledBack => false,
            Next::Stuck { .. } => log.steps.iter().take(self.pivot).all(|entry| entry.phase == Phase::Done),
        }
    }

    /// Decides what happens next from the log alone. Recovery is calling this again.
    #[must_use]
    pub fn next(&self, log: &Log) -> Next {
        let phases = || log.steps.iter().map(|entry| entry.phase);
        if let Some(step) = phases().position(|phase| matches!(phase, Phase::Stuck(_))) {
            return Next::Stuck { step };
        }
        if phases().any(|phase| matches!(phase, Phase::Failed | Phase::Undoing(_) | Phase::Undone)) {
            return next_back(log);
        }
        match phases().position(|phase| phase != Phase::Done) {
            None => Next::Committed,
            Some(step) => match log.steps[step].phase {
                Phase::Running(attempt) => Next::Run { step, attempt, begun: true },
                Phase::Paused(last) => Next::Hold { step, attempt: last + 1 },
                _ => Next::Run { step, attempt: 1, begun: false },
            },
        }
    }

    /// What a person lets happen who has looked at a saga that is stuck, and wants it tried again: the next attempt of
    /// what it is stuck at. None if it is not stuck.
    #[must_use]
    pub fn again(&self, log: &Log) -> Option<Event> {
        let Next::Stuck { step } = self.next(log) else { return None };
        let (name, because) = (self.name(step).to_owned(), log.stuck().map(|(_, cause)| cause.clone()));
        match log.steps[step].phase {
            Phase::Stuck(Halt::Forward(last)) => Some(Event::Started { step: name, attempt: last + 1, because }),
            Phase::Stuck(Halt::Back(last)) => Some(Event::UndoStarted { step: name, attempt: last + 1, because }),
            _ => None,
        }
    }

    /// Appends `event`, or refuses it if it cannot follow what is on record.
    ///
    /// Only the step that [`Plan::next`] names can have an event, so no step begins before the one in front of it is
    /// done, and undoing runs strictly backwards.
    pub fn record(&self, log: &mut Log, event: &Event) -> Result<(), IllegalEvent> {
        let refused = || IllegalEvent { event: event.clone(), position: log.length() };
        let step = match self.next(log) {
            Next::Run { step, .. } | Next::Undo { step, .. } | Next::Hold { step, .. } | Next::Stuck { step } => step,
            Next::Committed | Next::RolledBack => return Err(refused()),
        };
        if self.steps[step] != event.step() {
            return Err(refused());
        }
        let phase = follow(log.steps[step].phase, event, self.is_before_pivot(step)).ok_or_else(refused)?;
        log.apply(step, phase, event);
        Ok(())
    }
}

/// Strictly backwards, from the last step that left anything. The failed step is undone too: it may have left half
/// its work behind.
fn next_back(log: &Log) -> Next {
    let stands = |phase| matches!(phase, Phase::Done | Phase::Failed | Phase::Undoing(_));
    match log.steps.iter().rposition(|entry| stands(entry.phase)) {
        None => Next::RolledBack,
        Some(step) => match log.steps[step].phase {
            Phase::Undoing(attempt) => Next::Undo { step, attempt, begun: true },
            _ => Next::Undo { step, attempt: 1, begun: false },
        },
    }
}

/// The transition table of one step. What leads out of being stuck is a person's word; an executor never writes it.
fn follow(phase: Phase, event: &Event, before_pivot: bool) -> Option<Phase> {
    Some(match (phase, event) {
        (Phase::Idle, Event::Started { attempt: 1, .. }) => Phase::Running(1),
        (Phase::Running(last), Event::Started { attempt, .. }) if *attempt == last + 1 => Phase::Running(*attempt),
        (Phase::Running(_), Event::Done { .. }) => Phase::Done,
        (Phase::Idle, Event::Paused { .. }) if before_pivot => Phase::Paused(0),
        (Phase::Running(last), Event::Paused { .. }) if before_pivot => Phase::Paused(last),
        (Phase::Paused(last) | Phase::Stuck(Halt::Forward(last)), Event::Started { attempt, .. })
            if *attempt == last + 1 =>
        {
            Phase::Running(*attempt)
        }
        (Phase::Running(_) | Phase::Paused(_) | Phase::Stuck(Halt::Forward(_)), Event::Failed { .. })
            if before_pivot =>
        {
            Phase::Failed
        }
        // Past the pivot there is no way back: what a person has settled by hand counts as done.
        (Phase::Stuck(Halt::Forward(_)), Event::Done { .. }) if !before_pivot => Phase::Done,
        (Phase::Done | Phase::Failed, Event::UndoStarted { attempt: 1, .. }) => Phase::Undoing(1),
        (Phase::Undoing(last), Event::UndoStarted { attempt, .. }) if *attempt == last + 1 => Phase::Undoing(*attempt),
        (Phase::Stuck(Halt::Back(last)), Event::UndoStarted { attempt, .. }) if *attempt == last + 1 => {
            Phase::Undoing(*attempt)
        }
        (Phase::Undoing(_) | Phase::Stuck(Halt::Back(_)), Event::Undone { .. }) => Phase::Undone,
        (Phase::Running(last), Event::Stuck { .. }) => Phase::Stuck(Halt::Forward(last)),
        (Phase::Undoing(last), Event::Stuck { .. }) => Phase::Stuck(Halt::Back(last)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cause;

    fn started(step: &str, attempt: u32) -> Event {
        Event::Started { step: step.into(), attempt, because: None }
    }

    fn done(step: &str) -> Event {
        Event::Done { step: step.into(), output: serde_json::Value::Null }
    }

    fn failed(step: &str) -> Event {
        Event::Failed { step: step.into(), error: Cause::new("broken", "it broke") }
    }

    fn undo_started(step: &str, attempt: u32) -> Event {
        Event::UndoStarted { step: step.into(), attempt, because: None }
    }

    fn undone(step: &str) -> Event {
        Event::Undone { step: step.into() }
    }

    fn paused(step: &str) -> Event {
        Event::Paused { step: step.into() }
    }

    fn stuck(step: &str) -> Event {
        Event::Stuck { step: step.into(), error: Cause::new("lost", "nobody knows") }
    }

    /// Every event that could be offered for steps `a`, `b` and a stranger.
    fn all_events() -> Vec<Event> {
        let of = |step| {
            [started(step, 1), started(step, 2), done(step), failed(step), undo_started(step, 1)]
                .into_iter()
                .chain([started(step, 3), undo_started(step, 2), undo_started(step, 3), undone(step)])
                .chain([stuck(step), paused(step)])
        };
        ["a", "b", "stranger"].into_iter().flat_map(of).collect()
    }

    #[test]
    fn every_log_that_can_be_written_leads_on_or_rests() {
        // All sequences of up to six events, pruned at the first illegal one: `next` must agree with `record` about
        // each prefix, and a saga at rest takes nothing more.
        for pivot in 0..=2 {
            let plan = Plan::new(["a", "b"], pivot);
            let mut logs = vec![plan.empty_log()];
            let mut seen = 0_u32;
            for _ in 0..6 {
                let mut longer = vec![];
                for log in &logs {
                    let followers = followers(&plan, log);
                    let rests = matches!(plan.next(log), Next::Committed | Next::RolledBack);
                    let tried = log.steps.iter().any(|entry| is_third(entry.phase));
                    assert!(followers.is_empty() == rests || tried, "{log:?}");
                    if let Some(again) = plan.again(log) {
                        let mut log = log.clone();
                        plan.record(&mut log, &again).expect("what is stuck can be tried again");
                        assert!(matches!(plan.next(&log), Next::Run { .. } | Next::Undo { .. }), "{log:?}");
                    }
                    longer.extend(followers);
                }
                seen += u32::try_from(longer.len()).expect("few");
                logs = longer;
            }
            assert!(seen > 15, "only {seen} logs with pivot {pivot}");
        }
    }

    /// No fourth attempt is offered here.
    fn is_third(phase: Phase) -> bool {
        matches!(phase, Phase::Stuck(Halt::Forward(3) | Halt::Back(3)) | Phase::Paused(3))
    }

    fn followers(plan: &Plan, log: &Log) -> Vec<Log> {
        let follow = |event: Event| {
            let mut log = log.clone();
            plan.record(&mut log, &event).is_ok().then_some(log)
        };
        all_events().into_iter().filter_map(follow).collect()
    }

    #[test]
    fn nothing_is_undone_past_the_pivot() {
        let plan = Plan::new(["a", "b"], 1);
        let mut log = plan.fold([started("a", 1), done("a"), started("b", 1)]).expect("legal");
        assert!(plan.is_past_pivot(&log));
        let refused = plan.record(&mut log, &failed("b"));
        assert_eq!(refused, Err(IllegalEvent { event: failed("b"), position: 3 }));
        plan.record(&mut log, &stuck("b")).expect("being stuck is possible anywhere");
        assert_eq!(plan.next(&log), Next::Stuck { step: 1 });
        assert!(plan.is_past_pivot(&log));
    }

    #[test]
    fn a_pause_holds_until_the_next_attempt_begins_or_it_is_given_up() {
        let plan = Plan::new(["a", "b"], 1);
        let mut log = plan.fold([started("a", 1), paused("a")]).expect("legal");
        assert_eq!(plan.next(&log), Next::Hold { step: 0, attempt: 2 });
        assert!(log.was_interrupted("a"));
        assert!(plan.record(&mut log, &done("a")).is_err(), "nothing runs that could be done");
        let mut given_up = log.clone();
        plan.record(&mut given_up, &failed("a")).expect("it can be cancelled");
        assert_eq!(plan.next(&given_up), Next::Undo { step: 0, attempt: 1, begun: false });
        plan.record(&mut log, &started("a", 2)).expect("it goes on");
        assert_eq!(log.excused(0), 1, "an attempt that was paused did not fail");
        plan.record(&mut log, &done("a")).expect("legal");
        assert!(plan.record(&mut log, &paused("b")).is_err(), "past the pivot nothing is held");
        let log = plan.fold([paused("a")]).expect("legal");
        assert_eq!(plan.next(&log), Next::Hold { step: 0, attempt: 1 });
        assert!(!log.was_interrupted("a"));
    }

    #[test]
    fn out_of_being_stuck_lead_a_person_s_words_only() {
        let plan = Plan::new(["a", "b"], 1);
        let before = plan.fold([started("a", 1), started("a", 2), stuck("a")]).expect("legal");
        let because = Some(Cause::new("lost", "nobody knows"));
        assert_eq!(
            plan.again(&before),
            Some(Event::Started { step: "a".into(), attempt: 3, because: because.clone() })
        );
        assert!(plan.record(&mut before.clone(), &done("a")).is_err(), "it can be taken back, so nobody settles it");
        plan.record(&mut before.clone(), &failed("a")).expect("it can be given up");
        let mut again = before.clone();
        plan.record(&mut again, &started("a", 3)).expect("legal");
        assert_eq!(again.excused(0), 2, "its retries begin anew");

        let past = plan.fold([started("a", 1), done("a"), started("b", 1), stuck("b")]).expect("legal");
        assert!(plan.record(&mut past.clone(), &failed("b")).is_err(), "there is no way back");
        let mut settled = past.clone();
        plan.record(&mut settled, &done("b")).expect("it can be settled by hand");
        assert_eq!(plan.next(&settled), Next::Committed);

        let back = [started("a", 1), failed("a"), undo_started("a", 1), stuck("a")];
        let mut back = plan.fold(back).expect("legal");
        assert_eq!(plan.again(&back), Some(Event::UndoStarted { step: "a".into(), attempt: 2, because }));
        plan.record(&mut back, &undone("a")).expect("it can be settled by hand");
        assert_eq!(plan.next(&back), Next::RolledBack);
    }

    #[test]
    fn a_step_cannot_begin_before_the_one_in_front_of_it_is_done() {
        let plan = Plan::new(["a", "b"], 2);
        assert!(plan.fold([started("b", 1)]).is_err());
        assert!(plan.fold([started("a", 1), started("b", 1)]).is_err());
        assert!(plan.fold([started("a", 1), done("a"), started("a", 2)]).is_err());
    }

    #[test]
    fn the_failed_step_is_undone_first_and_then_strictly_backwards() {
        let plan = Plan::new(["a", "b"], 2);
        let mut log = plan.fold([started("a", 1), done("a"), started("b", 1), failed("b")]).expect("legal");
        assert_eq!(plan.next(&log), Next::Undo { step: 1, attempt: 1, begun: false });
        assert!(plan.record(&mut log, &undo_started("a", 1)).is_err(), "b still stands");
        for event in [undo_started("b", 1), undone("b"), undo_started("a", 1), undo_started("a", 2), undone("a")] {
            plan.record(&mut log, &event).expect("legal");
        }
        assert_eq!(plan.next(&log), Next::RolledBack);
        assert_eq!(log.failure().map(|(step, cause)| (step, cause.code.as_str())), Some(("b", "broken")));
    }

    #[test]
    fn outputs_stay_readable_while_the_step_is_undone() {
        let plan = Plan::new(["a", "b"], 2);
        let done = Event::Done { step: "a".into(), output: 7.into() };
        let events = [started("a", 1), done, started("b", 1), failed("b"), undo_started("b", 1), undone("b")];
        let mut log = plan.fold(events).expect("legal");
        plan.record(&mut log, &undo_started("a", 1)).expect("legal");
        assert_eq!(log.output::<u32>("a"), Some(7));
        assert_eq!(log.output::<u32>("b"), None);
    }
}
