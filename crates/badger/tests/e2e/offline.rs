//! A server that was not running.

use serde_json::json;

use crate::harness::witness::games;
use crate::harness::{House, Setup, tree};

#[test]
fn a_server_that_was_offline_moves_and_stays_offline() {
    let (house, player) = House::playing(Setup::default());
    house.power("stop");
    house.wait_status("offline");
    let before = player.acknowledged();
    for options in [json!({}), json!({"mode": "cold"})] {
        let owner = house.owner();
        let transfer = house.migrated(&options);
        assert_eq!(house.server()["status"], "offline", "{transfer}");
        assert!(house.nodes.iter().all(|node| games(&node.data).is_empty()), "nothing runs");
        let id = transfer["id"].as_str().unwrap();
        tree::assert_equal(&house.retained(owner, id), &house.nodes[1 - owner].server_data(&house.server));
        assert_eq!(transfer["roots"]["source"], transfer["roots"]["target"]);
    }
    assert_eq!(player.acknowledged(), before, "nobody could play");
    house.power("start");
    house.wait_status("running");
    player.plays_on();
    player.assert_all_there(&house.address());
}

#[test]
fn an_offline_server_is_started_where_the_caller_wants_it() {
    let house = House::build(Setup::default());
    house.migrated(&json!({"start_after": "yes"}));
    house.wait_status("running");
    assert_eq!(games(&house.nodes[1].data).len(), 1);
    assert!(house.nodes[1].server_data(&house.server).join("world.json").exists());
}

#[test]
fn a_server_without_a_single_file_can_be_moved() {
    let house = House::build(Setup::default());
    assert!(tree::is_empty(&house.nodes[0].server_data(&house.server)));
    let transfer = house.migrated(&json!({}));
    assert_eq!(transfer["receipt"]["bytes_total"], 0, "{transfer}");
    assert!(house.nodes[1].server_data(&house.server).is_dir());
}
