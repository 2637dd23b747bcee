//! What is called off or fails before the pivot, in whatever step, leaves the server where it was and no object behind.
//! What a hand deletes meanwhile is not lost.

use std::cell::RefCell;
use std::thread;

use serde_json::{Value, json};

use super::fleet::SLOW;
use super::moment::{Moment, STEPS};
use super::{Fleet, Place};
use crate::harness::api::Answer;

/// Before the target may start: whatever happens in them is taken back.
fn before_the_start() -> &'static [&'static str] {
    let start = STEPS.iter().position(|step| *step == "start_target").unwrap();
    &STEPS[..start]
}

/// Asks for it while the panel stands still, so that it is asked in this step and in no other.
fn call_off(fleet: &Fleet, moment: &Moment<'_>) -> Answer {
    let (api, path) = (&fleet.api, format!("/admin/transfers/{}/cancel", moment.transfer));
    thread::scope(|scope| {
        let asked = scope.spawn(|| api.post(&path, &json!({})));
        moment.go_on();
        asked.join().unwrap()
    })
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_migration_that_is_called_off_in_any_step_leaves_no_object_behind() {
    let fleet = Fleet::playing(Place::Cluster(0));
    for step in &STEPS[..8] {
        let answer = RefCell::new(None);
        let ended = fleet.strike(step, &json!({}), |it| drop(answer.replace(Some(call_off(&fleet, it)))));
        let answer = answer.take().unwrap();
        // Where players may be on the target it is refused, and the migration goes on.
        let accepted = matches!(answer.status, 200 | 202);
        assert_eq!(ended["state"] == "rolled_back", accepted, "{answer:?}: {ended}");
        assert!(accepted || !before_the_start()[..4].contains(step), "{step}: {answer:?}");
        assert!(!accepted || ended["failure"]["code"] == "cancelled", "{ended}");
    }
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
    crate::harness::eventually("the pod's end", SLOW, || {
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
