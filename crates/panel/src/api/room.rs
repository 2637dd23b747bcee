//! What nodes and clusters have left, and whether they take new servers.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use model::{NodeId, Resources};
use serde::Serialize;
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::check::{MILLICORES_PER_PERCENT, Nothing};
use super::clusters::view::ClusterView;
use super::nodes::{NodeView, Share, load};
use super::views::One;
use super::{Admin, Answer, ApiError, Body, Id};
use crate::app::App;
use crate::db::nodes::{self, NodeKind};
use crate::db::{DbError, audit, on_demand};

#[derive(OpenApi)]
#[openapi(paths(node_capacity, cluster_capacity, cordon_node, uncordon_node, cordon_cluster, uncordon_cluster))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/nodes/{id}/capacity", get(node_capacity))
        .route("/admin/nodes/{id}/cordon", post(cordon_node))
        .route("/admin/nodes/{id}/uncordon", post(uncordon_node))
        .route("/admin/clusters/{id}/capacity", get(cluster_capacity))
        .route("/admin/clusters/{id}/cordon", post(cordon_cluster))
        .route("/admin/clusters/{id}/uncordon", post(uncordon_cluster))
}

/// What a node or a cluster has, and what of it is given away.
#[derive(Debug, Serialize, ToSchema)]
struct Capacity {
    /// MiB; total 0 means no limit, and free is then null.
    memory_mb: Share,
    /// MiB.
    disk_mb: Share,
    /// Percent of one core.
    cpu_percent: Share,
    /// The same in millicores, as clusters count: 1000 is one core.
    cpu_millicores: Share,
    /// Addresses; total 0 means that each server gets one of its own, from a load balancer.
    allocations: Share,
    /// Servers that it owns.
    #[schema(example = 12)]
    servers: u64,
    /// Transfers that are on their way to it: what they need is allocated already.
    #[schema(example = 1)]
    coming: u64,
    /// What its servers may use together.
    needed: Needed,
    /// What its machine says; null while its agent is away, and of a cluster.
    measured: Option<MeasuredView>,
}

/// What servers may use together. A server without a limit counts for nothing.
#[derive(Debug, Serialize, ToSchema)]
struct Needed {
    /// MiB.
    memory_mb: u64,
    /// MiB.
    disk_mb: u64,
    /// Percent of one core.
    cpu_percent: u64,
    /// Addresses.
    allocations: u64,
}

/// What a machine says about itself.
#[derive(Debug, Serialize, ToSchema)]
struct MeasuredView {
    /// MiB of memory in all.
    memory_total_mb: u64,
    /// MiB of memory that the kernel calls available.
    memory_available_mb: u64,
    /// Bytes of the file system with the servers' data.
    disk_total_bytes: u64,
    /// Bytes that are free there.
    disk_free_bytes: u64,
    /// Free inodes there; 0 where the file system does not count them.
    inodes_free: u64,
    /// Load average of the last minute, times 100.
    load_1m_percent: u64,
}

impl From<Resources> for MeasuredView {
    fn from(it: Resources) -> Self {
        let Resources { memory_total_mb, memory_available_mb, disk_total_bytes, disk_free_bytes, .. } = it;
        let (inodes_free, load_1m_percent) = (it.inodes_free, it.load_1m_percent);
        Self { memory_total_mb, memory_available_mb, disk_total_bytes, disk_free_bytes, inodes_free, load_1m_percent }
    }
}

/// Shows what a node has left, what its servers need, and what its machine measures.
#[utoipa::path(get, path = "/api/v1/admin/nodes/{id}/capacity", tag = "nodes", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "Totals and what is given away", body = One<Capacity>)))]
async fn node_capacity(State(app): State<App>, admin: Admin, Id(id): Id<NodeId>) -> Result<Answer, ApiError> {
    admin.may("admin.nodes.list")?;
    capacity(&app, NodeKind::Node, id).await
}

/// Shows what a cluster has left and what its servers need.
#[utoipa::path(get, path = "/api/v1/admin/clusters/{id}/capacity", tag = "clusters",
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "Totals and what is given away", body = One<Capacity>)))]
async fn cluster_capacity(State(app): State<App>, admin: Admin, Id(id): Id<NodeId>) -> Result<Answer, ApiError> {
    admin.may("admin.clusters.list")?;
    capacity(&app, NodeKind::Cluster, id).await
}

