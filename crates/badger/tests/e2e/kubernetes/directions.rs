//! All four directions, with our game and with somebody else's.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::fleet::SLOW;
use super::{Company, Fleet, Game, Place};
use crate::harness::eventually;

/// From node to cluster, cluster to cluster, cluster to node, node to node, and by another order back.
const ROUND: [Place; 6] =
    [Place::Cluster(0), Place::Cluster(1), Place::Node(1), Place::Node(0), Place::Cluster(1), Place::Cluster(0)];

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_running_server_goes_every_way_and_loses_nothing() {
    let fleet = Fleet::playing(Place::Node(0));
    let mut kept = Vec::new();
    for (turn, place) in ROUND.into_iter().enumerate() {
        let transfer = fleet.migrated(place, &json!({}));
        eprintln!("to {place:?}: frozen for {} ms by {}", transfer["freeze_ms"], transfer["path"]["kind"]);
        assert_eq!(fleet.server()["epoch"], turn + 2);
        assert_eq!(fleet.server()["status"], "running");
        assert!(transfer["path"]["kind"].is_string(), "the way is told: {transfer}");
        fleet.player().plays_on_within(SLOW);
        fleet.player().assert_all_there(&fleet.address());
        kept.push(transfer);
    }
    assert!(fleet.player().longest_gap() < Duration::from_mins(1), "{:?}", fleet.player().longest_gap());
    for transfer in &kept {
        fleet.free_retained(transfer);
    }
    fleet.clusters[1].wait_empty(&fleet.server);
    assert_eq!(
        fleet.clusters[0].kinds(&fleet.server).iter().filter(|kind| *kind == "PersistentVolumeClaim").count(),
        1
    );
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_server_that_is_offline_moves_stays_offline_and_belongs_to_whom_it_should() {
    let fleet = Fleet::playing(Place::Cluster(0));
    fleet.power("stop");
    fleet.wait_status("offline");
    for place in [Place::Cluster(1), Place::Node(0)] {
        fleet.migrated(place, &json!({}));
        assert_eq!(fleet.server()["status"], "offline");
    }
    // Of whoever a file was on a node: in a pod it is the pod's user's, and so it is when it is back on a node.
    let on_node = |n: usize| fleet.node(n).server_data(&fleet.server);
    lay_down(&on_node(0));
    fleet.migrated(Place::Cluster(0), &json!({}));
    assert_mapped(&fleet.clusters[0].server_data(&fleet.server));
    fleet.migrated(Place::Node(1), &json!({}));
    assert_mapped(&on_node(1));
    fleet.migrated(Place::Cluster(0), &json!({}));
    assert_eq!(fleet.server()["status"], "offline");
    fleet.power("start");
    fleet.wait_status("running");
    fleet.player().plays_on_within(SLOW);
    fleet.player().assert_all_there(&fleet.address());
}

/// Somebody else's file and directory, with modes that an ordinary copy would change.
fn lay_down(data: &Path) {
    fs::create_dir(data.join("addons")).unwrap();
    fs::write(data.join("addons/run.sh"), "#!/bin/sh\n").unwrap();
    for (path, mode) in [("addons", 0o2750), ("addons/run.sh", 0o750)] {
        let path = data.join(path);
        chown(&path, Some(4242), Some(4343)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
}

fn assert_mapped(data: &Path) {
    for (path, mode) in [("addons", 0o2750), ("addons/run.sh", 0o750)] {
        let seen = fs::metadata(data.join(path)).unwrap();
        assert_eq!((seen.uid(), seen.gid(), seen.mode() & 0o7777), (1000, 1000, mode), "{path}");
    }
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_real_game_server_goes_every_way_and_answers_there() {
    let fleet = Fleet::with(Game::Minetest, Place::Node(0), Company::Others);
    fleet.power("start");
    fleet.wait_status("running");
    for place in &ROUND[..4] {
        let before = eventually("the world goes on", SLOW, || ticked(&fleet));
        fleet.migrated(*place, &json!({}));
        let after = eventually("the world goes on", SLOW, || ticked(&fleet).filter(|record| *record > before));
        assert!(after > before);
        crate::docker::assert_answers(&fleet.address());
    }
}

/// The last record that the ticker has told on the console.
fn ticked(fleet: &Fleet) -> Option<u64> {
    let number = |line: &String| line.split("[ticker] record ").nth(1)?.split(' ').next()?.parse().ok();
    fleet.console().iter().filter_map(number).next_back()
}
