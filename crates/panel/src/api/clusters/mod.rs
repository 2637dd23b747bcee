//! Clusters: make one, install its orchestrator, see what it is like, change it, remove it.
//!
//! A cluster is to servers what a node is; the routes differ because what an administrator has to say about it does.
//! CPU is in millicores here and everywhere where a cluster is spoken of, and in percent of a core in the database.

mod manifest;
pub(super) mod view;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use model::NodeId;
use serde::{Deserialize, Deserializer};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::check::MILLICORES_PER_PERCENT;
use super::nodes::{load, name_taken, new_token};
use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Body, Id, ListQuery, check};
use crate::app::App;
use crate::db::nodes::{self, Node, NodeKind};
use crate::db::{Conn, DbError, audit};
use view::{ClusterEnrolment, ClusterView};

#[derive(OpenApi)]
#[openapi(paths(create, list, show, change, token, remove, manifest::install))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/clusters", get(list).post(create))
        .route("/admin/clusters/{id}", get(show).patch(change).delete(remove))
        .route("/admin/clusters/{id}/enrolment-token", post(token))
        .route("/clusters/install.yaml", get(manifest::install))
}

/// What a new cluster is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "eu-west"}))]
struct NewCluster {
    /// For people; unique among nodes and clusters.
    name: String,
    /// Where players reach its NodePorts; without it what its orchestrator finds.
    address: Option<String>,
    /// MiB of memory for servers; 0, the default, leaves it to the cluster's scheduler.
    #[serde(default)]
    memory_mb: u64,
    /// MiB of disk for servers; 0, the default, leaves it to the cluster's storage.
    #[serde(default)]
    disk_mb: u64,
    /// CPU for servers, millicores; 0, the default, leaves it to the cluster's scheduler.
    #[serde(default)]
    cpu_millicores: u64,
}

/// What is to change; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"cordoned": true}))]
struct ChangeCluster {
    /// For people.
    name: Option<String>,
    /// Where players reach its NodePorts; null for what its orchestrator finds.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    address: Change,
    /// MiB; 0 for no limit.
    memory_mb: Option<u64>,
    /// MiB; 0 for no limit.
    disk_mb: Option<u64>,
    /// Millicores; 0 for no limit.
    cpu_millicores: Option<u64>,
    /// Whether it takes no new servers.
    cordoned: Option<bool>,
}

/// A field that null sets to nothing, which is not to leave it as it is.
#[derive(Debug, Default)]
enum Change {
    #[default]
    Keep,
    Set(Option<String>),
}

fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Change, D::Error> {
    Option::deserialize(value).map(Change::Set)
}

fn check_node(node: &Node, cpu_millicores: Option<u64>) -> Result<(), ApiError> {
    let mut problems = check::name("name", &node.name);
    problems.extend(node.address.iter().flat_map(|address| check::address("address", address)));
    problems.extend(check::size("memory_mb", node.memory_mb));
    problems.extend(check::size("disk_mb", node.disk_mb));
    problems.extend(cpu_millicores.iter().flat_map(|cpu| check::millicores("cpu_millicores", *cpu)));
    check::none(problems)
}

/// Makes a cluster.
///
/// The answer has the command that installs its orchestrator.
#[utoipa::path(post, path = "/api/v1/admin/clusters", tag = "clusters", request_body = NewCluster, responses(
    (status = 201, description = "The cluster, with `enrolment`", body = One<ClusterView>),
    (status = 409, description = "`name_taken`"),
))]
async fn create(State(app): State<App>, admin: Admin, body: Body<NewCluster>) -> Result<Answer, ApiError> {
    admin.may("admin.clusters.create")?;
    let new = body.value;
    let node = Node {
        id: NodeId::new(),
        kind: NodeKind::Cluster,
        name: new.name,
        memory_mb: new.memory_mb,
        disk_mb: new.disk_mb,
        cpu_percent: new.cpu_millicores / MILLICORES_PER_PERCENT,
        cordoned: false,
        agent: None,
        facts: None,
        address: new.address,
        last_seen_at: None,
        created_at: app.now(),
    };
    check_node(&node, Some(new.cpu_millicores))?;
    let mut tx = app.db.begin().await?;
    nodes::node_insert(&mut tx, &node).await.map_err(name_taken)?;
    let enrolment = issue(&app, &mut tx, node.id).await?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "cluster.create", node.id, &json!({"name": node.name})).await?;
    let view = ClusterView::load(&app, &mut tx, node, Some(enrolment)).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::created(view.location(), &view)
}

async fn issue(app: &App, tx: &mut Conn, id: NodeId) -> Result<ClusterEnrolment, ApiError> {
    let (token, expires_at) = new_token(app, tx, id).await?;
    Ok(ClusterEnrolment::new(app, token, expires_at))
}

