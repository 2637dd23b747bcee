//! The console's WebSocket: who is let in, what comes, what may be sent, and coming back without a gap.

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use model::agent_api::{AgentError, ConsoleMark, ErrorCode, Outcome, Reply, Request};
use model::{Clock, Epoch, ServerObservation, ServerStatus, SystemClock};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::agent::{Script, Socket, TestAgent, hello};
use crate::harness::{Panel, http, within};

/// A console that an agent could have.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<(u64, Vec<String>)>>);

impl Book {
    fn write(&self, lines: &[&str]) {
        self.0.lock().unwrap().1.extend(lines.iter().map(|line| (*line).to_owned()));
    }

    /// A new memory, as of an agent that was started anew.
    fn begin_anew(&self) {
        let mut book = self.0.lock().unwrap();
        *book = (book.0 + 1, Vec::new());
    }

    fn read(&self, after: Option<&ConsoleMark>, count: u32) -> Reply {
        let book = self.0.lock().unwrap();
        let memory = format!("memory-{}", book.0);
        let known = after.filter(|mark| mark.memory == memory).map(|mark| usize::try_from(mark.line).unwrap());
        let count = usize::try_from(count).unwrap();
        let skip = known.unwrap_or(book.1.len().saturating_sub(count));
        let lines = book.1.iter().skip(skip).take(count).cloned().collect();
        Reply::ConsoleLines { memory, first: skip as u64 + 1, lines }
    }

    fn script(&self) -> Script {
        let book = self.clone();
        Arc::new(move |request| {
            Some(Outcome::Ok(match request {
                Request::FollowConsole { after, lines, .. } => book.read(after.as_ref(), *lines),
                _ => Reply::Done,
            }))
        })
    }
}

struct Scene {
    panel: Panel,
    agent: TestAgent,
    server: String,
    book: Book,
}

impl Scene {
    /// A server that runs.
    async fn new() -> Self {
        let book = Book::default();
        Self::with(book.script(), book).await
    }

    async fn with(script: Script, book: Book) -> Self {
        let panel = Panel::start().await;
        let (node, agent) = panel.node("n", "25565").await;
        let server = panel.server(&node).await;
        let agent = TestAgent::back(panel.address, agent.node, &hello(None), script).await;
        let scene = Self { panel, agent, server, book };
        scene.becomes(ServerStatus::Running).await;
        scene
    }

    async fn becomes(&self, status: ServerStatus) {
        self.agent.saw(ServerObservation {
            server_id: self.server.parse().unwrap(),
            status,
            epoch: Epoch::FIRST,
            fenced: false,
            since: SystemClock.now(),
            exit_code: None,
            attention: Vec::new(),
        });
        let word = serde_json::to_value(status).unwrap();
        self.panel.until_status(&self.server, word.as_str().unwrap()).await;
    }

    fn path(&self) -> String {
        format!("/api/v1/servers/{}/console/stream", self.server)
    }

    async fn ticket(&self) -> String {
        let answer = self.panel.post(&format!("/api/v1/servers/{}/console/ticket", self.server), &json!({})).await.ok();
        assert!(answer["path"].as_str().unwrap().starts_with(&self.path()));
        answer["ticket"].as_str().unwrap().to_owned()
    }

    async fn open(&self, query: &str) -> Stream {
        let request = format!("ws://{}{}?{query}", self.panel.address, self.path());
        let mut request = request.into_client_request().unwrap();
        request.headers_mut().insert("Authorization", format!("Bearer {}", self.panel.key).parse().unwrap());
        Stream(within(Box::pin(tokio_tungstenite::connect_async(request))).await.unwrap().0)
    }

    /// The status with which a ticket is refused.
    async fn open_with(&self, ticket: &str) -> Result<Stream, u16> {
        let url = format!("ws://{}{}?ticket={ticket}", self.panel.address, self.path());
        match within(Box::pin(tokio_tungstenite::connect_async(url))).await {
            Ok((socket, _)) => Ok(Stream(socket)),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(other) => panic!("{other}"),
        }
    }
}

struct Stream(Socket);

