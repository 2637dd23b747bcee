//! The decision table, and what holds whatever happens: never more at once than allowed, no server twice, an end.

#![allow(clippy::unwrap_used)]

use model::{EvacuationId, NodeId, Options, ServerId};

use super::*;
use crate::db::evacuations::Moving;
use crate::db::nodes::NodeKind;
use crate::migrate::admission::Place;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn evacuation(state: State, concurrency: u64) -> Evacuation {
    Evacuation {
        id: EvacuationId::new(),
        state,
        source: None,
        concurrency,
        options: Options::default(),
        cancel_running: false,
        requested_by: "test".to_owned(),
        created_at: at(0),
        finished_at: None,
    }
}

fn item(state: ItemState) -> Item {
    Item {
        id: EvacuationItemId::new(),
        evacuation_id: EvacuationId::new(),
        position: 1,
        server_id: ServerId::new(),
        server_name: "survival".to_owned(),
        source_node_id: NodeId::new(),
        target_node_id: NodeId::new(),
        target_kind: NodeKind::Node,
        bytes: None,
        state,
        transfer_id: matches!(state, ItemState::Starting | ItemState::Running).then(TransferId::new),
        problem: None,
        blocked_since: None,
        retry_at: None,
        started_at: None,
        finished_at: None,
        transfer: None,
    }
}

fn moving(state: TransferState) -> Item {
    let transfer = Moving { state, failure: None, cancel_requested: false, freeze_ms: None };
    Item { transfer: Some(transfer), ..item(ItemState::Running) }
}

#[test]
fn the_next_starts_when_one_rests_and_not_before() {
    let it = evacuation(State::Running, 2);
    let (first, second, third) = (moving(TransferState::Running), item(ItemState::Waiting), item(ItemState::Waiting));
    let acts = decide(&it, &[first.clone(), second.clone(), third.clone()], at(0));
    assert_eq!(acts, [Act::Start(second.id)]);
    for busy in [TransferState::Queued, TransferState::Paused, TransferState::Cancelling, TransferState::RollingBack] {
        let items = [moving(busy), moving(busy), third.clone()];
        assert_eq!(decide(&it, &items, at(0)), [], "{busy:?}");
    }
    let done = moving(TransferState::Completed);
    let acts = decide(&it, &[done.clone(), first, third.clone()], at(0));
    assert_eq!(acts, [Act::End(done.id, ItemState::Completed, None), Act::Start(third.id)]);
}

#[test]
fn it_goes_on_past_a_failure_and_ends_with_a_report() {
    let it = evacuation(State::Running, 1);
    let (stuck, next) = (moving(TransferState::Stuck), item(ItemState::Waiting));
    let acts = decide(&it, &[stuck.clone(), next.clone()], at(0));
    assert!(matches!(&acts[0], Act::End(id, ItemState::Failed, Some(_)) if *id == stuck.id), "{acts:?}");
    assert_eq!(acts[1], Act::Start(next.id));
    let ended = [item(ItemState::Failed), item(ItemState::Completed), item(ItemState::Skipped)];
    assert_eq!(decide(&it, &ended, at(0)), [Act::Finish(State::CompletedWithFailures)]);
    assert_eq!(decide(&it, &ended[1..], at(0)), [Act::Finish(State::Completed)]);
    assert_eq!(decide(&evacuation(State::Completed, 1), &ended, at(0)), []);
}

#[test]
fn a_panel_that_died_between_the_id_and_the_transfer_starts_that_transfer() {
    let chosen = item(ItemState::Starting);
    let id = chosen.transfer_id.unwrap();
    let of = |state| decide(&evacuation(state, 1), std::slice::from_ref(&chosen), at(0));
    assert_eq!(of(State::Running), [Act::StartAgain(chosen.id, id)]);
    assert_eq!(of(State::Paused), [Act::PutBack(chosen.id)]);
    assert_eq!(of(State::Cancelling), [Act::End(chosen.id, ItemState::Cancelled, None)]);
    let there = Item { transfer: moving(TransferState::Running).transfer, ..chosen.clone() };
    for state in [State::Running, State::Paused, State::Cancelling] {
        assert_eq!(decide(&evacuation(state, 1), std::slice::from_ref(&there), at(0)), [Act::Started(there.id)]);
    }
}

