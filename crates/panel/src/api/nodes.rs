//! Nodes: make one, let its agent enrol, remove it. What it has left is in [`super::room`].

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use jiff::{SignedDuration, Timestamp, Unit};
use model::NodeId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::auth::{new_secret, sha256_hex};
use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Body, Id, ListQuery, check};
use crate::app::App;
use crate::db::nodes::{self, Node, NodeKind};
use crate::db::{Conn, DbError, audit, enrolment};

/// How long an enrolment token can be used.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(1);

#[derive(OpenApi)]
#[openapi(paths(create, list, show, token, remove))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/nodes", get(list).post(create))
        .route("/admin/nodes/{id}", get(show).delete(remove))
        .route("/admin/nodes/{id}/enrolment-token", post(token))
}

/// What a new node is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "fra-1", "memory_mb": 65536, "disk_mb": 1_000_000, "cpu_percent": 1600}))]
struct NewNode {
    /// For people; unique.
    name: String,
    /// MiB of memory for servers; 0 for no limit.
    memory_mb: u64,
    /// MiB of disk for servers; 0 for no limit.
    disk_mb: u64,
    /// CPU for servers, percent of one core; 0 for no limit.
    cpu_percent: u64,
}

/// A node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NodeView {
    /// Its id, and its agent's.
    #[schema(value_type = uuid::Uuid)]
    id: NodeId,
    /// For people; unique.
    #[schema(example = "fra-1")]
    name: String,
    /// `pending` until its agent has enrolled, then `online` or `offline`; `maintenance` while it is cordoned.
    #[schema(example = "online")]
    status: &'static str,
    /// Whether it takes no new servers.
    cordoned: bool,
    /// MiB of memory for servers; 0 for no limit.
    #[schema(example = 65536)]
    memory_mb: u64,
    /// MiB of disk for servers; 0 for no limit.
    #[schema(example = 1_000_000)]
    disk_mb: u64,
    /// CPU for servers, percent of one core; 0 for no limit.
    #[schema(example = 1600)]
    cpu_percent: u64,
    /// `process` or `docker`; null until its agent has enrolled.
    #[schema(value_type = Option<String>, example = "docker")]
    runtime: Option<model::RuntimeKind>,
    /// `host:port` at which other agents deliver data.
    #[schema(example = "10.0.0.5:8443")]
    data_address: Option<String>,
    /// Host name of the machine.
    host: Option<String>,
    /// Release of the agent.
    software: Option<String>,
    /// When the agent was last heard of (to the half minute while it is online).
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen_at: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// How to enrol its agent; only in the answer to the creation of a node or a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    enrolment: Option<Enrolment>,
}

/// How to enrol an agent. The token is shown here and never again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Enrolment {
    /// Works once.
    #[schema(example = "bpe_…")]
    token: String,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// What to run on the node.
    #[schema(example = "badger daemon --panel https://panel.example.org --token bpe_… --data /var/lib/badger")]
    command: String,
}

/// Part of a whole.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Share {
    /// All of it.
    pub(super) total: u64,
    /// Given away, to servers and to transfers on their way.
    pub(super) allocated: u64,
    /// Left; null where there is no limit.
    pub(super) free: Option<u64>,
}

impl Share {
    /// Of something that is bounded by `total`, unless that is 0.
    pub(super) fn bounded(total: u64, allocated: u64) -> Self {
        Self { total, allocated, free: (total > 0).then(|| total.saturating_sub(allocated)) }
    }
}

impl NodeView {
    pub(super) fn new(app: &App, node: Node, enrolment: Option<Enrolment>) -> Self {
        let status = status(app, &node);
        let (runtime, data_address, host, software) = node.agent.map_or((None, None, None, None), |agent| {
            (Some(agent.runtime), Some(agent.data_address), Some(agent.host), Some(agent.software))
        });
        Self {
            id: node.id,
            name: node.name,
            status,
            cordoned: node.cordoned,
            memory_mb: node.memory_mb,
            disk_mb: node.disk_mb,
            cpu_percent: node.cpu_percent,
            runtime,
            data_address,
            host,
            software,
            last_seen_at: node.last_seen_at,
            created_at: node.created_at,
            enrolment,
        }
    }
}

/// The status of a node or a cluster.
pub(super) fn status(app: &App, node: &Node) -> &'static str {
    match &node.agent {
        None => "pending",
        Some(_) if !app.agents.is_online(node.id) => "offline",
        Some(_) if node.cordoned => "maintenance",
        Some(_) => "online",
    }
}

/// Makes a node.
///
/// The answer has the command that enrols its agent.
#[utoipa::path(post, path = "/api/v1/admin/nodes", tag = "nodes", request_body = NewNode, responses(
    (status = 201, description = "The node, with `enrolment`", body = One<NodeView>),
    (status = 409, description = "`name_taken`"),
))]
async fn create(State(app): State<App>, admin: Admin, body: Body<NewNode>) -> Result<Answer, ApiError> {
    admin.may("admin.nodes.create")?;
    let new = body.value;
    let mut problems = check::name("name", &new.name);
    problems.extend(check::size("memory_mb", new.memory_mb));
    problems.extend(check::size("disk_mb", new.disk_mb));
    problems.extend(check::size("cpu_percent", new.cpu_percent));
    check::none(problems)?;
    let node = Node {
        id: NodeId::new(),
        kind: NodeKind::Node,
        name: new.name,
        memory_mb: new.memory_mb,
        disk_mb: new.disk_mb,
        cpu_percent: new.cpu_percent,
        cordoned: false,
        agent: None,
        facts: None,
        address: None,
        last_seen_at: None,
        created_at: app.now(),
    };
    let mut tx = app.db.begin().await?;
    nodes::node_insert(&mut tx, &node).await.map_err(name_taken)?;
    let enrolment = issue(&app, &mut tx, node.id).await?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "node.create", node.id, &json!({"name": node.name})).await?;
    tx.commit().await.map_err(DbError::from)?;
    let location = format!("/api/v1/admin/nodes/{}", node.id);
    Answer::created(location, &NodeView::new(&app, node, Some(enrolment)))
}