impl Stream {
    /// The next message; a number is the code with which it was closed.
    async fn hear(&mut self) -> Value {
        loop {
            match within(self.0.next()).await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(text.as_str()).unwrap(),
                Some(Ok(Message::Close(frame))) => return json!(u16::from(frame.unwrap().code)),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let word = self.hear().await;
            if word["type"] == kind {
                return word;
            }
            assert!(word.is_object(), "closed: {word}");
        }
    }

    async fn say(&mut self, input: &Value) {
        within(self.0.send(Message::text(input.to_string()))).await.unwrap();
    }
}

#[tokio::test]
async fn lines_come_with_their_numbers_and_who_comes_back_misses_none_and_sees_none_twice() {
    let scene = Scene::new().await;
    scene.book.write(&["one", "two", "three"]);
    let mut stream = scene.open("lines=2").await;
    let greeting = stream.hear().await;
    assert_eq!(greeting, json!({"type": "hello", "server_id": scene.server, "may": ["console", "power"]}));
    let status = json!({"type": "status", "status": "running", "transfer_state": null, "agent_online": true});
    assert_eq!(stream.hear().await, status);
    let lines = stream.hear().await;
    let expected = json!({"type": "lines", "memory": "memory-0", "first": 2, "lost": 0, "lines": ["two", "three"]});
    assert_eq!(lines, expected);
    scene.book.write(&["four"]);
    assert_eq!(stream.until("lines").await["lines"], json!(["four"]));
    drop(stream);
    scene.book.write(&["five"]);
    let mut stream = scene.open("after=memory-0:4").await;
    let lines = stream.until("lines").await;
    assert_eq!((&lines["first"], &lines["lines"]), (&json!(5), &json!(["five"])));
    scene.book.begin_anew();
    scene.book.write(&["another life"]);
    let lines = stream.until("lines").await;
    assert_eq!((&lines["memory"], &lines["first"]), (&json!("memory-1"), &json!(1)));
}

#[tokio::test]
async fn inputs_reach_the_agent_in_their_order_and_each_is_answered() {
    let scene = Scene::new().await;
    let mut stream = scene.open("").await;
    stream.say(&json!({"type": "command", "command": "say hi", "id": "a"})).await;
    stream.say(&json!({"type": "command", "command": "two\nlines", "id": "b"})).await;
    stream.say(&json!({"type": "power", "signal": "stop", "id": "c"})).await;
    stream.say(&json!({"type": "dance"})).await;
    let mut answers = Vec::new();
    while answers.len() < 4 {
        let word = stream.hear().await;
        if word["type"] == "done" || word["type"] == "error" {
            answers.push((word["type"].clone(), word["id"].clone(), word["code"].clone()));
        }
    }
    let of = |id: &str| answers.iter().find(|(_, known, _)| known == id).unwrap().clone();
    assert_eq!(of("a").0, "done");
    assert_eq!((of("b").0, of("b").2), (json!("error"), json!("validation_error")));
    assert_eq!(of("c").0, "done");
    assert!(answers.iter().any(|(kind, id, _)| kind == "error" && id.is_null()), "{answers:?}");
    let asked = scene.agent.asked();
    let told: Vec<_> = asked.iter().filter(|request| !matches!(request, Request::FollowConsole { .. })).collect();
    assert!(matches!(told[0], Request::SendConsole { line, .. } if line == "say hi"), "{told:?}");
    assert!(matches!(told[1], Request::StopServer { .. }), "{told:?}");
    assert_eq!(told.len(), 2);
}

