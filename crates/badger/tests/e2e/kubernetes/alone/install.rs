//! How an orchestrator is installed: the manifest and the chart agree, what they allow is enough and no more.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::cluster::SYSTEM;
use super::super::kubectl::{Kubectl, given};
use super::{Company, Fleet};

const TEMPLATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/kubernetes/orchestrator.yaml");
const IMAGE: &str = "example.org/badger:1";

/// What differs on purpose: who installed it, and how it is upgraded.
const OF_THE_INSTALLER: [&str; 7] = [
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "helm.sh/chart",
    "helm.sh/resource-policy",
    "checksum/config",
    "kubectl.kubernetes.io/last-applied-configuration",
];

/// Objects by kind and name, without what is the installer's.
fn objects(kubectl: &Kubectl, manifest: &str) -> BTreeMap<String, Value> {
    let args = ["create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-"];
    let text = kubectl.fed(&args, manifest);
    let stream = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let all = stream.map(Result::unwrap).flat_map(|it| match it["kind"].as_str() {
        Some("List") => it["items"].as_array().unwrap().clone(),
        _ => vec![it],
    });
    all.map(|object| (format!("{} {}", object["kind"], object["metadata"]["name"]), plain(object))).collect()
}

fn plain(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(name, _)| !OF_THE_INSTALLER.contains(&name.as_str()));
            let fields: Map<String, Value> = kept.map(|(name, value)| (name, plain(value))).collect();
            // An empty map of annotations says what none says.
            let said = fields.into_iter().filter(|(name, value)| name != "annotations" || *value != json!({}));
            Value::Object(said.collect())
        }
        Value::Array(all) => Value::Array(all.into_iter().map(plain).collect()),
        other => other,
    }
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_the_manifest_and_the_chart_make_the_same_objects() {
    let kubectl = Kubectl::of("a");
    let template = std::fs::read_to_string(TEMPLATE).unwrap();
    let filled = [("{{PANEL_URL}}", "https://panel.example"), ("{{TOKEN}}", "bpe_x"), ("{{IMAGE}}", IMAGE)];
    let manifest = filled.iter().fold(template, |text, (gap, value)| text.replace(gap, value));
    let (repository, tag) = IMAGE.rsplit_once(':').unwrap();
    let chart = kubectl.shell(&format!(
        "helm template badgerpanel-orchestrator ./badgerpanel-orchestrator --namespace {SYSTEM} --set namespace.create=true \
         --set panelUrl=https://panel.example --set token=bpe_x --set image.repository={repository} --set-string image.tag={tag} \
         --kube-version 1.34.0"
    ));
    let (left, right) = (objects(&kubectl, &manifest), objects(&kubectl, &chart));
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>());
    for (name, object) in &left {
        assert_eq!(object, &right[name], "{name}");
    }
    assert!(left.len() > 10, "{:?}", left.keys());
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_the_chart_refuses_values_that_it_would_not_understand() {
    let kubectl = Kubectl::of("a");
    let values = "./badgerpanel-orchestrator --set panelUrl=https://panel.example";
    let template = format!("helm template it {values} --kube-version 1.34.0");
    kubectl.shell(&format!("helm lint --strict {values}"));
    kubectl.shell(&template);
    for wrong in [
        "panelUrl=panel.example",
        "networking.serviceType=ClusterIP",
        "networking.dataService=yes",
        "networking.nodeportRangeStart=40000",
        "storage.class=fast",
        "namespacePrefix=bp",
    ] {
        let refused = format!("! {template} --set {wrong}");
        kubectl.shell(&refused);
    }
}

