//! One agent's connection, from its hello to its end.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use model::agent_api::{AgentError, ErrorCode, Notice, Outcome, Reply, ToAgent, ToPanel, VERSION, Welcome};
use model::{NodeId, ServerId, ServerObservation, ServerStatus};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::Link;
use super::handshake::{self, Credential, Refusal};
use super::registry::Peer;
use crate::api::chain;
use crate::db::{DbError, allocations, nodes, on_demand, outbox, servers};

type Sink<'a> = SplitSink<&'a mut WebSocket, Message>;

/// How long one message may take to get out.
const SEND_PATIENCE: Duration = Duration::from_secs(20);
/// How long a goodbye may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// Heartbeats that may be missed.
const MISSED: u32 = 3;
/// How old `last_seen_at` may become before it is written again.
const SEEN_GRAIN: Duration = Duration::from_secs(30);

/// Serves one connection until it ends.
pub(super) async fn serve(link: Link, credential: Credential, mut socket: WebSocket) {
    let greeted = tokio::select! {
        greeted = handshake::greet(&link, credential, &mut socket) => greeted,
        () = link.shutdown.cancelled() => Err(Refusal::new(1001, "the panel ends")),
    };
    let (node, hello) = match greeted {
        Ok(greeted) => greeted,
        Err(refusal) => {
            tracing::warn!(code = refusal.code, reason = refusal.reason, "an agent was refused");
            return close(&mut socket, refusal).await;
        }
    };
    let welcome = ToAgent::Welcome(Welcome {
        version: VERSION,
        agent_id: node,
        permit_key: link.permit_key.to_string(),
        heartbeat_ms: u64::try_from(link.heartbeat.as_millis()).unwrap_or(u64::MAX),
    });
    tracing::info!(%node, host = hello.host, software = hello.software, "agent connected");
    observe(&link, node, &hello.servers).await;
    // Registered before the welcome: an agent that has been welcomed can be called. Calls wait in the outbox until then.
    let (peer, messages) = link.registry.connected(node);
    peer.measured(hello.resources);
    let end = converse(&link, &peer, messages, &mut socket, &welcome).await;
    link.registry.disconnected(&peer);
    tracing::info!(%node, code = end.code, reason = end.reason, "agent disconnected");
    close(&mut socket, end).await;
    if !seen(&link, node).await {
        tracing::info!(%node, "its node is no more");
    }
}

/// Everything from the welcome to the reason why it is over.
async fn converse(
    link: &Link,
    peer: &Peer,
    messages: mpsc::Receiver<String>,
    socket: &mut WebSocket,
    welcome: &ToAgent,
) -> Refusal {
    let (mut sink, stream) = socket.split();
    let conversation = async {
        if let Err(refusal) = welcome_to(&mut sink, welcome).await {
            return refusal;
        }
        tokio::select! {
            end = read(link, peer, stream) => end,
            end = write(&mut sink, messages) => end,
        }
    };
    tokio::select! {
        end = conversation => end,
        () = peer.replaced.cancelled() => Refusal::new(4409, "another connection took the place of this one"),
        () = link.shutdown.cancelled() => Refusal::new(1001, "the panel ends"),
    }
}

async fn welcome_to(sink: &mut Sink<'_>, welcome: &ToAgent) -> Result<(), Refusal> {
    let text = serde_json::to_string(welcome).map_err(|error| Refusal::new(1011, error.to_string()))?;
    say(sink, text).await
}

/// Takes what the agent says until it says nothing for too long.
async fn read(link: &Link, peer: &Peer, mut stream: SplitStream<&mut WebSocket>) -> Refusal {
    let node = peer.node;
    let mut seen_at = Instant::now();
    loop {
        let message = match timeout(link.heartbeat * MISSED, stream.next()).await {
            Err(_) => return Refusal::new(4408, "silent for three heartbeats"),
            Ok(None) => return Refusal::new(1006, "the connection was cut"),
            Ok(Some(Err(error))) => return Refusal::new(1006, error.to_string()),
            Ok(Some(Ok(message))) => message,
        };
        match message {
            Message::Text(text) => heard(link, node, peer, text.as_str()).await,
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Binary(_) => return Refusal::new(4400, "messages are JSON text"),
            Message::Close(_) => return Refusal::new(1000, "closed by the agent"),
        }
        if seen_at.elapsed() > SEEN_GRAIN {
            seen_at = Instant::now();
            if !seen(link, node).await {
                return Refusal::new(4401, "the node was deleted");
            }
        }
    }
}

/// Sends what callers have put into the outbox.
async fn write(sink: &mut Sink<'_>, mut messages: mpsc::Receiver<String>) -> Refusal {
    while let Some(text) = messages.recv().await {
        if let Err(refusal) = say(sink, text).await {
            return refusal;
        }
    }
    Refusal::new(1001, "the panel ends")
}

async fn say(sink: &mut Sink<'_>, text: String) -> Result<(), Refusal> {
    match timeout(SEND_PATIENCE, sink.send(Message::from(text))).await {
        Ok(sent) => sent.map_err(|error| Refusal::new(1006, error.to_string())),
        Err(_) => Err(Refusal::new(4408, "does not take what it is sent")),
    }
}

