//! Who is at the other end of a new connection, and may it stay.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use axum::http::StatusCode;
use axum::http::request::Parts;
use model::agent_api::{ClusterFacts, Hello, ToPanel, VERSION};
use model::{NodeId, RuntimeKind};

use super::Link;
use crate::api::ApiError;
use crate::api::auth::{bearer, same, sha256_hex};
use crate::db::enrolment::{self, Token};
use crate::db::nodes::{Node, NodeKind};
use crate::db::{DbError, audit, nodes};

/// How long an agent has for its hello.
const PATIENCE: Duration = Duration::from_secs(10);
/// Characters that a secret must have; the agent's own has 43.
const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 32..=256;

/// What the upgrade request showed.
pub(super) enum Credential {
    /// An enrolment token, not used up yet.
    Token(Token),
    /// Id and secret of this agent.
    Agent(NodeId),
}

/// Why a connection is closed: a code of the parent module's list, and a reason for people.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) reason: String,
}

impl Refusal {
    pub(super) fn new(code: u16, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

impl From<DbError> for Refusal {
    fn from(error: DbError) -> Self {
        tracing::warn!(error = crate::api::chain(&error), "an agent's hello could not be recorded");
        Self::new(1011, "the panel's database did not take it; try again")
    }
}

/// Checks the `Authorization` header of the upgrade.
pub(super) async fn authenticate(link: &Link, parts: &Parts) -> Result<Credential, ApiError> {
    let shown = bearer(parts).ok_or_else(unauthorized)?;
    let mut conn = link.db.acquire().await?;
    if shown.starts_with("bpe_") {
        let token = enrolment::token_get(&mut conn, &sha256_hex(shown)).await?.ok_or_else(unauthorized)?;
        return if token.is_usable(link.clock.now()) { Ok(Credential::Token(token)) } else { Err(unauthorized()) };
    }
    let (id, secret) = shown.split_once('.').ok_or_else(unauthorized)?;
    let id: NodeId = id.parse().map_err(|_| unauthorized())?;
    let hash = enrolment::secret_of(&mut conn, id).await?.ok_or_else(unauthorized)?;
    if same(&hash, &sha256_hex(secret)) { Ok(Credential::Agent(id)) } else { Err(unauthorized()) }
}

fn unauthorized() -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        "The enrolment token or the agent's secret is unknown, used up or expired. Make a new token for the node.",
    )
}

pub(super) fn not_an_upgrade() -> ApiError {
    let message = "This is where agents connect; it speaks WebSocket only.";
    ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message)
}

/// Reads the hello, checks it and records it. Answers whose agent this is.
pub(super) async fn greet(
    link: &Link,
    credential: Credential,
    socket: &mut WebSocket,
) -> Result<(NodeId, Box<Hello>), Refusal> {
    let hello = read_hello(socket).await?;
    check(&hello)?;
    let now = link.clock.now();
    let mut tx = link.db.begin().await?;
    let node = match credential {
        Credential::Agent(node) => node,
        Credential::Token(token) => {
            let secret = hello.secret.as_deref().filter(|secret| SECRET_LENGTH.contains(&secret.len()));
            let secret =
                secret.ok_or_else(|| Refusal::new(4400, "an enrolment needs a secret of 32 to 256 characters"))?;
            enrolment::token_use(&mut tx, &token, &sha256_hex(secret)).await.map_err(|error| match error {
                DbError::Conflict => Refusal::new(4401, "another agent has used this token; make a new one"),
                error => error.into(),
            })?;
            let details = serde_json::json!({"host": hello.host, "fingerprint": hello.fingerprint});
            audit::audit(&mut tx, now, &format!("agent:{}", token.node_id), "node.enrol", token.node_id, &details)
                .await?;
            token.node_id
        }
    };
    let row = nodes::node_get(&mut tx, node).await.map_err(|error| match error {
        DbError::NotFound => Refusal::new(4401, "its node was deleted"),
        error => error.into(),
    })?;
    check_kind(row.kind, hello.runtime)?;
    check_facts(&row, &hello)?;
    nodes::node_greeted(&mut tx, node, &hello, now).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok((node, hello))
}

async fn read_hello(socket: &mut WebSocket) -> Result<Box<Hello>, Refusal> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let message = tokio::time::timeout_at(deadline, socket.recv()).await;
        let message = message.map_err(|_| Refusal::new(4408, "no hello came"))?;
        match message {
            Some(Ok(Message::Text(text))) => return parse_hello(text.as_str()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => return Err(Refusal::new(4400, "messages are JSON text")),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Refusal::new(1000, "gone before its hello")),
        }
    }
}

