//! A server's task with games that do what the test says.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode};
use model::{Epoch, ManualClock, NodeId, Permit, ServerId, ServerSpec, ServerStatus, Timestamp, TransferId};
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::ownership::Ownership;
use super::testing::spec;
use super::*;
use crate::disk;
use crate::layout::{Layout, Place};
use crate::permit::Verifier;
use crate::permit::testing::Signer;
use crate::runtime::fake::{Behaviour, Fake};

const LEASE: Duration = Duration::from_secs(20);
const NEARLY: Duration = Duration::from_secs(19);

/// One server on one agent that may be restarted.
struct House {
    _dir: TempDir,
    place: Place,
    fake: Arc<Fake>,
    panel: Signer,
    agent: NodeId,
    around: Around,
    server: Server,
}

impl House {
    async fn new() -> Self {
        Self::with(spec()).await
    }

    async fn with(spec: ServerSpec) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (panel, agent, fake) = (Signer::new(), NodeId::new(), Arc::new(Fake::default()));
        let place = Layout::new(dir.path()).place(spec.id);
        let around = around(&panel, agent, &fake);
        let server = write_new(place.clone(), spec.clone(), Epoch(3), around.clone()).await.unwrap();
        server.install(Box::new(spec)).await.unwrap();
        Self { _dir: dir, place, fake, panel, agent, around, server }
    }

    fn id(&self) -> ServerId {
        self.place.server
    }

    fn permit(&self, epoch: u64) -> Permit {
        self.panel.permit(self.id(), epoch, self.agent)
    }

    async fn start(&self, epoch: u64) -> Result<(), AgentError> {
        self.server.start(self.permit(epoch)).await
    }

    fn on_record(&self) -> Ownership {
        disk::read_json(&self.place.beside("ownership.json")).unwrap().unwrap()
    }

    /// Another agent process on the same disk; the games went on.
    async fn restart(&mut self) {
        self.around.shutdown.cancel();
        self.around = around(&self.panel, self.agent, &self.fake);
        self.server = load(self.place.clone(), self.around.clone()).await.unwrap().unwrap();
    }

    async fn until(&self, status: ServerStatus) {
        let mut seen = self.server.seen();
        let reached = seen.wait_for(|seen| seen.observation.status == status);
        let reached = tokio::time::timeout(Duration::from_mins(5), reached).await;
        assert!(reached.is_ok(), "{status:?} expected, {:?} seen", self.server.observation());
    }

    async fn until_recorded(&self, words: &str) {
        let status = self.place.beside("status.json");
        let recorded = async {
            while !fs::read_to_string(&status).is_ok_and(|text| text.contains(words)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_mins(5), recorded).await.is_ok(), "{words} was not recorded");
    }

    /// Frozen for a transfer, as a source is before its last copy.
    async fn frozen(&self) -> TransferId {
        let transfer = TransferId::new();
        self.start(3).await.unwrap();
        let frozen = self.server.freeze(transfer, u64::try_from(LEASE.as_millis()).unwrap()).await.unwrap();
        assert!(frozen.was_running);
        transfer
    }
}

fn around(panel: &Signer, agent: NodeId, fake: &Arc<Fake>) -> Around {
    let permits = Arc::new(Permits::default());
    permits.set(Verifier::new(agent, &panel.public()).unwrap());
    Around {
        runtime: Arc::clone(fake) as Arc<dyn Runtime>,
        clock: Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)),
        permits,
        heard: Arc::new(Heard::new()),
        news: broadcast::channel(64).0,
        shutdown: CancellationToken::new(),
    }
}

fn code<T: std::fmt::Debug>(outcome: Result<T, AgentError>) -> ErrorCode {
    outcome.unwrap_err().code
}

#[tokio::test]
async fn it_starts_comes_up_and_stops() {
    let house = House::new().await;
    house.start(3).await.unwrap();
    house.until(ServerStatus::Starting).await;
    house.fake.say(house.id(), "server is ready now").await;
    house.until(ServerStatus::Running).await;
    house.start(3).await.unwrap();
    assert_eq!(house.fake.starts(house.id()), 1, "what runs already is left alone");
    house.server.send("hello".to_owned()).await.unwrap();
    house.server.stop().await.unwrap();
    house.until(ServerStatus::Offline).await;
    assert_eq!(house.server.observation().exit_code, Some(0));
    assert_eq!(house.server.console(10).await.unwrap(), ["server is ready now", "typed hello"]);
    house.server.stop().await.unwrap();
}

