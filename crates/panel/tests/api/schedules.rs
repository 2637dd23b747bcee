//! Schedules through the API. The clock itself is tested beside it, where time can be moved.

use model::agent_api::{AgentError, ErrorCode, Outcome, Request};
use serde_json::{Value, json};

use crate::agent::{TestAgent, answers, hello};
use crate::harness::{Panel, until};

fn nightly() -> Value {
    json!({
        "name": "Nightly", "cron": "0 4 * * *", "time_zone": "Europe/Berlin",
        "tasks": [{"action": "command", "command": "save-all"}, {"action": "power", "signal": "stop"}],
    })
}

async fn ended(panel: &Panel, schedule: &str) -> Value {
    until(async || {
        let last = panel.get(schedule).await.ok()["last_run"].clone();
        last["finished_at"].is_string().then_some(last)
    })
    .await
}

#[tokio::test]
async fn a_schedule_is_made_seen_changed_and_removed() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565").await;
    let server = panel.server(&node).await;
    let path = format!("/api/v1/servers/{server}/schedules");
    let made = panel.post(&path, &nightly()).await.created();
    assert_eq!(
        (&made["enabled"], &made["only_when_online"], &made["last_run"]),
        (&json!(true), &json!(false), &json!(null))
    );
    assert!(made["next_run_at"].as_str().unwrap().ends_with(":00:00Z"), "{made}");
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    let made = panel.get(&one).await.ok();
    assert_eq!(panel.get(&path).await.ok(), json!([made]));

    let fields = json!({"cron": {"minute": "*/5", "hour": "3"}, "enabled": false, "name": "x"});
    let changed = panel.send("PATCH", &one, &[], &fields.to_string()).await.ok();
    assert_eq!((&changed["cron"], &changed["next_run_at"]), (&json!("*/5 3 * * *"), &json!(null)));
    assert_eq!(changed["tasks"], made["tasks"]);
    panel.delete(&one).await.no_content();
    panel.get(&one).await.error(404, "not_found");
    panel.delete(&one).await.error(404, "not_found");
}

#[tokio::test]
async fn what_is_no_schedule_is_refused_by_its_field() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565").await;
    let server = panel.server(&node).await;
    let path = format!("/api/v1/servers/{server}/schedules");
    let with = |field: &str, value: Value| {
        let mut body = nightly();
        body[field] = value;
        body
    };
    for (field, value, named) in [
        ("name", json!(""), "name"),
        ("cron", json!("* * * *"), "cron"),
        ("cron", json!("0 0 31 2 *"), "cron"),
        ("cron", json!({"minute": "99"}), "cron"),
        ("time_zone", json!("Mars/Olympus"), "time_zone"),
        ("tasks", json!([]), "tasks"),
        ("tasks", json!([{"action": "command", "command": "a\nb"}]), "tasks[0].command"),
        ("tasks", json!([{"action": "power", "signal": "stop", "time_offset_s": 3601}]), "tasks[0].time_offset_s"),
    ] {
        panel.post(&path, &with(field, value)).await.invalid(&[named]);
    }
    panel.post(&path, &with("tasks", json!([{"action": "dance"}]))).await.error(400, "validation_error");
    panel.post(&path, &with("cron", json!(5))).await.error(400, "validation_error");
}

#[tokio::test]
async fn a_run_by_hand_does_the_tasks_in_their_order() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let server = panel.server(&node).await;
    let path = format!("/api/v1/servers/{server}/schedules");
    let made = panel.post(&path, &nightly()).await.created();
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    let run = panel.post(&format!("{one}/run"), &json!({})).await.accepted();
    assert_eq!(run["state"], "due");
    assert!(run["requested_by"].as_str().unwrap().starts_with("api_key:"));
    let last = ended(&panel, &one).await;
    assert_eq!((&last["state"], &last["message"]), (&json!("completed"), &json!(null)));
    let asked: Vec<_> = agent.asked().iter().map(crate::agent::name).collect();
    assert_eq!(asked, ["create", "command", "stop"]);
    assert_eq!(panel.get(&format!("{one}/runs")).await.ok(), json!([last]));
    assert_eq!(panel.get(&one).await.ok()["next_run_at"], made["next_run_at"], "its time stays");
}