/// Lists clusters.
#[utoipa::path(get, path = "/api/v1/admin/clusters", tag = "clusters", params(
    ("sort" = Option<String>, Query, description = "created_at, name, memory_mb, disk_mb, last_seen_at; - in front for descending"),
), responses((status = 200, description = "One page", body = Many<ClusterView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.clusters.list")?;
    query.only_filters(&[])?;
    let sort = query.sort(&["created_at", "name", "memory_mb", "disk_mb", "last_seen_at"], "created_at")?;
    let mut conn = app.db.acquire().await?;
    let page = nodes::nodes_page(&mut conn, NodeKind::Cluster, query.paging, sort.column, sort.descending).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for node in page.items {
        items.push(ClusterView::load(&app, &mut conn, node, None).await?);
    }
    Answer::page(&crate::db::Page { items, total: page.total }, query.paging)
}

/// Shows a cluster.
#[utoipa::path(get, path = "/api/v1/admin/clusters/{id}", tag = "clusters", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The cluster", body = One<ClusterView>)))]
async fn show(State(app): State<App>, admin: Admin, Id(id): Id<NodeId>) -> Result<Answer, ApiError> {
    admin.may("admin.clusters.list")?;
    let mut conn = app.db.acquire().await?;
    let node = load(&mut conn, NodeKind::Cluster, id).await?;
    Answer::ok(&ClusterView::load(&app, &mut conn, node, None).await?)
}

/// Changes a cluster.
///
/// Its allocations follow its address. Servers that it has keep running, whatever the new limits are.
#[utoipa::path(patch, path = "/api/v1/admin/clusters/{id}", tag = "clusters", params(("id" = uuid::Uuid, Path)),
    request_body = ChangeCluster, responses(
        (status = 200, description = "The cluster", body = One<ClusterView>),
        (status = 409, description = "`name_taken`"),
    ))]
async fn change(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<NodeId>,
    body: Body<ChangeCluster>,
) -> Result<Answer, ApiError> {
    admin.may("admin.clusters.update")?;
    let change = body.value;
    let mut tx = app.db.begin().await?;
    let mut node = load(&mut tx, NodeKind::Cluster, id).await?;
    let cpu = change.cpu_millicores;
    node.name = change.name.unwrap_or(node.name);
    if let Change::Set(address) = change.address {
        node.address = address;
    }
    node.memory_mb = change.memory_mb.unwrap_or(node.memory_mb);
    node.disk_mb = change.disk_mb.unwrap_or(node.disk_mb);
    node.cpu_percent = cpu.map_or(node.cpu_percent, |cpu| cpu / MILLICORES_PER_PERCENT);
    node.cordoned = change.cordoned.unwrap_or(node.cordoned);
    check_node(&node, cpu)?;
    nodes::node_update(&mut tx, &node).await.map_err(name_taken)?;
    let details = json!({"name": node.name, "address": node.address, "cordoned": node.cordoned});
    audit::audit(&mut tx, app.now(), &admin.actor(), "cluster.update", id, &details).await?;
    let view = ClusterView::load(&app, &mut tx, node, None).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::ok(&view)
}

/// Makes a new command that installs the orchestrator.
///
/// Unused tokens of the cluster are worth nothing from then on. An orchestrator that has enrolled stays until the new
/// token is used; then the new one takes its place.
#[utoipa::path(post, path = "/api/v1/admin/clusters/{id}/enrolment-token", tag = "clusters",
    params(("id" = uuid::Uuid, Path)),
    responses((status = 201, description = "The cluster, with `enrolment`", body = One<ClusterView>)))]
async fn token(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<NodeId>,
    _body: Body<check::Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.clusters.update")?;
    let mut tx = app.db.begin().await?;
    let node = load(&mut tx, NodeKind::Cluster, id).await?;
    let enrolment = issue(&app, &mut tx, id).await?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "cluster.enrolment_token", id, &json!({})).await?;
    let view = ClusterView::load(&app, &mut tx, node, Some(enrolment)).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::created(view.location(), &view)
}

/// Removes a cluster.
///
/// Its free allocations go with it, and its orchestrator is not let in any more; what that has in the cluster is removed
/// with `kubectl delete`. It must have no servers, and no transfer that is not over may name it.
#[utoipa::path(delete, path = "/api/v1/admin/clusters/{id}", tag = "clusters", params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 204, description = "Removed"),
        (status = 409, description = "`cluster_in_use`"),
    ))]
async fn remove(State(app): State<App>, admin: Admin, Id(id): Id<NodeId>) -> Result<Answer, ApiError> {
    admin.may("admin.clusters.delete")?;
    let mut tx = app.db.begin().await?;
    let node = load(&mut tx, NodeKind::Cluster, id).await?;
    nodes::node_delete(&mut tx, id).await.map_err(|error| match error {
        DbError::Conflict => ApiError::conflict(
            "cluster_in_use",
            "The cluster has servers, or a transfer from or to it is not over. Move or delete its servers first.",
        ),
        error => error.into(),
    })?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "cluster.delete", id, &json!({"name": node.name})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}
