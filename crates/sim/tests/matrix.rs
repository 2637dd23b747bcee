//! Every request of a migration × everything that can go wrong with it. Each case asserts that its fault fired, that
//! the invariants held after each event, and how it ended.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::Stage;
use model::TransferState::{self, Completed, RolledBack, Stuck};
use model::agent_api::ErrorCode;
use sim::Fault::{
    AgentDiesAfter, AgentDiesBefore, AgentDiesDuring, Cancel, Change, Corrupt, CrashAfter, CrashBefore, Duplicate,
    FailAfter, Gone, LoseReply, LoseRequest, OtherAgentDies, Pause, PauseAndCancel, PauseAndCrash, Refuse, Stall,
    Tamper,
};
use sim::Side::{Source, Target};
use sim::{End, Fault, Moment, Planned, Setup, Side};

const BLINK: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_secs(3);
/// Longer than the lease.
const LONG: Duration = Duration::from_mins(1);
/// Longer than any patience before the pivot.
const AGES: Duration = Duration::from_mins(10);

/// Requests up to the pivot, in their order.
const BEFORE: [(&str, Side); 8] = [
    ("prepare_target", Source),
    ("prepare_target", Target),
    ("precopy", Source),
    ("stop_source", Source),
    ("final_copy", Source),
    ("fence_source", Source),
    ("start_target", Target),
    ("check_health", Target),
];

/// Requests past it.
const PAST: [(&str, Side); 2] = [("audit", Source), ("release_source", Source)];

/// Requests that take something back.
const UNDO: [(&str, Side); 6] = [
    ("undo_start_target", Target),
    ("undo_fence_source", Source),
    ("undo_final_copy", Source),
    ("undo_stop_source", Source),
    ("undo_precopy", Source),
    ("undo_prepare_target", Target),
];

/// Requests to a target that holds players, from where the difference begins.
const HELD: [(&str, Side); 3] = [("start_target", Target), ("check_health", Target), ("admit_players", Target)];

async fn play_held(stage: &Stage, faults: Vec<Planned>, expected: TransferState) -> End {
    let end = stage.play(Setup { faults, holds_players: true, ..Setup::default() }).await;
    end.must_be(expected);
    end
}

async fn play(stage: &Stage, faults: Vec<Planned>, expected: TransferState) -> End {
    let end = stage.play(Setup { faults, ..Setup::default() }).await;
    end.must_be(expected);
    end
}