#[tokio::test]
async fn an_end_that_nobody_asked_for_is_a_crash() {
    let house = House::new().await;
    house.start(3).await.unwrap();
    house.fake.end(house.id(), 1);
    house.until(ServerStatus::Crashed).await;
    assert_eq!(house.server.observation().exit_code, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_game_that_does_not_end_is_not_killed_without_consent() {
    let house = House::new().await;
    house.fake.behave(Behaviour { stubborn: true, ..Behaviour::default() });
    house.start(3).await.unwrap();
    assert_eq!(code(house.server.stop().await), ErrorCode::WillNotStop);
    assert!(house.fake.is_running(house.id()));
    house.server.kill().await.unwrap();
    house.until(ServerStatus::Offline).await;
}

#[tokio::test]
async fn a_start_needs_the_panels_permit_and_a_current_epoch() {
    let house = House::new().await;
    let stranger = Signer::new().permit(house.id(), 3, house.agent);
    assert_eq!(code(house.server.start(stranger).await), ErrorCode::BadPermit);
    assert_eq!(code(house.start(2).await), ErrorCode::StaleEpoch);
    assert!(!house.fake.is_running(house.id()));
    house.start(5).await.unwrap();
    assert_eq!(house.fake.epoch(house.id()), Epoch(5));
    assert_eq!(house.on_record(), Ownership::new(Epoch(5)));
    assert_eq!(code(house.start(4).await), ErrorCode::StaleEpoch, "it never falls, not even while running");
}

#[tokio::test]
async fn a_newer_epoch_is_durable_before_anything_runs() {
    let house = House::new().await;
    house.fake.behave(Behaviour { broken: true, ..Behaviour::default() });
    assert_eq!(code(house.start(5).await), ErrorCode::Internal);
    assert_eq!(house.on_record(), Ownership::new(Epoch(5)));
}

#[tokio::test]
async fn a_fenced_epoch_never_runs_again_and_a_newer_one_lifts_the_tombstone() {
    let mut house = House::new().await;
    let transfer = house.frozen().await;
    house.server.fence(transfer).await.unwrap();
    house.server.fence(transfer).await.unwrap();
    house.restart().await;
    assert_eq!(code(house.start(3).await), ErrorCode::StaleEpoch);
    assert!(house.server.observation().fenced);
    house.server.unfence(house.permit(5)).await.unwrap();
    house.server.unfence(house.permit(5)).await.unwrap();
    house.server.resume(house.permit(5), true).await.unwrap();
    assert_eq!(house.fake.epoch(house.id()), Epoch(5));
}

#[tokio::test(start_paused = true)]
async fn a_silent_panel_loses_the_lease_and_the_server_runs_again() {
    let house = House::new().await;
    let transfer = house.frozen().await;
    let broken = house.server.watch_freeze(transfer).await.unwrap();
    assert_eq!(code(house.start(3).await), ErrorCode::Conflict, "nobody starts it during the transfer");
    tokio::time::sleep(NEARLY).await;
    house.around.heard.now();
    tokio::time::sleep(NEARLY).await;
    assert!(!house.fake.is_running(house.id()), "a word from the panel renewed it");
    house.until(ServerStatus::Starting).await;
    assert!(broken.is_cancelled());
    assert_eq!(code(house.server.watch_freeze(transfer).await), ErrorCode::LeaseLost);
    assert_eq!(code(house.server.fence(transfer).await), ErrorCode::LeaseLost);
    house.server.resume(house.permit(3), true).await.unwrap();
    assert_eq!(house.fake.starts(house.id()), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fenced_server_stays_down_however_silent_the_panel_is() {
    let mut house = House::new().await;
    let transfer = house.frozen().await;
    house.server.fence(transfer).await.unwrap();
    tokio::time::sleep(LEASE * 10).await;
    house.restart().await;
    tokio::time::sleep(LEASE * 10).await;
    assert!(!house.fake.is_running(house.id()));
}

#[tokio::test(start_paused = true)]
async fn a_lease_outlives_the_agent_and_so_does_its_loss() {
    let mut house = House::new().await;
    let transfer = house.frozen().await;
    house.restart().await;
    let again = house.server.freeze(transfer, 20_000).await.unwrap();
    assert!(again.was_running, "the record says so");
    tokio::time::sleep(NEARLY).await;
    assert!(!house.fake.is_running(house.id()));
    house.until(ServerStatus::Starting).await;
    house.restart().await;
    assert_eq!(code(house.server.fence(transfer).await), ErrorCode::LeaseLost);
}

#[tokio::test(start_paused = true)]
async fn a_start_again_that_fails_is_tried_again() {
    let house = House::new().await;
    house.frozen().await;
    house.fake.behave(Behaviour { broken: true, ..Behaviour::default() });
    tokio::time::sleep(LEASE * 2).await;
    assert!(!house.fake.is_running(house.id()));
    house.fake.behave(Behaviour::default());
    house.until(ServerStatus::Starting).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_offline_stays_offline() {
    let house = House::new().await;
    let transfer = TransferId::new();
    let frozen = house.server.freeze(transfer, 20_000).await.unwrap();
    assert!(!frozen.was_running);
    tokio::time::sleep(LEASE * 3).await;
    house.server.watch_freeze(transfer).await.unwrap();
    house.server.resume(house.permit(3), false).await.unwrap();
    assert_eq!(house.fake.starts(house.id()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_is_taken_back_waits_for_the_end_and_starts_again() {
    let house = House::new().await;
    house.fake.behave(Behaviour { stubborn: true, ..Behaviour::default() });
    house.start(3).await.unwrap();
    let (server, permit, id) = (house.server.clone(), house.permit(3), house.id());
    let freeze = tokio::spawn(async move { server.freeze(TransferId::new(), 20_000).await });
    house.until(ServerStatus::Stopping).await;
    let server = house.server.clone();
    let resume = tokio::spawn(async move { server.resume(permit, true).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    house.fake.end(id, 0);
    assert_eq!(code(freeze.await.unwrap()), ErrorCode::Cancelled);
    resume.await.unwrap().unwrap();
    assert_eq!((house.fake.starts(id), house.fake.is_running(id)), (2, true));
}

#[tokio::test(start_paused = true)]
async fn a_game_that_ignores_the_stop_runs_on_when_it_is_taken_back() {
    let house = House::new().await;
    house.fake.behave(Behaviour { stubborn: true, ..Behaviour::default() });
    house.start(3).await.unwrap();
    let transfer = TransferId::new();
    assert_eq!(code(house.server.freeze(transfer, 20_000).await), ErrorCode::WillNotStop);
    house.server.resume(house.permit(3), true).await.unwrap();
    house.until(ServerStatus::Running).await;
    house.fake.end(house.id(), 0);
    house.until(ServerStatus::Starting).await;
    assert_eq!((house.fake.asked(house.id()), house.fake.starts(house.id())), (0, 2), "the late end is made good");
}

#[tokio::test]
async fn a_game_outlives_the_agent_and_is_adopted() {
    let mut house = House::new().await;
    house.start(3).await.unwrap();
    house.fake.say(house.id(), "ready").await;
    house.until(ServerStatus::Running).await;
    house.restart().await;
    house.until(ServerStatus::Running).await;
    assert_eq!(house.fake.starts(house.id()), 1);
    house.server.stop().await.unwrap();
}

#[tokio::test]
async fn a_game_that_died_meanwhile_crashed_unless_the_machine_did() {
    let mut house = House::new().await;
    house.start(3).await.unwrap();
    house.fake.end(house.id(), 1);
    house.until(ServerStatus::Crashed).await;
    let status = house.place.beside("status.json");
    let text = fs::read_to_string(&status).unwrap().replace("crashed", "running");
    fs::write(&status, &text).unwrap();
    house.restart().await;
    house.until(ServerStatus::Crashed).await;
    house.fake.reboot();
    fs::write(&status, &text).unwrap();
    house.restart().await;
    house.until(ServerStatus::Starting).await;
}

#[tokio::test]
async fn a_server_without_its_ownership_record_is_not_run() {
    let house = House::new().await;
    fs::remove_file(house.place.beside("ownership.json")).unwrap();
    assert!(load(house.place.clone(), house.around.clone()).await.is_err());
}

#[tokio::test]
async fn what_runs_cannot_be_retired() {
    let house = House::new().await;
    house.start(3).await.unwrap();
    assert_eq!(code(house.server.retire().await), ErrorCode::Conflict);
    house.server.stop().await.unwrap();
    house.server.retire().await.unwrap();
    assert_eq!(code(house.server.stop().await), ErrorCode::NotFound);
}

#[tokio::test]
async fn the_permit_is_kept_beside_the_data_before_anything_runs() {
    let mut house = House::new().await;
    let kept = |house: &House| disk::read_json::<Permit>(&house.place.beside("permit.json")).unwrap();
    assert_eq!(kept(&house), None);
    house.fake.behave(Behaviour { broken: true, ..Behaviour::default() });
    assert_eq!(code(house.start(5).await), ErrorCode::Internal);
    assert_eq!(kept(&house), Some(house.permit(5)));
    assert_eq!(code(house.start(4).await), ErrorCode::StaleEpoch);
    assert_eq!(kept(&house), Some(house.permit(5)), "what is not admitted is not kept");

    // A crash between the two records leaves an epoch without its permit; the panel's next word makes it good.
    fs::remove_file(house.place.beside("permit.json")).unwrap();
    house.restart().await;
    house.server.unfence(house.permit(5)).await.unwrap();
    assert_eq!(kept(&house), Some(house.permit(5)));
}

/// As in a pod that is ended with its server in it, after which another pod has the volume.
async fn in_another_pod(house: &mut House) {
    house.fake.reboot();
    house.restart().await;
}

#[tokio::test]
async fn a_server_that_ran_runs_again_in_another_pod() {
    let mut house = House::new().await;
    house.start(3).await.unwrap();
    in_another_pod(&mut house).await;
    house.until(ServerStatus::Starting).await;
    assert_eq!((house.fake.starts(house.id()), house.fake.epoch(house.id())), (2, Epoch(3)));
}

#[tokio::test(start_paused = true)]
async fn an_eviction_that_is_seen_is_no_crash_and_the_server_runs_again_in_another_pod() {
    let mut house = House::new().await;
    house.start(3).await.unwrap();
    house.fake.behave(Behaviour { broken: true, ..Behaviour::default() });
    house.fake.evict(house.id());
    house.until_recorded("\"start_again\": true").await;
    house.restart().await;
    house.until(ServerStatus::Offline).await;
    house.fake.behave(Behaviour::default());
    in_another_pod(&mut house).await;
    house.until(ServerStatus::Starting).await;
    assert_eq!(house.fake.starts(house.id()), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_stopped_before_or_after_an_eviction_stays_down() {
    let mut house = House::new().await;
    house.start(3).await.unwrap();
    house.server.stop().await.unwrap();
    in_another_pod(&mut house).await;
    tokio::time::sleep(LEASE).await;
    assert_eq!(house.fake.starts(house.id()), 1);

    house.start(3).await.unwrap();
    house.fake.behave(Behaviour { broken: true, ..Behaviour::default() });
    house.fake.evict(house.id());
    house.until(ServerStatus::Offline).await;
    house.server.stop().await.unwrap();
    house.fake.behave(Behaviour::default());
    in_another_pod(&mut house).await;
    tokio::time::sleep(LEASE).await;
    assert_eq!(house.fake.starts(house.id()), 2);
}

#[tokio::test(start_paused = true)]
async fn an_eviction_under_a_lease_leaves_the_decision_to_the_lease() {
    let mut house = House::new().await;
    let transfer = house.frozen().await;
    in_another_pod(&mut house).await;
    tokio::time::sleep(NEARLY).await;
    assert!(!house.fake.is_running(house.id()), "the transfer has it");
    house.server.watch_freeze(transfer).await.unwrap();
    house.until(ServerStatus::Starting).await;
    assert_eq!(code(house.server.watch_freeze(transfer).await), ErrorCode::LeaseLost);
}

#[tokio::test(start_paused = true)]
async fn a_fenced_server_stays_down_in_another_pod() {
    let mut house = House::new().await;
    house.start(3).await.unwrap();
    house.server.disown().await.unwrap();
    in_another_pod(&mut house).await;
    tokio::time::sleep(LEASE * 2).await;
    assert!(!house.fake.is_running(house.id()));
    assert_eq!(house.fake.starts(house.id()), 1);
}

#[tokio::test(start_paused = true)]
async fn who_follows_the_console_waits_for_a_line_and_gets_it_once() {
    let house = House::new().await;
    let nobody_yet = house.server.follow(None, 10, Duration::ZERO).await.unwrap();
    let Reply::ConsoleLines { memory, first: 1, lines } = nobody_yet else { panic!("{nobody_yet:?}") };
    assert!(lines.is_empty());
    house.start(3).await.unwrap();
    let mut mark = ConsoleMark { memory, line: 0 };
    let server = house.server.clone();
    let (asked, wait) = (mark.clone(), Duration::from_secs(20));
    let follower = tokio::spawn(async move { server.follow(Some(asked), 10, wait).await });
    house.fake.say(house.id(), "one").await;
    let heard = follower.await.unwrap().unwrap();
    let expected = Reply::ConsoleLines { memory: mark.memory.clone(), first: 1, lines: vec!["one".to_owned()] };
    assert_eq!(heard, expected);
    mark.line = 1;
    let silence = house.server.follow(Some(mark.clone()), 10, wait).await.unwrap();
    assert_eq!(silence, Reply::ConsoleLines { memory: mark.memory.clone(), first: 2, lines: Vec::new() });
}
