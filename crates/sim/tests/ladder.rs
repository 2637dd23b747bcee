//! The ways of a copy: each open or not in each manner, everything that can go wrong while they are walked, and ways that
//! break under a copy.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::Stage;
use model::PathKind::{self, Direct, Relay, Reverse};
use model::TransferState::{self, Completed, RolledBack};
use model::agent_api::ErrorCode;
use sim::Fault::{
    AgentDiesAfter, AgentDiesBefore, AgentDiesDuring, Cancel, ClogWay, CloseWay, CrashAfter, CrashBefore, Duplicate,
    FailAfter, Gone, LoseReply, LoseRequest, OtherAgentDies, Refuse,
};
use sim::Side::{Source, Target};
use sim::{End, Fault, Gate, Planned, Setup, Side, Ways};

const BLINK: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_secs(3);
/// Longer than any patience before the pivot.
const AGES: Duration = Duration::from_mins(10);

/// What goes wrong with a message or an agent for a moment.
const MOMENTARY: [Fault; 9] = [
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

/// How many ways are closed, and a request of the walk that then is made.
const ASKED: [(usize, &str, Side); 6] = [
    (0, "prepare_target.direct.try", Source),
    (1, "prepare_target.reverse", Source),
    (1, "prepare_target.reverse", Target),
    (1, "prepare_target.reverse.try", Source),
    (2, "prepare_target.relay", Target),
    (2, "prepare_target.relay.try", Source),
];

/// The first `closed` ways are closed.
fn behind(closed: usize) -> Ways {
    let gate = |at: usize| if at < closed { Gate::Refused } else { Gate::Open };
    Ways { direct: gate(0), reverse: gate(1), relay: gate(2) }
}

/// This one and no other.
fn only(kind: PathKind) -> Ways {
    let gate = |at| if at == kind { Gate::Open } else { Gate::Absent };
    Ways { direct: gate(Direct), reverse: gate(Reverse), relay: gate(Relay) }
}

async fn play(stage: &Stage, ways: Ways, faults: Vec<Planned>, expected: TransferState) -> End {
    let end = stage.play(Setup { ways, faults, ..Setup::default() }).await;
    end.must_be(expected);
    end
}

fn code(end: &End) -> &str {
    end.transfer.failure.as_ref().map(|failure| failure.code.as_str()).unwrap_or_default()
}

fn kind(end: &End) -> Option<PathKind> {
    end.transfer.path.as_ref().and_then(|path| path.kind)
}

#[tokio::test(start_paused = true)]
async fn the_first_way_that_is_open_is_taken_and_the_others_are_told_of() {
    let stage = Stage::open().await;
    let gates = [Gate::Open, Gate::Refused, Gate::Silent, Gate::Absent];
    for direct in gates {
        for reverse in gates {
            for relay in gates {
                let ways = Ways { direct, reverse, relay };
                let first = [Direct, Reverse, Relay].into_iter().find(|kind| ways.gate(*kind) == Gate::Open);
                let expected = if first.is_some() { Completed } else { RolledBack };
                let end = play(&stage, ways, vec![], expected).await;
                assert_eq!(kind(&end), first, "{ways:?}");
                let path = end.transfer.path.as_ref().unwrap();
                let tried: Vec<PathKind> = path.tried.iter().map(|tried| tried.kind).collect();
                let before = [Direct, Reverse, Relay].into_iter().take_while(|kind| Some(*kind) != first);
                assert_eq!(tried, before.collect::<Vec<_>>(), "{ways:?}");
                assert_eq!(path.rtt_us.is_some(), first.is_some());
                assert_eq!(code(&end), if first.is_some() { "" } else { "agents_unreachable" });
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_no_way_is_open_nothing_is_ever_stopped() {
    let stage = Stage::open().await;
    let end = play(&stage, behind(3), vec![], RolledBack).await;
    let failure = end.transfer.failure.clone().unwrap();
    assert_eq!(failure.step, "prepare_target");
    for word in ["direct: ", "reverse: ", "relay: ", "Open one of them"] {
        assert!(failure.message.contains(word), "{}", failure.message);
    }
    assert!(!end.history.iter().any(|what| what.contains("stop_source")), "{:#?}", end.history);
}

#[tokio::test(start_paused = true)]
async fn what_passes_while_the_ladder_is_walked_does_not_stop_a_migration() {
    let stage = Stage::open().await;
    for (closed, step, side) in ASKED {
        for fault in MOMENTARY {
            play(&stage, behind(closed), vec![Planned::at(step, side, fault)], Completed).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_no_on_one_way_leads_to_the_next() {
    let stage = Stage::open().await;
    for (closed, step, side) in ASKED.into_iter().filter(|(closed, ..)| *closed < 2) {
        for fault in [Refuse(ErrorCode::Conflict), Refuse(ErrorCode::Internal), FailAfter(ErrorCode::NotFound)] {
            let end = play(&stage, behind(closed), vec![Planned::at(step, side, fault)], Completed).await;
            let next = if closed == 0 { Reverse } else { Relay };
            assert_eq!(kind(&end), Some(next), "{step} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_cannot_try_its_only_way_has_the_copy_try_it() {
    let stage = Stage::open().await;
    let old = Planned::at("prepare_target.direct.try", Source, Refuse(ErrorCode::Unsupported));
    let end = play(&stage, Ways::default(), vec![old], Completed).await;
    assert_eq!(kind(&end), Some(Direct));
    assert_eq!(end.transfer.path.unwrap().rtt_us, None, "nothing was measured");
}

#[tokio::test(start_paused = true)]
async fn a_walk_ends_where_no_way_would_help() {
    let stage = Stage::open().await;
    for (closed, step, side) in ASKED {
        let refused = Planned::at(step, side, Refuse(ErrorCode::StaleEpoch));
        let end = play(&stage, behind(closed), vec![refused], RolledBack).await;
        assert_eq!(code(&end), "stale_epoch", "{step}");
        let end = play(&stage, behind(closed), vec![Planned::at(step, side, Cancel)], RolledBack).await;
        assert_eq!(code(&end), "cancelled", "{step}");
        for fault in [Gone(AGES), AgentDiesBefore(AGES), AgentDiesDuring(AGES)] {
            let end = play(&stage, behind(closed), vec![Planned::at(step, side, fault)], RolledBack).await;
            assert!(["agent_offline", "agent_lost"].contains(&code(&end)), "{step} {fault:?}: {}", code(&end));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_goes_on_on_another_way_if_there_is_one() {
    let stage = Stage::open().await;
    for step in ["precopy", "final_copy"] {
        for fault in [CloseWay, ClogWay] {
            for (ways, broken, next) in [
                (Ways::default(), Direct, Some(Reverse)),
                (Ways { reverse: Gate::Refused, ..Ways::default() }, Direct, Some(Relay)),
                (behind(1), Reverse, Some(Relay)),
                (only(Reverse), Reverse, None),
                (only(Relay), Relay, None),
            ] {
                let expected = if next.is_some() { Completed } else { RolledBack };
                let end = play(&stage, ways, vec![Planned::at(step, Source, fault)], expected).await;
                let path = end.transfer.path.clone().unwrap();
                assert_eq!((path.kind, path.tried[0].kind), (next, broken), "{step} {fault:?} {ways:?}");
                assert_eq!(code(&end), if next.is_some() { "" } else { "agents_unreachable" });
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_while_a_broken_way_is_replaced_does_not_stop_a_migration() {
    let stage = Stage::open().await;
    for (step, steps) in [
        ("precopy", ["precopy.reverse", "precopy.reverse.try"]),
        ("final_copy", ["final_copy.reverse", "final_copy.reverse.try"]),
    ] {
        let [set_up, knock] = steps;
        for (asked, side) in [(set_up, Source), (set_up, Target), (knock, Source)] {
            for fault in MOMENTARY {
                let faults = vec![Planned::at(step, Source, CloseWay), Planned::at(asked, side, fault)];
                play(&stage, Ways::default(), faults, Completed).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_has_one_way_only_outlives_what_tears_that_way_down() {
    let stage = Stage::open().await;
    for kind in [Reverse, Relay] {
        for step in ["precopy", "stop_source", "final_copy", "fence_source"] {
            for fault in [CrashBefore(BLINK), CrashAfter(BLINK), AgentDiesAfter(SHORT), OtherAgentDies(SHORT)] {
                play(&stage, only(kind), vec![Planned::at(step, Source, fault)], Completed).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_walk_has_set_up_is_taken_back_with_the_rest() {
    let stage = Stage::open().await;
    for closed in [1, 2] {
        for fault in [LoseRequest, LoseReply, CrashAfter(BLINK), AgentDiesDuring(SHORT), AgentDiesBefore(AGES)] {
            let first = Planned::at("check_health", Target, Refuse(ErrorCode::Unhealthy));
            let undo = Planned::at("undo_precopy", Source, fault);
            play(&stage, behind(closed), vec![first, undo], RolledBack).await;
        }
    }
    // No copy was begun: then it is the walk's own step that tells the source.
    for fault in [LoseReply, AgentDiesDuring(SHORT), AgentDiesBefore(AGES)] {
        let cancelled = Planned::at("prepare_target.relay.try", Source, Cancel);
        let undo = Planned::at("undo_prepare_target", Source, fault);
        play(&stage, behind(2), vec![cancelled, undo], RolledBack).await;
    }
}
