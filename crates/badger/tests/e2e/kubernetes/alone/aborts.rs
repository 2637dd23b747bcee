//! What is called off or fails before the pivot, in whatever step, leaves the server where it was and no object behind.

use std::cell::RefCell;
use std::thread;

use serde_json::json;

use super::{Fleet, Moment, Place, STEPS};
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
    let fleet = Fleet::playing_alone(Place::Cluster(0));
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
