//! The same `Idempotency-Key` gives the same answer, and does nothing twice.

use serde_json::json;

use crate::harness::{Panel, new_server};

#[tokio::test]
async fn a_repeat_gets_the_same_answer_and_makes_nothing() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565-25570").await;
    let egg = panel.egg().await;
    let body = new_server(&egg, &node).to_string();
    let make = async |key: &str, body: &str| {
        panel.send("POST", "/api/v1/admin/servers", &[("Idempotency-Key", key)], body).await
    };
    let first = make("one", &body).await;
    let repeat = make("one", &body).await;
    assert_eq!((first.created(), &first.headers["location"]), (repeat.created(), &repeat.headers["location"]));
    make("one", &body.replace("survival", "other")).await.error(422, "idempotency_mismatch");
    make("two", &body).await.created();
    assert_eq!(panel.get("/api/v1/admin/servers").await.body()["meta"]["total"], 2);
    make("", &body).await.invalid(&["Idempotency-Key"]);
    make(&"x".repeat(256), &body).await.invalid(&["Idempotency-Key"]);
}

#[tokio::test]
async fn repeats_at_the_same_moment_make_one() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565-25590").await;
    let body = new_server(&panel.egg().await, &node).to_string();
    let headers = [("Idempotency-Key", "same")];
    let make = || panel.send("POST", "/api/v1/admin/servers", &headers, &body);
    let answers = futures_util::future::join_all((0..8).map(|_| make())).await;
    let mut ids = std::collections::BTreeSet::new();
    for answer in answers {
        match answer.status {
            201 => ids.insert(answer.created()["id"].as_str().unwrap().to_owned()),
            _ => answer.error(409, "idempotency_pending").is_null(),
        };
    }
    assert_eq!(ids.len(), 1);
    assert_eq!(panel.get("/api/v1/admin/servers").await.body()["meta"]["total"], 1);
}

#[tokio::test]
async fn a_key_is_free_again_after_an_error_and_belongs_to_one_caller() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565").await;
    let headers = [("Idempotency-Key", "k")];
    let mut body = new_server(&panel.egg().await, &node);
    body["memory_limit"] = json!(999_999);
    panel.send("POST", "/api/v1/admin/servers", &headers, &body.to_string()).await.error(422, "insufficient_resources");
    body["memory_limit"] = json!(10);
    panel.send("POST", "/api/v1/admin/servers", &headers, &body.to_string()).await.created();

    let other = panel.post("/api/v1/admin/api-keys", &json!({"name": "other", "scopes": ["*"]})).await.created();
    let other = other["key"].as_str().unwrap();
    let answer = panel.send_as(other, "POST", "/api/v1/admin/servers", &headers, &body.to_string()).await;
    answer.error(422, "allocation_none_free");
}
