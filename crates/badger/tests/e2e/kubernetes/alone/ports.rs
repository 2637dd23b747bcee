//! A port is had wherever one can be.

use serde_json::json;

use super::super::admit::{gets_in, service};
use super::super::fleet::SLOW;
use super::super::kubectl::Kubectl;
use super::{Company, Fleet, Game, Place};
use crate::harness::eventually;

/// Has a NodePort for somebody else, until it is dropped.
struct Foreign {
    kubectl: Kubectl,
    name: String,
}

impl Foreign {
    fn on(fleet: &Fleet, n: usize, port: u64) -> Self {
        let (kubectl, name) = (fleet.clusters[n].kubectl.clone(), format!("somebody-elses-{port}"));
        let ports = json!([{"port": 80, "nodePort": port}]);
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
            "spec": {"type": "NodePort", "selector": {"app": "shop"}, "ports": ports},
        });
        kubectl.fed(&["create", "-f", "-"], &service.to_string());
        Self { kubectl, name }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // A test that fails says why by itself.
        drop(self.kubectl.run(&["delete", "service", &self.name, "--namespace", "default"]));
    }
}

/// Ports of the panel's rows for cluster `n`.
fn rows(fleet: &Fleet, n: usize) -> Vec<u64> {
    let rows = fleet.api.get(&format!("/admin/allocations?filter[cluster_id]={}", fleet.clusters[n].id)).expect(200);
    rows.as_array().unwrap().iter().map(|row| row["port"].as_u64().unwrap()).collect()
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_port_that_somebody_else_has_in_the_cluster_gives_way_to_the_next() {
    let mut fleet = Fleet::new(Company::Nobody);
    // The lowest of its range is what the panel takes first.
    let shop = Foreign::on(&fleet, 0, 30000);
    let made = fleet.try_create(Game::Ledger, Place::Cluster(0), &json!({})).expect(201);
    fleet.adopt(Game::Ledger, &made);
    drop(shop);
    let port = fleet.server()["allocation"]["port"].as_u64().unwrap();
    assert_eq!((port, rows(&fleet, 0)), (30001, vec![30001]));

    let shop = Foreign::on(&fleet, 1, port);
    fleet.migrated(Place::Cluster(1), &json!({}));
    drop(shop);
    let port = fleet.server()["allocation"]["port"].as_u64().unwrap();
    assert_eq!((port, rows(&fleet, 1), rows(&fleet, 0)), (30002, vec![30002], vec![]));
    assert_eq!(service(&fleet, 1)["spec"]["ports"][0]["nodePort"], port);
    fleet.power("start");
    fleet.wait_status("running");
    eventually("the game answers there", SLOW, || gets_in(&fleet.address()).then_some(()));
}