#[test]
fn a_pause_starts_none_and_lets_the_others_go_on() {
    let it = evacuation(State::Paused, 2);
    let items = [moving(TransferState::Running), item(ItemState::Waiting)];
    assert_eq!(decide(&it, &items, at(0)), []);
}

#[test]
fn a_cancel_is_for_those_on_their_way_only_if_that_was_said() {
    let running = moving(TransferState::Running);
    let waiting = item(ItemState::Waiting);
    let mut it = evacuation(State::Cancelling, 2);
    let acts = decide(&it, &[running.clone(), waiting.clone()], at(0));
    assert_eq!(acts, [Act::End(waiting.id, ItemState::Cancelled, None)]);
    it.cancel_running = true;
    let acts = decide(&it, std::slice::from_ref(&running), at(0));
    assert_eq!(acts, [Act::Cancel(running.id, running.transfer_id.unwrap())]);
    let mut asked = running;
    asked.transfer.as_mut().unwrap().cancel_requested = true;
    assert_eq!(decide(&it, &[asked], at(0)), []);
    assert_eq!(decide(&it, &[item(ItemState::Completed)], at(0)), [Act::Finish(State::Cancelled)]);
}

#[test]
fn who_cannot_be_started_yet_lets_others_go_first() {
    let it = evacuation(State::Running, 1);
    let blocked = Item { retry_at: Some(at(5)), blocked_since: Some(at(0)), ..item(ItemState::Waiting) };
    let next = item(ItemState::Waiting);
    let items = [blocked.clone(), next.clone()];
    assert_eq!(decide(&it, &items, at(4)), [Act::Start(next.id)]);
    assert_eq!(decide(&it, &items, at(5)), [Act::Start(blocked.id)]);
}

#[test]
fn a_refusal_is_waited_out_skipped_or_final() {
    let place = Place { kind: NodeKind::Node, name: "n".to_owned() };
    let now = at(1000);
    for passing in [
        Refusal::Locked { holder: "x".to_owned() },
        Refusal::Installing,
        Refusal::AgentOffline { place: place.clone() },
        Refusal::FeatureDisabled,
    ] {
        let first = Refused::Wait { since: now, retry_at: now + RETRY_EVERY };
        assert_eq!(after(&passing, None, now), first, "{passing:?}");
        let nearly = now - PATIENCE + SignedDuration::from_secs(1);
        assert!(matches!(after(&passing, Some(nearly), now), Refused::Wait { since, .. } if since == nearly));
        assert_eq!(after(&passing, Some(now - PATIENCE), now), Refused::Fail);
    }
    assert_eq!(after(&Refusal::SameTarget { place: place.clone() }, None, now), Refused::Skip);
    assert_eq!(after(&Refusal::UnknownServer, None, now), Refused::Skip);
    assert_eq!(after(&Refusal::Insufficient { place, shortages: Vec::new() }, None, now), Refused::Fail);
}

#[test]
fn what_nobody_plays_on_goes_first_and_then_the_smallest() {
    let mut servers = [(true, 1), (false, 9), (true, 0), (false, 3)];
    order(&mut servers, |server| server.0, |server| server.1);
    assert_eq!(servers, [(false, 3), (false, 9), (true, 0), (true, 1)]);
}