/// 409 for a name that a node or a cluster has.
pub(super) fn name_taken(error: DbError) -> ApiError {
    match error {
        DbError::Conflict => {
            ApiError::conflict("name_taken", "A node or a cluster with this name exists. Choose another name.")
        }
        error => error.into(),
    }
}

/// A new token with which the agent of a node or a cluster can enrol, and until when.
pub(super) async fn new_token(app: &App, tx: &mut Conn, node: NodeId) -> Result<(String, Timestamp), ApiError> {
    let token = new_secret("bpe_").map_err(ApiError::internal)?;
    // People read it, and what is kept has no fractions of a millisecond either.
    let expires_at = (app.now() + TOKEN_LIFE).round(Unit::Second).expect("an hour from now is a time");
    enrolment::token_insert(tx, node, &sha256_hex(&token), expires_at).await?;
    Ok((token, expires_at))
}

async fn issue(app: &App, tx: &mut Conn, node: NodeId) -> Result<Enrolment, ApiError> {
    let (token, expires_at) = new_token(app, tx, node).await?;
    let command = format!("badger daemon --panel {} --token {token} --data /var/lib/badger", app.public_url);
    Ok(Enrolment { token, expires_at, command })
}

/// Lists nodes.
#[utoipa::path(get, path = "/api/v1/admin/nodes", tag = "nodes", params(
    ("sort" = Option<String>, Query, description = "created_at, name, memory_mb, disk_mb, cpu_percent, last_seen_at; - in front for descending"),
), responses((status = 200, description = "One page", body = Many<NodeView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.nodes.list")?;
    query.only_filters(&[])?;
    let sort = query.sort(nodes::SORTS, "created_at")?;
    let mut conn = app.db.acquire().await?;
    let page = nodes::nodes_page(&mut conn, NodeKind::Node, query.paging, sort.column, sort.descending).await?;
    Answer::page(&page.map(|node| NodeView::new(&app, node, None)), query.paging)
}

/// Shows a node.
#[utoipa::path(get, path = "/api/v1/admin/nodes/{id}", tag = "nodes", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The node", body = One<NodeView>)))]
async fn show(State(app): State<App>, admin: Admin, Id(id): Id<NodeId>) -> Result<Answer, ApiError> {
    admin.may("admin.nodes.list")?;
    let mut conn = app.db.acquire().await?;
    let node = load(&mut conn, NodeKind::Node, id).await?;
    Answer::ok(&NodeView::new(&app, node, None))
}

/// The node or the cluster with this id, or a 404.
pub(super) async fn load(conn: &mut Conn, kind: NodeKind, id: NodeId) -> Result<Node, ApiError> {
    match nodes::node_get(conn, id).await {
        Ok(node) if node.kind == kind => Ok(node),
        Ok(_) | Err(DbError::NotFound) => Err(ApiError::not_found(kind.noun())),
        Err(error) => Err(error.into()),
    }
}

/// Makes a new enrolment token.
///
/// Unused tokens of the node are worth nothing from then on. An agent that has enrolled stays until the new token is
/// used; then the new agent takes its place.
#[utoipa::path(post, path = "/api/v1/admin/nodes/{id}/enrolment-token", tag = "nodes",
    params(("id" = uuid::Uuid, Path)),
    responses((status = 201, description = "The node, with `enrolment`", body = One<NodeView>)))]
async fn token(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<NodeId>,
    _body: Body<check::Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.nodes.update")?;
    let mut tx = app.db.begin().await?;
    let node = load(&mut tx, NodeKind::Node, id).await?;
    let enrolment = issue(&app, &mut tx, id).await?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "node.enrolment_token", id, &json!({})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::created(format!("/api/v1/admin/nodes/{id}"), &NodeView::new(&app, node, Some(enrolment)))
}

/// Removes a node.
///
/// Its free allocations go with it, and its agent is not let in any more. It must have no servers, and no transfer that
/// is not over may name it. Transfers that are over keep its id. Retained copies on it end at their time, by its agent.
#[utoipa::path(delete, path = "/api/v1/admin/nodes/{id}", tag = "nodes", params(("id" = uuid::Uuid, Path)), responses(
    (status = 204, description = "Removed"),
    (status = 409, description = "`node_in_use`"),
))]
async fn remove(State(app): State<App>, admin: Admin, Id(id): Id<NodeId>) -> Result<Answer, ApiError> {
    admin.may("admin.nodes.delete")?;
    let mut tx = app.db.begin().await?;
    let node = load(&mut tx, NodeKind::Node, id).await?;
    nodes::node_delete(&mut tx, id).await.map_err(|error| match error {
        DbError::Conflict => ApiError::conflict(
            "node_in_use",
            "The node has servers, or a transfer from or to it is not over. Move or delete its servers first.",
        ),
        error => error.into(),
    })?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "node.delete", id, &json!({"name": node.name})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}