fn code(end: &End) -> &str {
    end.transfer.failure.as_ref().map(|failure| failure.code.as_str()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn what_time_heals_does_not_stop_a_migration() {
    let stage = Stage::open().await;
    let faults = [
        Refuse(ErrorCode::Internal),
        Refuse(ErrorCode::Unreachable),
        FailAfter(ErrorCode::Internal),
        LoseRequest,
        LoseReply,
        Duplicate,
        CrashBefore(BLINK),
        CrashAfter(BLINK),
        AgentDiesBefore(SHORT),
        AgentDiesDuring(SHORT),
        AgentDiesAfter(SHORT),
        OtherAgentDies(SHORT),
    ];
    for (step, side) in BEFORE.into_iter().chain(PAST) {
        for fault in faults {
            play(&stage, vec![Planned::at(step, side, fault)], Completed).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_before_the_pivot_is_taken_back_and_past_it_only_delays() {
    let stage = Stage::open().await;
    for refusal in [ErrorCode::Conflict, ErrorCode::NoSpace, ErrorCode::StaleEpoch, ErrorCode::Unknown] {
        for (step, side) in BEFORE {
            for fault in [Refuse(refusal), FailAfter(refusal)] {
                let end = play(&stage, vec![Planned::at(step, side, fault)], RolledBack).await;
                assert_eq!(end.transfer.failure.unwrap().step, step);
            }
        }
    }
    for (step, side) in PAST {
        for fault in [Refuse(ErrorCode::Conflict), FailAfter(ErrorCode::Conflict)] {
            play(&stage, vec![Planned::at(step, side, fault)], Completed).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panel_that_is_away_for_longer_than_the_lease_finds_the_source_running_or_goes_on() {
    let stage = Stage::open().await;
    for (step, side) in BEFORE.into_iter().chain(PAST) {
        for fault in [CrashBefore(LONG), CrashAfter(LONG)] {
            // Stopped and not yet fenced: the source started again, so there is nothing to go on with.
            let lost = matches!(
                (step, fault),
                ("stop_source", CrashAfter(_)) | ("final_copy", _) | ("fence_source", CrashBefore(_))
            );
            let expected = if lost { RolledBack } else { Completed };
            let end = play(&stage, vec![Planned::at(step, side, fault)], expected).await;
            assert_eq!(code(&end), if lost { "lease_lost" } else { "" });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_away_for_long_before_the_pivot_ends_the_attempt() {
    let stage = Stage::open().await;
    for (step, side) in BEFORE {
        for fault in [AgentDiesBefore(AGES), AgentDiesDuring(AGES)] {
            let end = play(&stage, vec![Planned::at(step, side, fault)], RolledBack).await;
            assert!(["agent_offline", "agent_lost"].contains(&code(&end)), "{step} {fault:?}: {}", code(&end));
        }
    }
    for (step, side) in PAST {
        for fault in [AgentDiesBefore(AGES), AgentDiesDuring(AGES), AgentDiesAfter(AGES), OtherAgentDies(AGES)] {
            play(&stage, vec![Planned::at(step, side, fault)], Completed).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_dies_while_the_source_is_at_work_leaves_the_source_running() {
    let stage = Stage::open().await;
    for (step, side) in BEFORE.into_iter().filter(|(_, side)| *side == Source) {
        let end = play(&stage, vec![Planned::at(step, side, OtherAgentDies(AGES))], RolledBack).await;
        let named = ["agent_offline", "agent_lost", "agents_unreachable"].contains(&code(&end));
        assert!(named, "{step}: {}", code(&end));
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_dies_once_the_target_runs_changes_nothing() {
    let stage = Stage::open().await;
    for step in ["start_target", "check_health"] {
        play(&stage, vec![Planned::at(step, Target, OtherAgentDies(AGES))], Completed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_honoured_inside_every_step_until_the_target_starts_and_refused_from_then_on() {
    let stage = Stage::open().await;
    let players_may_be_there = |(step, _): &(&str, _)| ["start_target", "check_health"].contains(step);
    for (step, side) in BEFORE.into_iter().filter(|it| !players_may_be_there(it)) {
        let end = play(&stage, vec![Planned::at(step, side, Cancel)], RolledBack).await;
        assert_eq!(code(&end), "cancelled", "{step}");
        assert!(end.transfer.cancel_requested);
    }
    for (step, side) in BEFORE.into_iter().filter(players_may_be_there).chain(PAST) {
        let end = play(&stage, vec![Planned::at(step, side, Cancel)], Completed).await;
        assert!(end.history.iter().any(|what| what.contains("transfer_past_pivot")), "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_players_are_held_a_cancel_is_honoured_up_to_the_pivot_and_refused_from_then_on() {
    let stage = Stage::open().await;
    for (step, side) in BEFORE {
        let end = play_held(&stage, vec![Planned::at(step, side, Cancel)], RolledBack).await;
        assert_eq!(code(&end), "cancelled", "{step}");
    }
    for (step, side) in [HELD[2]].into_iter().chain(PAST) {
        let end = play_held(&stage, vec![Planned::at(step, side, Cancel)], Completed).await;
        assert!(end.history.iter().any(|what| what.contains("transfer_past_pivot")), "{step}");
    }
}

/// Longer than any lease, watchdog and patience while a game runs.
const HELD_FOR: Duration = Duration::from_mins(11);

fn holds((step, _): &(&str, Side)) -> bool {
    ["prepare_target", "precopy"].contains(step)
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_in_every_step_before_the_stop_for_as_long_as_it_lasts_and_is_refused_from_then_on() {
    let stage = Stage::open().await;
    for (step, side) in BEFORE.into_iter().filter(holds) {
        for fault in [Pause(BLINK), Pause(HELD_FOR), PauseAndCrash(HELD_FOR)] {
            let end = play(&stage, vec![Planned::at(step, side, fault)], Completed).await;
            assert!(end.history.contains(&"resume: Ok(Paused)".to_owned()), "{step} {fault:?}: {:#?}", end.history);
            assert!(!end.transfer.pause_requested && end.transfer.paused.is_none());
            let freeze = end.transfer.freeze_ms.unwrap();
            assert!(freeze < 2000, "a pause costs players nothing: {freeze} ms");
        }
        let end = play(&stage, vec![Planned::at(step, side, PauseAndCancel(HELD_FOR))], RolledBack).await;
        assert_eq!(code(&end), "cancelled", "{step}");
    }
    for (step, side) in BEFORE.into_iter().filter(|it| !holds(it)).chain(PAST) {
        let end = play(&stage, vec![Planned::at(step, side, Pause(BLINK))], Completed).await;
        let refused = end.history.iter().any(|what| what.starts_with("pause: Err"));
        assert!(refused, "{step}: {:#?}", end.history);
    }
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_while_a_transfer_is_held_or_goes_on_again_is_mended_as_ever() {
    let stage = Stage::open().await;
    let faults = [
        Refuse(ErrorCode::Internal),
        FailAfter(ErrorCode::Internal),
        LoseRequest,
        LoseReply,
        Duplicate,
        CrashBefore(BLINK),
        CrashAfter(BLINK),
        AgentDiesBefore(SHORT),
        AgentDiesDuring(SHORT),
        AgentDiesAfter(SHORT),
        OtherAgentDies(SHORT),
        AgentDiesBefore(AGES),
    ];
    for fault in faults {
        let paused = Planned::at("precopy", Source, Pause(HELD_FOR));
        play(&stage, vec![paused.clone(), Planned::at("pause_precopy", Source, fault)], Completed).await;
        // The second time that it is asked.
        let expected = if fault == AgentDiesBefore(AGES) { RolledBack } else { Completed };
        play(&stage, vec![paused, Planned::at("precopy", Source, fault)], expected).await;
    }
}

#[tokio::test(start_paused = true)]
async fn limits_may_be_changed_in_every_step_and_what_comes_too_late_changes_nothing() {
    let stage = Stage::open().await;
    for (step, side) in BEFORE.into_iter().chain(PAST) {
        let end = play(&stage, vec![Planned::at(step, side, Change)], Completed).await;
        let accepted = end.history.iter().any(|what| what.starts_with("change: Ok"));
        assert_eq!(accepted, holds(&(step, side)), "{step}: {:#?}", end.history);
        assert_eq!(end.transfer.options.max_freeze_s == 30, accepted, "{step}");
    }
}

/// An undo is a migration like any other, and the copy that it is built on outlives whatever goes wrong with it.
#[tokio::test(start_paused = true)]
async fn an_undo_keeps_what_it_is_built_on_until_it_has_completed() {
    let stage = Stage::open().await;
    let undo = async |faults: Vec<Planned>, expected| {
        stage.play(Setup { undo: true, faults, ..Setup::default() }).await.must_be(expected);
    };
    undo(vec![], Completed).await;
    for (step, side) in BEFORE {
        for fault in [CrashBefore(BLINK), CrashAfter(BLINK), LoseReply, AgentDiesDuring(SHORT)] {
            undo(vec![Planned::at(step, side, fault)], Completed).await;
        }
        for fault in [Refuse(ErrorCode::Conflict), FailAfter(ErrorCode::Conflict), AgentDiesBefore(AGES)] {
            undo(vec![Planned::at(step, side, fault)], RolledBack).await;
        }
    }
    for (step, side) in PAST {
        for fault in [CrashBefore(BLINK), CrashAfter(BLINK), Refuse(ErrorCode::Conflict), AgentDiesDuring(AGES)] {
            undo(vec![Planned::at(step, side, fault)], Completed).await;
        }
    }
    undo(vec![Planned::at("precopy", Source, Pause(HELD_FOR))], Completed).await;
    undo(vec![Planned::at("precopy", Source, Cancel)], RolledBack).await;
}

#[tokio::test(start_paused = true)]
async fn players_that_are_held_are_let_in_past_the_pivot_whatever_happens() {
    let stage = Stage::open().await;
    let faults = [
        Refuse(ErrorCode::Internal),
        Refuse(ErrorCode::Conflict),
        FailAfter(ErrorCode::Internal),
        LoseRequest,
        LoseReply,
        Duplicate,
        CrashBefore(BLINK),
        CrashAfter(BLINK),
        CrashBefore(LONG),
        CrashAfter(LONG),
        AgentDiesBefore(SHORT),
        AgentDiesDuring(SHORT),
        AgentDiesAfter(SHORT),
        AgentDiesBefore(AGES),
        AgentDiesDuring(AGES),
        OtherAgentDies(AGES),
    ];
    for fault in faults {
        let (step, side) = HELD[2];
        play_held(&stage, vec![Planned::at(step, side, fault)], Completed).await;
    }
}

/// The game is up and would take records while its health is looked at; nobody can get there to leave any.
#[tokio::test(start_paused = true)]
async fn where_players_are_held_a_target_that_is_not_well_gives_the_server_back_with_every_record() {
    let stage = Stage::open().await;
    for (step, side) in &HELD[..2] {
        for fault in [FailAfter(ErrorCode::Unhealthy), AgentDiesAfter(AGES), CrashAfter(LONG)] {
            let expected = if matches!(fault, CrashAfter(_)) { Completed } else { RolledBack };
            play_held(&stage, vec![Planned::at(step, *side, fault)], expected).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_back_is_taken_back_whatever_happens_meanwhile() {
    let stage = Stage::open().await;
    let faults = [
        Refuse(ErrorCode::Internal),
        Refuse(ErrorCode::Conflict),
        FailAfter(ErrorCode::Internal),
        LoseRequest,
        LoseReply,
        Duplicate,
        CrashBefore(BLINK),
        CrashAfter(BLINK),
        CrashBefore(LONG),
        CrashAfter(LONG),
        AgentDiesBefore(SHORT),
        AgentDiesDuring(SHORT),
        AgentDiesAfter(SHORT),
        AgentDiesBefore(AGES),
        AgentDiesDuring(AGES),
        AgentDiesAfter(AGES),
        OtherAgentDies(AGES),
        Cancel,
    ];
    for (step, side) in UNDO {
        for fault in faults {
            let first = Planned::at("check_health", Target, Refuse(ErrorCode::Unhealthy));
            let end = play(&stage, vec![first, Planned::at(step, side, fault)], RolledBack).await;
            assert_eq!(code(&end), "unhealthy", "{step} {fault:?}: the first reason is the one that is told");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_lies_is_found_out_before_anything_starts() {
    let stage = Stage::open().await;
    let end = play(&stage, vec![Planned::at("final_copy", Source, Corrupt)], RolledBack).await;
    assert_eq!(code(&end), "roots_differ");
    assert!(!end.history.iter().any(|what| what.contains("did start_target")), "I3");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_stands_still_is_given_up_by_the_watchdog() {
    let stage = Stage::open().await;
    for step in ["precopy", "final_copy"] {
        let end = play(&stage, vec![Planned::at(step, Source, Stall)], RolledBack).await;
        assert_eq!(code(&end), "no_progress", "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_never_heard_of_its_permit_does_not_keep_the_source_down() {
    let stage = Stage::open().await;
    let end = play(&stage, vec![Planned::at("start_target", Target, Gone(AGES))], RolledBack).await;
    assert_eq!(code(&end), "agent_offline");
    let position = |what: &str| end.history.iter().position(|entry| entry.contains(what)).unwrap();
    assert!(position("did undo_stop_source") < position("is back"), "{:#?}", end.history);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_may_have_its_permit_is_waited_for() {
    let stage = Stage::open().await;
    let end = play(&stage, vec![Planned::at("start_target", Target, AgentDiesBefore(AGES))], RolledBack).await;
    assert_eq!(code(&end), "agent_lost");
    let position = |what: &str| end.history.iter().position(|entry| entry.contains(what)).unwrap();
    assert!(position("is back") < position("did undo_stop_source"), "{:#?}", end.history);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_was_written_to_after_the_copy_is_an_alarm_and_is_kept() {
    let stage = Stage::open().await;
    let end = play(&stage, vec![Planned::at("audit", Source, Tamper)], Stuck).await;
    assert_eq!(code(&end), "audit_differs");
    assert!(!end.history.iter().any(|what| what.contains("release_source")));
}

#[tokio::test(start_paused = true)]
async fn the_panel_may_die_in_the_middle_of_everything_it_writes_down() {
    let stage = Stage::open().await;
    let unhealthy = || vec![Planned::at("check_health", Target, Refuse(ErrorCode::Unhealthy))];
    let mut crashes = 0;
    for (faults, expected) in [(vec![], Completed), (unhealthy(), RolledBack)] {
        let calm = play(&stage, faults.clone(), expected).await;
        assert!(calm.stretches >= 15, "{}", calm.stretches);
        for stretch in 1..=calm.stretches {
            // Queries behind each other: the turn decides which of them it is, and whether it is before its commit.
            for turn in [1, 30, 90] {
                let crash_at = Some(Moment { stretch, turn });
                let end = stage.play(Setup { faults: faults.clone(), crash_at, ..Setup::default() }).await;
                end.must_be(expected);
                crashes += end.history.iter().filter(|what| what.starts_with("the panel dies")).count();
            }
        }
    }
    assert!(crashes > 80, "only {crashes} crashes");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_failed_is_repeated_under_a_new_key_and_a_crash_under_the_old_one() {
    let stage = Stage::open().await;
    let failed: Fault = Refuse(ErrorCode::Internal);
    let end = play(&stage, vec![Planned::at("fence_source", Source, failed)], Completed).await;
    assert!(end.history.iter().any(|what| what.contains("did fence_source#2")));
    let end = play(&stage, vec![Planned::at("fence_source", Source, CrashAfter(BLINK))], Completed).await;
    assert!(!end.history.iter().any(|what| what.contains("fence_source#2")));
}
