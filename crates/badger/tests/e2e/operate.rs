//! A transfer in the hands of its operator, with the real daemons: held in the middle, changed, and taken back.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{House, Player, Setup, eventually, tree};

const WORLD: &str = "16M";
const WORLD_BYTES: u64 = 16 << 20;
/// How often in a row the same must be seen to be believed.
const QUIET: usize = 300;
/// Slow enough that the first round lasts for half a minute.
const SLOWLY: u64 = 512 << 10;

fn post(house: &House, id: &str, what: &str, status: u16) -> Value {
    house.api.post(&format!("/admin/transfers/{id}/{what}"), &json!({})).expect(status)
}

fn change(house: &House, id: &str, body: &Value) {
    house.api.patch(&format!("/admin/transfers/{id}"), body).expect(200);
}

fn until_state(house: &House, id: &str, state: &str) -> Value {
    eventually(&format!("the transfer is {state}"), Duration::from_mins(1), || {
        let transfer = house.transfer(id);
        (transfer["state"] == state).then_some(transfer)
    })
}

/// Bytes of all files beneath a directory that somebody may be writing to.
fn bytes_in(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_in(&entry.path()),
        Ok(found) => std::os::unix::fs::MetadataExt::blocks(&found) * 512,
        Err(_) => 0,
    };
    entries.map(size).sum()
}

fn staged(house: &House, id: &str) -> u64 {
    bytes_in(&house.nodes[1].data.join("staging").join(id))
}

/// A migration of which some has arrived, and that is held.
fn held() -> (House, Player, String) {
    let (house, player) = House::playing(Setup { world: WORLD, ..Setup::default() });
    let id = house.migrate(&json!({"bandwidth_limit": SLOWLY}));
    assert!(house.wait_stage(&id, "copying_while_running"));
    house.wait_copying(&id);
    eventually("a part of the world has arrived", Duration::from_mins(1), || {
        (staged(&house, &id) > WORLD_BYTES / 8).then_some(())
    });
    post(&house, &id, "pause", 202);
    until_state(&house, &id, "paused");
    (house, player, id)
}

/// What has arrived, once nothing more arrives.
fn settled(house: &House, id: &str) -> u64 {
    let mut seen = vec![];
    eventually("nothing arrives any more", Duration::from_mins(1), || {
        seen.push(staged(house, id));
        let last = *seen.last().unwrap();
        (seen.iter().rev().take_while(|size| **size == last).count() > QUIET).then_some(last)
    })
}

#[test]
fn a_pause_in_the_middle_survives_the_panel_and_what_has_arrived_is_built_on() {
    let (mut house, player, id) = held();
    let arrived = settled(&house, &id);
    assert!(arrived > WORLD_BYTES / 8, "what has arrived stays: {arrived}");
    house.kill_panel();
    player.plays_on();
    house.start_panel();
    let held = until_state(&house, &id, "paused");
    assert_eq!(held["paused"]["step"], "precopy", "{held}");
    assert_eq!(staged(&house, &id), arrived, "nothing is sent while it is held");
    player.plays_on();
    assert_eq!(house.owner(), 0);
    house.try_migrate(&json!({})).refused(409, "server_locked");

    change(&house, &id, &json!({"bandwidth_limit": null}));
    post(&house, &id, "resume", 202);
    let ended = house.wait_final(&id);
    assert_eq!(ended["state"], "completed", "{ended}");
    let wire = ended["receipt"]["bytes_wire"].as_u64().unwrap();
    assert!(wire < WORLD_BYTES - WORLD_BYTES / 16, "only what had not arrived was sent: {wire}");
    house.assert_settled();
    player.plays_on();
    player.assert_all_there(&house.address());
}

#[test]
fn a_cancel_of_what_is_held_leaves_nothing() {
    let (house, player, id) = held();
    post(&house, &id, "cancel", 202);
    let ended = house.wait_final(&id);
    assert_eq!((&ended["state"], &ended["failure"]["code"]), (&json!("rolled_back"), &json!("cancelled")), "{ended}");
    house.assert_settled();
    house.nodes[1].assert_nothing_of(&house.server);
    assert!(tree::is_empty(&house.nodes[1].data.join("staging")));
    player.plays_on();

    let again = post(&house, &id, "retry", 202);
    assert_eq!(again["retry_of"], json!(id), "{again}");
    let second = again["id"].as_str().unwrap();
    change(&house, second, &json!({"bandwidth_limit": null}));
    assert_eq!(house.wait_final(second)["state"], "completed");
    house.assert_settled();
    player.plays_on();
    player.assert_all_there(&house.address());
}

#[test]
fn a_limit_that_is_lifted_while_it_runs_counts_at_once() {
    let (house, player) = House::playing(Setup { world: WORLD, ..Setup::default() });
    // At this rate it would take longer than the test waits.
    let id = house.migrate(&json!({"bandwidth_limit": 128 << 10}));
    assert!(house.wait_stage(&id, "copying_while_running"));
    house.wait_copying(&id);
    change(&house, &id, &json!({"bandwidth_limit": null, "max_freeze_s": 10}));
    let ended = house.wait_final(&id);
    assert_eq!(ended["state"], "completed", "{ended}");
    player.plays_on();
}

#[test]
fn an_undo_sends_only_the_delta_and_consumes_the_retained_copy_at_its_end() {
    let (house, player) = House::playing(Setup { world: WORLD, ..Setup::default() });
    let was_at = house.address();
    let first = house.migrated(&json!({}));
    let first = first["id"].as_str().unwrap();
    player.plays_on();
    assert!(house.retained(0, first).is_dir());

    // One that is called off leaves the copy as it is.
    let aside = tempfile::tempdir().unwrap();
    let kept = aside.path().join("kept");
    let copied = Command::new("cp").arg("-a").args([&house.retained(0, first), &kept]).status().unwrap();
    assert!(copied.success());
    let undo = |body: &Value| house.api.post(&format!("/admin/transfers/{first}/undo"), body).expect(202);
    let called_off = undo(&json!({"bandwidth_limit": 4096}));
    let called_off = called_off["id"].as_str().unwrap();
    assert!(house.wait_stage(called_off, "copying_while_running"));
    house.api.delete(&format!("/admin/transfers/{first}/retained")).refused(409, "retained_in_use");
    post(&house, called_off, "cancel", 202);
    assert_eq!(house.wait_final(called_off)["state"], "rolled_back");
    tree::assert_equal(&house.retained(0, first), &kept);
    player.plays_on();

    let second = undo(&json!({}));
    assert_eq!(second["undo_of"], json!(first), "{second}");
    let ended = house.wait_final(second["id"].as_str().unwrap());
    assert_eq!(ended["state"], "completed", "{ended}");
    let wire = ended["receipt"]["bytes_wire"].as_u64().unwrap();
    let total = ended["receipt"]["bytes_total"].as_u64().unwrap();
    assert!(total > WORLD_BYTES && wire < total / 4, "only the delta was sent: {wire} of {total}");
    assert_eq!((house.owner(), house.address()), (0, was_at), "it is back where it was");
    assert!(!house.retained(0, first).exists(), "the copy is consumed");
    assert_eq!(house.transfer(first)["undone_by"], second["id"]);
    house.assert_settled();
    player.plays_on();
    player.assert_all_there(&house.address());
    house.api.post(&format!("/admin/transfers/{first}/undo"), &json!({})).refused(409, "nothing_retained");
}
