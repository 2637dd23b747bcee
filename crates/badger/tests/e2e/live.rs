//! A running server moves while a player writes.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::events::{Event, read_all};
use crate::harness::house::STAGES;
use crate::harness::process::BADGER;
use crate::harness::{House, Setup, eventually, tree};

#[test]
fn the_documented_call_moves_a_running_server_and_loses_nothing() {
    let (house, player) = House::playing(Setup::default());
    let [source, target] = &house.nodes;
    let id = call_as_documented(&house, &target.id, &target.allocations[1]);
    let events = read_all(&house.api, &id, None, Duration::from_mins(2));
    let transfer = house.wait_final(&id);

    assert_eq!(transfer["state"], "completed", "{transfer}");
    house.assert_settled();
    assert_eq!(house.address(), target.addresses[1]);
    assert_eq!(house.server()["status"], "running");
    assert_eq!(house.server()["epoch"], 2);
    assert_stages_in_order(&transfer);
    assert_events(&events, &id);
    assert_receipt(&transfer, &source.id, &target.id);
    player.plays_on();
    player.assert_all_there(&target.addresses[1]);
    assert!(house.retained(0, &id).is_dir(), "the source keeps its copy");
}

/// curl, with the arguments of the product's page.
fn call_as_documented(house: &House, node: &str, allocation: &str) -> String {
    let output = Command::new("curl")
        .args(["-sS", "-X", "POST", &format!("{}/api/v1/admin/servers/{}/transfer", house.api.url, house.server)])
        .args(["-H", &format!("Authorization: Bearer {}", house.api.key)])
        .args(["-H", "Content-Type: application/json"])
        .args(["-d", &format!("{{\n\"target_node_id\": \"{node}\",\n\"allocation_id\": \"{allocation}\"\n}}")])
        .output()
        .expect("curl is needed for the documented call");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["success"], true, "{answer}");
    answer["data"]["id"].as_str().unwrap().to_owned()
}

fn assert_stages_in_order(transfer: &Value) {
    let stages = transfer["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, STAGES, "{transfer}");
    assert!(stages.iter().all(|s| s["started_at"].is_string() && s["finished_at"].is_string()), "{transfer}");
}

fn assert_events(events: &[Event], id: &str) {
    let stage = |e: &Event| {
        (e.name == "stage").then(|| e.data["stage"].as_str().or(e.data["name"].as_str()).unwrap().to_owned())
    };
    let stages: Vec<String> = events.iter().filter_map(stage).collect();
    assert_eq!(stages, STAGES);
    let end = events.last().expect("there are events");
    assert_eq!((end.name.as_str(), &end.data["state"]), ("end", &json!("completed")), "{end:?}");
    assert!(events.iter().any(|e| e.name == "progress"), "there is progress");
    assert!(end.id.is_some(), "an event can be continued from: {end:?}");
    let end_id = end.data["id"].as_str().or(end.data["transfer_id"].as_str());
    assert!(end_id.is_none_or(|other| other == id), "{end:?}");
}

fn assert_receipt(transfer: &Value, source: &str, target: &str) {
    let roots = &transfer["roots"];
    assert!(roots["source"].as_str().is_some_and(|root| root.len() == 64), "{transfer}");
    assert_eq!(roots["source"], roots["target"]);
    assert_eq!((&transfer["source"]["node_id"], &transfer["target"]["node_id"]), (&json!(source), &json!(target)));
    assert!(transfer["freeze_ms"].as_u64().is_some_and(|ms| ms > 0), "{transfer}");
    let receipt = &transfer["receipt"];
    assert!(receipt["bytes_total"].as_u64().unwrap() > 1 << 20, "{transfer}");
    assert!(receipt["bytes_live"].as_u64().unwrap() > 1 << 20, "{transfer}");
    let progress = &transfer["progress"];
    for counter in ["bytes_total", "bytes_read", "bytes_sent", "bytes_written", "files_total", "files_done", "round"] {
        assert!(progress[counter].as_u64().is_some_and(|n| n > 0), "{counter}: {progress}");
    }
    assert!(transfer["failure"].is_null() && transfer["finished_at"].is_string(), "{transfer}");
    assert!(transfer["retained_until"].is_string(), "{transfer}");
}

#[test]
fn events_can_be_continued_and_end_at_once_when_all_is_over() {
    let (house, _player) = House::playing(Setup::default());
    let transfer = house.migrated(&json!({}));
    let id = transfer["id"].as_str().unwrap();
    let all = read_all(&house.api, id, None, Duration::from_secs(10));
    let kept: Vec<&Event> = all.iter().filter(|e| e.id.is_some()).collect();
    assert!(kept.len() >= STAGES.len(), "{all:?}");
    let middle = kept.len() / 2;
    let rest = read_all(&house.api, id, kept[middle].id.as_deref(), Duration::from_secs(10));
    let ids = |events: &[&Event]| events.iter().map(|e| e.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&rest.iter().filter(|e| e.id.is_some()).collect::<Vec<_>>()), ids(&kept[middle + 1..]));
}