async fn capacity(app: &App, kind: NodeKind, id: NodeId) -> Result<Answer, ApiError> {
    let mut conn = app.db.acquire().await?;
    let node = load(&mut conn, kind, id).await?;
    let usage = nodes::node_usage(&mut conn, id, None).await?;
    let need = nodes::node_need(&mut conn, id).await?;
    let addresses = on_demand::addresses_count(&mut conn, &node).await?;
    let (total, free) = addresses.unwrap_or((0, 0));
    let measured = app.agents.measured(id).filter(|seen| *seen != Resources::default());
    let millicores = |percent: u64| percent.saturating_mul(MILLICORES_PER_PERCENT);
    Answer::ok(&Capacity {
        memory_mb: Share::bounded(node.memory_mb, usage.memory_mb),
        disk_mb: Share::bounded(node.disk_mb, usage.disk_mb),
        cpu_percent: Share::bounded(node.cpu_percent, usage.cpu_percent),
        cpu_millicores: Share::bounded(millicores(node.cpu_percent), millicores(usage.cpu_percent)),
        allocations: Share {
            total,
            allocated: total.saturating_sub(free).max(need.allocations),
            free: addresses.map(|(_, free)| free),
        },
        servers: usage.servers,
        coming: need.coming,
        needed: Needed {
            memory_mb: need.limits.memory_mb,
            disk_mb: need.limits.disk_mb,
            cpu_percent: need.limits.cpu_percent,
            allocations: need.allocations,
        },
        measured: measured.map(MeasuredView::from),
    })
}

/// Keeps new servers and transfers away from a node. What it has stays and runs on. Again is the same.
#[utoipa::path(post, path = "/api/v1/admin/nodes/{id}/cordon", tag = "nodes", params(("id" = uuid::Uuid, Path)),
    request_body(content = Nothing, description = "Empty"),
    responses((status = 200, description = "The node; its status is `maintenance`", body = One<NodeView>)))]
async fn cordon_node(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<NodeId>,
    _body: Body<Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.nodes.update")?;
    cordon(&app, &admin, (NodeKind::Node, id), (true, "node.cordon")).await
}

/// Lets a node take new servers and transfers again. Again is the same.
#[utoipa::path(post, path = "/api/v1/admin/nodes/{id}/uncordon", tag = "nodes", params(("id" = uuid::Uuid, Path)),
    request_body(content = Nothing, description = "Empty"),
    responses((status = 200, description = "The node", body = One<NodeView>)))]
async fn uncordon_node(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<NodeId>,
    _body: Body<Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.nodes.update")?;
    cordon(&app, &admin, (NodeKind::Node, id), (false, "node.uncordon")).await
}

/// Keeps new servers and transfers away from a cluster. What it has stays and runs on. Again is the same.
#[utoipa::path(post, path = "/api/v1/admin/clusters/{id}/cordon", tag = "clusters",
    params(("id" = uuid::Uuid, Path)), request_body(content = Nothing, description = "Empty"),
    responses((status = 200, description = "The cluster; its status is `maintenance`", body = One<ClusterView>)))]
async fn cordon_cluster(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<NodeId>,
    _body: Body<Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.clusters.update")?;
    cordon(&app, &admin, (NodeKind::Cluster, id), (true, "cluster.cordon")).await
}

/// Lets a cluster take new servers and transfers again. Again is the same.
#[utoipa::path(post, path = "/api/v1/admin/clusters/{id}/uncordon", tag = "clusters",
    params(("id" = uuid::Uuid, Path)), request_body(content = Nothing, description = "Empty"),
    responses((status = 200, description = "The cluster", body = One<ClusterView>)))]
async fn uncordon_cluster(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<NodeId>,
    _body: Body<Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.clusters.update")?;
    cordon(&app, &admin, (NodeKind::Cluster, id), (false, "cluster.uncordon")).await
}

async fn cordon(
    app: &App,
    admin: &Admin,
    (kind, id): (NodeKind, NodeId),
    (cordoned, action): (bool, &'static str),
) -> Result<Answer, ApiError> {
    let mut tx = app.db.begin().await?;
    let before = load(&mut tx, kind, id).await?;
    if before.cordoned != cordoned {
        nodes::node_cordon(&mut tx, id, cordoned).await?;
        audit::audit(&mut tx, app.now(), &admin.actor(), action, id, &json!({"name": before.name})).await?;
    }
    let node = load(&mut tx, kind, id).await?;
    let answer = match kind {
        NodeKind::Node => Answer::ok(&NodeView::new(app, node, None)),
        NodeKind::Cluster => Answer::ok(&ClusterView::load(app, &mut tx, node, None).await?),
    };
    tx.commit().await.map_err(DbError::from)?;
    answer
}
