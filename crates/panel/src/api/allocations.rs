//! Allocations: the addresses that the servers of a node or a cluster can have.

use std::net::IpAddr;

use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get};
use model::{AllocationId, NodeId, ServerId, TransferId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Body, Id, Idempotency, ListQuery, check};
use crate::app::App;
use crate::db::allocations::{self, Allocation, Filter};
use crate::db::nodes::{self, Node, NodeKind};
use crate::db::{Conn, DbError, audit, on_demand};

/// Ports that one request may add.
const MOST_PORTS: usize = 1000;

#[derive(OpenApi)]
#[openapi(paths(create, list, remove))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/admin/allocations", get(list).post(create)).route("/admin/allocations/{id}", delete(remove))
}

/// Addresses to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "node_id": "0198a7b2-0000-7000-8000-000000000001", "ip_address": "10.0.0.5", "ports": ["25565", "25570-25580"],
}))]
struct NewAllocations {
    /// Whose addresses: a node's, or `cluster_id`.
    #[schema(value_type = Option<uuid::Uuid>)]
    node_id: Option<NodeId>,
    /// Whose addresses: a cluster's. Its ports must be in the range that its services may use.
    #[schema(value_type = Option<uuid::Uuid>)]
    cluster_id: Option<NodeId>,
    /// Address on the node to bind to. Not for a cluster: players reach it where it says.
    ip_address: Option<String>,
    /// What players are told instead.
    ip_alias: Option<String>,
    /// Ports, and ranges of ports.
    ports: Vec<String>,
}

/// An address.
#[derive(Debug, Serialize, ToSchema)]
struct AllocationView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: AllocationId,
    /// Whose address, if a node's.
    #[schema(value_type = Option<uuid::Uuid>)]
    node_id: Option<NodeId>,
    /// Whose address, if a cluster's.
    #[schema(value_type = Option<uuid::Uuid>)]
    cluster_id: Option<NodeId>,
    /// Address on the node, or where players reach the cluster; empty until a load balancer has given one.
    #[schema(example = "10.0.0.5")]
    ip_address: String,
    /// What players are told instead.
    #[schema(example = "play.example.org")]
    ip_alias: Option<String>,
    /// TCP and UDP port.
    #[schema(example = 25565)]
    port: u16,
    /// The server that has it.
    #[schema(value_type = Option<uuid::Uuid>)]
    server_id: Option<ServerId>,
    /// Whether it is that server's first address.
    is_primary: bool,
    /// The transfer that keeps it for its server.
    #[schema(value_type = Option<uuid::Uuid>)]
    reserved_by: Option<TransferId>,
}

impl AllocationView {
    fn new(row: Allocation, kind: NodeKind) -> Self {
        Self {
            id: row.id,
            node_id: kind.only(NodeKind::Node, row.node_id),
            cluster_id: kind.only(NodeKind::Cluster, row.node_id),
            ip_address: row.ip_address,
            ip_alias: row.ip_alias,
            port: row.port,
            server_id: row.server_id,
            is_primary: row.is_primary,
            reserved_by: row.reserved_by,
        }
    }
}

/// Adds addresses to a node or a cluster: all of them, or none.
///
/// A cluster needs none: what its servers need is made when they need it. Those that are made here stay.
#[utoipa::path(post, path = "/api/v1/admin/allocations", tag = "allocations", request_body = NewAllocations,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same answer for 24 h")),
    responses(
        (status = 201, description = "The new allocations", body = One<Vec<AllocationView>>),
        (status = 409, description = "`allocation_exists`, with `ports` in the details; `cluster_pending`"),
        (status = 422, description = "`port_out_of_range`, with `first` and `last` of the cluster in the details"),
    ))]