/// As the orchestrator's account.
fn as_orchestrator(kubectl: &Kubectl, args: &[&str], input: &str) -> Result<String, String> {
    let account = format!("--as=system:serviceaccount:{SYSTEM}:badger-orchestrator");
    let more = [account.as_str(), "--as-group=system:serviceaccounts", "--as-group=system:authenticated"];
    let output = kubectl.feed(&[args, &more].concat(), input);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_an_orchestrator_is_restricted_writes_only_where_it_made_the_namespace_and_is_installed_again_as_itself() {
    let fleet = Fleet::new(Company::Nobody);
    runs_restricted(&fleet);
    writes_only_in_namespaces_that_it_made(&fleet);
    keeps_its_identity_when_it_is_installed_again(&fleet);
}

fn writes_only_in_namespaces_that_it_made(fleet: &Fleet) {
    for cluster in &fleet.clusters {
        let kubectl = &cluster.kubectl;
        let apply = ["apply", "--server-side", "--field-manager=badger-orchestrator", "-f", "-"];
        let namespace = |name: &str, by: &str| {
            let labels = json!({"app.kubernetes.io/managed-by": by});
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}).to_string()
        };
        let secret = |namespace: &str| {
            let meta = json!({"name": "word", "namespace": namespace});
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"a": "b"}}).to_string()
        };
        let may = |input: &str| as_orchestrator(kubectl, &apply, input).unwrap();
        let may_not = |input: &str| {
            let refusal = as_orchestrator(kubectl, &apply, input).unwrap_err();
            assert!(refusal.contains("writes only in namespaces"), "{refusal}");
        };
        may(&namespace("bp-mine", "badgerpanel"));
        may(&secret("bp-mine"));
        may_not(&namespace("mine", "badgerpanel"));
        may_not(&namespace("bp-unmarked", "somebody"));
        for other in ["default", "kube-system", SYSTEM] {
            may_not(&secret(other));
        }
        kubectl.ok(&["create", "namespace", "bp-foreign"]);
        may_not(&namespace("bp-foreign", "badgerpanel"));
        may_not(&secret("bp-foreign"));
        let forbidden = |args: &[&str]| assert!(as_orchestrator(kubectl, args, "").is_err(), "{args:?}");
        forbidden(&["delete", "namespace", "bp-foreign"]);
        forbidden(&["delete", "namespace", SYSTEM]);
        forbidden(&["get", "secrets", "--namespace", "bp-mine"]);
        forbidden(&["get", "secret", "badger-orchestrator-enrolment", "--namespace", SYSTEM]);
        forbidden(&["delete", "secret", "badger-orchestrator", "--namespace", SYSTEM]);
        as_orchestrator(kubectl, &["delete", "namespace", "bp-mine"], "").unwrap();
        kubectl.ok(&["delete", "namespace", "bp-foreign"]);
    }
}

fn keeps_its_identity_when_it_is_installed_again(fleet: &Fleet) {
    let cluster = &fleet.clusters[0];
    let identity = || {
        let secret = cluster.kubectl.json(&["get", "secret", "badger-orchestrator", "--namespace", SYSTEM]);
        secret["data"].clone()
    };
    let before = identity();
    assert!(before.as_object().is_some_and(|data| !data.is_empty()), "it is filled at the first start");
    let again = fleet.api.post(&format!("/admin/clusters/{}/enrolment-token", cluster.id), &json!({})).expect(201);
    let command = again["enrolment"]["command"].as_str().unwrap_or_else(|| panic!("{again}"));
    cluster.kubectl.shell(command);
    cluster.restart_orchestrator(&fleet.api);
    assert_eq!(identity(), before);
    let clusters = fleet.api.get("/admin/clusters").expect(200);
    assert_eq!(clusters.as_array().unwrap().len(), 2, "no second cluster came of it: {clusters}");
}

fn runs_restricted(fleet: &Fleet) {
    for cluster in &fleet.clusters {
        let label = "pod-security.kubernetes.io/enforce=restricted";
        let answer = cluster.kubectl.ok(&["label", "--dry-run=server", "--overwrite", "namespace", SYSTEM, label]);
        assert!(!answer.contains("violate"), "{answer}");
    }
    assert!(given("BADGER_TEST_KUBE_A") != given("BADGER_TEST_KUBE_B"));
}
