//! Hub and movers in one process: real TLS and web sockets over loopback, games of the fake runtime.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::transfer::Identity;
use futures_util::{SinkExt, StreamExt};
use model::agent_api::{
    ErrorCode, Hello, Notice, Reply, Request, StepKey, ToAgent, ToPanel, TransferAction, VERSION, Welcome,
};
use model::{Epoch, NodeId, Resources, RuntimeKind, ServerId, ServerStatus, SystemClock, TransferId};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;

use super::{Bearers, Hub};
use crate::mover::{MoverConfig, run_with};
use crate::permit::testing::Signer;
use crate::runtime::fake::Fake;
use crate::server::testing::spec;

const PATIENCE: Duration = Duration::from_secs(30);

/// A hub, and a proxy before it that can cut connections.
struct Scene {
    hub: Arc<Hub>,
    key: Identity,
    address: SocketAddr,
    panel: Signer,
    agent: NodeId,
    news: broadcast::Receiver<Notice>,
    shutdown: CancellationToken,
}

impl Scene {
    async fn new() -> Self {
        let (sender, news) = broadcast::channel(256);
        let hub = Hub::new(Bearers::new("key"), sender);
        let (key, shutdown) = (Identity::generate("hub").unwrap(), CancellationToken::new());
        let address = hub.listen("127.0.0.1:0".parse().unwrap(), &key, shutdown.clone()).await.unwrap();
        Self { hub, key, address, panel: Signer::new(), agent: NodeId::new(), news, shutdown }
    }

    async fn welcomed() -> Self {
        let scene = Self::new().await;
        scene.welcome();
        scene
    }

    fn welcome(&self) {
        let permit_key = self.panel.public();
        self.hub.welcomed(&Welcome { version: VERSION, agent_id: self.agent, permit_key, heartbeat_ms: 1 });
    }

    async fn call(&self, server: ServerId, request: Request) -> Result<Reply, ErrorCode> {
        let call = self.hub.call(server, &request, PATIENCE);
        tokio::time::timeout(PATIENCE, call).await.unwrap().map_err(|error| error.code)
    }

    /// A WebSocket that shows `bearer`, as a stranger would open it.
    async fn knock(&self, bearer: &str) -> tokio_tungstenite::tungstenite::Result<Knocking> {
        let me = Identity::generate("stranger").unwrap();
        let tls = TlsConnector::from(me.tls_client(self.key.fingerprint()).unwrap());
        let stream = TcpStream::connect(self.address).await?;
        let stream = tls.connect(ServerName::try_from("badger").unwrap(), stream).await?;
        let mut request = "wss://badger/api/v1/agents/connect".into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {bearer}").parse().unwrap());
        client_async(request, stream).await.map(|(socket, _)| Knocking(socket))
    }

