//! How agents come in, who is kept out, and whose word about a server counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::SinkExt;
use model::agent_api::{Notice, VERSION};
use model::{Clock, Epoch, Resources, ServerObservation, ServerStatus, SystemClock};
use panel::agent::Agents;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::agent::{SECRET, TestAgent, answers, dial, greet, hello};
use crate::harness::{Panel, until};

async fn refused(panel: &Panel, bearer: &str) {
    match dial(panel.address, bearer).await.unwrap_err() {
        Error::Http(response) => {
            assert_eq!(response.status(), 401);
            let body: Value = serde_json::from_slice(response.body().as_ref().unwrap()).unwrap();
            assert_eq!(body["error"]["code"], "unauthorized");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_agent_enrols_once_and_comes_back_with_its_secret() {
    let panel = Panel::start().await;
    let node = panel.new_node("n").await;
    let (id, token) = (node["id"].as_str().unwrap(), node["enrolment"]["token"].as_str().unwrap());
    let agent = TestAgent::enrol(panel.address, token).await;
    assert_eq!((agent.node.to_string().as_str(), agent.welcome.version), (id, VERSION));
    panel.until_node(id, "online").await;
    let shown = panel.get(&format!("/api/v1/admin/nodes/{id}")).await.ok();
    assert_eq!(shown["runtime"], "process");
    assert!(shown["host"].as_str().unwrap().starts_with("host-"), "{shown}");
    assert_eq!(shown["data_address"], "127.0.0.1:8443");
    assert!(shown["last_seen_at"].is_string());
    agent.cut().await;
    panel.until_node(id, "offline").await;
    let agent = TestAgent::back(panel.address, id.parse().unwrap(), &hello(None), answers([])).await;
    panel.until_node(id, "online").await;
    agent.cut().await;

    for bearer in ["bpe_unknown", "nonsense", &format!("{id}.wrong"), &format!("{id}."), &format!("x.{SECRET}")] {
        refused(&panel, bearer).await;
    }
    panel.get("/api/v1/agents/connect").await.error(401, "unauthorized");
}

#[tokio::test]
async fn a_token_serves_one_secret() {
    let panel = Panel::start().await;
    let node = panel.new_node("n").await;
    let token = node["enrolment"]["token"].as_str().unwrap();
    let enrol = async |secret: Option<&str>| {
        let mut socket = dial(panel.address, token).await.unwrap();
        greet(&mut socket, &hello(secret)).await
    };
    assert_eq!(u16::from(enrol(None).await.unwrap_err().code), 4400);
    assert_eq!(u16::from(enrol(Some("short")).await.unwrap_err().code), 4400);
    enrol(Some(SECRET)).await.unwrap();
    // The answer to the first was lost: the same agent asks again.
    enrol(Some(SECRET)).await.unwrap();
    let thief = enrol(Some("another-secret-of-at-least-thirty-two")).await.unwrap_err();
    assert_eq!(u16::from(thief.code), 4401, "{thief}");
    assert!(thief.reason.contains("another agent"), "{thief}");
}

#[tokio::test]
async fn a_new_token_ends_the_old_one_and_lets_another_agent_take_over() {
    let panel = Panel::start().await;
    let node = panel.new_node("n").await;
    let (id, first) = (node["id"].as_str().unwrap(), node["enrolment"]["token"].as_str().unwrap());
    let path = format!("/api/v1/admin/nodes/{id}/enrolment-token");
    let second = panel.post(&path, &json!({})).await.created()["enrolment"]["token"].as_str().unwrap().to_owned();
    refused(&panel, first).await;
    TestAgent::enrol(panel.address, &second).await.cut().await;
    let third = panel.post(&path, &json!({})).await.created()["enrolment"]["token"].as_str().unwrap().to_owned();
    let mut socket = dial(panel.address, &third).await.unwrap();
    greet(&mut socket, &hello(Some("the-secret-of-a-machine-set-up-anew"))).await.unwrap();
    refused(&panel, &format!("{id}.{SECRET}")).await;
    // The second token's repeat must not bring the old secret back.
    let mut socket = dial(panel.address, &second).await.unwrap();
    assert_eq!(u16::from(greet(&mut socket, &hello(Some(SECRET))).await.unwrap_err().code), 4401);
}

#[tokio::test]
async fn an_expired_token_is_worth_nothing() {
    let panel = Panel::start().await;
    let node = panel.new_node("n").await;
    let db = panel.db().await;
    let mut conn = db.acquire().await.unwrap();
    sqlx::query("UPDATE enrolment_tokens SET expires_at = 1").execute(&mut *conn).await.unwrap();
    refused(&panel, node["enrolment"]["token"].as_str().unwrap()).await;
}

#[tokio::test]
async fn a_hello_that_cannot_stay_is_told_why() {
    let panel = Panel::start().await;
    let (_, agent) = panel.node("n", "1").await;
    let bearer = format!("{}.{SECRET}", agent.node);
    let greeting = async |change: fn(&mut model::agent_api::Hello)| {
        let mut socket = dial(panel.address, &bearer).await.unwrap();
        let mut hello = hello(None);
        change(&mut hello);
        let frame = greet(&mut socket, &hello).await.unwrap_err();
        (u16::from(frame.code), frame.reason.to_string())
    };
    let (code, reason) = greeting(|hello| hello.version = VERSION + 1).await;
    assert_eq!(code, 4426);
    assert!(reason.contains("upgrade the panel"), "{reason}");
    assert_eq!(greeting(|hello| hello.version = 0).await.0, 4426);
    assert_eq!(greeting(|hello| hello.fingerprint = "zz".to_owned()).await.0, 4400);
    assert_eq!(greeting(|hello| hello.data_address = "nowhere".to_owned()).await.0, 4400);

    for first in ["{", "{\"type\": \"reply\"}", "{\"type\": \"hello\", \"version\": 9, \"all\": \"new\"}"] {
        let mut socket = dial(panel.address, &bearer).await.unwrap();
        socket.send(Message::text(first)).await.unwrap();
        let frame = until(async || match futures_util::StreamExt::next(&mut socket).await {
            Some(Ok(Message::Close(frame))) => Some(frame.unwrap()),
            other => panic!("{other:?}"),
        })
        .await;
        assert!([4400, 4426].contains(&u16::from(frame.code)), "{frame}");
    }
    // None of them took the place of the agent that is there.
    assert!(!agent.task.is_finished());
}

#[tokio::test]
async fn a_second_connection_takes_the_place_of_the_first() {
    let panel = Panel::start().await;
    let (node, first) = panel.node("n", "1").await;
    let second = TestAgent::back(panel.address, first.node, &hello(None), answers([])).await;
    assert_eq!(u16::from(first.closed().await.unwrap().code), 4409);
    panel.until_node(&node, "online").await;
    assert!(!second.task.is_finished());
}

#[tokio::test]
async fn messages_that_are_too_large_or_not_understood_do_no_harm() {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "1").await;
    for text in [
        "{",
        "{\"type\": \"notice\", \"notice\": \"from_the_future\"}",
        "{\"type\": \"reply\", \"id\": 99, \"outcome\": 5}",
    ] {
        agent.say_text(text);
    }
    agent.say(Notice::Heartbeat {
        resources: Resources::default(),
        servers: Vec::new(),
        player_addresses: BTreeMap::new(),
    });
    panel.until_node(&node, "online").await;
    agent.say_text(&" ".repeat(model::agent_api::MAX_MESSAGE_BYTES + 1));
    panel.until_node(&node, "offline").await;
}

fn seen(server: &str, status: ServerStatus, epoch: u64) -> ServerObservation {
    ServerObservation {
        server_id: server.parse().unwrap(),
        status,
        epoch: Epoch(epoch),
        fenced: false,
        since: SystemClock.now(),
        exit_code: None,
        attention: Vec::new(),
    }
}

#[tokio::test]
async fn only_the_owners_word_at_the_current_epoch_counts() {
    let panel = Panel::start().await;
    let (node, owner) = panel.node("owner", "25565-25566").await;
    let (other_node, other) = panel.node("other", "25567").await;
    let (id, witness, others) = (panel.server(&node).await, panel.server(&node).await, panel.server(&other_node).await);
    let status = async || panel.get(&format!("/api/v1/servers/{id}")).await.ok()["status"].clone();
    owner.saw(seen(&id, ServerStatus::Running, 1));
    panel.until_status(&id, "running").await;
    // What is said after them on the same connections, and is seen to count, was heard after them.
    other.saw(seen(&id, ServerStatus::Crashed, 1));
    owner.saw(seen(&id, ServerStatus::Crashed, 0));
    owner.saw(seen(&id, ServerStatus::Crashed, 2));
    owner.saw(seen(&id, ServerStatus::Installing, 1));
    owner.saw(seen(&witness, ServerStatus::Running, 1));
    other.saw(seen(&others, ServerStatus::Running, 1));
    panel.until_status(&witness, "running").await;
    panel.until_status(&others, "running").await;
    assert_eq!(status().await, "running");
    let heartbeat = Notice::Heartbeat {
        resources: Resources::default(),
        servers: vec![seen(&id, ServerStatus::Stopping, 1)],
        player_addresses: BTreeMap::new(),
    };
    owner.say(heartbeat);
    panel.until_status(&id, "stopping").await;
    // What a hello says counts as well: it may have changed while nobody listened.
    let mut hello = hello(None);
    hello.servers = vec![seen(&id, ServerStatus::Offline, 1)];
    let _owner = TestAgent::back(panel.address, owner.node, &hello, answers([])).await;
    panel.until_status(&id, "offline").await;
}

/// Put together by hand, because a test does not wait fifteen seconds.
#[tokio::test]
async fn an_agent_that_falls_silent_is_offline() {
    let panel = Panel::start().await;
    let node = panel.new_node("n").await;
    let token = node["enrolment"]["token"].as_str().unwrap();
    let db = panel.db().await;
    let registry = Arc::new(panel::link::Registry::default());
    let link = panel::link::Link {
        registry: Arc::clone(&registry),
        db,
        clock: Arc::new(SystemClock),
        events: Arc::new(panel::events::Hub::default()),
        permit_key: "key".into(),
        heartbeat: Duration::from_millis(100),
        tasks: tokio_util::task::TaskTracker::new(),
        shutdown: tokio_util::sync::CancellationToken::new(),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, panel::link::routes(link)).await });
    let agent = TestAgent::enrol(address, token).await;
    let id = agent.node;
    assert_eq!(agent.welcome.heartbeat_ms, 100);
    until(async || registry.is_online(id).then_some(())).await;
    assert_eq!(u16::from(agent.closed().await.unwrap().code), 4408);
    assert!(!registry.is_online(id));
    server.abort();
}

#[tokio::test]
async fn a_panel_that_ends_says_goodbye() {
    let panel = Panel::start().await;
    let (_, agent) = panel.node("n", "1").await;
    panel.stop().await;
    assert_eq!(u16::from(agent.closed().await.unwrap().code), 1001);
}