async fn heard(link: &Link, node: NodeId, peer: &Peer, text: &str) {
    match serde_json::from_str(text) {
        Ok(ToPanel::Reply { id, outcome }) => {
            // Here and not where the answer is awaited: what the agent sees is recorded in the order in which it said it.
            if let Outcome::Ok(Reply::Server { server }) = &outcome {
                observe(link, node, std::slice::from_ref(server)).await;
            }
            peer.answer(id, outcome);
        }
        Ok(ToPanel::Notice(Notice::Heartbeat { servers, player_addresses, resources })) => {
            peer.measured(resources);
            observe(link, node, &servers).await;
            addresses(link, node, &player_addresses).await;
        }
        Ok(ToPanel::Notice(Notice::ServerChanged { server })) => observe(link, node, &[server]).await,
        Ok(ToPanel::Notice(Notice::CopyProgress { transfer_id, progress })) => {
            link.events.copy_progress(node, transfer_id, &progress);
        }
        Ok(ToPanel::Hello(_)) => tracing::warn!(%node, "a second hello was ignored"),
        Err(error) => misheard(node, peer, text, &error),
    }
}

/// A message of a newer version is ignored, but whoever waits for an answer must get one.
fn misheard(node: NodeId, peer: &Peer, text: &str, error: &serde_json::Error) {
    tracing::warn!(%node, %error, "a message that cannot be understood");
    let id = serde_json::from_str::<serde_json::Value>(text).ok().and_then(|value| value.get("id")?.as_u64());
    if let Some(id) = id {
        let why = format!("the agent's answer cannot be understood: {error}");
        peer.answer(id, Outcome::Err(AgentError::new(ErrorCode::Unknown, why)));
    }
}

/// Records what the agent sees. A failure is repaired by the next heartbeat.
async fn observe(link: &Link, node: NodeId, seen: &[ServerObservation]) {
    let record = async {
        let mut conn = link.db.acquire().await?;
        let differing = servers::servers_differing(&mut conn, node, seen).await?;
        let (crashes, others): (Vec<_>, Vec<_>) =
            differing.into_iter().partition(|server| server.status == ServerStatus::Crashed);
        for server in others {
            servers::server_observed(&mut conn, node, server).await?;
        }
        drop(conn);
        for server in crashes {
            crashed(link, node, server).await?;
        }
        Ok::<_, DbError>(())
    };
    if let Err(error) = record.await {
        tracing::warn!(%node, error = chain(&error), "what an agent sees could not be recorded");
    }
}

/// A crash is told in the transaction in which it is recorded, so that it is told once.
async fn crashed(link: &Link, node: NodeId, seen: &ServerObservation) -> Result<(), DbError> {
    let mut tx = link.db.begin().await?;
    let before = servers::server_get(&mut tx, seen.server_id).await?;
    servers::server_observed(&mut tx, node, seen).await?;
    let after = servers::server_get(&mut tx, seen.server_id).await?;
    if before.status != after.status {
        let data = json!({"server": {"id": after.id, "name": after.name}, "exit_code": seen.exit_code});
        outbox::tell(&mut tx, link.clock.now(), "server.crashed", &data).await?;
    }
    tx.commit().await.map_err(DbError::from)
}

/// Records which addresses load balancers gave out: at a server's creation, or minutes later, or anew.
async fn addresses(link: &Link, node: NodeId, told: &BTreeMap<ServerId, String>) {
    if told.is_empty() {
        return;
    }
    let record = async {
        let differing = on_demand::addresses_differing(&mut *link.db.acquire().await?, node, told).await?;
        if differing.is_empty() {
            return Ok(());
        }
        let mut tx = link.db.begin().await?;
        for (allocation, address) in differing {
            allocations::allocation_address_set(&mut tx, allocation, address).await?;
        }
        tx.commit().await.map_err(DbError::from)
    };
    if let Err(error) = record.await {
        tracing::warn!(%node, error = chain(&error), "where players reach its servers could not be recorded");
    }
}

/// Writes down that the agent was heard of. Answers whether there still is such a node.
async fn seen(link: &Link, node: NodeId) -> bool {
    let record = async {
        let mut conn = link.db.acquire().await?;
        nodes::node_seen(&mut conn, node, link.clock.now()).await
    };
    match record.await {
        Ok(()) => true,
        Err(DbError::NotFound) => false,
        Err(error) => {
            tracing::warn!(%node, error = chain(&error), "last_seen_at could not be recorded");
            true
        }
    }
}

async fn close(socket: &mut WebSocket, refusal: Refusal) {
    let goodbye = socket.send(Message::Close(Some(frame(refusal))));
    if !matches!(timeout(CLOSE_PATIENCE, goodbye).await, Ok(Ok(()))) {
        tracing::trace!("the goodbye was not heard");
    }
}

/// RFC 6455 §5.5: a control frame carries at most 125 bytes, two of them the code; §7.4.1: 1006 is never sent.
fn frame(refusal: Refusal) -> CloseFrame {
    let mut reason = refusal.reason;
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    let code = if refusal.code == 1006 { 1011 } else { refusal.code };
    CloseFrame { code, reason: Utf8Bytes::from(reason) }
}
