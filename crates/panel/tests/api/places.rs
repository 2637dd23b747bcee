//! Nodes, allocations, feature flags: the places where servers can be.

use serde_json::{Value, json};

use crate::harness::{Panel, new_server};

#[tokio::test]
async fn a_node_is_made_listed_measured_and_removed() {
    let panel = Panel::start().await;
    let node = panel.new_node("fra-1").await;
    let id = node["id"].as_str().unwrap();
    assert_eq!(node["status"], "pending");
    let token = node["enrolment"]["token"].as_str().unwrap();
    assert!(token.starts_with("bpe_") && token.len() == 47, "{token}");
    let command = format!("badger daemon --panel http://{} --token {token} --data /var/lib/badger", panel.address);
    assert_eq!(node["enrolment"]["command"], command);
    panel
        .post("/api/v1/admin/nodes", &json!({"name": "fra-1", "memory_mb": 1, "disk_mb": 1, "cpu_percent": 1}))
        .await
        .error(409, "name_taken");
    let shown = panel.get(&format!("/api/v1/admin/nodes/{id}")).await.ok();
    assert_eq!(shown["name"], "fra-1");
    assert_eq!(shown.get("enrolment"), None);
    let capacity = panel.get(&format!("/api/v1/admin/nodes/{id}/capacity")).await.ok();
    assert_eq!(capacity["memory_mb"], json!({"total": 4096, "allocated": 0, "free": 4096}));
    panel.delete(&format!("/api/v1/admin/nodes/{id}")).await.no_content();
    panel.get(&format!("/api/v1/admin/nodes/{id}")).await.error(404, "not_found");
}

#[tokio::test]
async fn bad_nodes_are_refused_by_field() {
    let panel = Panel::start().await;
    let make = async |body: Value| panel.post("/api/v1/admin/nodes", &body).await;
    make(json!({"name": "", "memory_mb": 1, "disk_mb": 1, "cpu_percent": 1})).await.invalid(&["name"]);
    make(json!({"name": "a", "memory_mb": -1, "disk_mb": 1, "cpu_percent": 1})).await.invalid(&["memory_mb"]);
    make(json!({"name": "a", "memory_mb": 1.5, "disk_mb": 1, "cpu_percent": 1})).await.invalid(&["memory_mb"]);
    make(json!({"name": "a", "memory_mb": u64::MAX, "disk_mb": 1, "cpu_percent": 1})).await.invalid(&["memory_mb"]);
    make(json!({"name": "a", "memory_mb": 1, "disk_mb": 1})).await.invalid(&["cpu_percent"]);
    make(json!({"name": "a".repeat(192), "memory_mb": 1, "disk_mb": 1, "cpu_percent": 1})).await.invalid(&["name"]);
    make(json!({})).await.error(400, "validation_error");
}

#[tokio::test]
async fn lists_have_pages_an_order_and_refuse_what_they_do_not_know() {
    let panel = Panel::start().await;
    for name in ["b", "c", "a"] {
        panel.new_node(name).await;
    }
    let names = async |query: &str| {
        let page = panel.get(&format!("/api/v1/admin/nodes{query}")).await;
        page.ok().as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["b", "c", "a"]);
    assert_eq!(names("?sort=name").await, ["a", "b", "c"]);
    assert_eq!(names("?sort=-name&per_page=2").await, ["c", "b"]);
    assert_eq!(names("?sort=-name&per_page=2&page=2").await, ["a"]);
    let meta = panel.get("/api/v1/admin/nodes?per_page=2&page=9").await.body()["meta"].clone();
    assert_eq!(meta, json!({"current_page": 9, "per_page": 2, "total": 3, "total_pages": 2}));
    for (query, field) in [
        ("page=0", "page"),
        ("page=x", "page"),
        ("per_page=101", "per_page"),
        ("per_page=0", "per_page"),
        ("sort=secret_hash", "sort"),
        ("filter[name]=x", "filter[name]"),
        ("what=x", "what"),
    ] {
        panel.get(&format!("/api/v1/admin/nodes?{query}")).await.invalid(&[field]);
    }
}

