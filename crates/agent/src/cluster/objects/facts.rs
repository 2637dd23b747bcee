//! What the cluster is like and what it has left, for the panel's list of clusters.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::Api;
use model::Resources;
use model::agent_api::{AgentError, ClusterFacts};

use super::config::ServiceType;
use super::error::from_kube;
use super::expose::address;
use super::{Objects, api};

impl Objects {
    /// A cluster without a usable storage class is still described; what that means is said by checks.
    pub(super) async fn do_facts(&self) -> Result<ClusterFacts, AgentError> {
        let version = self.client.apiserver_version().await;
        let version = version.map_err(|error| from_kube("ask for the version", &error))?.git_version;
        let nodes = self.nodes().await?.open().count();
        let class = self.storage_class().await.map(|class| class.name_any());
        let node_ports = (self.config.service_type == ServiceType::NodePort).then_some(self.config.node_ports);
        Ok(ClusterFacts {
            version,
            nodes: u32::try_from(nodes).unwrap_or(u32::MAX),
            address: self.outside_address().await?,
            node_ports,
            storage_class: class.unwrap_or_else(|_| self.config.storage_class.clone().unwrap_or_default()),
        })
    }

    async fn outside_address(&self) -> Result<String, AgentError> {
        if let Some(address) = &self.config.external_address {
            return Ok(address.clone());
        }
        let nodes = api::list(&Api::<Node>::all(self.client.clone()), "").await?;
        Ok(nodes.iter().find_map(address).unwrap_or_default())
    }

    /// Disk is zero, which means unknown: a storage class does not tell what it has.
    pub(super) async fn do_resources(&self) -> Result<Resources, AgentError> {
        let nodes = self.nodes().await?;
        let sum = |of: fn(&super::node::Room) -> u64| nodes.open().map(of).sum::<u64>();
        let (total, free) = (sum(|room| room.total.cpu_m), sum(|room| room.free.cpu_m));
        Ok(Resources {
            memory_total_mb: sum(|room| room.total.memory_mb),
            memory_available_mb: sum(|room| room.free.memory_mb),
            disk_total_bytes: 0,
            disk_free_bytes: 0,
            inodes_free: 0,
            // The cores that pods asked for, in the unit of a load average.
            load_1m_percent: total.saturating_sub(free) / 10,
        })
    }
}
