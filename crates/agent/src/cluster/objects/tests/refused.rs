//! Why a server cannot be raised: found out by trying, with real schedulers and admissions, and said with its cure.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use model::agent_api::{CheckLevel, ErrorCode};
use serde_json::{Value, json};

use super::*;

async fn refusal(stage: &Stage) -> AgentError {
    let transfer = TransferId::new();
    let error = stage.raise(Some(transfer)).await.unwrap_err();
    stage.objects.remove_target(stage.server(), transfer).await.unwrap();
    error
}

async fn first_error(stage: &Stage, code: &str) -> String {
    first(stage, code, CheckLevel::Error).await
}

async fn first(stage: &Stage, code: &str, level: CheckLevel) -> String {
    let checks = stage.objects.check(&stage.spec, 1 << 20, 10).await;
    let found = checks.iter().find(|check| check.code == code && check.level == level);
    found.unwrap_or_else(|| panic!("{checks:?}")).message.clone()
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_too_large_for_every_node_say_what_is_short() {
    let mut stage = Stage::new().await;
    stage.spec.limits.memory_mb = 4 << 20;
    let error = refusal(&stage).await;
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains("Insufficient memory"), "{error}");
    assert!(error.message.contains("it asks for 4194368 MiB"), "with the mover's: {error}");
    assert!(error.message.contains("MiB and"), "what the node has: {error}");
    assert!(first_error(&stage, "cluster_nodes").await.contains("no node can take its pod"));
    assert_eq!(stage.audit().await, Vec::<String>::new());
}

/// A namespace that was there before, for what a cluster's admin puts into it.
async fn with_namespace(stage: &Stage) -> String {
    let space = stage.objects.space(stage.server());
    let labels = json!({names::MANAGED_BY: names::US});
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space, "labels": labels}});
    api::apply::<Namespace>(&stage.objects.namespaces(), &namespace).await.unwrap();
    space
}

async fn with_quota(stage: &Stage, hard: &Value) {
    let space = with_namespace(stage).await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "small", "namespace": space}, "spec": {"hard": hard},
    });
    let quotas = stage.api::<ResourceQuota>();
    api::apply::<ResourceQuota>(&quotas, &quota).await.unwrap();
    until("a quota that is counted", || async {
        let quota = api::get(&quotas, "small").await.unwrap().unwrap();
        quota.status.is_some_and(|status| status.hard.is_some())
    })
    .await;
}

/// The namespace is older than the transfer, so it stays when the attempt is taken back.
async fn leave_only_the_namespace(stage: &Stage) {
    let left = stage.audit().await;
    assert!(left.iter().all(|object| object.starts_with("Namespace")), "it was not this transfer's: {left:?}");
    stage.leave_nothing().await;
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_over_their_quota_name_it() {
    let stage = Stage::new().await;
    with_quota(&stage, &json!({"requests.memory": "32Mi"})).await;
    assert!(first_error(&stage, "cluster_quota").await.contains("small"));
    let error = refusal(&stage).await;
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains("exceeded quota: small"), "{error}");
    assert!(error.message.contains("raise the ResourceQuota"), "{error}");
    leave_only_the_namespace(&stage).await;
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_over_a_limit_range_name_it() {
    let stage = Stage::new().await;
    let space = with_namespace(&stage).await;
    let range = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "tiny", "namespace": space},
        "spec": {"limits": [{"type": "Container", "max": {"memory": "8Mi"}}]},
    });
    api::apply::<LimitRange>(&stage.api::<LimitRange>(), &range).await.unwrap();
    assert!(first_error(&stage, "cluster_limit_range").await.contains("8 MiB of memory at most"));
    let error = refusal(&stage).await;
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains("maximum memory usage per Container is 8Mi"), "{error}");
    assert!(error.message.contains("change the LimitRange"), "{error}");
    leave_only_the_namespace(&stage).await;
}

/// A policy of the company that runs the cluster; it binds this server's namespace alone.
async fn with_policy(stage: &Stage, message: &str) {
    let (space, name) = (stage.objects.space(stage.server()), stage.server().to_string());
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space}},
                "resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
                ],
            },
            "validations": [{"expression": "false", "message": message}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]},
    });
    let client = &stage.objects.client;
    api::apply::<ValidatingAdmissionPolicy>(&Api::all(client.clone()), &policy).await.unwrap();
    api::apply::<ValidatingAdmissionPolicyBinding>(&Api::all(client.clone()), &binding).await.unwrap();
}

