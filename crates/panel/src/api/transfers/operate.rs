//! What can be done about a transfer that goes on, or did not come to a good end: pause, resume, retry, resolve, change.

use axum::extract::State;
use jiff::Timestamp;
use model::TransferId;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::view::TransferView;
use super::{problems, view};
use crate::api::check::{self, Given, Nothing};
use crate::api::views::One;
use crate::api::{Admin, Answer, ApiError, Body, Id, Idempotency};
use crate::app::App;
use crate::db::audit;
use crate::db::transfers::Transfer;
use crate::migrate::Change;

/// Holds a transfer before its server is stopped.
///
/// In `precopy` and `await_window` it holds at once: the copy comes to rest, what has arrived stays and is built on. In the
/// steps before, it holds as soon as the one that is under way is done (`pause_requested` until then). Lock, reservations and
/// staging are kept, for as long as it lasts, also when the panel is started again. From `stop_source` on players wait, and
/// it is refused. Pausing again is the same.
#[utoipa::path(post, path = "/api/v1/admin/transfers/{id}/pause", tag = "transfers",
    params(("id" = uuid::Uuid, Path)), request_body(content = Nothing, description = "Empty"),
    responses(
        (status = 202, description = "Accepted; `paused` as soon as it holds", body = One<TransferView>),
        (status = 409, description = "`transfer_frozen`, `transfer_past_pivot`, `transfer_rolling_back`, `transfer_finished`"),
    ))]
pub(super) async fn pause(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<TransferId>,
    _body: Body<Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.servers.transfer")?;
    let transfer = app.migrations.pause(id).await?;
    accepted(&app, &admin, "transfer.pause", transfer).await
}

/// Lets a transfer that is paused go on.
///
/// What changed meanwhile is copied, and only that.
#[utoipa::path(post, path = "/api/v1/admin/transfers/{id}/resume", tag = "transfers",
    params(("id" = uuid::Uuid, Path)), request_body(content = Nothing, description = "Empty"),
    responses(
        (status = 202, description = "It goes on", body = One<TransferView>),
        (status = 409, description = "`transfer_not_paused`, `transfer_rolling_back`, `transfer_finished`"),
    ))]
pub(super) async fn resume(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<TransferId>,
    _body: Body<Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.servers.transfer")?;
    let transfer = app.migrations.go_on(id).await?;
    accepted(&app, &admin, "transfer.resume", transfer).await
}

/// Tries a transfer again.
///
/// One that was `rolled_back` is started anew, with the same request (another free address if its own is taken by now): the
/// answer is the new transfer, with `retry_of`. One that is `stuck` goes on where it stood, with the next attempt of what it
/// is stuck at.
#[utoipa::path(post, path = "/api/v1/admin/transfers/{id}/retry", tag = "transfers",
    params(
        ("id" = uuid::Uuid, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same answer for 24 h"),
    ),
    request_body(content = Nothing, description = "Empty"),
    responses(
        (status = 202, description = "The new transfer, or this one as it goes on; `Location` is it", body = One<TransferView>),
        (status = 403, description = "`feature_disabled`, `forbidden`"),
        (status = 409, description = "`transfer_completed`, `transfer_running`; as for a start: `server_locked`, `server_installing`"),
        (status = 422, description = "As for a start: `insufficient_resources`, `same_target`, `runtime_mismatch`"),
        (status = 503, description = "`agent_offline`"),
    ))]
pub(super) async fn retry(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<TransferId>,
    idempotency: Idempotency,
    body: Body<Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.servers.transfer")?;
    let work = async {
        let transfer = app.migrations.retry(id, &admin.actor()).await?;
        let details = json!({"transfer_id": transfer.id});
        let mut conn = app.db.acquire().await?;
        audit::audit(&mut conn, app.now(), &admin.actor(), "transfer.retry", id, &details).await?;
        Answer::accepted(format!("/api/v1/admin/transfers/{}", transfer.id), &view(&mut conn, transfer).await?)
    };
    let route = format!("POST /admin/transfers/{id}/retry");
    idempotency.once(&app, &admin, &route, &body.raw, Box::pin(work)).await
}

