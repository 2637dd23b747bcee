//! Statuses as clusters of version 1.34 write them.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

fn deployment(conditions: &Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "game", "generation": 2},
        "spec": {"replicas": 1, "selector": {}, "template": {}},
        "status": {"observedGeneration": 2, "updatedReplicas": 1, "conditions": conditions},
    }))
    .unwrap()
}

fn pod(status: &Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "game-1"}, "spec": {"containers": []}, "status": status}))
        .unwrap()
}

fn container(name: &str, state: &Value) -> Value {
    json!({"name": name, "image": "example/game:1", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}

fn event(kind: &str, reason: &str, message: &str) -> Event {
    let about = json!({"kind": kind});
    serde_json::from_value(json!({"metadata": {}, "involvedObject": about, "reason": reason, "message": message}))
        .unwrap()
}

fn seen(pod_status: &Value) -> Seen {
    Seen { deployment: Some(deployment(&json!([]))), pods: vec![pod(pod_status)], ..Seen::default() }
}

fn unscheduled(message: &str) -> Value {
    json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message},
    ]})
}

fn with(containers: &Value) -> Seen {
    seen(&json!({"phase": "Pending", "containerStatuses": containers}))
}

fn running() -> Value {
    json!({"running": {"startedAt": "2026-11-22T12:00:00Z"}})
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"waiting": {"reason": reason, "message": message}})
}

