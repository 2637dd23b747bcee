//! Taking a completed transfer back.

use axum::extract::State;
use model::{Mode, Options, TransferId};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::view::TransferView;
use super::{problems, view};
use crate::api::views::One;
use crate::api::{Admin, Answer, ApiError, Body, Id, Idempotency, check};
use crate::app::App;
use crate::db::audit;

/// How a transfer is taken back. Everything has the default of a start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"max_freeze_s": 5}))]
pub(super) struct Undo {
    /// `live` (copy while it runs; the default) or `cold` (stop first).
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "live")]
    mode: Mode,
    /// Seconds that the freeze may be predicted to last before the server is stopped. Default 5.
    max_freeze_s: Option<u64>,
    /// Bytes per second; without it as fast as it goes.
    bandwidth_limit: Option<u64>,
    /// Seconds for which the copy is kept that this one leaves behind. Default one day.
    retain_source_for_s: Option<u64>,
}

impl Undo {
    fn options(&self) -> Options {
        let default = Options::default();
        Options {
            mode: self.mode,
            max_freeze_s: self.max_freeze_s.unwrap_or(default.max_freeze_s),
            bandwidth_limit: self.bandwidth_limit,
            retain_source_for_s: self.retain_source_for_s.unwrap_or(default.retain_source_for_s),
            ..default
        }
    }
}

/// Takes a completed transfer back.
///
/// A transfer to where the server came from that builds on the copy that was kept there: only what changed since is sent, as
/// `receipt.bytes_wire` shows. What players did meanwhile comes along. The server gets the address that it had, or, if that
/// is taken, the one that is nearest (the answer and the log say so). The copy is consumed when it has completed; if it
/// fails, the copy stays as it was, until its time is over. `retry` of an undo that was rolled back is the undo once more.
#[utoipa::path(post, path = "/api/v1/admin/transfers/{id}/undo", tag = "transfers", request_body = Undo,
    params(
        ("id" = uuid::Uuid, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same answer for 24 h"),
    ),
    responses(
        (status = 202, description = "The transfer that takes it back, with `undo_of`; `Location` is it", body = One<TransferView>),
        (status = 403, description = "`feature_disabled`, `forbidden`"),
        (status = 409, description = "`transfer_not_completed`, `nothing_retained`, `server_moved`, `undo_unsupported` (the \
            source is a cluster); as for a start: `server_locked`, `server_installing`"),
        (status = 422, description = "As for a start: `insufficient_resources`"),
        (status = 503, description = "`agent_offline`"),
    ))]
pub(super) async fn undo(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<TransferId>,
    idempotency: Idempotency,
    body: Body<Undo>,
) -> Result<Answer, ApiError> {
    admin.may("admin.servers.transfer")?;
    let options = body.value.options();
    check::none(problems(&options))?;
    let work = async {
        let transfer = app.migrations.undo(id, options, &admin.actor()).await?;
        let mut conn = app.db.acquire().await?;
        let details = json!({"transfer_id": transfer.id});
        audit::audit(&mut conn, app.now(), &admin.actor(), "transfer.undo", id, &details).await?;
        Answer::accepted(format!("/api/v1/admin/transfers/{}", transfer.id), &view(&mut conn, transfer).await?)
    };
    let route = format!("POST /admin/transfers/{id}/undo");
    idempotency.once(&app, &admin, &route, &body.raw, Box::pin(work)).await
}