fn parse_hello(text: &str) -> Result<Box<Hello>, Refusal> {
    // The version is read by itself first: a hello of another version may look different altogether.
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|_| Refusal::new(4400, "the first message is not JSON"))?;
    if let Some(version) = value.get("version").and_then(serde_json::Value::as_u64) {
        check_version(version)?;
    }
    match serde_json::from_value(value) {
        Ok(ToPanel::Hello(hello)) => Ok(hello),
        Ok(_) => Err(Refusal::new(4400, "the first message must be hello")),
        Err(error) => Err(Refusal::new(4400, format!("the hello cannot be read: {error}"))),
    }
}

fn check_version(version: u64) -> Result<(), Refusal> {
    let ours = u64::from(VERSION);
    if version == ours || (version >= 1 && version.checked_add(1) == Some(ours)) {
        return Ok(());
    }
    let newer = if version > ours { "panel" } else { "agent" };
    Err(Refusal::new(4426, format!("the agent speaks version {version}, the panel {ours}; upgrade the {newer}")))
}

/// A daemon speaks for a node, an orchestrator for a cluster. A token that went to the wrong one is not used up: the
/// enrolment is in the transaction that this ends.
fn check_kind(kind: NodeKind, runtime: RuntimeKind) -> Result<(), Refusal> {
    let reason = match (kind, runtime) {
        (NodeKind::Node, RuntimeKind::Kubernetes) => {
            "this token is a node's; `badger cluster create` makes a cluster's"
        }
        (NodeKind::Cluster, RuntimeKind::Process | RuntimeKind::Docker) => {
            "this token is a cluster's; `badger node create` makes a node's"
        }
        (NodeKind::Node, _) | (NodeKind::Cluster, RuntimeKind::Kubernetes) => return Ok(()),
    };
    Err(Refusal::new(4403, reason))
}

fn check(hello: &Hello) -> Result<(), Refusal> {
    let hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    if hello.fingerprint.len() != 64 || !hello.fingerprint.as_bytes().iter().all(hex) {
        return Err(Refusal::new(4400, "the fingerprint is not a SHA-256 in lower-case hex"));
    }
    // The pods of a cluster are dialled, its orchestrator never is.
    if hello.runtime == RuntimeKind::Kubernetes && hello.data_address.is_empty() {
        return Ok(());
    }
    let port = hello
        .data_address
        .rsplit_once(':')
        .and_then(|(host, port)| port.parse::<u16>().ok().filter(|port| *port != 0 && !host.is_empty()));
    if port.is_none() {
        return Err(Refusal::new(4400, "the data address is not host:port"));
    }
    Ok(())
}

/// What an orchestrator tells becomes addresses of players.
fn check_facts(row: &Node, hello: &Hello) -> Result<(), Refusal> {
    match (row.kind, &hello.cluster) {
        (NodeKind::Node, None) => Ok(()),
        (NodeKind::Node, Some(_)) => Err(Refusal::new(4400, "a daemon has no cluster to tell of")),
        (NodeKind::Cluster, None) => Err(Refusal::new(4400, "an orchestrator must tell of its cluster")),
        (NodeKind::Cluster, Some(facts)) => check_ports(row, facts),
    }
}

fn check_ports(row: &Node, facts: &ClusterFacts) -> Result<(), Refusal> {
    match facts.node_ports {
        Some((first, last)) if first == 0 || first > last => {
            Err(Refusal::new(4400, format!("{first}-{last} is no range of ports")))
        }
        Some(_) if row.address.is_none() && facts.address.is_empty() => {
            let why = "nobody knows where players reach this cluster: set networking.external_address, or its address";
            Err(Refusal::new(4400, why))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_speaks_for_its_own_kind_only() {
        for (kind, runtime, fits) in [
            (NodeKind::Node, RuntimeKind::Process, true),
            (NodeKind::Node, RuntimeKind::Docker, true),
            (NodeKind::Node, RuntimeKind::Kubernetes, false),
            (NodeKind::Cluster, RuntimeKind::Process, false),
            (NodeKind::Cluster, RuntimeKind::Docker, false),
            (NodeKind::Cluster, RuntimeKind::Kubernetes, true),
        ] {
            assert_eq!(check_kind(kind, runtime).is_ok(), fits, "{kind:?} {runtime:?}");
        }
    }

    #[test]
    fn our_version_and_the_one_before_are_spoken() {
        assert!(check_version(u64::from(VERSION)).is_ok());
        for other in [0, u64::from(VERSION) + 1, u64::MAX] {
            assert!(matches!(check_version(other), Err(Refusal { code: 4426, .. })), "{other}");
        }
    }
}
