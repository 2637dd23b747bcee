//! Transfers: start one, watch it, cancel it, free what it keeps.

mod addresses;
mod operate;
mod own;
mod preflight;
mod stream;
mod undo;
mod view;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use model::{AllocationId, Mode, NodeId, Options, ServerId, StartAfter, Timestamp, TransferId, Verify};
use serde::Deserialize;
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::check::{self, Nothing};
use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Body, Id, Idempotency, ListQuery};
use crate::app::App;
use crate::db::nodes::{self, NodeKind};
use crate::db::transfers::{self, Filter, Transfer};
use crate::db::{Conn, DbError, audit, servers};
use crate::migrate::admission::Place;
use crate::migrate::{Addresses, MigrateError, Refusal, StartRequest};
use addresses::ChooseAddresses;
pub(in crate::api) use preflight::CheckView;
use view::TransferView;

/// Longest freeze that can be allowed, seconds.
const LONGEST_FREEZE_S: u64 = 24 * 3600;
/// Longest retention, seconds: ten years.
const LONGEST_RETENTION_S: u64 = 10 * 366 * 24 * 3600;
/// Below this a copy does not come to an end.
const LOWEST_BANDWIDTH: u64 = 1024;

#[derive(OpenApi)]
#[openapi(paths(
    start,
    show_of_server,
    preflight::look,
    list,
    show,
    cancel,
    operate::pause,
    operate::resume,
    operate::retry,
    operate::resolve,
    operate::change,
    undo::undo,
    free_retained,
    stream::events,
    own::show_own_transfer
))]
pub(super) struct Doc;

/// The routes of this module.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/servers/{id}/transfer", post(start).get(show_of_server))
        .route("/admin/servers/{id}/transfer/preflight", post(preflight::look))
        .route("/servers/{id}/transfer", get(own::show_own_transfer))
        .route("/admin/transfers", get(list))
        .route("/admin/transfers/{id}", get(show).patch(operate::change))
        .route("/admin/transfers/{id}/cancel", post(cancel))
        .route("/admin/transfers/{id}/pause", post(operate::pause))
        .route("/admin/transfers/{id}/resume", post(operate::resume))
        .route("/admin/transfers/{id}/retry", post(operate::retry))
        .route("/admin/transfers/{id}/undo", post(undo::undo))
        .route("/admin/transfers/{id}/resolve", post(operate::resolve))
        .route("/admin/transfers/{id}/retained", delete(free_retained))
        .route("/admin/transfers/{id}/events", get(stream::events))
}

/// A transfer to start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "target_node_id": "0198a7b2-0000-7000-8000-000000000001",
    "allocation_id": "0198a7b2-0000-7000-8000-000000000003",
}))]
pub(in crate::api) struct StartTransfer {
    /// Where to: a node, or `target_cluster_id`.
    #[schema(value_type = Option<uuid::Uuid>)]
    target_node_id: Option<NodeId>,
    /// Where to: a cluster.
    #[schema(value_type = Option<uuid::Uuid>)]
    target_cluster_id: Option<NodeId>,
    /// The server's first address there; without it one is chosen, as `allocations` says.
    #[schema(value_type = Option<uuid::Uuid>)]
    allocation_id: Option<AllocationId>,
    /// How all of its addresses there are chosen. Default: the same port if it is free, else the lowest.
    allocations: Option<ChooseAddresses>,
    /// `live` (copy while it runs; the default) or `cold` (stop first).
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "live")]
    mode: Mode,
    /// Seconds that the freeze may be predicted to last before the server is stopped. Default 5.
    max_freeze_s: Option<u64>,
    /// Bytes per second; without it as fast as it goes.
    bandwidth_limit: Option<u64>,
    /// The server is not stopped before this; it is copied at once, and what changes meanwhile once more then.
    #[schema(value_type = Option<String>, format = DateTime, example = "2027-01-31T03:00:00Z")]
    not_before: Option<Timestamp>,
    /// Seconds for which the source's copy is kept. Default one day.
    retain_source_for_s: Option<u64>,
    /// `full`: both sides read their disks.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "full")]
    verify: Verify,
    /// `as_before` (the default), `yes` or `no`.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "as_before")]
    start_after: StartAfter,
    /// Whether a backup to the default storage is made before anything else. If it fails, nothing is moved.
    #[serde(default)]
    backup_first: bool,
}

