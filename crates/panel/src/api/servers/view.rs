//! How the API shows a server.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{AllocationId, EggId, Epoch, NodeId, ServerId, ServerStatus, TransferState, UserId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::check::MILLICORES_PER_PERCENT;
use crate::db::nodes::NodeKind;
use crate::db::servers::{Address, Server};

/// A server.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ServerView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: ServerId,
    /// For people.
    #[schema(example = "survival")]
    name: String,
    /// `installing`, `install_failed`, `offline`, `starting`, `running`, `stopping`, `crashed` or `restoring_backup`, as last seen.
    #[schema(value_type = String, example = "running")]
    status: ServerStatus,
    /// State of its transfer, while there is one.
    #[schema(value_type = Option<String>, example = "running")]
    transfer_state: Option<TransferState>,
    /// Whether an operation holds it.
    locked: bool,
    /// The node where it is; null if that is a cluster.
    #[schema(value_type = Option<uuid::Uuid>)]
    node_id: Option<NodeId>,
    /// The cluster where it is; null if that is a node.
    #[schema(value_type = Option<uuid::Uuid>)]
    cluster_id: Option<NodeId>,
    /// `daemon` on a node, `kubernetes` on a cluster.
    #[schema(example = "daemon")]
    deployment_type: &'static str,
    /// Generation of its ownership; grows by one with each move.
    #[schema(value_type = u64, example = 1)]
    epoch: Epoch,
    /// What it is made from.
    #[schema(value_type = uuid::Uuid)]
    egg_id: EggId,
    /// MiB; 0 for no limit.
    #[schema(example = 2048)]
    memory_limit: u64,
    /// MiB; 0 for no limit.
    #[schema(example = 10240)]
    disk_limit: u64,
    /// Percent of one core on a node, millicores on a cluster (1000 is one core); 0 for no limit.
    #[schema(example = 200)]
    cpu_limit: u64,
    /// Command line with placeholders.
    startup: String,
    /// Container image.
    docker_image: String,
    /// Values that differ from the egg's defaults; empty for a subuser without `server.startup`.
    environment: BTreeMap<String, String>,
    /// Its primary address.
    allocation: Option<AddressView>,
    /// All of its addresses, the primary one first.
    allocations: Vec<AddressView>,
    /// Addresses in all, up to which its owner may take more.
    #[schema(example = 3)]
    allocation_limit: u64,
    /// Its ports on a cluster; empty on a node.
    k8s_allocations: Vec<ClusterPortView>,
    /// What a person should look at: objects that somebody changed by hand, a pod that cannot be scheduled.
    attention: Vec<String>,
    /// Why it could not be installed, while its status is `install_failed`.
    install_error: Option<String>,
    /// Whose it is; null if nobody's.
    #[schema(value_type = Option<uuid::Uuid>)]
    owner_id: Option<UserId>,
    /// How many backups it may have; null for as many as one likes.
    backup_limit: Option<u64>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl ServerView {
    /// The same for somebody who may not see its variables: passwords are among them.
    pub(in crate::api) fn without_variables(mut self) -> Self {
        self.environment.clear();
        self
    }
}

/// An address of a server.
#[derive(Debug, Serialize, ToSchema)]
struct AddressView {
    /// The allocation's id.
    #[schema(value_type = uuid::Uuid)]
    id: AllocationId,
    /// Address on the node, or where players reach the cluster; empty until a load balancer has given one.
    #[schema(example = "10.0.0.5")]
    ip_address: String,
    /// What players are told instead.
    ip_alias: Option<String>,
    /// TCP and UDP port.
    #[schema(example = 25565)]
    port: u16,
}

/// A port of a server on a cluster.
#[derive(Debug, Serialize, ToSchema)]
struct ClusterPortView {
    /// As players see it.
    #[schema(example = 30000)]
    node_port: u16,
    /// As the game sees it.
    #[schema(example = 30000)]
    container_port: u16,
    /// `tcp` or `udp`: each allocation is both.
    #[schema(example = "tcp")]
    protocol: &'static str,
    /// Whether it is the server's first address.
    is_primary: bool,
    /// Where players reach it.
    #[schema(example = "203.0.113.7")]
    node_ip: String,
}

fn cluster_ports(row: &Server) -> Vec<ClusterPortView> {
    let both = |(address, is_primary): (&Address, bool)| {
        let (port, ip) = (address.port, address.ip_address.clone());
        ["tcp", "udp"].map(|protocol| ClusterPortView {
            node_port: port,
            container_port: port,
            protocol,
            is_primary,
            node_ip: ip.clone(),
        })
    };
    let here = row.node_kind == NodeKind::Cluster;
    addresses(row).filter(|_| here).flat_map(both).collect()
}

/// All of them, the primary one first, and whether it is that.
fn addresses(row: &Server) -> impl Iterator<Item = (&Address, bool)> {
    row.primary.iter().map(|address| (address, true)).chain(row.others.iter().map(|address| (address, false)))
}

impl From<&Address> for AddressView {
    fn from(address: &Address) -> Self {
        Self {
            id: address.id,
            ip_address: address.ip_address.clone(),
            ip_alias: address.ip_alias.clone(),
            port: address.port,
        }
    }
}

impl From<Server> for ServerView {
    fn from(row: Server) -> Self {
        let k8s_allocations = cluster_ports(&row);
        let allocations = addresses(&row).map(|(address, _)| AddressView::from(address)).collect();
        Self {
            id: row.id,
            name: row.name,
            status: row.status,
            transfer_state: row.transfer_state,
            locked: row.locked_by.is_some(),
            node_id: row.node_kind.only(NodeKind::Node, row.node_id),
            cluster_id: row.node_kind.only(NodeKind::Cluster, row.node_id),
            deployment_type: match row.node_kind {
                NodeKind::Node => "daemon",
                NodeKind::Cluster => "kubernetes",
            },
            k8s_allocations,
            epoch: row.epoch,
            egg_id: row.egg_id,
            memory_limit: row.limits.memory_mb,
            disk_limit: row.limits.disk_mb,
            cpu_limit: match row.node_kind {
                NodeKind::Node => row.limits.cpu_percent,
                NodeKind::Cluster => row.limits.cpu_percent * MILLICORES_PER_PERCENT,
            },
            startup: row.startup,
            docker_image: row.image,
            environment: row.environment,
            attention: row.attention,
            install_error: row.install_error,
            allocation: row.primary.as_ref().map(AddressView::from),
            allocations,
            allocation_limit: row.allocation_limit,
            owner_id: row.owner_id,
            backup_limit: row.backup_limit,
            created_at: row.created_at,
        }
    }
}