#[tokio::test]
async fn allocations_come_whole_or_not_at_all() {
    let panel = Panel::start().await;
    let node = panel.new_node("n").await["id"].as_str().unwrap().to_owned();
    let add = async |ports: Value| {
        let body = json!({"node_id": node, "ip_address": "10.0.0.5", "ip_alias": "play.example.org", "ports": ports});
        panel.post("/api/v1/admin/allocations", &body).await
    };
    let made = add(json!(["25565", "25570-25572"])).await.created();
    assert_eq!(made.as_array().unwrap().len(), 4);
    assert_eq!((&made[0]["port"], &made[0]["ip_alias"]), (&json!(25565), &json!("play.example.org")));
    let details = add(json!(["25572-25574"])).await.error(409, "allocation_exists");
    assert_eq!(details["ports"], json!([25572]));
    add(json!(["0"])).await.invalid(&["ports[0]"]);
    add(json!(["1", "5-x"])).await.invalid(&["ports[1]"]);
    add(json!([])).await.invalid(&["ports"]);
    add(json!([25565])).await.invalid(&["ports[0]"]);
    let list = |filter: &str| format!("/api/v1/admin/allocations?filter[node_id]={node}{filter}");
    assert_eq!(panel.get(&list("&filter[free]=true")).await.body()["meta"]["total"], 4);
    assert_eq!(panel.get(&list("&filter[free]=false")).await.body()["meta"]["total"], 0);
    panel.get(&list("&filter[free]=perhaps")).await.invalid(&["filter[free]"]);
    let body = json!({"node_id": node, "ip_address": "nowhere", "ports": ["1"]});
    panel.post("/api/v1/admin/allocations", &body).await.invalid(&["ip_address"]);
    let body = json!({"node_id": uuid(), "ip_address": "10.0.0.5", "ports": ["1"]});
    panel.post("/api/v1/admin/allocations", &body).await.invalid(&["node_id"]);
    let id = made[0]["id"].as_str().unwrap();
    panel.delete(&format!("/api/v1/admin/allocations/{id}")).await.no_content();
    panel.delete(&format!("/api/v1/admin/allocations/{id}")).await.error(404, "not_found");
}

fn uuid() -> String {
    model::NodeId::new().to_string()
}

#[tokio::test]
async fn what_a_server_has_is_not_taken_away() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565-25566").await;
    let server = panel.server(&node).await;
    let shown = panel.get(&format!("/api/v1/admin/servers/{server}")).await.ok();
    let allocation = shown["allocation"]["id"].as_str().unwrap();
    panel.delete(&format!("/api/v1/admin/allocations/{allocation}")).await.error(409, "allocation_in_use");
    panel.delete(&format!("/api/v1/admin/nodes/{node}")).await.error(409, "node_in_use");
    let egg = shown["egg_id"].as_str().unwrap();
    panel.delete(&format!("/api/v1/admin/eggs/{egg}")).await.error(409, "egg_in_use");
    let capacity = panel.get(&format!("/api/v1/admin/nodes/{node}/capacity")).await.ok();
    assert_eq!(capacity["memory_mb"], json!({"total": 4096, "allocated": 512, "free": 3584}));
    assert_eq!(capacity["allocations"], json!({"total": 2, "allocated": 1, "free": 1}));
    assert_eq!(capacity["servers"], 1);

    let mut second = new_server(egg, &node);
    second["allocation_id"] = allocation.into();
    panel.post("/api/v1/admin/servers", &second).await.error(409, "allocation_in_use");
}

#[tokio::test]
async fn feature_flags_are_seen_and_turned() {
    let panel = Panel::start().await;
    let flag = "/api/v1/admin/feature-flags/server_transfers";
    assert_eq!(
        panel.get("/api/v1/admin/feature-flags").await.ok(),
        json!([{"name": "server_transfers", "enabled": true}])
    );
    let off = panel.send("PATCH", flag, &[], r#"{"enabled": false}"#).await.ok();
    assert_eq!(off["enabled"], false);
    assert_eq!(panel.get(flag).await.ok()["enabled"], false);
    panel.send("PATCH", flag, &[], r#"{"enabled": "no"}"#).await.invalid(&["enabled"]);
    panel.send("PATCH", "/api/v1/admin/feature-flags/none", &[], r#"{"enabled": true}"#).await.error(404, "not_found");
    panel.get("/api/v1/admin/feature-flags/none").await.error(404, "not_found");
}