async fn create(
    State(app): State<App>,
    admin: Admin,
    idempotency: Idempotency,
    body: Body<NewAllocations>,
) -> Result<Answer, ApiError> {
    admin.may("admin.allocations.create")?;
    let (new, raw) = (body.value, body.raw);
    let ports = ports(&new.ports)?;
    let (kind, id) = check::one_of(("node_id", new.node_id), ("cluster_id", new.cluster_id))?;
    let given = new.ip_address.as_deref().map(str::trim);
    let ip: Option<IpAddr> = given
        .map(str::parse)
        .transpose()
        .map_err(|_| ApiError::invalid("ip_address", "must be an IPv4 or IPv6 address"))?;
    let work = async {
        let mut tx = app.db.begin().await?;
        let node = owner(&mut tx, kind, id).await?;
        let ip_address = address(&node, ip, &ports)?;
        let rows = insert(&mut tx, &node, new.ip_alias.as_deref(), &ip_address, &ports).await?;
        let details = json!({"ip_address": ip_address, "ports": new.ports});
        audit::audit(&mut tx, app.now(), &admin.actor(), "allocation.create", id, &details).await?;
        tx.commit().await.map_err(DbError::from)?;
        Answer::created(format!("/api/v1/admin/allocations?filter[{}_id]={id}", kind.noun()), &rows)
    };
    idempotency.once(&app, &admin, "POST /admin/allocations", &raw, work).await
}

