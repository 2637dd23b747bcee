//! The whole agent against a panel that the test plays, message by message.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use model::NodeId;
use model::agent_api::{ErrorCode, Hello, Notice, Outcome, Reply, ToAgent, ToPanel, VERSION, Welcome};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use tokio_util::sync::CancellationToken;

use crate::permit::testing::Signer;
use crate::{Config, Error, RuntimeConfig};

const PATIENCE: Duration = Duration::from_secs(30);

/// The panel's end of one connection.
struct Connection {
    socket: WebSocketStream<TcpStream>,
    bearer: String,
    hello: Hello,
}

impl Connection {
    async fn welcome(&mut self, agent: NodeId, permit_key: String) {
        let welcome = Welcome { version: VERSION, agent_id: agent, permit_key, heartbeat_ms: 200 };
        self.say(&ToAgent::Welcome(welcome)).await;
    }

    async fn say(&mut self, message: &ToAgent) {
        self.socket.send(Message::from(serde_json::to_string(message).unwrap())).await.unwrap();
    }

    async fn hear(&mut self) -> ToPanel {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.unwrap().unwrap().unwrap();
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    async fn ask(&mut self, id: u64, request: serde_json::Value) -> Outcome {
        self.say(&ToAgent::Request { id, request }).await;
        loop {
            if let ToPanel::Reply { id: answered, outcome } = self.hear().await {
                assert_eq!(answered, id);
                return outcome;
            }
        }
    }

    async fn close(mut self, code: u16) {
        let frame = CloseFrame { code: code.into(), reason: "because".into() };
        self.socket.close(Some(frame)).await.unwrap();
    }
}

/// A panel and one agent that was told to join it.
struct Scene {
    _dir: TempDir,
    listener: TcpListener,
    config: Config,
    shutdown: CancellationToken,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = Config {
            panel_url: format!("http://{}", listener.local_addr().unwrap()),
            enrolment_token: Some("bpe_token".to_owned()),
            data_dir: dir.path().to_owned(),
            data_listen: "0.0.0.0:0".parse().unwrap(),
            advertise: None,
            runtime: RuntimeConfig::Process,
            name: "host-a".to_owned(),
        };
        Self { _dir: dir, listener, config, shutdown: CancellationToken::new() }
    }

    fn agent(&self) -> JoinHandle<crate::Result<()>> {
        tokio::spawn(crate::run(self.config.clone(), self.shutdown.clone()))
    }

    async fn accept(&self) -> Connection {
        let (stream, _) = tokio::time::timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap();
        let bearer = Arc::new(Mutex::new(String::new()));
        let noted = Arc::clone(&bearer);
        #[allow(clippy::result_large_err, reason = "the library's own type")]
        let note = move |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            assert_eq!(request.uri().path(), "/api/v1/agents/connect");
            *noted.lock().unwrap() = request.headers()["authorization"].to_str().unwrap().to_owned();
            Ok(response)
        };
        let socket = accept_hdr_async(stream, note).await.unwrap();
        let bearer = bearer.lock().unwrap().clone();
        let mut connection = Connection { socket, bearer, hello: hello_of_nobody() };
        let ToPanel::Hello(hello) = connection.hear().await else { panic!("no hello") };
        connection.hello = *hello;
        connection
    }

    async fn refuse(&self, status: StatusCode) {
        let (stream, _) = tokio::time::timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap();
        #[allow(clippy::result_large_err, reason = "the library's own type")]
        let no = move |_: &Request, _: Response| -> Result<Response, ErrorResponse> {
            let body = json!({"error": {"message": "The token is used up."}}).to_string();
            Err(Response::builder().status(status).body(Some(body)).unwrap())
        };
        assert!(accept_hdr_async(stream, no).await.is_err());
    }

    async fn end(self, agent: JoinHandle<crate::Result<()>>) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, agent).await.unwrap().unwrap().unwrap();
    }
}

fn hello_of_nobody() -> Hello {
    Hello {
        version: 0,
        software: String::new(),
        host: String::new(),
        runtime: model::RuntimeKind::Process,
        fingerprint: String::new(),
        data_address: String::new(),
        secret: None,
        resources: model::Resources::default(),
        servers: Vec::new(),
        cluster: None,
    }
}

