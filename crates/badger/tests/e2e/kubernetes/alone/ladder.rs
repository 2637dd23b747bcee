//! The way of the bytes: direct where the target can be dialled, else the other way round, else through the panel.

use std::process::Command;

use serde_json::{Value, json};

use super::super::cluster::Cluster;
use super::super::fleet::SLOW;
use super::super::kubectl::given;
use super::{Fleet, Place};

const LISTENS: &str = "data_service: \"nodeport\"";
const DIALS: &str = "data_service: \"none\"";

/// The way that was taken, and those that were tried before.
fn way(transfer: &Value) -> (String, Vec<String>) {
    let path = &transfer["path"];
    let tried = path["tried"].as_array().unwrap_or_else(|| panic!("{transfer}"));
    let failed = tried.iter().map(|it| {
        let reason = it["reason"].as_str().unwrap_or_default();
        assert!(reason.len() > 10, "each that failed has its reason: {path}");
        it["kind"].as_str().unwrap().to_owned()
    });
    (path["kind"].as_str().unwrap_or_default().to_owned(), failed.collect())
}

fn assert_way(transfer: &Value, kind: &str, tried: &[&str]) {
    assert_eq!(way(transfer), (kind.to_owned(), tried.iter().map(|it| (*it).to_owned()).collect()), "{transfer}");
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_clusters_that_only_dial_out_are_reached_the_other_way_and_through_the_panel() {
    let fleet = Fleet::playing_alone(Place::Node(0));
    let [a, b] = &fleet.clusters;
    assert_way(&fleet.migrated(Place::Cluster(0), &json!({})), "direct", &[]);
    // Now b does not let itself be dialled, but a does: b dials.
    b.configure(&fleet.api, &[(LISTENS, DIALS)]);
    assert_way(&fleet.migrated(Place::Cluster(1), &json!({})), "reverse", &["direct"]);
    // Neither does a: both dial the panel.
    a.configure(&fleet.api, &[(LISTENS, DIALS)]);
    assert_way(&fleet.migrated(Place::Cluster(0), &json!({})), "relay", &["direct", "reverse"]);
    // A node listens all the same.
    assert_way(&fleet.migrated(Place::Node(1), &json!({})), "direct", &[]);
    fleet.player().plays_on_within(SLOW);
    fleet.player().assert_all_there(&fleet.address());
    for cluster in [a, b] {
        cluster.configure(&fleet.api, &[(DIALS, LISTENS)]);
    }
}

/// Drops what comes to `to`'s node ports from `from`'s node, until it is dropped itself. Players come from elsewhere.
struct Wall(String);

impl Wall {
    fn between(from: &Cluster, to: &Cluster) -> Self {
        let state = given("BADGER_TEST_KUBE_STATE");
        let namespace = std::fs::read_to_string(format!("{state}/{}/pid/node", to.name)).unwrap().trim().to_owned();
        let node = &from.kubectl.list(&["nodes"])[0];
        let addresses = node["status"]["addresses"].as_array().unwrap();
        let address = addresses.iter().find(|it| it["type"] == "InternalIP").unwrap()["address"].as_str().unwrap();
        let wall = Self(namespace);
        wall.nft("add table inet e2e");
        wall.nft("add chain inet e2e wall { type filter hook prerouting priority -300 ; }");
        wall.nft(&format!("add rule inet e2e wall ip saddr {address} tcp dport 30000-32767 counter drop"));
        wall
    }

    fn nft(&self, command: &str) -> String {
        let output = Command::new("nsenter").args(["--target", &self.0, "--net", "nft", command]).output().unwrap();
        assert!(output.status.success(), "nft {command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn has_stopped_something(&self) -> bool {
        !self.nft("list table inet e2e").contains("counter packets 0 ")
    }
}

impl Drop for Wall {
    fn drop(&mut self) {
        let command = ["--target", &self.0, "--net", "nft", "delete", "table", "inet", "e2e"];
        // The cluster may be gone, and its network with it.
        drop(Command::new("nsenter").args(command).output());
    }
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_firewalls_that_swallow_packets_are_gone_around() {
    let fleet = Fleet::playing_alone(Place::Cluster(0));
    let [a, b] = &fleet.clusters;
    let to_b = Wall::between(a, b);
    assert_way(&fleet.migrated(Place::Cluster(1), &json!({})), "reverse", &["direct"]);
    assert!(to_b.has_stopped_something());
    let to_a = Wall::between(b, a);
    assert_way(&fleet.migrated(Place::Cluster(0), &json!({})), "relay", &["direct", "reverse"]);
    assert!(to_a.has_stopped_something());
    fleet.player().plays_on_within(SLOW);
    fleet.player().assert_all_there(&fleet.address());
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_way_that_is_cut_in_the_middle_is_replaced_by_another() {
    let fleet = Fleet::playing_alone(Place::Cluster(0));
    let [a, b] = &fleet.clusters;
    let transfer = fleet.migrate(Place::Cluster(1), &json!({"bandwidth_limit": 512 << 10}));
    fleet.wait_copying(&transfer);
    let wall = Wall::between(a, b);
    let ended = fleet.wait_final(&transfer);
    assert!(wall.has_stopped_something());
    assert_eq!(ended["state"], "completed", "{ended}");
    assert_eq!(ended["path"]["kind"], "reverse", "{ended}");
    fleet.assert_settled();
    fleet.player().plays_on_within(SLOW);
    fleet.player().assert_all_there(&fleet.address());
}
