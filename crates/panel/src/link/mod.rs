//! The agents' side door: each agent keeps one WebSocket open to `/api/v1/agents/connect`.
//!
//! ```text
//!  upgrade ──credential?──► 401                    handshake.rs   who is it
//!     │
//!   hello ──version, token, fingerprint?──► close  handshake.rs   may it stay
//!     │
//!  welcome, registered ──► requests, replies       registry.rs    a new connection of a node replaces the old one
//!     │                    notices                 connection.rs  one reader, one writer
//!     └──silent for three heartbeats, closed, replaced, shut down──► calls without an answer get `Lost`
//! ```
//!
//! A connection that is refused after the upgrade is closed with a reason and one of these codes: 4400 the hello cannot
//! be understood, 4401 the token or secret is worth nothing, 4403 it is another kind of agent's, 4426 the protocol version is not spoken here, 4409 another
//! connection of the same agent took its place, 4408 silent for too long; 1001 the panel ends.

mod connection;
mod handshake;
mod registry;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::Clock;
use model::agent_api::MAX_MESSAGE_BYTES;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use registry::Registry;

use crate::db::Db;
use crate::events::Hub;

/// How often agents are asked to say something.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// Everything that a connection needs.
#[derive(Clone)]
pub struct Link {
    /// Where connections are known by node.
    pub registry: Arc<Registry>,
    /// Nodes, tokens, servers.
    pub db: Db,
    /// Time of day.
    pub clock: Arc<dyn Clock>,
    /// Where progress goes.
    pub events: Arc<Hub>,
    /// Public key of the permits, base64.
    pub permit_key: Arc<str>,
    /// How often an agent must say something; three times that without a word ends the connection.
    pub heartbeat: Duration,
    /// Connections that are served.
    pub tasks: TaskTracker,
    /// Ends all connections.
    pub shutdown: CancellationToken,
}

/// The one route of this module.
pub fn routes(link: Link) -> Router {
    Router::new().route("/api/v1/agents/connect", get(connect)).with_state(link)
}

async fn connect(State(link): State<Link>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let credential = match handshake::authenticate(&link, &parts).await {
        Ok(credential) => credential,
        Err(error) => return error.into_response(),
    };
    let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await else {
        return handshake::not_an_upgrade().into_response();
    };
    let upgrade = upgrade.max_message_size(MAX_MESSAGE_BYTES).max_frame_size(MAX_MESSAGE_BYTES);
    upgrade.on_upgrade(async move |socket| {
        let tasks = link.tasks.clone();
        tasks.track_future(connection::serve(link, credential, socket)).await;
    })
}
