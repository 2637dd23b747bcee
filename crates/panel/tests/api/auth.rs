//! Who may ask, and what an answer looks like when they may not.

use serde_json::{Value, json};

use crate::harness::{Panel, http};

/// Every documented route that wants a key: method and path with an id in it.
fn routes() -> Vec<(String, String, bool)> {
    let document: Value = serde_json::from_str(panel::api::openapi::json()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation.get("security").is_some() {
                routes.push((method.to_uppercase(), path.clone(), operation.get("requestBody").is_some()));
            }
        }
    }
    routes
}

/// The first one is `id`; what is below it is nobody's.
fn with_id(path: &str, id: &str) -> String {
    let fill = |part: &str| match part {
        "{id}" | "{name}" => id.to_owned(),
        part if part.starts_with('{') => UNKNOWN.to_owned(),
        part => part.to_owned(),
    };
    path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

const UNKNOWN: &str = "0198a7b2-0000-7000-8000-00000000dead";

#[tokio::test]
async fn every_route_wants_a_valid_key() {
    let panel = Panel::start().await;
    let routes = routes();
    assert!(routes.len() >= 24, "{routes:?}");
    for (method, path, _) in routes {
        let path = with_id(&path, UNKNOWN);
        http(panel.address, &method, &path, &[], b"").await.error(401, "unauthorized");
        for key in ["", "bp_wrong", "Basic"] {
            panel.send_as(key, &method, &path, &[], "").await.error(401, "unauthorized");
        }
    }
}

#[tokio::test]
async fn every_route_wants_the_permission_for_it() {
    let panel = Panel::start().await;
    let body = json!({"name": "weak", "scopes": ["admin.nothing.at-all"]});
    let weak = panel.post("/api/v1/admin/api-keys", &body).await.created()["key"].as_str().unwrap().to_owned();
    for (method, path, has_body) in routes() {
        // What is in the body is looked at first; the handlers' own tests come with good ones. And some things are
        // everybody's: who one is, what is announced, one's own servers.
        let own = ["/api/v1/announcements", "/api/v1/servers"];
        let private = ["/api/v1/auth/", "/api/v1/notifications"];
        if has_body || private.iter().any(|it| path.starts_with(it)) || own.contains(&path.as_str()) {
            continue;
        }
        if path.starts_with("/api/v1/servers/") {
            // Who may not see a server is not told that there is one.
            panel.send_as(&weak, &method, &with_id(&path, UNKNOWN), &[], "").await.error(404, "not_found");
            continue;
        }
        panel.send_as(&weak, &method, &with_id(&path, UNKNOWN), &[], "").await.error(403, "forbidden");
    }
}

#[tokio::test]
async fn every_body_that_is_not_understood_is_answered_by_field() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565").await;
    let server = panel.server(&node).await;
    let mut seen = 0;
    for (method, path, has_body) in routes() {
        if !has_body {
            continue;
        }
        seen += 1;
        // That there is no such server is said before the body is looked at.
        let path = with_id(&path, if path.starts_with("/api/v1/servers/") { &server } else { UNKNOWN });
        for body in
            ["{", "{\"a\":", "nonsense", "\u{1}", "[]", "{} {}", "\"text\"", "{\"no_such_field\": 1}", "\"\\ud800\""]
        {
            let details = panel.send(&method, &path, &[], body).await.error(400, "validation_error");
            let (_, problems) = details.as_object().unwrap().iter().next().unwrap();
            assert!(problems[0].is_string(), "{method} {path} {body}: {details}");
        }
        let bytes = [b'{', 0xff, 0xfe, b'}'];
        let key = format!("Bearer {}", panel.key);
        http(panel.address, &method, &path, &[("Authorization", &key)], &bytes).await.error(400, "validation_error");
    }
    assert!(seen >= 8);
}

