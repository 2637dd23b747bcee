//! One mover's connection, from its handshake to its end.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use model::agent_api::{Hello, MAX_MESSAGE_BYTES, Notice, Outcome, Reply, ToAgent, ToPanel, VERSION, Welcome};
use model::{ServerId, ServerObservation};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::line::{Connected, Line};

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// For TLS, the upgrade and the hello together.
const INTRODUCTION: Duration = Duration::from_secs(15);
/// A mover may be quicker than the panel.
const PANELS_WELCOME: Duration = Duration::from_secs(10);
const SEND: Duration = Duration::from_secs(20);
const GOODBYE: Duration = Duration::from_secs(1);
/// How often movers say what they see.
const HEARTBEAT: Duration = Duration::from_secs(5);
const MISSED: u32 = 3;

/// Why a connection is over, for the log and for the other end.
struct Goodbye(u16, String);

impl Goodbye {
    fn new(code: u16, reason: &(impl Display + ?Sized)) -> Self {
        Self(code, reason.to_string())
    }
}

/// The kubelet looks whether we listen by connecting and hanging up.
async fn says_something(stream: &TcpStream) -> bool {
    matches!(timeout(INTRODUCTION, stream.peek(&mut [0])).await, Ok(Ok(bytes)) if bytes > 0)
}

impl Hub {
    /// Serves one connection until it ends. `room` is given back when it is known who it is.
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        from: SocketAddr,
        tls: TlsAcceptor,
        room: OwnedSemaphorePermit,
        shutdown: CancellationToken,
    ) {
        if !says_something(&stream).await {
            return tracing::trace!(%from, "a probe");
        }
        let introduced = timeout(INTRODUCTION, self.introduced(stream, tls)).await;
        drop(room);
        match introduced {
            Ok(Ok((socket, server, hello))) => self.served(socket, server, &hello, shutdown).await,
            Ok(Err(why)) => tracing::warn!(%from, why, "somebody was not let in as a mover"),
            Err(_) => tracing::warn!(%from, "somebody did not say in time which mover it is"),
        }
    }

    async fn introduced(&self, stream: TcpStream, tls: TlsAcceptor) -> Result<(Socket, ServerId, Box<Hello>), String> {
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let stream = tls.accept(stream).await.map_err(|error| error.to_string())?;
        let whose = Arc::new(Mutex::new(None));
        let found = Arc::clone(&whose);
        #[allow(clippy::result_large_err, reason = "the library's own type")]
        let check = move |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            let server = bearer(request).and_then(|bearer| self.bearers.whose(bearer)).ok_or_else(unauthorized)?;
            *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
            Ok(response)
        };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let accepted = accept_hdr_async_with_config(stream, check, Some(config)).await;
        let mut socket = accepted.map_err(|error| error.to_string())?;
        let server = *whose.lock().unwrap_or_else(PoisonError::into_inner);
        let server = server.ok_or("it showed no bearer")?;
        let hello = read_hello(&mut socket).await?;
        if hello.version != VERSION {
            let why = format!("it speaks version {}, we {VERSION}: its pod has another image", hello.version);
            close(&mut socket, Goodbye::new(4426, &why)).await;
            return Err(why);
        }
        Ok((socket, server, hello))
    }

    async fn served(&self, mut socket: Socket, server: ServerId, hello: &Hello, shutdown: CancellationToken) {
        let Some(welcome) = self.panels_welcome().await else {
            return close(&mut socket, Goodbye::new(1013, "the orchestrator has not met its panel yet")).await;
        };
        tracing::info!(%server, pod = hello.host, software = hello.software, "mover connected");
        let line = self.line(server);
        self.observe(&line, server, &hello.servers);
        let (connected, messages) = line.connected();
        let end = tokio::select! {
            end = self.converse(&line, &connected, messages, &mut socket, welcome) => end,
            () = connected.over.cancelled() => Goodbye::new(4409, "another connection took the place of this one"),
            () = shutdown.cancelled() => Goodbye::new(1001, "the orchestrator ends"),
        };
        line.disconnected(&connected);
        tracing::info!(%server, code = end.0, reason = end.1, "mover disconnected");
        close(&mut socket, end).await;
    }

    async fn panels_welcome(&self) -> Option<Welcome> {
        let mut welcome = self.welcome.subscribe();
        let known = timeout(PANELS_WELCOME, welcome.wait_for(Option::is_some)).await.ok()?.ok()?;
        known.clone()
    }

    async fn converse(
        &self,
        line: &Arc<Line>,
        connected: &Connected,
        messages: mpsc::UnboundedReceiver<Arc<str>>,
        socket: &mut Socket,
        welcome: Welcome,
    ) -> Goodbye {
        let heartbeat_ms = u64::try_from(HEARTBEAT.as_millis()).unwrap_or(u64::MAX);
        let (mut sink, stream) = socket.split();
        let welcome = serde_json::to_string(&ToAgent::Welcome(Welcome { heartbeat_ms, ..welcome }));
        let sent = match welcome {
            Ok(text) => say(&mut sink, &text).await,
            Err(error) => Err(Goodbye::new(1011, &error)),
        };
        if let Err(end) = sent {
            return end;
        }
        tokio::select! {
            end = self.read(line, stream) => end,
            end = write(line, connected, messages, &mut sink) => end,
        }
    }

    async fn read(&self, line: &Arc<Line>, mut stream: SplitStream<&mut Socket>) -> Goodbye {
        loop {
            match timeout(HEARTBEAT * MISSED, stream.next()).await {
                Err(_) => return Goodbye::new(4408, "silent for three heartbeats"),
                Ok(None) => return Goodbye::new(1006, "the connection was cut"),
                Ok(Some(Err(error))) => return Goodbye::new(1006, &error),
                Ok(Some(Ok(Message::Text(text)))) => self.heard(line, text.as_str()),
                Ok(Some(Ok(Message::Close(_)))) => return Goodbye::new(1000, "closed by the mover"),
                Ok(Some(Ok(_))) => {}
            }
        }
    }

    fn heard(&self, line: &Arc<Line>, text: &str) {
        match serde_json::from_str(text) {
            Ok(ToPanel::Reply { id, outcome }) => {
                if let Outcome::Ok(Reply::Server { server }) = &outcome {
                    self.observe(line, line.server(), std::slice::from_ref(server));
                }
                line.answer(id, outcome);
            }
            Ok(ToPanel::Notice(Notice::Heartbeat { servers, .. })) => {
                self.observe(line, line.server(), &servers);
            }
            Ok(ToPanel::Notice(Notice::ServerChanged { server })) => self.observe(line, line.server(), &[server]),
            Ok(ToPanel::Notice(notice @ Notice::CopyProgress { .. })) => self.tell(notice),
            Ok(ToPanel::Hello(_)) => tracing::warn!(server = %line.server(), "a second hello was ignored"),
            Err(error) => tracing::warn!(server = %line.server(), %error, "a mover said what is not understood"),
        }
    }

    /// A mover speaks for its own server alone.
    fn observe(&self, line: &Arc<Line>, server: ServerId, seen: &[ServerObservation]) {
        for seen in seen.iter().filter(|seen| seen.server_id == server) {
            if line.note(seen.clone()) {
                self.tell(Notice::ServerChanged { server: seen.clone() });
            }
        }
    }

    fn tell(&self, notice: Notice) {
        if self.news.send(notice).is_err() {
            tracing::trace!("no panel listens; the next heartbeat tells it");
        }
    }
}

