//! A server with several addresses: each is in its Service, and all of them move along.

use serde_json::{Value, json};

use super::admit::service;
use super::fleet::SLOW;
use super::{Fleet, Place};

fn of_server(fleet: &Fleet) -> Vec<Value> {
    let answer = fleet.api.get(&format!("/servers/{}/allocations", fleet.server)).expect(200);
    answer.as_array().unwrap().clone()
}

/// By the panel and by the cluster: for players, TCP and UDP of each address.
fn assert_served(fleet: &Fleet, n: usize, count: usize) {
    let mut told: Vec<u64> = of_server(fleet).iter().map(|it| it["port"].as_u64().unwrap()).collect();
    assert_eq!(told.len(), count, "{told:?}");
    let service = service(fleet, n);
    let ports = service["spec"]["ports"].as_array().unwrap();
    for protocol in ["TCP", "UDP"] {
        let of_it = ports.iter().filter(|port| port["protocol"] == protocol);
        let mut open: Vec<u64> = of_it.map(|port| port["nodePort"].as_u64().unwrap()).collect();
        open.sort_unstable();
        told.sort_unstable();
        assert_eq!(open, told, "{protocol}: {service}");
    }
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_every_address_of_a_server_is_open_at_once_and_moves_along() {
    let fleet = Fleet::playing(Place::Cluster(0));
    let pod = fleet.clusters[0].pod(&fleet.server)["metadata"]["uid"].clone();
    let path = format!("/servers/{}/allocations", fleet.server);
    for notes in ["queries", "a map"] {
        fleet.api.post(&path, &json!({"notes": notes})).expect(201);
    }
    assert_served(&fleet, 0, 3);
    assert_eq!(fleet.clusters[0].pod(&fleet.server)["metadata"]["uid"], pod, "the game goes on in its pod");

    fleet.migrated(Place::Cluster(1), &json!({}));
    assert_served(&fleet, 1, 3);
    fleet.migrated(Place::Node(0), &json!({}));
    let notes: Vec<Value> = of_server(&fleet).iter().map(|it| it["notes"].clone()).collect();
    assert_eq!(notes, [json!(""), json!("queries"), json!("a map")]);
    fleet.migrated(Place::Cluster(0), &json!({}));
    assert_served(&fleet, 0, 3);
    fleet.player().plays_on_within(SLOW);
    fleet.player().assert_all_there(&fleet.address());

    // A game that runs may listen there.
    fleet.power("stop");
    fleet.wait_status("offline");
    let last = of_server(&fleet).pop().unwrap();
    fleet.api.delete(&format!("{path}/{}", last["id"].as_str().unwrap())).expect(204);
    assert_served(&fleet, 0, 2);
}