/// The node or the cluster that a body names, or a problem of that field.
pub(super) async fn owner(tx: &mut Conn, kind: NodeKind, id: NodeId) -> Result<Node, ApiError> {
    match nodes::node_get(tx, id).await {
        Ok(node) if node.kind == kind => Ok(node),
        Ok(_) | Err(DbError::NotFound) => {
            let noun = kind.noun();
            Err(ApiError::invalid(&format!("{noun}_id"), format!("there is no such {noun}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// What `ip_address` is to be. A node binds to what it is told, a cluster has one place for players and a range of ports.
fn address(node: &Node, given: Option<IpAddr>, wanted: &[u16]) -> Result<String, ApiError> {
    if node.kind == NodeKind::Node {
        return given.map(|ip| ip.to_string()).ok_or_else(|| ApiError::invalid("ip_address", "is required"));
    }
    let Some((first, last)) = on_demand::ports(node) else {
        let message = "The cluster's orchestrator has not told its ports yet. Install it, then add allocations.";
        return Err(ApiError::conflict("cluster_pending", message));
    };
    let place = node.player_address();
    if given.is_some_and(|ip| ip.to_string() != place) {
        return Err(ApiError::invalid("ip_address", "must be left out: players reach a cluster where it says"));
    }
    if let Some(port) = wanted.iter().find(|port| !(first..=last).contains(*port)) {
        let message = format!(
            "Port {port} is not one of those that services of cluster {} may use ({first}-{last}). Choose others.",
            node.name
        );
        let error = ApiError::unprocessable("port_out_of_range", message);
        return Err(error.detail("first", first).detail("last", last));
    }
    Ok(place.to_owned())
}

async fn insert(
    tx: &mut Conn,
    node: &Node,
    ip_alias: Option<&str>,
    ip_address: &str,
    ports: &[u16],
) -> Result<Vec<AllocationView>, ApiError> {
    let (mut rows, mut there) = (Vec::new(), Vec::new());
    for port in ports {
        if allocations::allocation_exists(tx, node.id, ip_address, *port).await? {
            there.push(*port);
            continue;
        }
        let row = Allocation { ip_alias: ip_alias.map(str::to_owned), ..Allocation::new(node.id, ip_address, *port) };
        allocations::allocation_insert(tx, &row).await?;
        rows.push(AllocationView::new(row, node.kind));
    }
    if there.is_empty() {
        return Ok(rows);
    }
    let noun = node.kind.noun();
    let message = format!("The {noun} has some of these ports on {ip_address} already. Leave them out; see details.");
    Err(ApiError::conflict("allocation_exists", message).detail("ports", there))
}

/// `"25565"` and `"25570-25580"`, in order, each once.
fn ports(texts: &[String]) -> Result<Vec<u16>, ApiError> {
    let mut ports = std::collections::BTreeSet::new();
    for (index, text) in texts.iter().enumerate() {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let range = low.trim().parse::<u16>().ok().zip(high.trim().parse::<u16>().ok());
        let Some((low, high)) = range.filter(|(low, high)| *low > 0 && low <= high) else {
            let problem = format!("`{text}` is no port (1-65535) and no range of ports");
            return Err(ApiError::invalid(&format!("ports[{index}]"), problem));
        };
        ports.extend(low..=high);
    }
    if ports.is_empty() || ports.len() > MOST_PORTS {
        return Err(ApiError::invalid("ports", format!("must be 1 to {MOST_PORTS} ports")));
    }
    Ok(ports.into_iter().collect())
}

/// Lists addresses.
#[utoipa::path(get, path = "/api/v1/admin/allocations", tag = "allocations", params(
    ("filter[node_id]" = Option<uuid::Uuid>, Query, description = "Of this node"),
    ("filter[cluster_id]" = Option<uuid::Uuid>, Query, description = "Of this cluster"),
    ("filter[server_id]" = Option<uuid::Uuid>, Query, description = "Of this server"),
    ("filter[free]" = Option<bool>, Query, description = "Free, or not free"),
), responses((status = 200, description = "One page, by node, address and port", body = Many<AllocationView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.allocations.list")?;
    query.only_filters(&["node_id", "cluster_id", "server_id", "free"])?;
    query.sort(&["port"], "port")?;
    let filter =
        Filter { node_id: query.filter_place()?, server_id: query.filter("server_id")?, free: query.filter("free")? };
    let mut conn = app.db.acquire().await?;
    let page = allocations::allocations_page(&mut conn, filter, query.paging).await?;
    let clusters = nodes::cluster_ids(&mut conn).await?;
    let view = |row: Allocation| {
        let kind = if clusters.contains(&row.node_id) { NodeKind::Cluster } else { NodeKind::Node };
        AllocationView::new(row, kind)
    };
    Answer::page(&page.map(view), query.paging)
}

/// Removes an address that nobody has.
#[utoipa::path(delete, path = "/api/v1/admin/allocations/{id}", tag = "allocations",
    params(("id" = uuid::Uuid, Path)), responses(
        (status = 204, description = "Removed"),
        (status = 409, description = "`allocation_in_use`"),
    ))]
async fn remove(State(app): State<App>, admin: Admin, Id(id): Id<AllocationId>) -> Result<Answer, ApiError> {
    admin.may("admin.allocations.delete")?;
    let mut tx = app.db.begin().await?;
    let row = allocations::allocation_get(&mut tx, id).await.map_err(|error| match error {
        DbError::NotFound => ApiError::not_found("allocation"),
        error => error.into(),
    })?;
    allocations::allocation_delete(&mut tx, id).await.map_err(|error| match error {
        DbError::Conflict => {
            ApiError::conflict("allocation_in_use", "A server or a transfer has this allocation. Free it first.")
        }
        error => error.into(),
    })?;
    let details = json!({"node_id": row.node_id, "ip_address": row.ip_address, "port": row.port});
    audit::audit(&mut tx, app.now(), &admin.actor(), "allocation.delete", id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_and_ranges_are_read_and_nonsense_is_refused() {
        let read = |texts: &[&str]| ports(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(read(&["25565", "25570-25572", "25571"]).unwrap(), [25565, 25570, 25571, 25572]);
        assert_eq!(read(&["65535"]).unwrap(), [65535]);
        for bad in [&["0"][..], &["65536"], &["a"], &["5-4"], &["-5"], &[""], &[], &["1-1001"]] {
            assert_eq!(read(bad).unwrap_err().code(), "validation_error", "{bad:?}");
        }
    }
}
