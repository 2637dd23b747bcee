//! How the API shows a server.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::{AllocationId, EggId, Epoch, NodeId, ServerId, ServerStatus, TransferState};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::servers::Server;

/// A server.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ServerView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: ServerId,
    /// For people.
    #[schema(example = "survival")]
    name: String,
    /// `installing`, `install_failed`, `offline`, `starting`, `running`, `stopping` or `crashed`, as last seen.
    #[schema(value_type = String, example = "running")]
    status: ServerStatus,
    /// State of its transfer, while there is one.
    #[schema(value_type = Option<String>, example = "running")]
    transfer_state: Option<TransferState>,
    /// Whether an operation holds it.
    locked: bool,
    /// Where it is.
    #[schema(value_type = uuid::Uuid)]
    node_id: NodeId,
    /// Always null for now.
    #[schema(value_type = Option<uuid::Uuid>)]
    cluster_id: Option<()>,
    /// `daemon`.
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
    /// Percent of one core; 0 for no limit.
    #[schema(example = 200)]
    cpu_limit: u64,
    /// Command line with placeholders.
    startup: String,
    /// Container image.
    docker_image: String,
    /// Values that differ from the egg's defaults.
    environment: BTreeMap<String, String>,
    /// Its primary address.
    allocation: Option<AddressView>,
    /// Why it could not be installed, while its status is `install_failed`.
    install_error: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// An address of a server.
#[derive(Debug, Serialize, ToSchema)]
struct AddressView {
    /// The allocation's id.
    #[schema(value_type = uuid::Uuid)]
    id: AllocationId,
    /// Address on the node.
    #[schema(example = "10.0.0.5")]
    ip_address: String,
    /// What players are told instead.
    ip_alias: Option<String>,
    /// TCP and UDP port.
    #[schema(example = 25565)]
    port: u16,
}

impl From<Server> for ServerView {
    fn from(row: Server) -> Self {
        Self {
            id: row.id,
            name: row.name,
            status: row.status,
            transfer_state: row.transfer_state,
            locked: row.locked_by.is_some(),
            node_id: row.node_id,
            cluster_id: None,
            deployment_type: "daemon",
            epoch: row.epoch,
            egg_id: row.egg_id,
            memory_limit: row.limits.memory_mb,
            disk_limit: row.limits.disk_mb,
            cpu_limit: row.limits.cpu_percent,
            startup: row.startup,
            docker_image: row.image,
            environment: row.environment,
            install_error: row.install_error,
            allocation: row.primary.map(|primary| AddressView {
                id: primary.id,
                ip_address: primary.ip_address,
                ip_alias: primary.ip_alias,
                port: primary.port,
            }),
            created_at: row.created_at,
        }
    }
}