#[tokio::test]
async fn a_ticket_opens_one_stream_of_one_server() {
    let scene = Scene::new().await;
    let ticket = scene.ticket().await;
    let plain = http(scene.panel.address, "GET", &format!("{}?ticket={ticket}", scene.path()), &[], b"").await;
    plain.error(426, "upgrade_required");
    let mut stream = scene.open_with(&ticket).await.ok().unwrap();
    assert_eq!(stream.hear().await["type"], "hello");
    assert_eq!(scene.open_with(&ticket).await.err(), Some(401), "it was used");
    assert_eq!(scene.open_with("bpt_x").await.err(), Some(401));
    let (other, elsewhere) = (scene.ticket().await, model::ServerId::new());
    let url = format!("ws://{}/api/v1/servers/{elsewhere}/console/stream?ticket={other}", scene.panel.address);
    let refused = within(Box::pin(tokio_tungstenite::connect_async(url))).await.err().unwrap();
    assert!(matches!(refused, Error::Http(response) if response.status() == 401));
    let keyless = http(scene.panel.address, "GET", &scene.path(), &[], b"").await;
    keyless.error(401, "unauthorized");
    scene.panel.get(&scene.path()).await.error(426, "upgrade_required");
    for (query, field) in [("after=x", "after"), ("after=m:x", "after"), ("lines=0", "lines"), ("foo=1", "foo")] {
        scene.panel.get(&format!("{}?{query}", scene.path())).await.invalid(&[field]);
    }
}

#[tokio::test]
async fn who_loses_the_right_loses_the_stream_and_what_they_say_until_then_counts_for_nothing() {
    let scene = Scene::new().await;
    let key = json!({"name": "reader", "scopes": ["admin.servers.console"]});
    let key = scene.panel.post("/api/v1/admin/api-keys", &key).await.created();
    let path = format!("/api/v1/servers/{}/console/ticket", scene.server);
    let ticket = scene.panel.send_as(key["key"].as_str().unwrap(), "POST", &path, &[], "").await.ok();
    let mut stream = scene.open_with(ticket["ticket"].as_str().unwrap()).await.ok().unwrap();
    assert_eq!(stream.hear().await["may"], json!(["console"]));
    stream.say(&json!({"type": "power", "signal": "kill"})).await;
    assert_eq!(stream.until("error").await["code"], "forbidden");
    scene.panel.delete(&format!("/api/v1/admin/api-keys/{}", key["id"].as_str().unwrap())).await.no_content();
    stream.say(&json!({"type": "command", "command": "op me"})).await;
    assert_eq!(stream.until("error").await["code"], "unauthorized");
    let closed = loop {
        let word = stream.hear().await;
        if word.is_number() {
            break word;
        }
    };
    assert_eq!(closed, 4401);
    let told = scene
        .agent
        .asked()
        .iter()
        .any(|asked| matches!(asked, Request::SendConsole { .. } | Request::KillServer { .. }));
    assert!(!told);
}

#[tokio::test]
async fn the_end_of_a_game_is_read_and_then_nobody_is_asked() {
    let scene = Scene::new().await;
    let mut stream = scene.open("").await;
    stream.until("status").await;
    scene.book.write(&["Saving", "Bye"]);
    scene.becomes(ServerStatus::Offline).await;
    let mut lines = Vec::new();
    let mut offline = false;
    while lines.len() < 2 || !offline {
        let word = stream.hear().await;
        offline |= word["status"] == "offline";
        lines.extend(word["lines"].as_array().cloned().unwrap_or_default());
    }
    assert_eq!(lines, [json!("Saving"), json!("Bye")]);
    scene.panel.delete(&format!("/api/v1/admin/servers/{}", scene.server)).await.no_content();
    let gone = loop {
        let word = stream.hear().await;
        if word.is_number() {
            break word;
        }
    };
    assert_eq!(gone, 4404);
}

#[tokio::test]
async fn an_agent_that_is_too_old_is_said_once_and_one_that_is_away_is_seen() {
    let old: Script = Arc::new(|request| {
        Some(match request {
            Request::FollowConsole { .. } => Outcome::Err(AgentError::new(ErrorCode::Unsupported, "unknown command")),
            _ => Outcome::Ok(Reply::Done),
        })
    });
    let scene = Scene::with(old, Book::default()).await;
    let mut stream = scene.open("").await;
    assert_eq!(stream.until("error").await["code"], "agent_too_old");
    scene.agent.cut().await;
    let word = stream.hear().await;
    assert_eq!((&word["type"], &word["agent_online"]), (&json!("status"), &json!(false)), "and no second error");
}
