//! What a person does with `kubectl` is told, and costs nothing.

use serde_json::{Value, json};

use super::fleet::SLOW;
use super::{Fleet, Place};
use crate::harness::eventually;

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_what_a_person_changes_by_hand_is_told() {
    let fleet = Fleet::playing(Place::Cluster(0));
    let (kubectl, namespace) = (&fleet.clusters[0].kubectl, format!("bp-{}", fleet.server));
    assert_eq!(fleet.server()["attention"], json!([]));
    let deployment = kubectl.list(&["deployments", "--namespace", &namespace])[0]["metadata"]["name"].clone();
    let scale = ["scale", "deployment", deployment.as_str().unwrap(), "--replicas=0", "--namespace", &namespace];
    kubectl.ok(&scale);
    eventually("the panel tells", SLOW, || {
        let attention = fleet.server()["attention"].as_array().unwrap().clone();
        attention.iter().any(|line| line.as_str().unwrap().contains("scaled by hand")).then_some(())
    });
    // A start puts it right again, and everything is there.
    eventually("the game is seen to be down", SLOW, || (fleet.server()["status"] != "running").then_some(()));
    fleet.power("start");
    fleet.wait_status("running");
    fleet.player().plays_on_within(SLOW);
    fleet.player().assert_all_there(&fleet.address());
    eventually("all is well", SLOW, || (fleet.server()["attention"] == json!([])).then_some(()));
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_volume_that_a_hand_deletes_outlives_the_audit_and_is_kept() {
    let fleet = Fleet::playing(Place::Cluster(0));
    let cluster = &fleet.clusters[0];
    let transfer = fleet.migrate(Place::Cluster(1), &json!({"bandwidth_limit": 1 << 20}));
    fleet.wait_copying(&transfer);
    let claims = || -> Vec<Value> { cluster.kubectl.list(&["pvc", "--namespace", &format!("bp-{}", fleet.server)]) };
    let name = claims()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    cluster.kubectl.ok(&["delete", "pvc", &name, "--namespace", &format!("bp-{}", fleet.server), "--wait=false"]);
    let ended = fleet.wait_final(&transfer);
    assert_eq!(ended["state"], "completed", "{ended}");
    // Its pod is gone, and with it all that the cluster itself would have waited for.
    eventually("the pod's end", SLOW, || {
        let kinds = cluster.kinds(&fleet.server);
        (!kinds.contains(&"Pod".to_owned())).then_some(())
    });
    let kept = claims();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0]["metadata"]["labels"]["badgerpanel.io/retained"], transfer.as_str(), "{kept:?}");
    assert_eq!(
        (&kept[0]["metadata"]["name"], &kept[0]["status"]["phase"]),
        (&json!(name), &json!("Bound")),
        "{kept:?}"
    );
    assert!(kept[0]["metadata"]["deletionTimestamp"].is_string(), "{kept:?}");
    fleet.assert_outcome(&ended, Place::Cluster(0), Place::Cluster(1));
}
