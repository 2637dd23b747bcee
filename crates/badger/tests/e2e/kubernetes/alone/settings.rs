//! What an administrator has written into the orchestrator's configuration is what it does.

use serde_json::json;

use super::super::admit::service;
use super::super::fleet::SLOW;
use super::super::refusals::refused;
use super::{Company, Fleet, Game, Place};
use crate::harness::eventually;

const DEFAULT_CLASS: &str = "storage_class: \"\"";
const NOWHERE: &str = "storage_class: \"nowhere\"";
const NODE_PORTS: &str = "service_type: \"NodePort\"";
const BALANCED: &str = "service_type: \"LoadBalancer\"";
/// What is there, and what is written instead.
const EVERY_KEY: [(&str, &str); 5] = [
    (DEFAULT_CLASS, "storage_class: \"local-path\""),
    ("access_mode: \"ReadWriteOnce\"", "access_mode: \"ReadWriteOncePod\""),
    ("nodeport_range_start: 30000", "nodeport_range_start: 31000"),
    ("nodeport_range_end: 32767", "nodeport_range_end: 31010"),
    ("external_address: \"\"", "external_address: \"play.example\""),
];
/// The manifest has no such section: what it says by default is in the program.
const RESOURCES: (&str, &str) = (
    "namespace_prefix: \"bp-\"",
    "namespace_prefix: \"bp-\"\nresources: {mover: {requests: {cpu: 60m, memory: 70Mi}, limits: {memory: 300Mi}}}",
);

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_storage_class_that_is_not_there_is_named() {
    let fleet = Fleet::playing_alone(Place::Node(0));
    fleet.clusters[0].configure(&fleet.api, &[(DEFAULT_CLASS, NOWHERE)]);
    refused(&fleet, &["nowhere"]);
    fleet.player().plays_on();
    // Nothing of the attempt is in the way of the next one.
    fleet.clusters[0].configure(&fleet.api, &[(NOWHERE, DEFAULT_CLASS)]);
    fleet.migrated(Place::Cluster(0), &json!({}));
    fleet.player().plays_on_within(SLOW);
    fleet.player().assert_all_there(&fleet.address());
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_every_key_of_the_configuration_is_in_what_is_made() {
    let mut fleet = Fleet::new(Company::Nobody);
    let cluster = &fleet.clusters[0];
    cluster.configure(&fleet.api, &[&EVERY_KEY[..], &[RESOURCES]].concat());
    let made = fleet.try_create(Game::Ledger, Place::Cluster(0), &json!({})).expect(201);
    fleet.adopt(Game::Ledger, &made);
    let cluster = &fleet.clusters[0];
    let namespace = format!("bp-{}", fleet.server);
    let claim = &cluster.kubectl.list(&["pvc", "--namespace", &namespace])[0]["spec"];
    assert_eq!(
        (&claim["storageClassName"], &claim["accessModes"]),
        (&json!("local-path"), &json!(["ReadWriteOncePod"]))
    );
    let allocation = &fleet.server()["allocation"];
    assert_eq!((&allocation["ip_address"], &allocation["port"]), (&json!("play.example"), &json!(31000)));
    let ports = &service(&fleet, 0)["spec"]["ports"];
    assert!(ports.as_array().unwrap().iter().all(|port| port["nodePort"] == 31000), "{ports}");
    let pod = cluster.pod(&fleet.server);
    let mover = pod["spec"]["containers"].as_array().unwrap().iter().find(|it| it["name"] == "mover").unwrap();
    let share = json!({"requests": {"cpu": "60m", "memory": "70Mi"}, "limits": {"memory": "300Mi"}});
    assert_eq!(mover["resources"], share);
    let back: Vec<(&str, &str)> = EVERY_KEY.iter().chain([&RESOURCES]).map(|(was, is)| (*is, *was)).collect();
    cluster.configure(&fleet.api, &back);
}

/// These clusters have no load balancer: its word is put there as its controller would.
fn balance(fleet: &Fleet, ip: &str) {
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": ip}]}}}).to_string();
    let namespace = format!("bp-{}", fleet.server);
    let patch = ["patch", "service", "game", "--namespace", &namespace, "--subresource=status", "--type=merge"];
    fleet.clusters[0].kubectl.ok(&[&patch[..], &["-p", &status]].concat());
    eventually("the panel tells where players get in", SLOW, || {
        (fleet.server()["allocation"]["ip_address"] == ip).then_some(())
    });
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_server_that_is_made_behind_a_load_balancer_or_moves_there_gets_its_address() {
    let mut fleet = Fleet::new(Company::Nobody);
    fleet.clusters[0].configure(&fleet.api, &[(NODE_PORTS, BALANCED)]);
    let made = fleet.try_create(Game::Ledger, Place::Cluster(0), &json!({})).expect(201);
    fleet.adopt(Game::Ledger, &made);
    assert_eq!(service(&fleet, 0)["spec"]["type"], "LoadBalancer");
    balance(&fleet, "192.0.2.7");

    fleet.migrated(Place::Node(0), &json!({}));
    let moved = fleet.migrated(Place::Cluster(0), &json!({}));
    assert_eq!(service(&fleet, 0)["spec"]["type"], "LoadBalancer", "{moved}");
    balance(&fleet, "192.0.2.8");
    fleet.clusters[0].configure(&fleet.api, &[(BALANCED, NODE_PORTS)]);
}
