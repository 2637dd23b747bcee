//! Many who want the same at the same moment: one gets it, the others hear in documented words that they were late.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Panel, Response, new_server};
use crate::transfers::{all_well, hanging_at, two};

const MANY: usize = 16;

/// How many were answered with `status`; all others with one of `late`.
fn won(answers: &[Response], status: u16, late: &[(u16, &str)]) -> usize {
    for lost in answers.iter().filter(|answer| answer.status != status) {
        let code = lost.body()["error"]["code"].as_str().unwrap().to_owned();
        assert!(late.contains(&(lost.status, code.as_str())), "{lost:?}");
    }
    answers.iter().filter(|answer| answer.status == status).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_starts_of_one_transfer_one_wins() {
    let two = two(hanging_at("precopy"), all_well()).await;
    let answers = join_all((0..MANY).map(|_| two.start())).await;
    assert_eq!(won(&answers, 202, &[(409, "server_locked")]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_servers_one_gets_the_last_free_port() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565").await;
    let egg = panel.egg().await;
    let body = new_server(&egg, &node);
    let answers = join_all((0..MANY).map(|_| panel.post("/api/v1/admin/servers", &body))).await;
    assert_eq!(won(&answers, 201, &[(422, "allocation_none_free")]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_servers_as_many_as_fit_are_made() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565-25600").await;
    let egg = panel.egg().await;
    // The node has 4096 MiB: room for three of these.
    let body = json!({"memory_limit": 1200});
    let mut server = new_server(&egg, &node);
    server.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    let answers = join_all((0..MANY).map(|_| panel.post("/api/v1/admin/servers", &server))).await;
    assert_eq!(won(&answers, 201, &[(422, "insufficient_resources")]), 3);
    let ports: std::collections::BTreeSet<u64> = answers
        .iter()
        .filter(|answer| answer.status == 201)
        .map(|answer| answer.body()["data"]["allocation"]["port"].as_u64().unwrap())
        .collect();
    assert_eq!(ports.len(), 3, "no port was given away twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_with_one_idempotency_key_one_does_it() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565-25600").await;
    let egg = panel.egg().await;
    let body = new_server(&egg, &node).to_string();
    let headers = [("Idempotency-Key", "once")];
    let answers = join_all((0..MANY).map(|_| panel.send("POST", "/api/v1/admin/servers", &headers, &body))).await;
    let made = won(&answers, 201, &[(409, "idempotency_pending")]);
    assert!(made >= 1);
    let list = panel.get("/api/v1/admin/servers").await.body();
    assert_eq!(list["meta"]["total"], 1, "{list}");
    let ids: std::collections::BTreeSet<String> =
        answers.iter().filter_map(|answer| answer.body()["data"]["id"].as_str().map(str::to_owned)).collect();
    assert_eq!(ids.len(), 1, "the same answer for all");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_want_one_name_one_gets_it() {
    let panel = Panel::start().await;
    let user = |n: usize| json!({"username": if n.is_multiple_of(2) { "kim" } else { "KIM" }, "password": "correct horse battery"});
    let answers = join_all((0..MANY).map(async |n| panel.post("/api/v1/admin/users", &user(n)).await)).await;
    assert_eq!(won(&answers, 201, &[(409, "user_exists"), (503, "busy")]), 1);
    let node: Value = json!({"name": "n", "memory_mb": 1, "disk_mb": 1, "cpu_percent": 1});
    let answers = join_all((0..MANY).map(|_| panel.post("/api/v1/admin/nodes", &node))).await;
    assert_eq!(won(&answers, 201, &[(409, "name_taken")]), 1);
}
