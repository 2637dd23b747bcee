//! Where something is or goes: a node or a cluster, by the name that only one of them has.

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use super::Client;

/// A node or a cluster on the command line.
#[derive(Args, Debug, Default)]
#[group(id = "place", multiple = false)]
pub(crate) struct PlaceArgs {
    /// Name or id of a node
    #[arg(long)]
    pub(crate) node: Option<String>,
    /// Name or id of a cluster
    #[arg(long)]
    pub(crate) cluster: Option<String>,
}

impl PlaceArgs {
    /// `node_id` or `cluster_id`, and the id; none if neither was given.
    pub(crate) fn resolve(&self, client: &Client) -> Result<Option<(&'static str, String)>> {
        Ok(match (&self.node, &self.cluster) {
            (Some(node), _) => Some(("node_id", client.resolve("/admin/nodes", "node", node)?)),
            (None, Some(cluster)) => Some(("cluster_id", client.resolve("/admin/clusters", "cluster", cluster)?)),
            (None, None) => None,
        })
    }
}

/// Where to move a server.
#[derive(Args, Debug, Default)]
#[group(id = "target", multiple = false)]
pub(crate) struct TargetArgs {
    /// Name or id of the node or cluster to move it to
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: Option<String>,
    /// The same, of a node
    #[arg(long, value_name = "NODE")]
    pub(crate) to_node: Option<String>,
    /// The same, of a cluster
    #[arg(long, value_name = "CLUSTER")]
    pub(crate) to_cluster: Option<String>,
}

impl TargetArgs {
    /// A node or a cluster of which only the name is known.
    pub(crate) fn named(name: &str) -> Self {
        Self { to: Some(name.to_owned()), ..Self::default() }
    }

    /// `target_node_id` or `target_cluster_id`, and the id; none if nothing was given.
    pub(crate) fn resolve(&self, client: &Client) -> Result<Option<(&'static str, String)>> {
        let node = |name: &str| client.resolve("/admin/nodes", "node", name);
        let cluster = |name: &str| client.resolve("/admin/clusters", "cluster", name);
        Ok(match (&self.to, &self.to_node, &self.to_cluster) {
            (Some(name), _, _) => Some(either(client, name)?),
            (None, Some(name), _) => Some(("target_node_id", node(name)?)),
            (None, None, Some(name)) => Some(("target_cluster_id", cluster(name)?)),
            (None, None, None) => None,
        })
    }
}

/// Names are unique among nodes and clusters together, and so are ids.
fn either(client: &Client, name: &str) -> Result<(&'static str, String)> {
    for (list, target) in [("/admin/nodes", "target_node_id"), ("/admin/clusters", "target_cluster_id")] {
        if let Some(id) = client.api.list(list)?.iter().find_map(|item| named(item, name)) {
            return Ok((target, id));
        }
    }
    bail!(
        "there is no node and no cluster named `{name}`; `badger node list` and `badger cluster list` show what there is"
    )
}

fn named(item: &Value, name: &str) -> Option<String> {
    let id = item["id"].as_str()?;
    (item["name"] == name || id == name).then(|| id.to_owned())
}