impl StartTransfer {
    fn target(&self) -> Result<(NodeKind, NodeId), ApiError> {
        check::one_of(("target_node_id", self.target_node_id), ("target_cluster_id", self.target_cluster_id))
    }

    fn addresses(&self) -> Result<Addresses, ApiError> {
        self.allocations.as_ref().map_or_else(|| Ok(Addresses::default()), ChooseAddresses::read)
    }

    /// Whether it says where to.
    pub(in crate::api) fn names_a_place(&self) -> bool {
        let named = self.target_node_id.is_some() || self.target_cluster_id.is_some() || self.allocation_id.is_some();
        named || self.allocations.is_some()
    }

    /// How to move a server, checked.
    pub(in crate::api) fn options(&self) -> Result<Options, ApiError> {
        let default = Options::default();
        let options = Options {
            mode: self.mode,
            max_freeze_s: self.max_freeze_s.unwrap_or(default.max_freeze_s),
            bandwidth_limit: self.bandwidth_limit,
            retain_source_for_s: self.retain_source_for_s.unwrap_or(default.retain_source_for_s),
            verify: self.verify,
            start_after: self.start_after,
            backup_first: self.backup_first,
            not_before: self.not_before,
        };
        check::none(problems(&options))?;
        Ok(options)
    }
}

/// What is wrong with options, at a start or later.
fn problems(options: &Options) -> Vec<check::Problem> {
    let mut problems = vec![];
    let mut demand = |holds: bool, field: &str, problem: String| {
        if !holds {
            problems.push((field.to_owned(), problem));
        }
    };
    let freeze = (1..=LONGEST_FREEZE_S).contains(&options.max_freeze_s);
    demand(freeze, "max_freeze_s", format!("must be 1 to {LONGEST_FREEZE_S}"));
    let bandwidth = options.bandwidth_limit.is_none_or(|limit| limit >= LOWEST_BANDWIDTH);
    demand(bandwidth, "bandwidth_limit", format!("must be at least {LOWEST_BANDWIDTH} bytes per second"));
    let retention = options.retain_source_for_s <= LONGEST_RETENTION_S;
    demand(retention, "retain_source_for_s", format!("must be at most {LONGEST_RETENTION_S}"));
    problems
}

