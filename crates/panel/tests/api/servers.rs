//! Servers come into being on their agent, once, whatever happens in between; and go again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode, Outcome, Request};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::agent::{TestAgent, answers, done, hello, name};
use crate::harness::{Panel, new_server, until};

#[allow(clippy::unnecessary_wraps, reason = "one of the answers of a script, of which one is no answer")]
fn refuse(code: ErrorCode, message: &str) -> Option<Outcome> {
    Some(Outcome::Err(AgentError::new(code, message)))
}

#[tokio::test]
async fn a_server_is_installed_with_what_its_egg_and_its_address_say() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let id = panel.server(&node).await;
    let spec = agent
        .until_asked(|request| match request {
            Request::CreateServer { spec, epoch } if epoch.0 == 1 => Some(spec.clone()),
            _ => None,
        })
        .await;
    assert_eq!(spec.id.to_string(), id);
    assert_eq!(spec.startup, "./run --port {{SERVER_PORT}} --mode {{MODE}}");
    let environment: Vec<_> = spec.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let uuid = format!("P_SERVER_UUID={id}");
    let expected = ["MODE=easy", &uuid, "SERVER_IP=127.0.0.1", "SERVER_MEMORY=512", "SERVER_PORT=25565", "TOKEN=t"];
    assert_eq!(environment, expected);
    assert_eq!(spec.install.unwrap().script, "echo hello");
    let shown = panel.get(&format!("/api/v1/servers/{id}")).await.ok();
    assert_eq!((&shown["epoch"], &shown["locked"], &shown["cluster_id"]), (&json!(1), &json!(false), &Value::Null));
    assert_eq!(shown["docker_image"], "example.org/debian:12");
    let creations = agent.asked().iter().filter(|request| name(request) == "create").count();
    assert_eq!(creations, 1);
}

#[tokio::test]
async fn bad_servers_are_refused_and_leave_nothing() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let other = panel.new_node("other").await["id"].as_str().unwrap().to_owned();
    let ports = json!({"node_id": other, "ip_address": "127.0.0.1", "ports": ["1"]});
    let foreign = panel.post("/api/v1/admin/allocations", &ports).await.created()[0]["id"].clone();
    let egg = panel.egg().await;
    let make = async |field: &str, value: Value| {
        let mut body = new_server(&egg, &node);
        body[field] = value;
        panel.post("/api/v1/admin/servers", &body).await
    };
    let nobody = model::NodeId::new().to_string();
    make("egg_id", json!(nobody)).await.invalid(&["egg_id"]);
    make("node_id", json!(nobody)).await.invalid(&["node_id"]);
    make("allocation_id", json!(nobody)).await.invalid(&["allocation_id"]);
    make("allocation_id", foreign).await.error(422, "allocation_not_of_node");
    make("name", json!("\n")).await.invalid(&["name"]);
    make("environment", json!({})).await.invalid(&["environment.TOKEN"]);
    make("environment", json!({"TOKEN": "t", "MODE": "odd"})).await.invalid(&["environment.MODE"]);
    make("environment", json!({"TOKEN": 5})).await.invalid(&["environment.TOKEN"]);
    make("startup", json!("")).await.invalid(&["startup"]);
    let details = make("memory_limit", json!(5000)).await.error(422, "insufficient_resources");
    assert_eq!(details, json!({"memory_mb": {"needed": 5000, "available": 4096}}));
    let details = make("cpu_limit", json!(401)).await.error(422, "insufficient_resources");
    assert_eq!(details, json!({"cpu_percent": {"needed": 401, "available": 400}}));
    assert_eq!(panel.get("/api/v1/admin/servers").await.body()["meta"]["total"], 0);
    assert!(agent.asked().is_empty());
    panel.server(&node).await;
    make("name", json!("second")).await.error(422, "allocation_none_free");
}