async fn read_hello(socket: &mut Socket) -> Result<Box<Hello>, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => match serde_json::from_str(text.as_str()) {
                Ok(ToPanel::Hello(hello)) => return Ok(hello),
                Ok(_) => return Err("its first message is no hello".to_owned()),
                Err(error) => return Err(format!("its hello cannot be read: {error}")),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(_)) | None => return Err("it was gone before its hello".to_owned()),
            Some(Err(error)) => return Err(error.to_string()),
        }
    }
}

/// Sends requests in their order. The panel's word goes first: it is only worth something now.
async fn write(
    line: &Line,
    connected: &Connected,
    mut messages: mpsc::UnboundedReceiver<Arc<str>>,
    sink: &mut SplitSink<&mut Socket, Message>,
) -> Goodbye {
    loop {
        let text = tokio::select! {
            biased;
            () = connected.word.notified() => line.ping(),
            message = messages.recv() => message,
        };
        let Some(text) = text else { return Goodbye::new(1001, "nothing more to say") };
        if let Err(end) = say(sink, &text).await {
            return end;
        }
    }
}

async fn say(sink: &mut SplitSink<&mut Socket, Message>, text: &str) -> Result<(), Goodbye> {
    match timeout(SEND, sink.send(Message::from(text))).await {
        Ok(sent) => sent.map_err(|error| Goodbye::new(1006, &error)),
        Err(_) => Err(Goodbye::new(4408, "does not take what it is sent")),
    }
}

async fn close(socket: &mut Socket, Goodbye(code, reason): Goodbye) {
    // 1006 is what an end without a goodbye is called; it is never sent.
    let code = if code == 1006 { 1011 } else { code };
    let reason: String = reason.chars().take(100).collect();
    let frame = CloseFrame { code: code.into(), reason: reason.into() };
    if !matches!(timeout(GOODBYE, socket.close(Some(frame))).await, Ok(Ok(()))) {
        tracing::trace!("the goodbye was not heard");
    }
}

fn bearer(request: &Request) -> Option<&str> {
    request.headers().get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
}

fn unauthorized() -> ErrorResponse {
    let mut response = ErrorResponse::new(Some("this orchestrator did not give that bearer out".to_owned()));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}
