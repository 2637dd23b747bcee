//! Announcements, the audit log, and where a key may be used.

use serde_json::{Value, json};

use crate::harness::Panel;

const ANNOUNCEMENTS: &str = "/api/v1/admin/announcements";
const SHOWN: &str = "/api/v1/announcements";

#[tokio::test]
async fn announcements_are_shown_in_their_time_to_everybody_who_is_logged_in() {
    let panel = Panel::start().await;
    let (_, token) = panel.user("kim", None).await;
    let shown = async || {
        let list = panel.send_as(&token, "GET", SHOWN, &[], "").await.ok();
        let titles = list.as_array().unwrap().iter().map(|it| it["title"].as_str().unwrap().to_owned());
        titles.collect::<Vec<_>>()
    };
    let make = async |body: Value| panel.post(ANNOUNCEMENTS, &body).await;
    let now = make(json!({"title": "now", "body": "b", "level": "critical"})).await.created();
    make(json!({"title": "later", "starts_at": "2999-01-01T00:00:00Z"})).await.created();
    let past = json!({"title": "past", "starts_at": "2000-01-01T00:00:00Z", "ends_at": "2001-01-01T00:00:00Z"});
    let past = make(past).await.created();
    assert_eq!(shown().await, ["now"]);
    assert_eq!(panel.get(ANNOUNCEMENTS).await.body()["meta"]["total"], 3);
    let path = |it: &Value| format!("{ANNOUNCEMENTS}/{}", it["id"].as_str().unwrap());
    let changed = panel.patch(&path(&past), &json!({"ends_at": null, "level": "warning"})).await.ok();
    assert_eq!(
        (&changed["ends_at"], &changed["level"], &changed["title"]),
        (&Value::Null, &json!("warning"), &json!("past"))
    );
    assert_eq!(shown().await, ["now", "past"]);
    panel.delete(&path(&now)).await.no_content();
    panel.get(&path(&now)).await.error(404, "not_found");
    assert_eq!(shown().await, ["past"]);

    make(json!({"title": "", "body": "x".repeat(10_001)})).await.invalid(&["body", "title"]);
    make(json!({"title": "t", "level": "loud"})).await.invalid(&["level"]);
    make(json!({"title": "t", "ends_at": "2000-01-01T00:00:00Z"})).await.invalid(&["ends_at"]);
    panel.send_as(&token, "POST", ANNOUNCEMENTS, &[], r#"{"title": "mine"}"#).await.error(403, "forbidden");
}

#[tokio::test]
async fn what_was_done_can_be_read_and_filtered() {
    let panel = Panel::start().await;
    let (id, token) = panel.user("kim", Some(json!(["admin.nodes.*"]))).await;
    let node = json!({"name": "theirs", "memory_mb": 1, "disk_mb": 1, "cpu_percent": 1}).to_string();
    let node = panel.send_as(&token, "POST", "/api/v1/admin/nodes", &[], &node).await.created();
    let entries = async |query: &str| panel.get(&format!("/api/v1/admin/audit?{query}")).await.ok();
    let mine = entries(&format!("filter[actor]=user:{id}&sort=at")).await;
    let actions: Vec<_> = mine.as_array().unwrap().iter().map(|it| it["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["auth.login", "node.create"]);
    let made = entries(&format!("filter[subject]={}", node["id"].as_str().unwrap())).await;
    assert_eq!((&made[0]["actor"], &made[0]["details"]["name"]), (&json!(format!("user:{id}:kim")), &json!("theirs")));
    assert_eq!(entries("filter[action]=user").await.as_array().unwrap().len(), 1);
    assert_eq!(entries("filter[action]=user.create").await.as_array().unwrap().len(), 1);
    assert_eq!(entries("filter[action]=use").await, json!([]));
    assert_eq!(entries("filter[until]=2000-01-01T00:00:00Z").await, json!([]));
    assert!(!entries("filter[from]=2000-01-01T00:00:00Z").await.as_array().unwrap().is_empty());
    panel.get("/api/v1/admin/audit?filter[from]=yesterday").await.invalid(&["filter[from]"]);
    let all = panel.get("/api/v1/admin/audit").await;
    assert!(!all.text.contains("correct horse") && !all.text.contains("argon2"), "a password was written down");

    panel.try_login("kim", "a wrong password").await.error(401, "invalid_credentials");
    let failed = crate::harness::until(async || {
        let failed = entries("filter[action]=auth.login_failed").await;
        failed.get(0).cloned()
    })
    .await;
    assert_eq!((&failed["subject"], &failed["actor"]), (&json!(id), &json!("address:127.0.0.1")));
}

#[tokio::test]
async fn a_key_is_good_in_its_networks_alone() {
    let panel = Panel::start().await;
    let body = json!({"name": "k", "scopes": ["*"], "allowed_networks": ["192.0.2.0/24", "2001:db8::/32"]});
    let made = panel.post("/api/v1/admin/api-keys", &body).await.created();
    assert_eq!(made["allowed_networks"], body["allowed_networks"]);
    let key = made["key"].as_str().unwrap();
    let from = async |address: &str| {
        panel.send_as(key, "GET", "/api/v1/admin/nodes", &[("X-Forwarded-For", address)], "").await
    };
    from("192.0.2.77").await.ok();
    from("2001:db8::1").await.ok();
    for elsewhere in ["192.0.3.1", "2001:db9::1", "nonsense"] {
        from(elsewhere).await.error(403, "network_not_allowed");
    }
    let bad = json!({"name": "k", "scopes": ["*"], "allowed_networks": ["192.0.2.0/33"]});
    panel.post("/api/v1/admin/api-keys", &bad).await.invalid(&["allowed_networks[0]"]);
}

#[tokio::test]
async fn two_people_may_use_one_idempotency_key() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565-25570").await;
    let egg = panel.egg().await;
    let body = crate::harness::new_server(&egg, &node).to_string();
    let admin = panel.admin_login().await.access;
    let again = panel.admin_login().await.access;
    let (_, other) = panel.user("other", Some(json!(["admin.servers.create"]))).await;
    let make = async |token: &str| {
        let headers = [("Idempotency-Key", "same")];
        panel.send_as(token, "POST", "/api/v1/admin/servers", &headers, &body).await.created()["id"].clone()
    };
    let first = make(&admin).await;
    assert_eq!(make(&again).await, first, "one user, two sessions");
    assert_ne!(make(&other).await, first);
    assert_ne!(make(&panel.key).await, first);
}