/// Settles by hand what a transfer is stuck at, where that cannot hurt.
///
/// An audit that found the source's files changed after the copy: they are as you want them, and become the retained copy. A
/// part of the roll-back on which the server does not depend: it is left as it is (what a target holds is removed once it
/// can be reached). Everything else is retried, or cancelled.
#[utoipa::path(post, path = "/api/v1/admin/transfers/{id}/resolve", tag = "transfers",
    params(("id" = uuid::Uuid, Path)), request_body = Resolution,
    responses(
        (status = 202, description = "It goes on behind that", body = One<TransferView>),
        (status = 409, description = "`transfer_not_stuck`, `transfer_not_resolvable`"),
    ))]
pub(super) async fn resolve(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<TransferId>,
    body: Body<Resolution>,
) -> Result<Answer, ApiError> {
    admin.may("admin.servers.transfer")?;
    let note = body.value.note.unwrap_or_default();
    if note.chars().count() > LONGEST_NOTE || note.contains('\0') {
        return Err(ApiError::invalid("note", format!("must be text of at most {LONGEST_NOTE} characters")));
    }
    let transfer = app.migrations.resolve(id, &admin.actor()).await?;
    let mut conn = app.db.acquire().await?;
    audit::audit(&mut conn, app.now(), &admin.actor(), "transfer.resolve", id, &json!({"note": note})).await?;
    Answer::accepted(format!("/api/v1/admin/transfers/{id}"), &view(&mut conn, transfer).await?)
}

/// Longest note, characters.
const LONGEST_NOTE: usize = 2000;

/// What somebody found who has looked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"note": "compared: only latest.log differs"}))]
pub(super) struct Resolution {
    /// For the audit log.
    note: Option<String>,
}

/// What is to be changed about a transfer; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"bandwidth_limit": 10_000_000, "max_freeze_s": 10}))]
pub(super) struct TransferChange {
    /// Bytes per second; null for as fast as it goes. Counts at once, until everything is copied.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    bandwidth_limit: Given<u64>,
    /// When the server may be stopped; null for at once. Counts until the server is stopped.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime, example = "2027-01-31T03:00:00Z")]
    not_before: Given<Timestamp>,
    /// Seconds that the freeze may be predicted to last. Counts until the server is stopped.
    max_freeze_s: Option<u64>,
}

impl TransferChange {
    fn change(self) -> Change {
        let Self { bandwidth_limit, not_before, max_freeze_s } = self;
        Change { bandwidth_limit: bandwidth_limit.given(), not_before: not_before.given(), max_freeze_s }
    }
}

/// Changes limits of a transfer while it goes on, paused or not.
///
/// What comes too late is refused as a whole, with the reason.
#[utoipa::path(patch, path = "/api/v1/admin/transfers/{id}", tag = "transfers", request_body = TransferChange,
    params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 200, description = "The transfer as it is now", body = One<TransferView>),
        (status = 409, description = "`transfer_too_late`, `transfer_busy`"),
    ))]
pub(super) async fn change(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<TransferId>,
    body: Body<TransferChange>,
) -> Result<Answer, ApiError> {
    admin.may("admin.servers.transfer")?;
    let change = body.value.change();
    check::none(problems(&change.apply(&model::Options::default())))?;
    let transfer = app.migrations.change(id, change).await?;
    let options = &transfer.options;
    let details = json!({
        "bandwidth_limit": options.bandwidth_limit, "not_before": options.not_before, "max_freeze_s": options.max_freeze_s,
    });
    let mut conn = app.db.acquire().await?;
    audit::audit(&mut conn, app.now(), &admin.actor(), "transfer.update", id, &details).await?;
    Answer::ok(&view(&mut conn, transfer).await?)
}

async fn accepted(app: &App, admin: &Admin, action: &'static str, transfer: Transfer) -> Result<Answer, ApiError> {
    let mut conn = app.db.acquire().await?;
    audit::audit(&mut conn, app.now(), &admin.actor(), action, transfer.id, &json!({})).await?;
    Answer::accepted(format!("/api/v1/admin/transfers/{}", transfer.id), &view(&mut conn, transfer).await?)
}