#[tokio::test]
async fn a_task_that_fails_ends_the_run_unless_it_may() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let server = panel.server(&node).await;
    let refuses = AgentError::new(ErrorCode::Conflict, "the server does not run");
    let script = answers([("command", Some(Outcome::Err(refuses)))]);
    let agent = TestAgent::back(panel.address, agent.node, &hello(None), script).await;
    let path = format!("/api/v1/servers/{server}/schedules");
    for goes_on in [false, true] {
        let mut body = nightly();
        body["tasks"][0]["continue_on_failure"] = json!(goes_on);
        let made = panel.post(&path, &body).await.created();
        let one = format!("{path}/{}", made["id"].as_str().unwrap());
        panel.post(&format!("{one}/run"), &json!({})).await.accepted();
        let last = ended(&panel, &one).await;
        assert_eq!(last["state"], "failed");
        let message = last["message"].as_str().unwrap();
        assert!(message.starts_with("Task 1: ") && message.contains("does not run"), "{message}");
        let stopped = agent.asked().iter().any(|asked| matches!(asked, Request::StopServer { .. }));
        assert_eq!(stopped, goes_on);
    }
    agent.cut().await;
    panel.until_node(&node, "offline").await;
    let one = panel.get(&path).await.ok()[0]["id"].as_str().unwrap().to_owned();
    let one = format!("{path}/{one}");
    let before = panel.get(&one).await.ok()["last_run"]["id"].clone();
    panel.post(&format!("{one}/run"), &json!({})).await.accepted();
    let last = until(async || {
        let last = panel.get(&one).await.ok()["last_run"].clone();
        (last["finished_at"].is_string() && last["id"] != before).then_some(last)
    });
    let last = last.await;
    assert_eq!(last["state"], "failed");
    assert!(last["message"].as_str().unwrap().contains("not connected"), "{last}");
}

#[tokio::test]
async fn a_backup_that_cannot_be_made_fails_the_run_and_says_why() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565").await;
    let server = panel.server(&node).await;
    let path = format!("/api/v1/servers/{server}/schedules");
    let body = json!({"name": "Nightly", "cron": "0 4 * * *", "tasks": [{"action": "backup", "name": "nightly"}]});
    let made = panel.post(&path, &body).await.created();
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    panel.post(&format!("{one}/run"), &json!({})).await.accepted();
    let last = ended(&panel, &one).await;
    assert_eq!(last["state"], "failed");
    assert!(last["message"].as_str().unwrap().contains("no default storage"), "{last}");
}

#[tokio::test]
async fn a_server_that_a_transfer_holds_is_not_run_by_hand() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565").await;
    let server = panel.server(&node).await;
    let path = format!("/api/v1/servers/{server}/schedules");
    let made = panel.post(&path, &nightly()).await.created();
    let db = panel.db().await;
    let id = server.parse().unwrap();
    panel::db::servers::server_lock(&mut db.acquire().await.unwrap(), id, "0198-a-transfer").await.unwrap();
    let run = format!("{path}/{}/run", made["id"].as_str().unwrap());
    panel.post(&run, &json!({})).await.error(409, "server_locked");
    db.close().await;
}

#[tokio::test]
async fn nobody_schedules_what_they_may_not_do_by_hand() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565").await;
    let server = panel.server(&node).await;
    let (kim, token) = panel.user("kim", None).await;
    let path = format!("/api/v1/servers/{server}/schedules");
    panel.send_as(&token, "GET", &path, &[], "").await.error(404, "not_found");
    let subuser = json!({"user": "kim", "permissions": ["server.schedules", "server.console"]});
    panel.post(&format!("/api/v1/servers/{server}/subusers"), &subuser).await.created();
    let details = panel.send_as(&token, "POST", &path, &[], &nightly().to_string()).await.error(403, "forbidden");
    assert_eq!(details["permission"], "server.power");
    let mut body = nightly();
    body["tasks"] = json!([{"action": "command", "command": "save-all"}]);
    let made = panel.send_as(&token, "POST", &path, &[], &body.to_string()).await.created();
    let change = json!({"tasks": [{"action": "power", "signal": "kill"}]}).to_string();
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    panel.send_as(&token, "PATCH", &one, &[], &change).await.error(403, "forbidden");
    let no_permission = json!({"permissions": []}).to_string();
    panel.send("PATCH", &format!("/api/v1/servers/{server}/subusers/{kim}"), &[], &no_permission).await.ok();
    panel.send_as(&token, "GET", &path, &[], "").await.error(403, "forbidden");
}
