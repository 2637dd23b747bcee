//! What people are shown of a saga: pure functions of its log.

use model::{Stage, TransferState};
use saga::{CANCELLED, Event, Log, Next, Phase, Plan};

/// Where a transfer stands. `cancel` says whether a cancel was accepted.
pub(super) fn state(plan: &Plan, log: &Log, cancel: bool) -> TransferState {
    match plan.next(log) {
        Next::Committed => TransferState::Completed,
        Next::RolledBack => TransferState::RolledBack,
        Next::Stuck { .. } => TransferState::Stuck,
        Next::Undo { .. } => match log.failure() {
            Some((_, cause)) if cause.code == CANCELLED => TransferState::Cancelling,
            _ => TransferState::RollingBack,
        },
        Next::Run { .. } | Next::Hold { .. } if cancel && !plan.is_past_pivot(log) => TransferState::Cancelling,
        Next::Hold { .. } => TransferState::Paused,
        Next::Run { .. } if log.length() == 0 => TransferState::Queued,
        Next::Run { .. } => TransferState::Running,
    }
}

/// The step at which a transfer is held.
pub(super) fn held_at<'a>(plan: &'a Plan, log: &Log) -> Option<&'a str> {
    match plan.next(log) {
        Next::Hold { step, .. } => Some(plan.name(step)),
        _ => None,
    }
}

/// The stages that an event enters, in order. Undoing enters none: people see where it failed.
pub(super) fn stages(event: &Event, live: bool) -> &'static [Stage] {
    let (step, started) = match event {
        Event::Started { step, .. } => (step.as_str(), true),
        Event::Done { step, .. } => (step.as_str(), false),
        _ => return &[],
    };
    match (step, started) {
        ("lock_server" | "reserve_target" | "back_up" | "prepare_target", true) => &[Stage::Preparing],
        ("precopy", true) if live => &[Stage::CopyingWhileRunning],
        ("stop_source", true) => &[Stage::Stopping],
        ("final_copy", true) => &[Stage::Compressing],
        // The first progress enters `transferring`; where there was none to report, it is entered here.
        ("final_copy", false) => &[Stage::Transferring, Stage::Extracting],
        ("start_target", true) => &[Stage::Starting],
        ("audit", true) => &[Stage::Cleanup],
        _ => &[],
    }
}

/// Whether the game is stopped, or may be, by this transfer.
pub(super) fn is_frozen(log: &Log) -> bool {
    let stopped =
        matches!(log.phase("stop_source"), Some(Phase::Running(_) | Phase::Done | Phase::Failed | Phase::Undoing(_)));
    stopped && log.phase("check_health") != Some(Phase::Done)
}

/// Whether the last delta is under way.
pub(super) fn is_final_copy(log: &Log) -> bool {
    matches!(log.phase("final_copy"), Some(Phase::Running(_)))
}

/// An event in words, for the stream's log.
pub(super) fn describe(event: &Event) -> (&'static str, String) {
    match event {
        Event::Started { step, because: Some(because), attempt } => {
            ("warn", format!("{step}: attempt {attempt}, because: {because}"))
        }
        Event::Started { step, .. } => ("info", format!("{step} started")),
        Event::Done { step, .. } => ("info", format!("{step} done")),
        Event::Paused { step } => ("info", format!("paused at {step}")),
        Event::Failed { step, error } => ("error", format!("{step} given up, everything is taken back: {error}")),
        Event::UndoStarted { step, because: Some(because), attempt } => {
            ("warn", format!("taking back {step}: attempt {attempt}, because: {because}"))
        }
        Event::UndoStarted { step, .. } => ("info", format!("taking back {step}")),
        Event::Undone { step } => ("info", format!("{step} taken back")),
        Event::Stuck { step, error } => ("error", format!("{step} cannot go on, a person must look: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use saga::Cause;

    use super::*;

    fn started(step: &str) -> Event {
        Event::Started { step: step.into(), attempt: 1, because: None }
    }

    fn done(step: &str) -> Event {
        Event::Done { step: step.into(), output: serde_json::Value::Null }
    }

    fn failed(step: &str, code: &str) -> Event {
        Event::Failed { step: step.into(), error: Cause::new(code, "") }
    }

    #[test]
    fn states_follow_the_log() {
        let plan = Plan::new(["a", "b", "c"], 2);
        let state = |events: &[Event], cancel| state(&plan, &plan.fold(events.to_vec()).expect("legal"), cancel);
        assert_eq!(state(&[], false), TransferState::Queued);
        assert_eq!(state(&[started("a")], false), TransferState::Running);
        assert_eq!(state(&[started("a")], true), TransferState::Cancelling);
        assert_eq!(state(&[started("a"), failed("a", "x")], false), TransferState::RollingBack);
        assert_eq!(state(&[started("a"), failed("a", CANCELLED)], true), TransferState::Cancelling);
        let past = [started("a"), done("a"), started("b"), done("b")];
        assert_eq!(state(&past, true), TransferState::Running, "too late for a cancel");
    }

    #[test]
    fn the_stages_come_in_the_order_of_the_products_page() {
        let plan = super::super::steps::executor();
        let mut seen = vec![];
        for index in 0..16 {
            let step = plan.plan().name(index);
            for event in [started(step), done(step)] {
                seen.extend_from_slice(stages(&event, true));
            }
        }
        seen.dedup();
        let all = [
            Stage::Preparing,
            Stage::CopyingWhileRunning,
            Stage::Stopping,
            Stage::Compressing,
            Stage::Transferring,
            Stage::Extracting,
            Stage::Starting,
            Stage::Cleanup,
        ];
        assert_eq!(seen, all);
    }
}
