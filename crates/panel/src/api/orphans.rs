//! What is on a node that no transfer and no server owns. The agent looks: when it starts, every hour, and when asked here.

use axum::Router;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::{delete, get, post};
use jiff::Timestamp;
use model::NodeId;
use model::agent_api::{ErrorCode, Orphan, OrphanKind, Reply, Request};
use serde::Serialize;
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::calls::{self, REMOVE, call};
use super::check::Nothing;
use super::views::Many;
use super::{Admin, Answer, ApiError, Body, Id, ListQuery};
use crate::agent::CallError;
use crate::app::App;
use crate::db::nodes::{self, NodeKind};
use crate::db::{DbError, Page, audit};

#[derive(OpenApi)]
#[openapi(paths(list_orphans, scan_orphans, remove_orphan))]
pub(super) struct Doc;

/// The routes of this module.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/nodes/{id}/orphans", get(list_orphans))
        .route("/admin/nodes/{id}/orphans/scan", post(scan_orphans))
        .route("/admin/nodes/{id}/orphans/{orphan_id}", delete(remove_orphan))
}

/// Something that no transfer and no server owns.
#[derive(Debug, Serialize, ToSchema)]
struct OrphanView {
    /// Its id on this node.
    #[schema(example = "place.0198a7b2-0000-7000-8000-000000000001")]
    id: String,
    /// `staging`, `place`, `container` or `retained`.
    #[schema(value_type = String, example = "place")]
    kind: OrphanKind,
    /// Where it is on the node, or what it is called.
    path: String,
    /// How big it is; null where that is not known.
    bytes: Option<u64>,
    /// When it was last changed; null where that is not known.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Why nobody owns it.
    #[schema(example = "there are files here and no server")]
    why: String,
    /// Whether it may be removed here. What might be somebody's data is removed by hand only.
    can_clean: bool,
    /// When the agent looked.
    #[schema(value_type = String, format = DateTime)]
    looked_at: Timestamp,
}

impl OrphanView {
    fn new(orphan: Orphan, looked_at: Timestamp) -> Self {
        let Orphan { id, kind, path, bytes, since, why, can_clean } = orphan;
        Self { id, kind, path, bytes, since, why, can_clean, looked_at }
    }
}

/// Lists what is on a node that nobody owns, by its agent's last look.
///
/// The agent looks when it starts and every hour. What is provably its own is removed at once and not in the list: staging of
/// transfers that are over, empty places, containers without a server. What is in the list might be somebody's data.
#[utoipa::path(get, path = "/api/v1/admin/nodes/{id}/orphans", tag = "nodes", params(
    ("id" = uuid::Uuid, Path),
    ("page" = Option<u32>, Query, description = "From 1"),
    ("per_page" = Option<u32>, Query, description = "1 to 100"),
), responses(
    (status = 200, description = "One page", body = Many<OrphanView>),
    (status = 422, description = "`agent_too_old`"),
    (status = 503, description = "`agent_offline`, `agent_lost`"),
))]
async fn list_orphans(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<NodeId>,
    query: ListQuery,
) -> Result<Answer, ApiError> {
    admin.may("admin.nodes.list")?;
    look(&app, id, false, &query).await
}

/// Looks again now.
#[utoipa::path(post, path = "/api/v1/admin/nodes/{id}/orphans/scan", tag = "nodes",
    params(("id" = uuid::Uuid, Path)), request_body(content = Nothing, description = "Empty"),
    responses(
        (status = 200, description = "One page of what is left", body = Many<OrphanView>),
        (status = 422, description = "`agent_too_old`"),
        (status = 503, description = "`agent_offline`, `agent_lost`"),
    ))]
async fn scan_orphans(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<NodeId>,
    query: ListQuery,
    _body: Body<Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.nodes.update")?;
    look(&app, id, true, &query).await
}

async fn look(app: &App, id: NodeId, now: bool, query: &ListQuery) -> Result<Answer, ApiError> {
    query.only_filters(&[])?;
    exists(app, id).await?;
    match call(app, id, Request::ListOrphans { look: now }, REMOVE).await.map_err(calls::refusal)? {
        Reply::Orphans { looked_at, orphans, held } => {
            app.migrations.settle_held(id, &held).await?;
            let total = orphans.len() as u64;
            let views = orphans.into_iter().map(|orphan| OrphanView::new(orphan, looked_at));
            let (skip, take) = (query.paging.offset(), query.paging.limit());
            let count = |number: i64| usize::try_from(number).unwrap_or_default();
            let items: Vec<OrphanView> = views.skip(count(skip)).take(count(take)).collect();
            Answer::page(&Page { items, total }, query.paging)
        }
        _ => Err(ApiError::unavailable("agent_failed", "The agent answered something else. Try again later.")),
    }
}

/// The node and the orphan of a path.
struct Which(NodeId, String);

impl FromRequestParts<App> for Which {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, app).await;
        let Path((node, orphan)) = path.map_err(|_| ApiError::invalid("id", "cannot be read"))?;
        let node = node.parse().map_err(|_| ApiError::invalid("id", format!("`{node}` is not a UUID")))?;
        Ok(Self(node, orphan))
    }
}

/// Removes one, if it may be removed here.
#[utoipa::path(delete, path = "/api/v1/admin/nodes/{id}/orphans/{orphan_id}", tag = "nodes", params(
    ("id" = uuid::Uuid, Path),
    ("orphan_id" = String, Path, description = "As the list gives it"),
), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "`not_found`: there is no such node, or nothing of this id that nobody owns"),
    (status = 409, description = "`orphan_not_ours`: it may be somebody's; remove it by hand"),
    (status = 422, description = "`agent_too_old`"),
    (status = 503, description = "`agent_offline`, `agent_lost`"),
))]
async fn remove_orphan(State(app): State<App>, admin: Admin, Which(id, orphan_id): Which) -> Result<Answer, ApiError> {
    admin.may("admin.nodes.update")?;
    exists(&app, id).await?;
    let request = Request::RemoveOrphan { orphan_id: orphan_id.clone() };
    match call(&app, id, request, REMOVE).await {
        Ok(_) => {}
        Err(CallError::Refused(error)) if error.code == ErrorCode::NotFound => {
            return Err(ApiError::not_found("orphan"));
        }
        Err(CallError::Refused(error)) if error.code == ErrorCode::Conflict => {
            return Err(ApiError::new(StatusCode::CONFLICT, "orphan_not_ours", format!("{}.", error.message)));
        }
        Err(error) => return Err(calls::refusal(error)),
    }
    let mut conn = app.db.acquire().await?;
    audit::audit(&mut conn, app.now(), &admin.actor(), "node.remove_orphan", id, &json!({"orphan_id": orphan_id}))
        .await?;
    Ok(Answer::no_content())
}

async fn exists(app: &App, id: NodeId) -> Result<(), ApiError> {
    match nodes::node_get(&mut *app.db.acquire().await?, id).await {
        Ok(node) if node.kind == NodeKind::Node => Ok(()),
        Ok(_) | Err(DbError::NotFound) => Err(ApiError::not_found("node")),
        Err(error) => Err(error.into()),
    }
}