#[tokio::test]
async fn an_id_that_is_none_is_400_and_one_that_is_nobodys_is_404() {
    let panel = Panel::start().await;
    for (method, path, has_body) in routes() {
        if !path.contains("{id}") || has_body {
            continue;
        }
        panel.send(&method, &with_id(&path, "not-an-id"), &[], "").await.invalid(&["id"]);
        panel.send(&method, &with_id(&path, "%ff"), &[], "").await.invalid(&["id"]);
        panel.send(&method, &with_id(&path, UNKNOWN), &[], "").await.error(404, "not_found");
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_have_the_shape_of_errors_too() {
    let panel = Panel::start().await;
    panel.get("/api/v1/nothing").await.error(404, "not_found");
    panel.get("/healthz/nothing").await.error(404, "not_found");
    panel.send("PUT", "/api/v1/admin/nodes", &[], "").await.error(405, "method_not_allowed");
    panel.send("DELETE", "/healthz", &[], "").await.error(405, "method_not_allowed");
    let large = "x".repeat(3 << 20);
    panel.send("POST", "/api/v1/admin/nodes", &[], &large).await.error(413, "payload_too_large");
}

#[tokio::test]
async fn health_needs_no_key() {
    let panel = Panel::start().await;
    assert_eq!(http(panel.address, "GET", "/healthz", &[], b"").await.ok(), json!({"status": "ok"}));
    assert_eq!(http(panel.address, "GET", "/readyz", &[], b"").await.ok(), json!({"status": "ready"}));
    assert_eq!(http(panel.address, "GET", "/api/v1/openapi.json", &[], b"").await.body()["openapi"], "3.1.0");
}

#[tokio::test]
async fn keys_are_shown_once_expire_and_grant_no_more_than_their_maker_has() {
    let panel = Panel::start().await;
    let make = async |key: &str, body: Value| {
        panel.send_as(key, "POST", "/api/v1/admin/api-keys", &[], &body.to_string()).await
    };
    let some = make(&panel.key, json!({"name": "some", "scopes": ["admin.api-keys.*", "admin.nodes.list"]})).await;
    let some = some.created();
    let key = some["key"].as_str().unwrap();
    assert!(key.starts_with("bp_") && key.len() == 46, "{key}");
    panel.send_as(key, "GET", "/api/v1/admin/nodes", &[], "").await.ok();
    panel.send_as(key, "GET", "/api/v1/admin/servers", &[], "").await.error(403, "forbidden");

    make(key, json!({"name": "more", "scopes": ["*"]})).await.invalid(&["scopes[0]"]);
    make(key, json!({"name": "more", "scopes": ["admin.nodes.list", "admin.nodes.*"]})).await.invalid(&["scopes[1]"]);
    make(key, json!({"name": "less", "scopes": ["admin.nodes.list"]})).await.created();
    make(&panel.key, json!({"name": " ", "scopes": []})).await.invalid(&["name", "scopes"]);
    make(&panel.key, json!({"name": "x", "scopes": ["Admin..x"]})).await.invalid(&["scopes[0]"]);
    make(&panel.key, json!({"name": "x", "scopes": ["*"], "expires_at": "2020-01-01T00:00:00Z"}))
        .await
        .invalid(&["expires_at"]);
    make(&panel.key, json!({"name": "x", "scopes": ["*"], "expires_at": "soon"})).await.invalid(&["expires_at"]);

    let listed = panel.get("/api/v1/admin/api-keys").await;
    assert!(!listed.text.contains("bp_"), "a key was shown again");
    assert_eq!(listed.body()["meta"]["total"], 3);
    let id = some["id"].as_str().unwrap();
    panel.send_as(key, "DELETE", &format!("/api/v1/admin/api-keys/{id}"), &[], "").await.error(409, "key_in_use");
    panel.delete(&format!("/api/v1/admin/api-keys/{id}")).await.no_content();
    panel.send_as(key, "GET", "/api/v1/admin/nodes", &[], "").await.error(401, "unauthorized");
}

#[tokio::test]
async fn a_key_is_worth_nothing_once_it_has_expired() {
    let panel = Panel::start().await;
    let db = panel.db().await;
    let body = json!({"name": "brief", "scopes": ["*"], "expires_at": "2999-01-01T00:00:00Z"});
    let key = panel.post("/api/v1/admin/api-keys", &body).await.created()["key"].as_str().unwrap().to_owned();
    panel.send_as(&key, "GET", "/api/v1/admin/nodes", &[], "").await.ok();
    let mut conn = db.acquire().await.unwrap();
    sqlx::query("UPDATE api_keys SET expires_at = 1 WHERE name = 'brief'").execute(&mut *conn).await.unwrap();
    panel.send_as(&key, "GET", "/api/v1/admin/nodes", &[], "").await.error(401, "unauthorized");
}

#[tokio::test]
async fn the_first_key_is_private_and_a_second_start_keeps_it() {
    use std::os::unix::fs::PermissionsExt;
    let panel = Panel::start().await;
    let mode = |path: &str| std::fs::metadata(panel.data().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("panel"), mode("panel/admin.key")), (0o700, 0o600));
    let key = panel.key.clone();
    let panel = Panel::start_in(panel.stop().await).await;
    assert_eq!(panel.key, key);
    panel.get("/api/v1/admin/nodes").await.ok();
}