#[test]
fn what_arrives_is_byte_for_byte_what_was_stopped() {
    let (house, player) = House::playing(Setup::default());
    let transfer = house.migrated(&json!({"start_after": "no"}));
    assert_eq!(house.server()["status"], "offline");
    // The copy that the source keeps is what its game left behind, and nothing has touched the target's since.
    let id = transfer["id"].as_str().unwrap();
    let arrived = house.nodes[1].server_data(&house.server);
    tree::assert_equal(&house.retained(0, id), &arrived);
    // The game's own proof, from the files alone.
    let proof = Command::new(BADGER).args(["ledger", "verify", "--json"]).arg(&arrived).output().unwrap();
    assert!(proof.status.success(), "{}", String::from_utf8_lossy(&proof.stdout));
    house.power("start");
    house.wait_status("running");
    player.plays_on();
    player.assert_all_there(&house.address());
}

#[test]
fn a_server_moves_there_and_back_again() {
    let (house, player) = House::playing(Setup::default());
    for turn in 1..=4 {
        let transfer = house.migrated(&json!({}));
        assert_eq!(house.owner(), turn % 2, "{transfer}");
        assert_eq!(house.server()["epoch"], turn + 1);
        player.plays_on();
    }
    player.assert_all_there(&house.address());
    assert!(player.longest_gap() < Duration::from_secs(30), "players were out for {:?}", player.longest_gap());
}

#[test]
fn cold_stops_the_server_first() {
    let (house, player) = House::playing(Setup::default());
    let transfer = house.migrated(&json!({"mode": "cold"}));
    assert_eq!(transfer["mode"], "cold");
    let stages: Vec<&str> =
        transfer["stages"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert!(!stages.contains(&"copying_while_running"), "{stages:?}");
    assert_eq!(transfer["receipt"]["bytes_live"], 0, "{transfer}");
    player.plays_on();
    player.assert_all_there(&house.address());
}

#[test]
fn the_retained_copy_can_be_freed_at_once_and_expires_by_itself() {
    let (house, _player) = House::playing(Setup::default());
    let first = house.migrated(&json!({}));
    let id = first["id"].as_str().unwrap();
    assert!(house.retained(0, id).is_dir());
    house.api.delete(&format!("/admin/transfers/{id}/retained")).expect(204);
    eventually("the copy is gone", Duration::from_secs(10), || (!house.retained(0, id).exists()).then_some(()));

    let second = house.migrated(&json!({"retain_source_for_s": 1}));
    let id = second["id"].as_str().unwrap();
    // The agent looks once a minute.
    eventually("the copy has expired", Duration::from_secs(90), || (!house.retained(1, id).exists()).then_some(()));
}

#[test]
fn every_line_about_a_migration_names_it() {
    let (house, _player) = House::playing(Setup::default());
    let transfer = house.migrated(&json!({}));
    let id = transfer["id"].as_str().unwrap();
    let found = house.panel_log().lines().filter(|line| line.contains("transfer") && line.contains(id)).count();
    assert!(found >= 2, "the panel's log has {found} lines with the word transfer and the id");
    for node in &house.nodes {
        let log = node.log();
        let found = log.lines().filter(|line| line.contains("transfer") && line.contains(id)).count();
        assert!(found >= 2, "an agent's log has {found} lines with the word transfer and the id:\n{log}");
    }
}
