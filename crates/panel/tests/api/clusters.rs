//! Clusters: made, installed, given servers, ports made for them, moved to and from, and what is refused.

use std::sync::Arc;

use model::agent_api::{
    AgentError, Check, CheckLevel, ClusterFacts, ErrorCode, Hello, Outcome, Reply, Request, TransferAction,
};
use model::{NodeId, RuntimeKind, ServerObservation, ServerStatus};
use serde_json::{Value, json};

use crate::agent::{SECRET, Script, TestAgent, answers, dial, done, greet, hello};
use crate::harness::{Panel, http, new_server, until};

const CLUSTERS: &str = "/api/v1/admin/clusters";
pub(crate) const SERVERS: &str = "/api/v1/admin/servers";
pub(crate) const ALLOCATIONS: &str = "/api/v1/admin/allocations";

/// As an orchestrator says it: ports 30000 to 30004, no data address of its own.
pub(crate) fn orchestrator() -> Hello {
    let facts = ClusterFacts {
        version: "v1.34.4".to_owned(),
        nodes: 2,
        address: "203.0.113.7".to_owned(),
        node_ports: Some((30000, 30004)),
        storage_class: "standard".to_owned(),
    };
    Hello { runtime: RuntimeKind::Kubernetes, data_address: String::new(), cluster: Some(facts), ..hello(Some(SECRET)) }
}

fn docker() -> Hello {
    Hello { runtime: RuntimeKind::Docker, ..hello(Some(SECRET)) }
}

pub(crate) async fn new_cluster(panel: &Panel, name: &str) -> (String, String) {
    let made = panel.post(CLUSTERS, &json!({"name": name})).await.created();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    (word(&made["id"]), word(&made["enrolment"]["token"]))
}

/// A cluster whose orchestrator is connected.
pub(crate) async fn cluster(panel: &Panel, name: &str, script: Script) -> (String, TestAgent) {
    let (id, token) = new_cluster(panel, name).await;
    let socket = dial(panel.address, &token).await.unwrap();
    (id, TestAgent::start(socket, &orchestrator(), script).await)
}

/// A node whose daemon is connected, with ports of its own.
pub(crate) async fn node(panel: &Panel, name: &str, ports: &str, script: Script) -> (String, TestAgent) {
    let made = panel.new_node(name).await;
    let id = made["id"].as_str().unwrap().to_owned();
    let body = json!({"node_id": id, "ip_address": "10.0.0.5", "ports": [ports]});
    panel.post(ALLOCATIONS, &body).await.created();
    let socket = dial(panel.address, made["enrolment"]["token"].as_str().unwrap()).await.unwrap();
    (id, TestAgent::start(socket, &docker(), script).await)
}

fn well() -> Script {
    Arc::new(|_| done())
}

pub(crate) fn on_cluster(egg: &str, cluster: &str) -> Value {
    json!({
        "name": "survival", "egg_id": egg, "cluster_id": cluster, "memory_limit": 512, "disk_limit": 1000,
        "cpu_limit": 1500, "environment": {"TOKEN": "t"},
    })
}

pub(crate) async fn server(panel: &Panel, body: &Value) -> String {
    let made = panel.post(SERVERS, body).await.created();
    let id = made["id"].as_str().unwrap().to_owned();
    panel.until_status(&id, "offline").await;
    id
}

pub(crate) async fn allocations(panel: &Panel, cluster: &str) -> Vec<u64> {
    let page = panel.get(&format!("{ALLOCATIONS}?filter[cluster_id]={cluster}")).await.ok();
    page.as_array().unwrap().iter().map(|row| row["port"].as_u64().unwrap()).collect()
}

fn observation(server: &str, attention: &[&str]) -> ServerObservation {
    ServerObservation {
        server_id: server.parse().unwrap(),
        status: ServerStatus::Running,
        epoch: model::Epoch(1),
        fenced: false,
        since: model::Timestamp::UNIX_EPOCH,
        exit_code: None,
        attention: attention.iter().map(|line| (*line).to_owned()).collect(),
    }
}

