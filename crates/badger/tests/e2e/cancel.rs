//! A migration that is called off before the pivot: the server stays where it is and nobody notices (I4).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::witness::games;
use crate::harness::{House, Player, Setup, tree};

/// Slow enough that the first round lasts for half a minute.
const SLOWLY: u64 = 256 << 10;

/// What the rest of the world sees of a server; it must be the same after a rollback.
fn as_seen(house: &House) -> (Value, BTreeSet<crate::harness::witness::Game>, Vec<Value>) {
    let server = house.server();
    let capacity = |node: &crate::harness::node::Node| {
        let mut capacity = node.capacity(&house.api);
        // What the machine has left is everybody's doing.
        capacity.as_object_mut().unwrap().remove("measured");
        capacity
    };
    let capacities = house.nodes.iter().map(capacity).collect();
    (server, games(&house.nodes[0].data), capacities)
}

fn copying(world: &'static str) -> (House, Player, String) {
    let (house, player) = House::playing(Setup { world, ..Setup::default() });
    let transfer = house.migrate(&json!({"bandwidth_limit": SLOWLY}));
    assert!(house.wait_stage(&transfer, "copying_while_running"));
    house.wait_copying(&transfer);
    (house, player, transfer)
}

#[test]
fn a_cancel_while_copying_leaves_everything_as_it_was() {
    let (house, player) = House::playing(Setup { world: "16M", ..Setup::default() });
    let before = as_seen(&house);
    let transfer = house.migrate(&json!({"bandwidth_limit": SLOWLY}));
    assert!(house.wait_stage(&transfer, "copying_while_running"));
    house.wait_copying(&transfer);

    let asked = Instant::now();
    let answer = house.api.post(&format!("/admin/transfers/{transfer}/cancel"), &json!({}));
    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    let ended = house.wait_final(&transfer);
    assert!(asked.elapsed() < Duration::from_secs(15), "it took {:?}", asked.elapsed());

    assert_eq!((&ended["state"], &ended["failure"]["code"]), (&json!("rolled_back"), &json!("cancelled")), "{ended}");
    house.assert_settled();
    assert_eq!(as_seen(&house), before, "same game process, same server, same books");
    house.nodes[1].assert_nothing_of(&house.server);
    player.plays_on();
    player.assert_all_there(&house.nodes[0].addresses[0]);
    assert!(player.longest_gap() < Duration::from_secs(3), "players were out for {:?}", player.longest_gap());
    // Nothing of the attempt is in the way of the next one.
    house.migrated(&json!({}));
}

#[test]
fn a_second_cancel_and_one_after_the_end_are_refused_with_the_reason() {
    let (house, _player, transfer) = copying("16M");
    let cancel = || house.api.post(&format!("/admin/transfers/{transfer}/cancel"), &json!({}));
    assert!(matches!(cancel().status, 200 | 202));
    let ended = house.wait_final(&transfer);
    assert_eq!(ended["state"], "rolled_back", "{ended}");
    assert_eq!(cancel().status, 409);
    assert_eq!(house.transfer(&transfer)["state"], "rolled_back");

    let done = house.migrated(&json!({}));
    let late = house.api.post(&format!("/admin/transfers/{}/cancel", done["id"].as_str().unwrap()), &json!({}));
    assert_eq!(late.status, 409, "{late:?}");
    assert!(late.body["error"]["message"].as_str().unwrap().len() > 10);
    assert_eq!(house.owner(), 1);
}

#[test]
fn a_server_that_is_being_moved_is_locked_for_everything_else() {
    let (house, _player, transfer) = copying("16M");
    let server = house.server();
    assert_eq!((&server["locked"], &server["status"]), (&json!(true), &json!("running")), "{server}");
    assert!(server["transfer_state"].is_string(), "{server}");
    let again = house.try_migrate(&json!({}));
    let message = again.refused(409, "server_locked")["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Server Is Currently Locked"), "{message}");
    for signal in ["stop", "restart", "kill"] {
        house
            .api
            .post(&format!("/servers/{}/power", house.server), &json!({"signal": signal}))
            .refused(409, "server_locked");
    }
    house.api.delete(&format!("/admin/servers/{}", house.server)).refused(409, "server_locked");
    house.api.post(&format!("/admin/transfers/{transfer}/cancel"), &json!({}));
    assert_eq!(house.wait_final(&transfer)["state"], "rolled_back");
    house.assert_settled();
    assert!(tree::is_empty(&house.nodes[1].data.join("staging")));
}
