//! Where the two agents of a copy dial that cannot dial each other: [`crate::relay`] behind a token.
//!
//! No API key opens this, and no agent's secret: a pod's mover has neither. What opens it is the token of one side of
//! one transfer, and whoever shows anything else learns nothing, not even whether there is such a transfer.

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use super::ApiError;
use crate::app::App;
use crate::relay::{MAX_MESSAGE_BYTES, Side};

pub(super) fn routes() -> Router<App> {
    Router::new().route("/agents/relay/{transfer_id}", get(relay))
}

#[derive(Deserialize)]
struct Shown {
    side: Side,
    token: String,
}

async fn relay(
    State(app): State<App>,
    Path(transfer): Path<String>,
    shown: Result<Query<Shown>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let nothing = || ApiError::not_found("relay");
    let Query(Shown { side, token }) = shown.map_err(|_| nothing())?;
    let transfer = transfer.parse().map_err(|_| nothing())?;
    let passage = app.migrations.relays().enter(transfer, side, &token).ok_or_else(nothing)?;
    let upgrade = upgrade.map_err(|_| {
        let message = "This is where agents meet; it speaks WebSocket only.";
        ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message)
    })?;
    let upgrade = upgrade.max_message_size(MAX_MESSAGE_BYTES).max_frame_size(MAX_MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(async move |socket| passage.meet(side, socket).await))
}
