//! Power, commands and console: what the agent is asked, and what is refused before it is.

use model::agent_api::{AgentError, ErrorCode, Outcome, Reply, Request};
use model::{Clock, Epoch, ServerObservation, ServerStatus, SystemClock};
use serde_json::json;

use crate::agent::{TestAgent, answers, hello, name};
use crate::harness::{Panel, until};

#[tokio::test]
async fn a_start_carries_a_permit_for_owner_and_epoch() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let id = panel.server(&node).await;
    let answer = panel.post(&format!("/api/v1/servers/{id}/power"), &json!({"signal": "start"})).await;
    assert_eq!(answer.accepted()["id"], json!(id));
    assert_eq!(answer.headers["location"], format!("/api/v1/servers/{id}"));
    let permit = agent
        .until_asked(|request| match request {
            Request::StartServer { permit, .. } => Some(permit.clone()),
            _ => None,
        })
        .await;
    assert_eq!((permit.server_id.to_string(), permit.epoch.0, permit.agent_id), (id.clone(), 1, agent.node));
    let key = data_encoding::BASE64.decode(agent.welcome.permit_key.as_bytes()).unwrap();
    let signature = data_encoding::BASE64.decode(permit.signature.as_bytes()).unwrap();
    let signed = model::Permit::signed_bytes(permit.server_id, permit.epoch, permit.agent_id);
    ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key).verify(&signed, &signature).unwrap();
    assert_eq!(panel.get(&format!("/api/v1/servers/{id}")).await.ok()["locked"], false);
}

#[tokio::test]
async fn what_an_agent_answers_is_the_servers_status_at_once() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let id = panel.server(&node).await;
    let server = ServerObservation {
        server_id: id.parse().unwrap(),
        status: ServerStatus::Starting,
        epoch: Epoch::FIRST,
        fenced: false,
        since: SystemClock.now(),
        exit_code: None,
        attention: Vec::new(),
    };
    let script = answers([("start", Some(Outcome::Ok(Reply::Server { server })))]);
    let _agent = TestAgent::back(panel.address, agent.node, &hello(None), script).await;
    let answer = panel.post(&format!("/api/v1/servers/{id}/power"), &json!({"signal": "start"})).await;
    assert_eq!(answer.accepted()["status"], "starting");
}

#[tokio::test]
async fn every_signal_reaches_the_agent() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let id = panel.server(&node).await;
    for signal in ["stop", "kill", "restart"] {
        panel.post(&format!("/api/v1/servers/{id}/power"), &json!({"signal": signal})).await.accepted();
    }
    let asked = agent.asked().iter().map(name).collect::<Vec<_>>();
    assert_eq!(asked, ["create", "stop", "kill", "stop", "start"]);
    panel.post(&format!("/api/v1/servers/{id}/power"), &json!({"signal": "explode"})).await.invalid(&["signal"]);
    panel.post(&format!("/api/v1/servers/{id}/power"), &json!({})).await.invalid(&["signal"]);
}

#[tokio::test]
async fn what_the_agent_refuses_is_said() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let id = panel.server(&node).await;
    let error = AgentError::new(ErrorCode::PortTaken, "port 25565 is taken by another process");
    let script = answers([("start", Some(Outcome::Err(error)))]);
    let agent = TestAgent::back(panel.address, agent.node, &hello(None), script).await;
    let power = format!("/api/v1/servers/{id}/power");
    let answer = panel.post(&power, &json!({"signal": "start"})).await;
    answer.error(409, "port_taken");
    assert!(answer.text.contains("port 25565 is taken"));
    assert_eq!(panel.get(&format!("/api/v1/servers/{id}")).await.ok()["locked"], false);
    agent.cut().await;
    panel.until_node(&node, "offline").await;
    panel.post(&power, &json!({"signal": "start"})).await.error(503, "agent_offline");
    panel.post(&power, &json!({"signal": "stop"})).await.error(503, "agent_offline");
    assert_eq!(panel.get(&format!("/api/v1/servers/{id}")).await.ok()["locked"], false);
}

#[tokio::test]
async fn a_server_that_a_transfer_holds_is_left_alone() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let id = panel.server(&node).await;
    let db = panel.db().await;
    let server = id.parse().unwrap();
    panel::db::servers::server_lock(&mut db.acquire().await.unwrap(), server, "0198-a-transfer").await.unwrap();
    for signal in ["start", "stop", "restart", "kill"] {
        let answer = panel.post(&format!("/api/v1/servers/{id}/power"), &json!({"signal": signal})).await;
        answer.error(409, "server_locked");
        assert!(answer.body()["error"]["message"].as_str().unwrap().starts_with("Server Is Currently Locked"));
    }
    panel.delete(&format!("/api/v1/admin/servers/{id}")).await.error(409, "server_locked");
    assert_eq!(agent.asked().len(), 1, "only the creation");
    // A restart of the panel gives back what requests held, and leaves a transfer its own.
    db.close().await;
    let panel = Panel::start_in(panel.stop().await).await;
    assert_eq!(panel.get(&format!("/api/v1/servers/{id}")).await.ok()["locked"], true);
}

#[tokio::test]
async fn the_lock_of_a_start_that_was_cut_is_given_back_at_the_next_start() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let id = panel.server(&node).await;
    let silent = answers([("start", None)]);
    let agent = TestAgent::back(panel.address, agent.node, &hello(None), silent).await;
    // 202 although nobody knows yet: it takes longer than the answer waits.
    panel.post(&format!("/api/v1/servers/{id}/power"), &json!({"signal": "start"})).await.accepted();
    assert_eq!(panel.get(&format!("/api/v1/servers/{id}")).await.ok()["locked"], true);
    panel.post(&format!("/api/v1/servers/{id}/power"), &json!({"signal": "start"})).await.error(409, "server_locked");
    agent.cut().await;
    until(async || (panel.get(&format!("/api/v1/servers/{id}")).await.ok()["locked"] == false).then_some(())).await;
}

#[tokio::test]
async fn commands_and_console_go_through() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let id = panel.server(&node).await;
    let lines = vec!["one".to_owned(), "two \u{1f9a1}".to_owned()];
    let script = answers([("console", Some(Outcome::Ok(Reply::Console { lines: lines.clone() })))]);
    let agent = TestAgent::back(panel.address, agent.node, &hello(None), script).await;
    panel.post(&format!("/api/v1/servers/{id}/command"), &json!({"command": "say hi"})).await.no_content();
    let console = panel.get(&format!("/api/v1/servers/{id}/console?lines=7")).await.ok();
    assert_eq!(console["lines"], json!(lines));
    panel.get(&format!("/api/v1/servers/{id}/console")).await.ok();
    let asked: Vec<_> = agent
        .asked()
        .into_iter()
        .map(|request| match request {
            Request::SendConsole { line, .. } => line,
            Request::ReadConsole { lines, .. } => lines.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(asked, ["say hi", "7", "100"]);
    for bad in ["", "a\nb", &"x".repeat(5000)] {
        panel.post(&format!("/api/v1/servers/{id}/command"), &json!({"command": bad})).await.invalid(&["command"]);
    }
    for bad in ["lines=0", "lines=1001", "lines=x"] {
        panel.get(&format!("/api/v1/servers/{id}/console?{bad}")).await.invalid(&["lines"]);
    }
}
