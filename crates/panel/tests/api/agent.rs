//! An agent that does nothing but speak: it says hello, remembers what it is asked, and answers as it is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use model::agent_api::{Hello, Notice, Outcome, Reply, Request, ToAgent, ToPanel, VERSION, Welcome};
use model::{NodeId, Resources, RuntimeKind, ServerObservation};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::harness::{until, within};

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
/// What to answer; none keeps the panel waiting.
pub(crate) type Script = Arc<dyn Fn(&Request) -> Option<Outcome> + Send + Sync>;

pub(crate) struct TestAgent {
    pub(crate) node: NodeId,
    pub(crate) welcome: Welcome,
    asked: Arc<Mutex<Vec<Request>>>,
    outbox: mpsc::UnboundedSender<Message>,
    pub(crate) task: JoinHandle<Option<CloseFrame>>,
}

pub(crate) fn hello(secret: Option<&str>) -> Hello {
    Hello {
        version: VERSION,
        software: "test".to_owned(),
        // Each on a machine of its own.
        host: format!("host-{}", NodeId::new()),
        runtime: RuntimeKind::Process,
        fingerprint: "ab".repeat(32),
        data_address: "127.0.0.1:8443".to_owned(),
        secret: secret.map(str::to_owned),
        resources: Resources::default(),
        servers: Vec::new(),
        cluster: None,
    }
}

/// The secret that test agents make.
pub(crate) const SECRET: &str = "a-secret-of-at-least-thirty-two-characters";

pub(crate) async fn dial(panel: SocketAddr, bearer: &str) -> Result<Socket, tungstenite::Error> {
    let mut request = format!("ws://{panel}/api/v1/agents/connect").into_client_request().unwrap();
    request.headers_mut().insert("Authorization", format!("Bearer {bearer}").parse().unwrap());
    within(Box::pin(tokio_tungstenite::connect_async(request))).await.map(|(socket, _)| socket)
}

/// Says hello. Either the panel's welcome, or why it closed the connection.
pub(crate) async fn greet(socket: &mut Socket, hello: &Hello) -> Result<Welcome, CloseFrame> {
    let text = serde_json::to_string(&ToPanel::Hello(Box::new(hello.clone()))).unwrap();
    socket.send(Message::text(text)).await.unwrap();
    match within(socket.next()).await.unwrap().unwrap() {
        Message::Text(text) => match serde_json::from_str(text.as_str()).unwrap() {
            ToAgent::Welcome(welcome) => Ok(welcome),
            other @ ToAgent::Request { .. } => panic!("a request before the welcome: {other:?}"),
        },
        Message::Close(frame) => Err(frame.unwrap()),
        other => panic!("neither a welcome nor a goodbye: {other:?}"),
    }
}

#[allow(clippy::unnecessary_wraps, reason = "one of the answers of a script, of which one is no answer")]
pub(crate) fn done() -> Option<Outcome> {
    Some(Outcome::Ok(Reply::Done))
}

impl TestAgent {
    pub(crate) async fn enrol(panel: SocketAddr, token: &str) -> Self {
        let socket = dial(panel, token).await.unwrap();
        Self::start(socket, &hello(Some(SECRET)), Arc::new(|_| done())).await
    }

    /// Connects again as an agent that has enrolled.
    pub(crate) async fn back(panel: SocketAddr, node: NodeId, hello: &Hello, script: Script) -> Self {
        let socket = dial(panel, &format!("{node}.{SECRET}")).await.unwrap();
        Self::start(socket, hello, script).await
    }

    pub(crate) async fn start(mut socket: Socket, hello: &Hello, script: Script) -> Self {
        let welcome = greet(&mut socket, hello).await.unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (outbox, messages) = mpsc::unbounded_channel();
        let task = tokio::spawn(talk(socket, Arc::clone(&asked), messages, script));
        Self { node: welcome.agent_id, welcome, asked, outbox, task }
    }

    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until the panel has asked for something that `wanted` takes.
    pub(crate) async fn until_asked<T>(&self, wanted: impl Fn(&Request) -> Option<T>) -> T {
        until(async || self.asked().iter().find_map(&wanted)).await
    }

    pub(crate) fn say(&self, notice: Notice) {
        let text = serde_json::to_string(&ToPanel::Notice(notice)).unwrap();
        self.outbox.send(Message::text(text)).unwrap();
    }

    pub(crate) fn say_text(&self, text: &str) {
        self.outbox.send(Message::text(text)).unwrap();
    }

    pub(crate) fn saw(&self, server: ServerObservation) {
        self.say(Notice::ServerChanged { server });
    }

    /// Cuts the connection without a word.
    pub(crate) async fn cut(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    /// The panel's goodbye.
    pub(crate) async fn closed(self) -> Option<CloseFrame> {
        within(self.task).await.unwrap()
    }
}

async fn talk(
    mut socket: Socket,
    asked: Arc<Mutex<Vec<Request>>>,
    mut messages: mpsc::UnboundedReceiver<Message>,
    script: Script,
) -> Option<CloseFrame> {
    loop {
        tokio::select! {
            message = messages.recv() => socket.send(message?).await.ok()?,
            message = socket.next() => match message? {
                Ok(Message::Text(text)) => {
                    let ToAgent::Request { id, request } = serde_json::from_str(text.as_str()).unwrap() else { continue };
                    let request: Request = serde_json::from_value(request).unwrap();
                    let outcome = script(&request);
                    asked.lock().unwrap().push(request);
                    if let Some(outcome) = outcome {
                        let text = serde_json::to_string(&ToPanel::Reply { id, outcome }).unwrap();
                        socket.send(Message::text(text)).await.ok()?;
                    }
                }
                Ok(Message::Close(frame)) => return frame,
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}

/// A script out of answers by the name of the command; everything else is done.
pub(crate) fn answers(answers: impl IntoIterator<Item = (&'static str, Option<Outcome>)>) -> Script {
    let answers: BTreeMap<_, _> = answers.into_iter().collect();
    Arc::new(move |request| answers.get(name(request)).cloned().unwrap_or_else(done))
}

pub(crate) fn name(request: &Request) -> &'static str {
    match request {
        Request::Ping => "ping",
        Request::CreateServer { .. } => "create",
        Request::ConfigureServer { .. } => "configure",
        Request::StartServer { .. } => "start",
        Request::StopServer { .. } => "stop",
        Request::KillServer { .. } => "kill",
        Request::SendConsole { .. } => "command",
        Request::ReadConsole { .. } => "console",
        Request::FollowConsole { .. } => "follow",
        Request::ObserveServer { .. } => "observe",
        Request::RemoveServer { .. } => "remove",
        Request::MeasureServer { .. } => "measure",
        Request::CheckTarget { .. } => "check",
        Request::CheckDatabase { .. } => "database",
        Request::Backup { .. } => "backup",
        Request::AdjustCopy { .. } => "adjust",
        Request::ListOrphans { .. } => "orphans",
        Request::RemoveOrphan { .. } => "remove_orphan",
        Request::Transfer { .. } => "transfer",
    }
}