#[tokio::test]
async fn it_joins_with_a_token_once_and_with_its_secret_from_then_on() {
    let scene = Scene::new().await;
    let agent = scene.agent();
    let (id, key) = (NodeId::new(), Signer::new().public());
    let first = scene.accept().await;
    assert_eq!(first.bearer, "Bearer bpe_token");
    assert_eq!((first.hello.version, first.hello.host.as_str()), (VERSION, "host-a"));
    assert!(first.hello.data_address.starts_with("127.0.0.1:"), "where the panel sees it");
    let secret = first.hello.secret.clone().unwrap();
    drop(first); // The answer is lost: the same again, with the same secret.
    let mut second = scene.accept().await;
    assert_eq!((second.bearer.as_str(), second.hello.secret.as_ref()), ("Bearer bpe_token", Some(&secret)));
    second.welcome(id, key.clone()).await;
    let beat = second.hear().await;
    assert!(matches!(beat, ToPanel::Notice(Notice::Heartbeat { .. })));
    drop(second);
    let mut third = scene.accept().await;
    assert_eq!((third.bearer, third.hello.secret.clone()), (format!("Bearer {id}.{secret}"), None));
    third.hello = hello_of_nobody();
    scene.end(agent).await;
}

#[tokio::test]
async fn it_answers_what_it_knows_and_says_what_it_does_not() {
    let scene = Scene::new().await;
    let agent = scene.agent();
    let mut panel = scene.accept().await;
    panel.welcome(NodeId::new(), Signer::new().public()).await;
    assert_eq!(panel.ask(1, json!({"command": "ping"})).await, Outcome::Ok(Reply::Done));
    let Outcome::Err(error) = panel.ask(2, json!({"command": "fold_laundry"})).await else { panic!("it cannot") };
    assert_eq!(error.code, ErrorCode::Unsupported);
    let unknown = json!({"command": "observe_server", "server_id": NodeId::new(), "of_a_newer_version": 1});
    let Outcome::Err(error) = panel.ask(3, unknown).await else { panic!("there is none") };
    assert_eq!(error.code, ErrorCode::NotFound);
    panel.socket.send(Message::from("rubbish")).await.unwrap();
    assert_eq!(panel.ask(4, json!({"command": "ping"})).await, Outcome::Ok(Reply::Done));
    scene.end(agent).await;
}

#[tokio::test]
async fn a_refusal_ends_it_with_what_to_do() {
    let scene = Scene::new().await;
    let agent = scene.agent();
    scene.refuse(StatusCode::SERVICE_UNAVAILABLE).await; // Not final.
    scene.refuse(StatusCode::UNAUTHORIZED).await;
    let error = tokio::time::timeout(PATIENCE, agent).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, Error::Refused { .. }));
    let message = error.to_string();
    assert!(message.contains("used up") && message.contains("get a new command with"), "{message}");
}

#[tokio::test]
async fn a_token_that_somebody_else_has_used_is_final() {
    let scene = Scene::new().await;
    let agent = scene.agent();
    scene.accept().await.close(4401).await;
    let error = tokio::time::timeout(PATIENCE, agent).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, Error::Refused { .. }));
}

#[tokio::test]
async fn an_agent_that_was_forgotten_joins_again_with_a_new_token() {
    let scene = Scene::new().await;
    let agent = scene.agent();
    scene.accept().await.welcome(NodeId::new(), Signer::new().public()).await;
    scene.refuse(StatusCode::UNAUTHORIZED).await;
    assert_eq!(scene.accept().await.bearer, "Bearer bpe_token");
    scene.end(agent).await;
}

#[tokio::test]
async fn a_panel_behind_tls_that_is_none_is_waited_for() {
    let mut scene = Scene::new().await;
    scene.config.panel_url = scene.config.panel_url.replace("http:", "https:");
    let agent = scene.agent();
    for _ in 0..2 {
        let (mut stream, _) = tokio::time::timeout(PATIENCE, scene.listener.accept()).await.unwrap().unwrap();
        let mut greeting = [0; 3];
        stream.read_exact(&mut greeting).await.unwrap();
        assert_eq!(greeting[0], 22, "a TLS handshake");
    }
    scene.end(agent).await;
}

#[tokio::test]
async fn a_machine_that_never_joined_needs_a_token() {
    let mut scene = Scene::new().await;
    scene.config.enrolment_token = None;
    let error = tokio::time::timeout(PATIENCE, scene.agent()).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, Error::Config(_)));
}