    async fn becomes(&self, server: ServerId, here: bool) -> bool {
        let line = self.hub.line(server);
        let wanted = async {
            while line.is_here() != here {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wanted).await.is_ok()
    }

    /// Waits for a piece of news that is as wanted.
    async fn hears(&mut self, wanted: impl Fn(&Notice) -> bool) {
        let heard = async { while !wanted(&self.news.recv().await.unwrap()) {} };
        tokio::time::timeout(PATIENCE, heard).await.unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

struct Knocking(WebSocketStream<tokio_rustls::client::TlsStream<TcpStream>>);

impl Knocking {
    async fn says(&mut self, message: &ToPanel) {
        self.0.send(Message::from(serde_json::to_string(message).unwrap())).await.unwrap();
    }

    async fn hears(&mut self) -> ToAgent {
        loop {
            match tokio::time::timeout(PATIENCE, self.0.next()).await.unwrap().unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(text.as_str()).unwrap(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The next request, pings left out.
    async fn is_asked(&mut self) -> (u64, String) {
        loop {
            if let ToAgent::Request { id, request } = self.hears().await
                && request["command"] != "ping"
            {
                return (id, request["command"].as_str().unwrap().to_owned());
            }
        }
    }

    async fn closed_with(mut self) -> u16 {
        loop {
            match tokio::time::timeout(PATIENCE, self.0.next()).await.unwrap() {
                Some(Ok(Message::Close(frame))) => return frame.unwrap().code.into(),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return 1006,
            }
        }
    }
}

fn hello() -> ToPanel {
    ToPanel::Hello(Box::new(Hello {
        version: VERSION,
        software: String::new(),
        host: String::new(),
        runtime: RuntimeKind::Kubernetes,
        fingerprint: String::new(),
        data_address: String::new(),
        secret: None,
        resources: Resources::default(),
        servers: Vec::new(),
        cluster: None,
    }))
}

/// Passes bytes on to the hub until it is told to cut.
struct Proxy {
    address: SocketAddr,
    cut: watch::Sender<u32>,
    accepted: watch::Receiver<u32>,
}

impl Proxy {
    async fn before(hub: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, cuts) = watch::channel(0);
        let (count, accepted) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                let (mut ours, _) = listener.accept().await.unwrap();
                count.send_modify(|count| *count += 1);
                let mut cut = cuts.clone();
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(mut theirs) = TcpStream::connect(hub).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, cut, accepted }
    }

    fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

/// A whole mover with the fake runtime.
struct Running {
    dir: TempDir,
    fake: Arc<Fake>,
    server: ServerId,
    shutdown: CancellationToken,
    task: Option<JoinHandle<crate::Result<()>>>,
}

impl Running {
    fn of(scene: &Scene, server: ServerId, hub: SocketAddr) -> Self {
        let (dir, fake) = (tempfile::tempdir().unwrap(), Arc::new(Fake::default()));
        std::fs::write(dir.path().join("token"), scene.hub.bearers.bearer(server)).unwrap();
        let mut running = Self { dir, fake, server, shutdown: CancellationToken::new(), task: None };
        running.start(scene, hub);
        running
    }

    fn start(&mut self, scene: &Scene, hub: SocketAddr) {
        let config = MoverConfig {
            orchestrator: hub.to_string(),
            fingerprint: scene.key.fingerprint().to_string(),
            token_file: self.dir.path().join("token"),
            server: self.server,
            data_dir: self.dir.path().join("volume"),
            data_listen: "127.0.0.1:0".parse().unwrap(),
            launcher: PathBuf::new(),
            uid: 0,
            gid: 0,
        };
        std::fs::create_dir_all(&config.data_dir).unwrap();
        self.shutdown = CancellationToken::new();
        let runtime = Arc::clone(&self.fake);
        let mover = run_with(config, runtime, Arc::new(SystemClock), self.shutdown.clone());
        self.task = Some(tokio::spawn(mover));
    }

    async fn end(&mut self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task.take().unwrap()).await.unwrap().unwrap().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A server that runs in a pod.
async fn created(scene: &Scene, hub: SocketAddr) -> Running {
    let mut spec = spec();
    spec.done = Vec::new();
    let mover = Running::of(scene, spec.id, hub);
    let permit = scene.panel.permit(spec.id, 1, scene.agent);
    let server_id = spec.id;
    let create = Request::CreateServer { spec: Box::new(spec), epoch: Epoch(1) };
    assert_eq!(scene.call(server_id, create).await, Ok(Reply::Done));
    assert_eq!(scene.call(server_id, Request::StartServer { server_id, permit }).await, Ok(Reply::Done));
    assert!(mover.fake.is_running(server_id));
    mover
}

async fn freeze(scene: &Scene, server_id: ServerId, lease_ms: u64) -> Result<Reply, ErrorCode> {
    let key = StepKey { transfer_id: TransferId::new(), step: "stop_source".to_owned(), epoch: Epoch(1) };
    let action = TransferAction::StopSource { lease_ms };
    scene.call(server_id, Request::Transfer { key, server_id, action }).await
}

#[tokio::test]
async fn a_mover_obeys_and_its_news_go_up() {
    let mut scene = Scene::welcomed().await;
    let mover = created(&scene, scene.address).await;
    let server_id = mover.server;
    let running = |notice: &Notice| matches!(notice, Notice::ServerChanged { server } if server.status.is_live());
    scene.hears(running).await;
    assert!(scene.hub.seen(server_id).unwrap().status.is_live());
    assert_eq!(scene.call(server_id, Request::StopServer { server_id }).await, Ok(Reply::Done));
    scene.hears(|notice| matches!(notice, Notice::ServerChanged { server } if !server.status.is_live())).await;
    assert_eq!(scene.hub.seen(server_id).unwrap().status, ServerStatus::Offline);
    let stranger = Request::ObserveServer { server_id: ServerId::new() };
    assert_eq!(scene.call(server_id, stranger).await, Err(ErrorCode::NotFound));
}

#[tokio::test]
async fn a_mover_waits_for_the_panels_welcome() {
    let scene = Scene::new().await;
    let mover = Running::of(&scene, ServerId::new(), scene.address);
    let server_id = mover.server;
    let mut asked = Box::pin(scene.call(server_id, Request::ObserveServer { server_id }));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut asked).await.is_err());
    assert!(!scene.hub.is_here(server_id));
    scene.welcome();
    assert_eq!(asked.await, Err(ErrorCode::NotFound));
}

#[tokio::test]
async fn an_answer_survives_a_cut_in_the_middle() {
    let scene = Scene::welcomed().await;
    let proxy = Proxy::before(scene.address).await;
    let mut mover = created(&scene, proxy.address).await;
    let server_id = mover.server;
    mover.fake.behave(crate::runtime::fake::Behaviour { stubborn: true, broken: false });
    let mut stopping = Box::pin(scene.call(server_id, Request::StopServer { server_id }));
    let asked = async {
        while mover.fake.asked(server_id) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = &mut stopping => panic!("the game does not end when asked"),
        () = asked => {}
    }
    proxy.cut();
    assert!(scene.becomes(server_id, false).await);
    mover.fake.end(server_id, 0);
    assert_eq!(tokio::time::timeout(PATIENCE, stopping).await.unwrap(), Ok(Reply::Done));
    mover.end().await;
    assert!(scene.becomes(server_id, false).await);
}

#[tokio::test]
async fn a_mover_that_is_started_again_is_asked_again() {
    let scene = Scene::welcomed().await;
    let mut mover = created(&scene, scene.address).await;
    let server_id = mover.server;
    mover.end().await;
    let asked = scene.call(server_id, Request::ObserveServer { server_id });
    mover.start(&scene, scene.address);
    let Ok(Reply::Server { server }) = asked.await else { panic!("no answer") };
    assert!(server.status.is_live(), "its game goes on: {server:?}");
}

#[tokio::test]
async fn a_newer_connection_takes_the_place_of_the_older_with_what_it_was_asked() {
    let scene = Scene::welcomed().await;
    let server_id = ServerId::new();
    let bearer = scene.hub.bearers.bearer(server_id);
    let mut old = scene.knock(&bearer).await.unwrap();
    old.says(&hello()).await;
    assert!(matches!(old.hears().await, ToAgent::Welcome(welcome) if welcome.agent_id == scene.agent));
    let asked = scene.hub.call(server_id, &Request::StopServer { server_id }, PATIENCE);
    let (id, command) = old.is_asked().await;
    assert_eq!(command, "stop_server");
    let mut new = scene.knock(&bearer).await.unwrap();
    new.says(&hello()).await;
    assert!(matches!(new.hears().await, ToAgent::Welcome(_)));
    assert_eq!(new.is_asked().await, (id, "stop_server".to_owned()));
    assert_eq!(old.closed_with().await, 4409);
    new.says(&ToPanel::Reply { id, outcome: model::agent_api::Outcome::Ok(Reply::Done) }).await;
    assert_eq!(asked.await.unwrap(), Reply::Done);
}

#[tokio::test]
async fn who_shows_a_wrong_bearer_or_says_nothing_useful_is_not_let_in() {
    let scene = Scene::welcomed().await;
    let server = ServerId::new();
    for bearer in ["", "x", &Bearers::new("another").bearer(server)] {
        let refused = scene.knock(bearer).await.err().unwrap();
        assert!(refused.to_string().contains("401"), "{refused}");
    }
    let mut odd = scene.knock(&scene.hub.bearers.bearer(server)).await.unwrap();
    odd.0.send(Message::from("rubbish")).await.unwrap();
    assert_eq!(odd.closed_with().await, 1006);
    let mut plain = TcpStream::connect(scene.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    // It says something of TLS, or hangs up.
    plain.read_to_end(&mut rest).await.ok();
    assert!(!rest.starts_with(b"HTTP"), "TLS only");
    assert!(!scene.hub.is_here(server));
}

#[tokio::test]
async fn a_mover_that_is_refused_goes_on_asking() {
    let scene = Scene::welcomed().await;
    let server_id = ServerId::new();
    let mut proxy = Proxy::before(scene.address).await;
    let mut mover = Running::of(&scene, server_id, proxy.address);
    assert!(scene.becomes(server_id, true).await);
    mover.end().await;
    assert!(scene.becomes(server_id, false).await);
    let token = mover.dir.path().join("token");
    std::fs::write(&token, "wrong").unwrap();
    mover.start(&scene, proxy.address);
    let again = proxy.accepted.wait_for(|accepted| *accepted == 3);
    tokio::time::timeout(PATIENCE, again).await.expect("it was refused and asks again").unwrap();
    assert!(!scene.hub.is_here(server_id));
    std::fs::write(&token, format!("{}\n", scene.hub.bearers.bearer(server_id))).unwrap();
    assert!(scene.becomes(server_id, true).await);
}

#[tokio::test]
async fn a_source_runs_again_when_the_panel_is_silent_though_the_orchestrator_lives() {
    let scene = Scene::welcomed().await;
    let proxy = Proxy::before(scene.address).await;
    let mover = created(&scene, proxy.address).await;
    let server_id = mover.server;
    assert!(matches!(freeze(&scene, server_id, 1500).await, Ok(Reply::Stopped { was_running: true, .. })));
    // What the orchestrator does by itself is no word of the panel: asking, and welcoming again after a cut.
    let again = async {
        while mover.fake.starts(server_id) == 1 {
            scene.call(server_id, Request::ObserveServer { server_id }).await.unwrap();
            proxy.cut();
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("the lease runs out");
    assert!(mover.fake.is_running(server_id));
}

#[tokio::test]
async fn the_panels_word_keeps_a_lease_whichever_server_it_was_about() {
    let scene = Scene::welcomed().await;
    let mover = created(&scene, scene.address).await;
    let server_id = mover.server;
    assert!(matches!(freeze(&scene, server_id, 2000).await, Ok(Reply::Stopped { was_running: true, .. })));
    let began = tokio::time::Instant::now();
    let mut words = tokio::time::interval(Duration::from_millis(200));
    while began.elapsed() < Duration::from_secs(4) {
        words.tick().await;
        scene.hub.word(None);
        assert_eq!(mover.fake.starts(server_id), 1, "the panel lives");
    }
    let again = async {
        while mover.fake.starts(server_id) == 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("the panel fell silent");
}