/// Numbers as good as random ones, the same each time.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A world in which acts are carried out or lost by a crash, transfers rest when they like, and people meddle.
struct World {
    evacuation: Evacuation,
    items: Vec<Item>,
    dice: Dice,
    starts: std::collections::BTreeMap<EvacuationItemId, Vec<TransferId>>,
    now: Timestamp,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let evacuation = evacuation(State::Running, 1 + dice.throw(4));
        let items = (0..=dice.throw(9)).map(|_| item(ItemState::Waiting)).collect();
        Self { evacuation, items, dice, starts: std::collections::BTreeMap::new(), now: at(0) }
    }

    fn item(&mut self, id: EvacuationItemId) -> &mut Item {
        self.items.iter_mut().find(|item| item.id == id).unwrap()
    }

    fn carry_out(&mut self, act: Act) {
        let crash = self.dice.throw(5) == 0;
        let refused = self.dice.throw(4) == 0;
        let now = self.now;
        match act {
            Act::Start(id) => {
                let transfer = TransferId::new();
                let item = self.item(id);
                (item.state, item.transfer_id) = (ItemState::Starting, Some(transfer));
                if !crash {
                    self.start(id, transfer, refused);
                }
            }
            Act::StartAgain(id, transfer) => self.start(id, transfer, refused),
            Act::Started(id) => self.item(id).state = ItemState::Running,
            Act::PutBack(id) => {
                let item = self.item(id);
                (item.state, item.transfer_id) = (ItemState::Waiting, None);
            }
            Act::Cancel(id, _) => self.item(id).transfer.as_mut().unwrap().cancel_requested = true,
            Act::End(id, state, problem) => {
                let item = self.item(id);
                (item.state, item.problem, item.finished_at) = (state, problem, Some(now));
            }
            Act::Finish(state) => self.evacuation.state = state,
        }
    }

    fn start(&mut self, id: EvacuationItemId, transfer: TransferId, refused: bool) {
        let now = self.now;
        if refused {
            let refusal = Refusal::Locked { holder: "somebody".to_owned() };
            let item = self.item(id);
            match after(&refusal, item.blocked_since, now) {
                Refused::Wait { since, retry_at } => {
                    (item.state, item.transfer_id) = (ItemState::Waiting, None);
                    (item.blocked_since, item.retry_at) = (Some(since), Some(retry_at));
                }
                Refused::Fail => item.state = ItemState::Failed,
                Refused::Skip => item.state = ItemState::Skipped,
            }
            return;
        }
        let crash = self.dice.throw(4) == 0;
        let item = self.item(id);
        item.transfer = moving(TransferState::Running).transfer;
        if !crash {
            item.state = ItemState::Running;
        }
        self.starts.entry(id).or_default().push(transfer);
    }

    /// Time passes.
    fn pass(&mut self) {
        self.now += SignedDuration::from_secs(i64::try_from(self.dice.throw(8)).unwrap());
        for index in 0..self.items.len() {
            let (rests, well) = (self.dice.throw(3) == 0, self.dice.throw(3) > 0);
            let item = &mut self.items[index];
            if let (ItemState::Running | ItemState::Starting, Some(moving)) = (item.state, &mut item.transfer)
                && rests
            {
                moving.state = if well { TransferState::Completed } else { TransferState::RolledBack };
            }
        }
        match (self.dice.throw(40), self.evacuation.state) {
            (0, State::Running) => self.evacuation.state = State::Paused,
            (1..10, State::Paused) => self.evacuation.state = State::Running,
            (39, State::Running | State::Paused) => {
                self.evacuation.state = State::Cancelling;
                self.evacuation.cancel_running = self.dice.throw(2) == 0;
            }
            _ => {}
        }
    }

    fn holds(&self) {
        let on_their_way = self.items.iter().filter(|item| {
            let rests = item.transfer.as_ref().is_some_and(|moving| moving.state.is_final());
            is_on_its_way(item) && !rests
        });
        assert!(on_their_way.count() as u64 <= self.evacuation.concurrency, "too many at once");
        for starts in self.starts.values() {
            assert!(starts.len() <= 1, "no server is started twice: {starts:?}");
        }
    }
}

#[test]
fn whatever_dies_and_whoever_meddles_it_ends_with_never_too_many_and_none_twice() {
    for seed in 0..3000 {
        let mut world = World::new(seed);
        for _ in 0..2000 {
            for act in decide(&world.evacuation, &world.items, world.now) {
                world.carry_out(act);
                world.holds();
            }
            if world.evacuation.state.is_final() {
                break;
            }
            world.pass();
        }
        assert!(world.evacuation.state.is_final(), "seed {seed} does not end: {:#?}", world.items);
        assert!(world.items.iter().all(|item| item.state.is_final()), "seed {seed}");
        let all_well = world.items.iter().all(|item| item.state != ItemState::Failed);
        if world.evacuation.state != State::Cancelled {
            assert_eq!(all_well, world.evacuation.state == State::Completed, "seed {seed}");
        }
    }
}