/// A node's id is not a cluster's. What does not exist at all is admission's to refuse, after what is worse.
async fn known_as(app: &App, kind: NodeKind, target: NodeId) -> Result<(), ApiError> {
    match nodes::node_get(&mut *app.db.acquire().await?, target).await {
        Ok(node) if node.kind != kind => Err(Refusal::UnknownTarget(kind).into()),
        Ok(_) | Err(DbError::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Starts a transfer.
///
/// It goes on by itself: watch it, or cancel it. Whatever fails before the server runs on the target is taken back.
#[utoipa::path(post, path = "/api/v1/admin/servers/{id}/transfer", tag = "transfers", request_body = StartTransfer,
    params(
        ("id" = uuid::Uuid, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same answer for 24 h"),
    ),
    responses(
        (status = 202, description = "Started; `Location` is the transfer", body = One<TransferView>),
        (status = 403, description = "`feature_disabled`, `forbidden`"),
        (status = 409, description = "`server_locked`, `server_installing`, `allocation_taken`, `target_cordoned`"),
        (status = 422, description = "`insufficient_resources` (with `needed` and `available` of each), `allocation_foreign`, \
            `allocation_unknown`, `allocation_twice`, `same_target`, `runtime_mismatch`, `no_backup_storage`"),
        (status = 503, description = "`agent_offline`"),
    ))]
async fn start(
    State(app): State<App>,
    admin: Admin,
    Id(server_id): Id<ServerId>,
    idempotency: Idempotency,
    body: Body<StartTransfer>,
) -> Result<Answer, ApiError> {
    admin.may("admin.servers.transfer")?;
    let options = body.value.options()?;
    let (kind, target) = body.value.target()?;
    known_as(&app, kind, target).await?;
    let request = StartRequest {
        server_id,
        target_node_id: target,
        allocation_id: body.value.allocation_id,
        addresses: body.value.addresses()?,
        options,
        requested_by: admin.actor(),
    };
    let work = async {
        let transfer = app.migrations.start(&request).await?;
        let mut conn = app.db.acquire().await?;
        let place = format!("target_{}_id", kind.noun());
        let details = json!({"server_id": server_id, place: target});
        audit::audit(&mut conn, app.now(), &admin.actor(), "transfer.start", transfer.id, &details).await?;
        Answer::accepted(format!("/api/v1/admin/transfers/{}", transfer.id), &view(&mut conn, transfer).await?)
    };
    let route = format!("POST /admin/servers/{server_id}/transfer");
    idempotency.once(&app, &admin, &route, &body.raw, Box::pin(work)).await
}

/// Shows the current transfer of a server, or its last one.
#[utoipa::path(get, path = "/api/v1/admin/servers/{id}/transfer", tag = "transfers",
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The transfer", body = One<TransferView>)))]
async fn show_of_server(State(app): State<App>, admin: Admin, Id(id): Id<ServerId>) -> Result<Answer, ApiError> {
    admin.may("admin.servers.list")?;
    of_server(&app, id).await
}

async fn of_server(app: &App, id: ServerId) -> Result<Answer, ApiError> {
    let mut conn = app.db.acquire().await?;
    servers::server_get(&mut conn, id).await.map_err(missing("server"))?;
    let transfer = transfers::transfer_of_server(&mut conn, id).await.map_err(|error| match error {
        DbError::NotFound => {
            ApiError::new(StatusCode::NOT_FOUND, "not_found", "This server was never transferred. Start a transfer.")
        }
        error => error.into(),
    })?;
    Answer::ok(&view(&mut conn, transfer).await?)
}

/// Lists transfers, the youngest first.
#[utoipa::path(get, path = "/api/v1/admin/transfers", tag = "transfers", params(
    ("page" = Option<u32>, Query, description = "From 1"),
    ("per_page" = Option<u32>, Query, description = "1 to 100"),
    ("sort" = Option<String>, Query, description = "created_at, finished_at, state; - in front for descending"),
    ("filter[state]" = Option<String>, Query, description = "In this state"),
    ("filter[server_id]" = Option<uuid::Uuid>, Query, description = "Of this server"),
    ("filter[node_id]" = Option<uuid::Uuid>, Query, description = "From or to this node"),
    ("filter[cluster_id]" = Option<uuid::Uuid>, Query, description = "From or to this cluster"),
), responses((status = 200, description = "One page", body = Many<TransferView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.servers.list")?;
    query.only_filters(&["state", "server_id", "node_id", "cluster_id"])?;
    let sort = query.sort(transfers::SORTS, "-created_at")?;
    let filter = Filter {
        state: query.filter_word("state")?,
        server_id: query.filter("server_id")?,
        node_id: query.filter_place()?,
    };
    let mut conn = app.db.acquire().await?;
    let page = transfers::transfers_page(&mut conn, filter, query.paging, sort.column, sort.descending).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for transfer in page.items {
        items.push(view(&mut conn, transfer).await?);
    }
    Answer::page(&crate::db::Page { items, total: page.total }, query.paging)
}

/// Shows a transfer.
#[utoipa::path(get, path = "/api/v1/admin/transfers/{id}", tag = "transfers", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The transfer", body = One<TransferView>)))]
async fn show(State(app): State<App>, admin: Admin, Id(id): Id<TransferId>) -> Result<Answer, ApiError> {
    admin.may("admin.servers.list")?;
    let mut conn = app.db.acquire().await?;
    let transfer = transfers::transfer_get(&mut conn, id).await.map_err(missing("transfer"))?;
    Answer::ok(&view(&mut conn, transfer).await?)
}

/// Cancels a transfer.
///
/// It is rolled back: the server goes on on the source, and nothing is left on the target. Cancelling again is the
/// same. Once the server is up on the target it is too late. One that is stuck on its way there is taken back, too.
#[utoipa::path(post, path = "/api/v1/admin/transfers/{id}/cancel", tag = "transfers",
    params(("id" = uuid::Uuid, Path)), request_body(content = Nothing, description = "Empty"),
    responses(
        (status = 202, description = "Accepted; it ends `rolled_back`", body = One<TransferView>),
        (status = 409, description = "`transfer_finished`, `transfer_rolling_back`, `transfer_past_pivot`"),
    ))]