#[tokio::test]
async fn a_cluster_is_made_installed_changed_and_removed() {
    let panel = Panel::start().await;
    let made = panel.post(CLUSTERS, &json!({"name": "eu"})).await.created();
    let (id, token) = (made["id"].as_str().unwrap(), made["enrolment"]["token"].as_str().unwrap());
    assert_eq!((&made["status"], &made["facts"], &made["address"]), (&json!("pending"), &Value::Null, &Value::Null));
    let url = format!("http://{}/api/v1/clusters/install.yaml?token={token}", panel.address);
    assert_eq!(made["enrolment"]["command"], format!("kubectl apply -f \"{url}\""));
    assert!(made["enrolment"]["helm_command"].as_str().unwrap().starts_with("helm upgrade --install"));

    let socket = dial(panel.address, token).await.unwrap();
    let _agent = TestAgent::start(socket, &orchestrator(), well()).await;
    let at = format!("{CLUSTERS}/{id}");
    let shown = panel.get(&at).await.ok();
    assert_eq!((&shown["status"], &shown["online"]), (&json!("online"), &json!(true)));
    assert_eq!((&shown["address"], &shown["version"]), (&json!("203.0.113.7"), &json!("test")));
    assert_eq!(shown["facts"]["node_ports"], json!({"first": 30000, "last": 30004}));
    assert_eq!(shown["usage"]["memory_mb"], json!({"total": 0, "allocated": 0, "free": null}));
    assert_eq!(panel.get(CLUSTERS).await.body()["meta"]["total"], 1);
    assert_eq!(panel.get("/api/v1/admin/nodes").await.body()["meta"]["total"], 0);
    panel.get(&format!("/api/v1/admin/nodes/{id}")).await.error(404, "not_found");

    let change = r#"{"name": "eu-west", "cordoned": true, "cpu_millicores": 8000, "address": "play.example.org"}"#;
    let changed = panel.send("PATCH", &at, &[], change).await.ok();
    assert_eq!((&changed["name"], &changed["status"]), (&json!("eu-west"), &json!("maintenance")));
    assert_eq!(changed["usage"]["cpu_millicores"]["total"], 8000);
    assert_eq!(changed["address"], "play.example.org");
    let back = panel.send("PATCH", &at, &[], r#"{"address": null, "cordoned": false}"#).await.ok();
    assert_eq!((&back["address"], &back["name"]), (&json!("203.0.113.7"), &json!("eu-west")));
    panel.delete(&at).await.no_content();
    panel.get(&at).await.error(404, "not_found");
}

#[tokio::test]
async fn bad_clusters_are_refused_by_field_and_a_name_is_unique_among_nodes_too() {
    let panel = Panel::start().await;
    let make = async |body: Value| panel.post(CLUSTERS, &body).await;
    make(json!({})).await.invalid(&["name"]);
    make(json!({"name": ""})).await.invalid(&["name"]);
    make(json!({"name": "a", "address": "two words"})).await.invalid(&["address"]);
    make(json!({"name": "a", "cpu_millicores": 1505})).await.invalid(&["cpu_millicores"]);
    make(json!({"name": "a", "memory_mb": -1})).await.invalid(&["memory_mb"]);
    make(json!({"name": "a", "kind": "node"})).await.invalid(&["kind"]);
    panel.new_node("taken").await;
    make(json!({"name": "taken"})).await.error(409, "name_taken");
    let (id, _) = new_cluster(&panel, "eu").await;
    let change = async |body: &str| panel.send("PATCH", &format!("{CLUSTERS}/{id}"), &[], body).await;
    change(r#"{"name": "taken"}"#).await.error(409, "name_taken");
    change(r#"{"cpu_millicores": 5}"#).await.invalid(&["cpu_millicores"]);
    change(r#"{"address": ""}"#).await.invalid(&["address"]);
    let unknown = format!("{CLUSTERS}/{}", NodeId::new());
    panel.send("PATCH", &unknown, &[], "{}").await.error(404, "not_found");
    panel.post(&format!("{unknown}/enrolment-token"), &json!({})).await.error(404, "not_found");
}

#[tokio::test]
async fn keys_need_the_permission_for_clusters() {
    let panel = Panel::start().await;
    let body = json!({"name": "weak", "scopes": ["admin.nodes.*", "admin.servers.*"]});
    let weak = panel.post("/api/v1/admin/api-keys", &body).await.created()["key"].as_str().unwrap().to_owned();
    let (id, _) = new_cluster(&panel, "eu").await;
    let at = format!("{CLUSTERS}/{id}");
    for (method, path, body) in [
        ("GET", CLUSTERS.to_owned(), ""),
        ("POST", CLUSTERS.to_owned(), r#"{"name": "x"}"#),
        ("GET", at.clone(), ""),
        ("PATCH", at.clone(), "{}"),
        ("POST", format!("{at}/enrolment-token"), "{}"),
        ("DELETE", at, ""),
    ] {
        panel.send_as(&weak, method, &path, &[], body).await.error(403, "forbidden");
    }
    let none = panel.post("/api/v1/admin/api-keys", &json!({"name": "none", "scopes": ["admin.clusters.*"]})).await;
    let none = none.created()["key"].as_str().unwrap().to_owned();
    let preflight = format!("{SERVERS}/{}/transfer/preflight", NodeId::new());
    panel.send_as(&none, "POST", &preflight, &[], "{}").await.error(403, "forbidden");
}

#[tokio::test]
async fn the_manifest_is_for_whoever_has_a_token_of_a_cluster() {
    let panel = Panel::start().await;
    let (id, token) = new_cluster(&panel, "eu").await;
    let fetch = async |query: &str| {
        http(panel.address, "GET", &format!("/api/v1/clusters/install.yaml{query}"), &[], b"").await
    };
    let manifest = fetch(&format!("?token={token}")).await;
    assert_eq!((manifest.status, manifest.headers["content-type"].as_str()), (200, "application/yaml"));
    assert!(manifest.text.contains(&token) && manifest.text.contains(&format!("http://{}", panel.address)));
    assert!(!manifest.text.contains("{{"), "{}", manifest.text);

    let nodes = panel.new_node("n").await["enrolment"]["token"].as_str().unwrap().to_owned();
    for query in ["", "?token=", "?token=bpe_wrong", "?other=1", "?token=%ff", &format!("?token={nodes}")] {
        let refused = fetch(query).await;
        assert_eq!(refused.status, 404, "{query}: {refused:?}");
        assert!(refused.headers["content-type"].starts_with("text/plain"), "{refused:?}");
        assert!(refused.text.contains("join-command"), "{refused:?}");
    }
    // A newer token makes the older one worth nothing.
    panel.post(&format!("{CLUSTERS}/{id}/enrolment-token"), &json!({})).await.created();
    assert_eq!(fetch(&format!("?token={token}")).await.status, 404);
}

#[tokio::test]
async fn a_token_for_the_other_kind_of_agent_is_refused_and_stays_good() {
    let panel = Panel::start().await;
    let (_, clusters) = new_cluster(&panel, "eu").await;
    let nodes = panel.new_node("n").await["enrolment"]["token"].as_str().unwrap().to_owned();
    for (token, wrong, right) in [(&clusters, docker(), orchestrator()), (&nodes, orchestrator(), docker())] {
        let mut socket = dial(panel.address, token).await.unwrap();
        let goodbye = greet(&mut socket, &wrong).await.unwrap_err();
        assert_eq!(u16::from(goodbye.code), 4403, "{goodbye:?}");
        assert!(goodbye.reason.contains("badger"), "{goodbye:?}");
        let mut socket = dial(panel.address, token).await.unwrap();
        greet(&mut socket, &right).await.unwrap();
    }
}

#[tokio::test]
async fn an_orchestrator_that_tells_nonsense_of_its_cluster_is_refused() {
    let panel = Panel::start().await;
    let (_, token) = new_cluster(&panel, "eu").await;
    let with = |change: fn(&mut ClusterFacts)| {
        let mut hello = orchestrator();
        hello.cluster.as_mut().map(change);
        hello
    };
    for hello in [
        Hello { cluster: None, ..orchestrator() },
        with(|facts| facts.node_ports = Some((30004, 30000))),
        with(|facts| facts.node_ports = Some((0, 10))),
        with(|facts| facts.address = String::new()),
    ] {
        let mut socket = dial(panel.address, &token).await.unwrap();
        assert_eq!(u16::from(greet(&mut socket, &hello).await.unwrap_err().code), 4400);
    }
}

#[tokio::test]
async fn ports_are_made_when_servers_need_them_and_go_with_them() {
    let panel = Panel::start().await;
    let (eu, _agent) = cluster(&panel, "eu", well()).await;
    let egg = panel.egg().await;
    let first = server(&panel, &on_cluster(&egg, &eu)).await;
    server(&panel, &on_cluster(&egg, &eu)).await;
    assert_eq!(allocations(&panel, &eu).await, [30000, 30001]);
    panel.delete(&format!("{CLUSTERS}/{eu}")).await.error(409, "cluster_in_use");
    panel.delete(&format!("{SERVERS}/{first}")).await.no_content();
    assert_eq!(allocations(&panel, &eu).await, [30001]);
    for _ in 0..4 {
        server(&panel, &on_cluster(&egg, &eu)).await;
    }
    assert_eq!(allocations(&panel, &eu).await, [30000, 30001, 30002, 30003, 30004]);
    panel.post(SERVERS, &on_cluster(&egg, &eu)).await.error(422, "allocation_none_free");
}

#[tokio::test]
async fn ports_can_be_made_and_picked_by_hand_within_the_range() {
    let panel = Panel::start().await;
    let (eu, _agent) = cluster(&panel, "eu", well()).await;
    let add = async |body: Value| panel.post(ALLOCATIONS, &body).await;
    let made = add(json!({"cluster_id": eu, "ports": ["30003"]})).await.created();
    assert_eq!((&made[0]["cluster_id"], &made[0]["node_id"]), (&json!(eu), &Value::Null));
    assert_eq!(made[0]["ip_address"], "203.0.113.7");
    let details = add(json!({"cluster_id": eu, "ports": ["30004-30005"]})).await.error(422, "port_out_of_range");
    assert_eq!(details, json!({"first": 30000, "last": 30004}));
    add(json!({"cluster_id": eu, "ip_address": "10.0.0.1", "ports": ["30004"]})).await.invalid(&["ip_address"]);
    add(json!({"cluster_id": eu, "node_id": eu, "ports": ["30004"]})).await.invalid(&["cluster_id"]);
    add(json!({"node_id": eu, "ip_address": "10.0.0.1", "ports": ["30004"]})).await.invalid(&["node_id"]);
    add(json!({"ports": ["30004"]})).await.invalid(&["node_id"]);
    let (pending, _) = new_cluster(&panel, "us").await;
    add(json!({"cluster_id": pending, "ports": ["30004"]})).await.error(409, "cluster_pending");
    panel
        .get(&format!("{ALLOCATIONS}?filter[node_id]={eu}&filter[cluster_id]={eu}"))
        .await
        .invalid(&["filter[cluster_id]"]);

    let egg = panel.egg().await;
    let mut body = on_cluster(&egg, &eu);
    body["allocation_id"] = made[0]["id"].clone();
    let id = server(&panel, &body).await;
    assert_eq!(panel.get(&format!("{SERVERS}/{id}")).await.ok()["allocation"]["port"], 30003);
    panel.delete(&format!("{SERVERS}/{id}")).await.no_content();
    assert_eq!(allocations(&panel, &eu).await, [30003], "what was made by hand stays");
}

#[tokio::test]
async fn a_server_shows_where_it_is_in_the_units_of_that_place() {
    let panel = Panel::start().await;
    let (eu, agent) = cluster(&panel, "eu", well()).await;
    let egg = panel.egg().await;
    let id = server(&panel, &on_cluster(&egg, &eu)).await;
    let Request::CreateServer { spec, .. } = agent.until_asked(|it| Some(it.clone())).await else { panic!() };
    assert_eq!((spec.limits.cpu_percent, spec.allocations[0].port), (150, 30000));
    agent.saw(observation(&id, &["the Service was changed by hand"]));
    let shown = panel.until_status(&id, "running").await;
    assert_eq!((&shown["cluster_id"], &shown["node_id"]), (&json!(eu), &Value::Null));
    assert_eq!((&shown["cpu_limit"], &shown["deployment_type"]), (&json!(1500), &json!("kubernetes")));
    assert_eq!(shown["attention"], json!(["the Service was changed by hand"]));
    let port = |protocol: &str| {
        json!({"node_port": 30000, "container_port": 30000, "protocol": protocol, "is_primary": true,
            "node_ip": "203.0.113.7"})
    };
    assert_eq!(shown["k8s_allocations"], json!([port("tcp"), port("udp")]));
    agent.saw(observation(&id, &[]));
    let at = format!("{SERVERS}/{id}");
    until(async || (panel.get(&at).await.ok()["attention"] == json!([])).then_some(())).await;
    let found = panel.get(&format!("{SERVERS}?filter[cluster_id]={eu}")).await;
    assert_eq!(found.body()["meta"]["total"], 1);

    let with = async |change: fn(&mut Value)| {
        let mut body = on_cluster(&egg, &eu);
        change(&mut body);
        panel.post(SERVERS, &body).await
    };
    with(|body| body["cpu_limit"] = json!(105)).await.invalid(&["cpu_limit"]);
    with(|body| body["node_id"] = body["cluster_id"].clone()).await.invalid(&["cluster_id"]);
    with(|body| drop(body.as_object_mut().unwrap().remove("cluster_id"))).await.invalid(&["node_id"]);
    with(|body| body["cluster_id"] = json!(NodeId::new())).await.invalid(&["cluster_id"]);
    panel.post(SERVERS, &new_server(&egg, &eu)).await.invalid(&["node_id"]);
    panel.send("PATCH", &format!("{CLUSTERS}/{eu}"), &[], r#"{"cordoned": true}"#).await.ok();
    panel.post(SERVERS, &on_cluster(&egg, &eu)).await.error(409, "cluster_cordoned");
}

#[tokio::test]
async fn allocations_follow_a_cluster_that_moved() {
    let panel = Panel::start().await;
    let (eu, agent) = cluster(&panel, "eu", well()).await;
    let id = server(&panel, &on_cluster(&panel.egg().await, &eu)).await;
    agent.cut().await;
    let mut moved = orchestrator();
    moved.cluster.as_mut().unwrap().address = "198.51.100.9".to_owned();
    let _agent = TestAgent::back(panel.address, eu.parse().unwrap(), &moved, well()).await;
    let shown = panel.get(&format!("{SERVERS}/{id}")).await.ok();
    assert_eq!(shown["allocation"]["ip_address"], "198.51.100.9");
    // One that cannot reach its API server for the moment takes nothing back.
    let blind = Hello { cluster: Some(ClusterFacts::default()), ..orchestrator() };
    let _agent = TestAgent::back(panel.address, eu.parse().unwrap(), &blind, well()).await;
    let shown = panel.get(&format!("{CLUSTERS}/{eu}")).await.ok();
    assert_eq!((&shown["address"], &shown["facts"]["kubernetes"]), (&json!("198.51.100.9"), &json!("v1.34.4")));
}

/// A node with a server on port 30002, and a cluster.
async fn node_and_cluster(target: Script) -> (Panel, TestAgent, TestAgent, String) {
    let panel = Panel::start().await;
    let (from, source) = node(&panel, "n", "30002", measuring()).await;
    let (_, target) = cluster(&panel, "eu", target).await;
    let id = server(&panel, &new_server(&panel.egg().await, &from)).await;
    (panel, source, target, id)
}

fn measured() -> Outcome {
    let fingerprint = "00".repeat(32);
    Outcome::Ok(Reply::Measured { bytes: 4096, files: 7, running: true, answers_tcp: true, fingerprint })
}

fn measuring() -> Script {
    Arc::new(|request| match request {
        Request::MeasureServer { .. } | Request::Transfer { action: TransferAction::Measure, .. } => Some(measured()),
        _ => done(),
    })
}

/// A target that cannot be made ready, and can be tidied up.
fn refusing(code: ErrorCode, message: &'static str) -> Script {
    Arc::new(move |request| match request {
        Request::Transfer { action: TransferAction::PrepareTarget { .. }, .. } => {
            Some(Outcome::Err(AgentError::new(code, message)))
        }
        _ => done(),
    })
}

#[tokio::test]
async fn a_transfer_to_a_cluster_names_it_and_a_rollback_leaves_no_port_behind() {
    let (panel, _source, target, id) = node_and_cluster(refusing(ErrorCode::NoSpace, "no volume fits")).await;
    let eu = target.node.to_string();
    let path = format!("{SERVERS}/{id}/transfer");
    let started = panel.post(&path, &json!({"target_cluster_id": eu})).await.accepted();
    assert_eq!((&started["target"]["cluster_id"], &started["target"]["node_id"]), (&json!(eu), &Value::Null));
    assert_eq!(started["target"]["allocation"], json!({"ip_address": "203.0.113.7", "port": 30002}));
    assert_eq!((&started["source"]["cluster_id"], &started["path"]), (&Value::Null, &Value::Null));
    let end = until(async || {
        let seen = panel.get(&path).await.ok();
        seen["finished_at"].is_string().then_some(seen)
    })
    .await;
    assert_eq!(end["state"], "rolled_back", "{end}");
    assert!(end["failure"]["message"].as_str().unwrap().contains("no volume fits"), "{end}");
    assert_eq!(allocations(&panel, &eu).await, Vec::<u64>::new());
    let found = panel.get(&format!("/api/v1/admin/transfers?filter[cluster_id]={eu}")).await;
    assert_eq!(found.body()["meta"]["total"], 1);
}

#[tokio::test]
async fn targets_of_the_wrong_kind_are_refused() {
    let (panel, source, target, id) = node_and_cluster(well()).await;
    let start = async |body: Value| panel.post(&format!("{SERVERS}/{id}/transfer"), &body).await;
    start(json!({})).await.invalid(&["target_node_id"]);
    let both = json!({"target_node_id": source.node, "target_cluster_id": target.node});
    start(both).await.invalid(&["target_cluster_id"]);
    start(json!({"target_node_id": target.node})).await.error(404, "not_found");
    start(json!({"target_cluster_id": source.node})).await.error(404, "not_found");
    start(json!({"target_cluster_id": NodeId::new()})).await.error(404, "not_found");
    start(json!({"target_node_id": source.node})).await.error(422, "same_target");
    let on_eu = server(&panel, &on_cluster(&panel.egg().await, &target.node.to_string())).await;
    let same = panel.post(&format!("{SERVERS}/{on_eu}/transfer"), &json!({"target_cluster_id": target.node})).await;
    same.error(422, "same_target");
}

fn codes(target: &Value) -> Vec<&str> {
    target["checks"].as_array().unwrap().iter().map(|check| check["code"].as_str().unwrap()).collect()
}

async fn preflight(panel: &Panel, server: &str, body: &Value) -> Value {
    panel.post(&format!("{SERVERS}/{server}/transfer/preflight"), body).await.ok()
}

#[tokio::test]
async fn a_preflight_tells_of_every_candidate_what_speaks_for_and_against_it() {
    let quota = Check {
        code: "quota".to_owned(),
        level: CheckLevel::Error,
        message: "The quota is used up.".to_owned(),
        remedy: "Raise it.".to_owned(),
    };
    let checked = Outcome::Ok(Reply::Checked { checks: vec![quota] });
    let (panel, _source, target, id) = node_and_cluster(answers([("check", Some(checked))])).await;
    panel.new_node("away").await;
    let found = preflight(&panel, &id, &json!({})).await;
    let [away, eu] = found.as_array().unwrap().as_slice() else { panic!("{found}") };

    assert_eq!((&away["name"], &away["ok"]), (&json!("away"), &json!(false)));
    assert_eq!(codes(away), ["insufficient_resources", "agent_offline"]);
    assert_eq!((&eu["name"], &eu["ok"], &eu["node_id"]), (&json!("eu"), &json!(false), &Value::Null));
    assert_eq!(eu["cluster_id"], json!(target.node));
    assert_eq!(codes(eu), ["quota", "cpu_converted"]);
    assert_eq!(eu["checks"][1]["message"], "The CPU limit of 100 % becomes 1000m (100 % = 1000m).");
    assert_eq!((&eu["bytes"], &eu["files"]), (&json!(4096), &json!(7)));
    assert_eq!(eu["allocation"], json!({"ip_address": "203.0.113.7", "port": 30002}));
    for unknown in ["estimated_duration_s", "estimated_freeze_s", "path", "bandwidth"] {
        assert_eq!(eu[unknown], Value::Null, "{unknown}");
    }
    assert_eq!(allocations(&panel, &target.node.to_string()).await, Vec::<u64>::new(), "nothing is kept");
    let one = preflight(&panel, &id, &json!({"target_cluster_id": target.node})).await;
    assert_eq!(one.as_array().unwrap(), std::slice::from_ref(eu));
}

#[tokio::test]
async fn an_agent_that_fails_is_a_finding_and_unreadable_paths_are_named() {
    let unreadable = AgentError::new(ErrorCode::CannotCarry, "cannot be read: world/secret");
    let script = answers([("measure", Some(Outcome::Err(unreadable)))]);
    let panel = Panel::start().await;
    let (from, _source) = node(&panel, "n", "30002", script).await;
    let old = AgentError::new(ErrorCode::Unsupported, "not known");
    let (eu, _target) = cluster(&panel, "eu", answers([("check", Some(Outcome::Err(old)))])).await;
    let id = server(&panel, &new_server(&panel.egg().await, &from)).await;
    let found = preflight(&panel, &id, &json!({"target_cluster_id": eu})).await;
    assert_eq!(codes(&found[0]), ["cannot_carry", "agent_too_old", "cpu_converted"]);
    assert!(found[0]["checks"][0]["message"].as_str().unwrap().contains("world/secret"));
    assert_eq!((&found[0]["bytes"], &found[0]["ok"]), (&Value::Null, &json!(false)));
}

#[tokio::test]
async fn a_preflight_refuses_what_a_start_would_not_understand() {
    let (panel, source, target, id) = node_and_cluster(well()).await;
    let ask = async |body: Value| panel.post(&format!("{SERVERS}/{id}/transfer/preflight"), &body).await;
    ask(json!({"mode": "warm"})).await.invalid(&["mode"]);
    ask(json!({"allocation_id": NodeId::new()})).await.invalid(&["allocation_id"]);
    let both = json!({"target_node_id": source.node, "target_cluster_id": target.node});
    ask(both).await.invalid(&["target_cluster_id"]);
    ask(json!({"target_node_id": target.node})).await.error(404, "not_found");
    ask(json!({"target_node_id": NodeId::new()})).await.error(404, "not_found");
    let nobody = format!("{SERVERS}/{}/transfer/preflight", NodeId::new());
    panel.post(&nobody, &json!({})).await.error(404, "not_found");
    let same = ask(json!({"target_node_id": source.node})).await.ok();
    assert!(codes(&same[0]).contains(&"same_target"));
}
