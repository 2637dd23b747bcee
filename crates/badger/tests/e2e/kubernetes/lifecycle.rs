//! A server's life on a cluster, by the same API as on a node; `kubectl` sees what should be there and no more. A part of
//! its pod that ends, or all of it, is no harm.

use std::time::Duration;

use serde_json::{Value, json};

use super::fleet::SLOW;
use super::{Company, Fleet, Game, Place};
use crate::harness::{eventually, within};

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_server_is_made_started_stopped_and_removed() {
    live_and_die(0);
}

/// The other cluster's orchestrator was installed by the chart, which makes the same objects.
#[test]
#[ignore = "needs clusters and patience: BADGER_TEST_THOROUGH=1 make test-kubernetes"]
fn kubernetes_thorough_a_server_is_made_started_stopped_and_removed_where_the_chart_installed() {
    live_and_die(1);
}

fn live_and_die(n: usize) {
    let fleet = Fleet::playing(Place::Cluster(n));
    let cluster = &fleet.clusters[n];
    let mut kinds = cluster.kinds(&fleet.server);
    kinds.dedup();
    let whole = [
        "Deployment",
        "Namespace",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "Pod",
        "ReplicaSet",
        "Secret",
        "Service",
    ];
    assert_eq!(kinds, whole);
    assert_labels(&fleet, n);
    assert_pod(&cluster.pod(&fleet.server));
    fleet.clusters[1 - n].wait_empty(&fleet.server);

    assert_console(&fleet);
    fleet.player().assert_all_there(&fleet.address());
    let pod = uid(&fleet, n);
    fleet.power("restart");
    fleet.player().plays_on_within(SLOW);
    fleet.power("stop");
    fleet.wait_status("offline");
    fleet.power("start");
    fleet.wait_status("running");
    fleet.player().plays_on_within(SLOW);
    assert_eq!(uid(&fleet, n), pod, "the game stops and starts without its pod");
    fleet.player().assert_all_there(&fleet.address());
    fleet.power("kill");
    eventually("the game has ended", SLOW, || {
        matches!(fleet.server()["status"].as_str(), Some("offline" | "crashed")).then_some(())
    });

    fleet.api.delete(&format!("/admin/servers/{}", fleet.server)).expect(204);
    fleet.clusters[n].wait_empty(&fleet.server);
}

/// Whose it is and which epoch it has is on everything of it.
fn assert_labels(fleet: &Fleet, n: usize) {
    let with_epoch = ["Namespace", "Deployment", "PersistentVolumeClaim"];
    let not_ours = ["PersistentVolume"];
    for object in fleet.clusters[n].objects(&fleet.server) {
        let kind = object["kind"].as_str().unwrap();
        if not_ours.contains(&kind) {
            continue;
        }
        let labels = &object["metadata"]["labels"];
        assert_eq!(labels["badgerpanel.io/server"], fleet.server.as_str(), "{object}");
        assert!(labels["badgerpanel.io/transfer"].is_null(), "{object}");
        if with_epoch.contains(&kind) {
            assert_eq!(labels["badgerpanel.io/epoch"], fleet.server()["epoch"].to_string(), "{object}");
        }
    }
}

/// Under the restricted profile, with the limits that the API was given, without a credential of the cluster.
fn assert_pod(pod: &Value) {
    let spec = &pod["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false, "{spec}");
    let game = spec["containers"].as_array().unwrap().iter().find(|c| c["name"] == "game").unwrap();
    assert_eq!(game["resources"]["limits"]["cpu"], "1", "100 % of a core: {game}");
    assert_eq!(game["resources"]["limits"]["memory"], "512Mi", "{game}");
    let mounted = game["volumeMounts"].as_array().unwrap();
    assert!(mounted.iter().any(|m| m["mountPath"] == "/home/container"), "{game}");
}

fn assert_console(fleet: &Fleet) {
    assert!(fleet.console().iter().any(|line| line.contains("The ledger is open on")), "{:?}", fleet.console());
    let command = json!({"command": "status"});
    fleet.api.post(&format!("/servers/{}/command", fleet.server), &command).expect(204);
    let before = fleet.console().len();
    eventually("the console goes on", Duration::from_secs(30), || (fleet.console().len() >= before).then_some(()));
}

fn uid(fleet: &Fleet, n: usize) -> Value {
    fleet.clusters[n].pod(&fleet.server)["metadata"]["uid"].clone()
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_real_game_server_is_installed_and_answers() {
    let fleet = Fleet::with(Game::Minetest, Place::Cluster(1), Company::Others);
    fleet.power("start");
    fleet.wait_status("running");
    crate::docker::assert_answers(&fleet.address());
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_launcher_that_is_killed_takes_its_game_along_and_the_panel_is_told() {
    let fleet = Fleet::playing(Place::Cluster(0));
    fleet.clusters[0].kill_in_pod(&fleet.server, "launcher");
    eventually("the game is seen to be down", SLOW, || (fleet.server()["status"] != "running").then_some(()));
    within(Duration::from_secs(5), || (fleet.server()["status"] == "running").then_some(()))
        .unwrap_or_else(|| fleet.power("start"));
    fleet.wait_status("running");
    fleet.player().plays_on_within(SLOW);
    fleet.player().assert_all_there(&fleet.address());
    fleet.assert_settled();
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_pod_that_is_evicted_comes_back_with_its_game() {
    let fleet = Fleet::playing(Place::Cluster(0));
    let before = uid(&fleet, 0);
    fleet.clusters[0].evict(&fleet.server);
    // Asked to go, it plays on for a moment.
    eventually("another pod is there alone", SLOW, || {
        let pods = fleet.clusters[0].kubectl.list(&["pods", "--namespace", &format!("bp-{}", fleet.server)]);
        (pods.len() == 1 && pods[0]["metadata"]["uid"] != before).then_some(())
    });
    fleet.player().plays_on_within(SLOW);
    fleet.wait_status("running");
    fleet.player().assert_all_there(&fleet.address());
    fleet.assert_settled();
}