async fn cancel(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<TransferId>,
    _body: Body<Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.servers.transfer")?;
    let transfer = app.migrations.cancel(id).await?;
    let mut conn = app.db.acquire().await?;
    audit::audit(&mut conn, app.now(), &admin.actor(), "transfer.cancel", id, &json!({})).await?;
    Answer::accepted(format!("/api/v1/admin/transfers/{id}"), &view(&mut conn, transfer).await?)
}

/// Destroys the copy that the source keeps of a completed transfer.
///
/// 204 once it is gone, also if it was before; what cannot be asked for now is not promised.
#[utoipa::path(delete, path = "/api/v1/admin/transfers/{id}/retained", tag = "transfers",
    params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "`nothing_retained`: the transfer did not complete; `retained_in_use`: an undo builds on it; `source_removed`"),
        (status = 503, description = "`agent_offline`"),
    ))]
async fn free_retained(State(app): State<App>, admin: Admin, Id(id): Id<TransferId>) -> Result<Answer, ApiError> {
    admin.may("admin.servers.transfer")?;
    app.migrations.free_retained(id).await?;
    let mut conn = app.db.acquire().await?;
    audit::audit(&mut conn, app.now(), &admin.actor(), "transfer.free_retained", id, &json!({})).await?;
    Ok(Answer::no_content())
}

async fn view(conn: &mut Conn, transfer: Transfer) -> Result<TransferView, DbError> {
    let stages = transfers::stages_of(conn, transfer.id).await?;
    let addresses = transfers::addresses_of(conn, transfer.id).await?;
    let variables = transfers::variables_of(conn, transfer.id).await?;
    let later = transfers::later(conn, transfer.id).await?;
    Ok(TransferView::new(transfer, stages, (addresses, variables), later))
}

fn missing(noun: &'static str) -> impl Fn(DbError) -> ApiError {
    move |error| match error {
        DbError::NotFound => ApiError::not_found(noun),
        error => error.into(),
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::FeatureDisabled => StatusCode::FORBIDDEN,
            Refusal::UnknownServer | Refusal::UnknownTarget(_) => StatusCode::NOT_FOUND,
            Refusal::Installing | Refusal::Locked { .. } | Refusal::AllocationTaken | Refusal::Cordoned { .. } => {
                StatusCode::CONFLICT
            }
            Refusal::SameTarget { .. }
            | Refusal::RuntimeMismatch { .. }
            | Refusal::AllocationForeign { .. }
            | Refusal::AllocationUnknown(_)
            | Refusal::AllocationTwice
            | Refusal::NoBackupStorage
            | Refusal::Insufficient { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::AgentOffline { .. } => StatusCode::SERVICE_UNAVAILABLE,
        };
        let error = Self::new(status, refusal.code(), refusal.to_string());
        let Refusal::Insufficient { shortages, .. } = &refusal else { return error };
        shortages.iter().fold(error, |error, short| {
            error.detail(short.resource, json!({"needed": short.needed, "available": short.available}))
        })
    }
}

impl From<MigrateError> for ApiError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Refused(refusal) => refusal.into(),
            MigrateError::NotFound => Self::not_found("transfer"),
            MigrateError::Conflict { code, message } => Self::conflict(code, message),
            MigrateError::AgentOffline { kind, name } => Refusal::AgentOffline { place: Place { kind, name } }.into(),
            MigrateError::Agent(error) => {
                Self::unavailable("agent_failed", format!("The agent could not do it: {error}. Try again later."))
            }
            MigrateError::Db(error) => error.into(),
        }
    }
}
