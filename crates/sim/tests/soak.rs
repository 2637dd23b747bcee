//! Many faults at once, from a seed. `SIM_SEEDS=100..5000` runs other seeds than the few hundred of every test run.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::Stage;
use model::agent_api::ErrorCode;
use model::{Mode, Options, StartAfter, TransferState};
use sim::{Fault, Gate, Moment, Planned, Random, Setup, Ways};

const AWAY_S: [u64; 6] = [0, 1, 3, 14, 25, 400];

fn fault(random: &mut Random) -> Fault {
    let away = Duration::from_secs(*random.pick(&AWAY_S));
    let code = *random.pick(&[ErrorCode::Internal, ErrorCode::Unreachable, ErrorCode::Internal, ErrorCode::Conflict]);
    match random.below(12) {
        0 => Fault::Refuse(code),
        1 => Fault::FailAfter(code),
        2 => Fault::LoseRequest,
        3 => Fault::LoseReply,
        4 => Fault::Duplicate,
        5 => Fault::CrashBefore(away),
        6 => Fault::CrashAfter(away),
        7 => Fault::AgentDiesBefore(away),
        8 => Fault::AgentDiesDuring(away),
        9 => Fault::AgentDiesAfter(away),
        10 => Fault::OtherAgentDies(away),
        _ => Fault::Cancel,
    }
}

fn setup(seed: u64) -> Setup {
    let mut random = Random::new(seed);
    let options = Options {
        mode: *random.pick(&[Mode::Live, Mode::Live, Mode::Cold]),
        start_after: *random.pick(&[StartAfter::AsBefore, StartAfter::AsBefore, StartAfter::Yes, StartAfter::No]),
        ..Options::default()
    };
    let running = random.below(5) > 0;
    let faults = (0..=random.below(5)).map(|_| Planned::nth(random.below(26), fault(&mut random))).collect();
    let moment = Moment { stretch: 1 + random.below(35), turn: 1 + random.below(200) };
    let crash_at = (random.below(3) == 0).then_some(moment);
    // At most two of them closed: with none open there is nothing to see.
    let mut ways = Ways::default();
    for _ in 0..random.below(3) {
        let gate = *random.pick(&[Gate::Refused, Gate::Silent, Gate::Absent]);
        match random.below(3) {
            0 => ways.direct = gate,
            1 => ways.reverse = gate,
            _ => ways.relay = gate,
        }
    }
    let holds_players = random.below(2) == 0;
    Setup { running, options, ways, holds_players, undo: false, faults, crash_at }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("SIM_SEEDS") else { return 0..100 };
    let (from, to) = text.split_once("..").expect("SIM_SEEDS is FROM..TO");
    from.parse().unwrap()..to.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_it_ends_on_exactly_one_node_without_a_human() {
    let stage = Stage::open().await;
    let (mut completed, mut rolled_back, mut fired) = (0, 0, 0);
    for seed in seeds() {
        let setup = setup(seed);
        let planned = setup.faults.len();
        let end = stage.play(setup.clone()).await;
        let story = || format!("SIM_SEEDS={seed}..{}\n{setup:#?}\n  {}", seed + 1, end.history.join("\n  "));
        assert!(end.broken.is_empty(), "{:#?}\n{}", end.broken, story());
        match end.transfer.state {
            TransferState::Completed => completed += 1,
            TransferState::RolledBack => rolled_back += 1,
            other => panic!("{other:?} {:?}\n{}", end.transfer.failure, story()),
        }
        fired += planned - end.unfired.len();
    }
    let total = completed + rolled_back;
    assert!(total < 100 || (completed > total / 10 && rolled_back > total / 10), "{completed} and {rolled_back}");
    assert!(total < 100 || fired > total, "only {fired} faults fired in {total} runs");
}