#[tokio::test]
async fn an_installation_waits_for_its_agent_and_survives_lost_answers_and_restarts() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let agent_id = agent.node;
    agent.cut().await;
    panel.until_node(&node, "offline").await;
    let egg = panel.egg().await;
    let server = panel.post("/api/v1/admin/servers", &new_server(&egg, &node)).await.created();
    assert_eq!(server["status"], "installing");
    let id = server["id"].as_str().unwrap().to_owned();

    // It is asked and goes away before it answers.
    let silent = answers([("create", None)]);
    let agent = TestAgent::back(panel.address, agent_id, &hello(None), silent).await;
    agent.until_asked(|request| (name(request) == "create").then_some(())).await;
    agent.cut().await;
    panel.until_node(&node, "offline").await;
    assert_eq!(panel.get(&format!("/api/v1/admin/servers/{id}")).await.ok()["status"], "installing");

    // The panel ends and starts again, and asks again.
    let panel = Panel::start_in(panel.stop().await).await;
    let agent = TestAgent::back(panel.address, agent_id, &hello(None), answers([])).await;
    panel.until_status(&id, "offline").await;
    assert_eq!(agent.asked().iter().filter(|request| name(request) == "create").count(), 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_stops_nothing_half_way() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565-25590").await;
    let mut body = new_server(&panel.egg().await, &node);
    body["cpu_limit"] = json!(10);
    let body = body.to_string();
    let headers = format!("Authorization: Bearer {}\r\nIdempotency-Key: hung-up\r\n", panel.key);
    let request = format!(
        "POST /api/v1/admin/servers HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for pause_us in [0, 300, 600, 1000, 2000, 4000, 8000] {
        let request = request.replace("hung-up", &format!("hung-up-{pause_us}"));
        let mut socket = TcpStream::connect(panel.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        // Not to wait for something: each hangs up at another moment of the request's life.
        tokio::time::sleep(Duration::from_micros(pause_us)).await;
        drop(socket);
        // The same request again: done once, and to its end.
        let key = format!("hung-up-{pause_us}");
        let server = until(async || {
            let again = panel.send("POST", "/api/v1/admin/servers", &[("Idempotency-Key", &key)], &body).await;
            match again.status {
                201 => Some(again.created()),
                _ => again.error(409, "idempotency_pending").is_null().then_some(Value::Null),
            }
        })
        .await;
        panel.until_status(server["id"].as_str().unwrap(), "offline").await;
    }
    assert_eq!(panel.get("/api/v1/admin/servers").await.body()["meta"]["total"], 7);
}

#[tokio::test]
async fn an_installation_that_fails_says_so_and_can_be_cleared_away() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let refusing = answers([("create", refuse(ErrorCode::ImageMissing, "no such image"))]);
    let agent = TestAgent::back(panel.address, agent.node, &hello(None), refusing).await;
    let egg = panel.egg().await;
    let server = panel.post("/api/v1/admin/servers", &new_server(&egg, &node)).await.created();
    let id = server["id"].as_str().unwrap();
    assert_eq!(server["install_error"], Value::Null);
    let failed = panel.until_status(id, "install_failed").await;
    assert_eq!(failed["install_error"], "no such image");
    let start = json!({"signal": "start"});
    panel.post(&format!("/api/v1/servers/{id}/power"), &start).await.error(409, "server_not_installed");
    panel.delete(&format!("/api/v1/admin/servers/{id}")).await.no_content();
    agent.until_asked(|request| (name(request) == "remove").then_some(())).await;
    panel.get(&format!("/api/v1/admin/servers/{id}")).await.error(404, "not_found");
    let free = panel.get("/api/v1/admin/allocations?filter[free]=true").await;
    assert_eq!(free.body()["meta"]["total"], 1);
}

#[tokio::test]
async fn a_failure_that_may_pass_is_tried_again() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let tries = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tries);
    let script = Arc::new(move |request: &Request| match name(request) {
        "create" if counted.fetch_add(1, Ordering::SeqCst) == 0 => refuse(ErrorCode::Internal, "try again"),
        _ => done(),
    });
    let _agent = TestAgent::back(panel.address, agent.node, &hello(None), script).await;
    panel.server(&node).await;
    assert_eq!(tries.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_server_that_is_wanted_running_is_started_once_installed() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let mut body = new_server(&panel.egg().await, &node);
    body["start_on_completion"] = json!(true);
    panel.post("/api/v1/admin/servers", &body).await.created();
    let permit = agent
        .until_asked(|request| match request {
            Request::StartServer { permit, .. } => Some(permit.clone()),
            _ => None,
        })
        .await;
    assert_eq!((permit.agent_id, permit.epoch.0), (agent.node, 1));
}

#[tokio::test]
async fn a_server_is_removed_once_its_agent_has_removed_it() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565").await;
    let id = panel.server(&node).await;
    let path = format!("/api/v1/admin/servers/{id}");
    let busy = answers([("remove", refuse(ErrorCode::Conflict, "a process of it runs"))]);
    let agent = TestAgent::back(panel.address, agent.node, &hello(None), busy).await;
    panel.delete(&path).await.error(409, "agent_refused");
    assert_eq!(panel.get(&path).await.ok()["locked"], false);
    let node_id = agent.node;
    agent.cut().await;
    panel.until_node(&node, "offline").await;
    panel.delete(&path).await.error(503, "agent_offline");
    assert_eq!(panel.get(&path).await.ok()["locked"], false);
    // An earlier attempt removed it, and its answer was lost.
    let gone = answers([("remove", refuse(ErrorCode::NotFound, "no such server"))]);
    let _agent = TestAgent::back(panel.address, node_id, &hello(None), gone).await;
    panel.delete(&path).await.no_content();
    panel.get(&path).await.error(404, "not_found");
}

#[tokio::test]
async fn servers_are_filtered_and_sorted() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565-25570").await;
    let egg = panel.egg().await;
    for (server, memory) in [("b", 10), ("a", 30), ("c", 20)] {
        let mut body = new_server(&egg, &node);
        body["name"] = json!(server);
        body["memory_limit"] = json!(memory);
        let id = panel.post("/api/v1/admin/servers", &body).await.created()["id"].as_str().unwrap().to_owned();
        panel.until_status(&id, "offline").await;
    }
    let names = async |query: &str| {
        let page = panel.get(&format!("/api/v1/admin/servers?{query}")).await.ok();
        page.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect::<String>()
    };
    assert_eq!(names("sort=name").await, "abc");
    assert_eq!(names("sort=-memory_limit").await, "acb");
    assert_eq!(names("filter[name]=a").await, "a");
    assert_eq!(names("filter[search]=A").await, "a");
    assert_eq!(names("filter[search]=%25").await, "");
    assert_eq!(names(&format!("filter[node_id]={node}&filter[status]=offline&filter[egg_id]={egg}")).await, "bac");
    assert_eq!(names("filter[status]=running").await, "");
    panel.get("/api/v1/admin/servers?filter[status]=dancing").await.invalid(&["filter[status]"]);
    panel.get("/api/v1/admin/servers?filter[node_id]=x").await.invalid(&["filter[node_id]"]);
}