fn message(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Doubt(error) | Verdict::Refused(error) => error.message.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_is_up_when_mover_and_game_run() {
    let both = with(&json!([container("mover", &running()), container("game", &running())]));
    assert_eq!(verdict(&both, true), Verdict::Up);
    let half = with(&json!([container("mover", &running()), container("game", &waiting("ContainerCreating", ""))]));
    assert!(matches!(verdict(&half, true), Verdict::Wait(_)));
    assert_eq!(verdict(&half, false), Verdict::Up, "a server that is only read");
}

#[test]
fn a_pod_of_the_template_before_is_not_the_one_that_was_asked_for() {
    let mut old = with(&json!([container("mover", &running()), container("game", &running())]));
    old.deployment.as_mut().unwrap().status.as_mut().unwrap().observed_generation = Some(1);
    assert!(matches!(verdict(&old, true), Verdict::Wait(_)));
    let mut going = with(&json!([container("mover", &running()), container("game", &running())]));
    going.pods[0].metadata.deletion_timestamp = serde_json::from_value(json!("2026-11-22T12:00:00Z")).unwrap();
    assert!(matches!(verdict(&going, true), Verdict::Wait(_)));
}

#[test]
fn memory_that_no_node_has_is_doubted_and_then_believed() {
    let seen =
        seen(&unscheduled("0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available"));
    let verdict = verdict(&seen, true);
    assert!(matches!(&verdict, Verdict::Doubt(error) if error.code == ErrorCode::Conflict), "{verdict:?}");
    assert!(message(&verdict).contains("Insufficient memory"));
}

#[test]
fn a_pod_whose_forerunner_still_ends_waits() {
    let seen = seen(&unscheduled("0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules."));
    assert_eq!(verdict(&seen, true), Verdict::Wait("its last pod still ends".to_owned()));
}

#[test]
fn a_node_that_is_being_added_is_waited_for() {
    let mut seen = seen(&unscheduled("0/1 nodes are available: 1 Insufficient cpu."));
    seen.events.push(event("Pod", "TriggeredScaleUp", "pod triggered scale-up: [{group 1->2}]"));
    assert!(matches!(verdict(&seen, true), Verdict::Wait(_)));
}

#[test]
fn a_volume_that_cannot_be_made_says_what_the_provisioner_says() {
    let mut seen = seen(&unscheduled("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."));
    assert!(matches!(verdict(&seen, true), Verdict::Wait(_)), "not before anybody complains");
    let said = "failed to provision volume with StorageClass \"x\": Only support ReadWriteOnce access mode";
    seen.events.push(event("PersistentVolumeClaim", "ProvisioningFailed", said));
    assert!(message(&verdict(&seen, true)).contains("Only support ReadWriteOnce"));
    seen.events.push(event("PersistentVolumeClaim", "ProvisioningFailed", "rpc error: insufficient capacity in pool"));
    assert!(matches!(verdict(&seen, true), Verdict::Doubt(error) if error.code == ErrorCode::NoSpace));
}

fn replica_failure(said: &str) -> Seen {
    let conditions = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": said}]);
    Seen { deployment: Some(deployment(&conditions)), ..Seen::default() }
}

#[test]
fn quota_limit_range_and_pod_security_are_refusals_with_their_cure() {
    let cases = [
        (
            "pods \"game-1\" is forbidden: exceeded quota: small, requested: requests.memory=576Mi, used: requests.memory=0, limited: requests.memory=100Mi",
            "ResourceQuota",
        ),
        ("pods \"game-1\" is forbidden: maximum memory usage per Container is 256Mi, but limit is 512Mi", "LimitRange"),
        (
            "pods \"game-1\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
            "restricted",
        ),
    ];
    for (said, cure) in cases {
        let verdict = verdict(&replica_failure(said), true);
        assert!(matches!(&verdict, Verdict::Refused(error) if error.code == ErrorCode::Conflict), "{verdict:?}");
        assert!(message(&verdict).contains(said) && message(&verdict).contains(cure), "{verdict:?}");
    }
}

#[test]
fn a_namespace_that_is_seconds_old_is_given_time() {
    for said in [
        "pods \"game-1\" is forbidden: error looking up service account bp-1/default: serviceaccount \"default\" not found",
        "pods \"game-1\" is forbidden: status unknown for quota: small, resources: pods",
    ] {
        assert!(matches!(verdict(&replica_failure(said), true), Verdict::Wait(_)), "{said}");
    }
}

#[test]
fn an_image_that_is_not_there_is_told_from_a_registry_that_is_silent() {
    let game = |reason: &str, said: &str| {
        verdict(&with(&json!([container("mover", &running()), container("game", &waiting(reason, said))])), true)
    };
    let gone = "failed to resolve reference \"example/game:1\": example/game:1: not found";
    assert!(matches!(game("ErrImagePull", gone), Verdict::Refused(error) if error.code == ErrorCode::ImageMissing));
    let silent = "failed to do request: Head \"https://example\": dial tcp: lookup example: no such host";
    assert!(matches!(game("ErrImagePull", silent), Verdict::Doubt(error) if error.code == ErrorCode::ImageMissing));
    assert!(matches!(game("InvalidImageName", "couldn't parse"), Verdict::Refused(_)));
    assert!(message(&game("ErrImagePull", gone)).contains("example/game:1"));
}

#[test]
fn an_init_container_that_crashes_says_how() {
    let mut init = container("install-launcher", &waiting("CrashLoopBackOff", "back-off 10s"));
    init["lastState"] = json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "read-only volume"}});
    let verdict = verdict(&seen(&json!({"phase": "Pending", "initContainerStatuses": [init]})), true);
    assert!(matches!(&verdict, Verdict::Doubt(error) if error.code == ErrorCode::Unhealthy));
    assert!(message(&verdict).contains("code 1 read-only volume"), "{verdict:?}");
    let config =
        with(&json!([container("mover", &waiting("CreateContainerConfigError", "secret \"mover\" not found"))]));
    assert!(message(&super::verdict(&config, true)).contains("secret \"mover\" not found"));
}

#[test]
fn a_volume_that_is_being_deleted_is_never_started_on() {
    let mut seen = with(&json!([container("mover", &running()), container("game", &running())]));
    let going = json!({"metadata": {"name": "data-1", "deletionTimestamp": "2026-11-22T12:00:00Z"}});
    seen.claim = Some(serde_json::from_value(going).unwrap());
    assert!(matches!(verdict(&seen, true), Verdict::Refused(_)));
}

#[test]
fn a_refusal_from_before_is_not_believed_and_the_next_one_is() {
    let said =
        |pod: &str| format!("pods \"{pod}\" is forbidden: exceeded quota: small, requested: pods=1, limited: pods=0");
    let seen = |outdated: Option<String>| Seen { outdated, ..replica_failure(&said("game-1")) };
    assert!(matches!(verdict(&seen(None), true), Verdict::Refused(_)));
    assert!(matches!(verdict(&seen(Some(said("game-1"))), true), Verdict::Wait(_)), "it may have been cured");
    assert!(matches!(verdict(&seen(Some(said("game-0"))), true), Verdict::Refused(_)), "this one is of now");
}