async fn without_policy(stage: &Stage) {
    let (client, name) = (&stage.objects.client, stage.server().to_string());
    api::delete(&Api::<ValidatingAdmissionPolicyBinding>::all(client.clone()), &name).await.unwrap();
    api::delete(&Api::<ValidatingAdmissionPolicy>::all(client.clone()), &name).await.unwrap();
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_that_a_policy_refuses_say_what_it_said() {
    const MESSAGE: &str = "images come from the company's registry only";
    let stage = Stage::new().await;
    with_namespace(&stage).await;
    with_policy(&stage, MESSAGE).await;
    // A policy holds some seconds after it was made; until then a pod of this namespace is let in.
    let pods = stage.api::<Pod>();
    let probe = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "namespace": stage.objects.space(stage.server())},
        "spec": {"containers": [{"name": "probe", "image": "badger.local/nothing:1"}]},
    });
    until("a policy that holds", || async {
        let refused = api::apply::<Pod>(&pods, &probe).await.is_err();
        if !refused {
            api::delete(&pods, "probe").await.unwrap();
        }
        refused
    })
    .await;
    let error = refusal(&stage).await;
    without_policy(&stage).await;
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains(MESSAGE), "{error}");
    leave_only_the_namespace(&stage).await;
}

/// The cluster's own word, asked as its admin: may a pod like the server's be made now?
async fn lets_pods_be_made(stage: &Stage) -> bool {
    let deployment = api::get::<Deployment>(&stage.api(), names::GAME).await.unwrap().unwrap();
    let spec = deployment.spec.unwrap().template.spec;
    let pod =
        Pod { metadata: ObjectMeta { name: Some("like-it".to_owned()), ..ObjectMeta::default() }, spec, status: None };
    stage.api::<Pod>().create(&PostParams { dry_run: true, field_manager: None }, &pod).await.is_ok()
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_are_made_at_once_when_their_quota_was_lifted() {
    let stage = Stage::new().await;
    with_quota(&stage, &json!({"pods": "0"})).await;
    let error = stage.raise(None).await.unwrap_err();
    assert!(error.message.contains("exceeded quota: small"), "{error}");
    let error = stage.raise(None).await.unwrap_err();
    assert!(error.message.contains("exceeded quota: small"), "asked anew, and refused anew: {error}");
    stage.kubectl(&["delete", "quota", "small"]);
    until("the end of the quota", || lets_pods_be_made(&stage)).await;
    stage.raise(None).await.unwrap();
    assert_eq!(stage.known().await.unwrap().attention, Vec::<String>::new(), "nor is the old reason told any more");
    stage.leave_nothing().await;
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_without_their_image_say_which() {
    let mut stage = Stage::new().await;
    stage.spec.image = "badger.local/nothing:1".to_owned();
    let error = refusal(&stage).await;
    assert_eq!(error.code, ErrorCode::ImageMissing);
    assert!(error.message.contains("badger.local/nothing:1"), "{error}");
    assert_eq!(stage.audit().await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_without_their_storage_class_are_not_begun() {
    let stage = Stage::with(|config| config.storage_class = Some("gold".to_owned())).await;
    let error = refusal(&stage).await;
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains("no storage class `gold`") && error.message.contains("`local-path`"), "{error}");
    assert!(first_error(&stage, "cluster_storage").await.contains("gold"));
    assert_eq!(stage.audit().await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_whose_volume_nobody_makes_are_waited_for_and_say_so() {
    let name = format!("nobodys-{}", ServerId::new());
    let stage = Stage::with(|config| {
        config.storage_class = Some(name.clone());
        config.patience.raise = Duration::from_secs(10);
    })
    .await;
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
        "provisioner": "nobody.example/nothing",
    });
    let classes = Api::<StorageClass>::all(stage.objects.client.clone());
    api::apply::<StorageClass>(&classes, &class).await.unwrap();
    let error = refusal(&stage).await;
    api::delete(&classes, &name).await.unwrap();
    assert_eq!(error.code, ErrorCode::Internal, "time may help");
    assert!(error.message.contains("after 10 s") && error.message.contains("nobody.example/nothing"), "{error}");
    assert_eq!(stage.audit().await, Vec::<String>::new());
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_whose_port_is_taken_say_whose_it_is() {
    let first = Stage::new().await;
    first.raise(None).await.unwrap();
    let mut second = Stage::new().await;
    second.spec.allocations[0].port = first.spec.allocations[0].port;
    let error = refusal(&second).await;
    assert_eq!(error.code, ErrorCode::PortTaken);
    let taken = self::first(&second, "cluster_ports", CheckLevel::Warning).await;
    assert!(taken.contains(&first.objects.space(first.server())), "{taken}");
    second.spec.allocations[0].port = 25565;
    let error = refusal(&second).await;
    assert_eq!(error.code, ErrorCode::PortTaken);
    assert!(error.message.contains("valid range"), "{error}");
    assert_eq!(second.audit().await, Vec::<String>::new());
    first.leave_nothing().await;
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_whose_api_server_is_away_are_waited_for() {
    let mut stage = Stage::new().await;
    let config = Config::new("https://127.0.0.1:9".parse().unwrap());
    stage.objects.client = Client::try_from(config).unwrap();
    let error = stage.raise(None).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unreachable);
    let checks = stage.objects.check(&stage.spec, 1, 1).await;
    assert!(checks.iter().any(|check| check.level == CheckLevel::Error && check.message.contains("cannot be reached")));
}
