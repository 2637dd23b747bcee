//! Allocations of clusters that nobody made beforehand: a port is written down when a server needs one, and the row goes
//! when no server and no transfer has it any more.
//!
//! Every node of a cluster serves the same NodePorts, so what is unique there is the port. Behind a load balancer each
//! server has an address of its own, which is known only once its service is there; until then the row has none.
//!
//! The lowest port that is free: Kubernetes gives ports out by itself from the upper part of its range first, so that
//! the lower part stays for those who ask for a certain one.

use std::collections::BTreeSet;

use model::{AllocationId, NodeId};

use super::allocations::{self, Allocation};
use super::nodes::{Node, NodeKind};
use super::{Conn, DbError};

/// An address for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The address.
    pub allocation: Allocation,
    /// Whether it must be written down first ([`allocation_insert`]).
    pub is_new: bool,
}

/// First and last port that servers of a cluster can have; none of a node, and before its orchestrator has told.
#[must_use]
pub fn ports(node: &Node) -> Option<(u16, u16)> {
    node.facts.as_ref().map(|facts| facts.node_ports.unwrap_or((1, u16::MAX)))
}

/// An address of `node` that nobody has: the wanted port if it can be had, else the lowest. Changes nothing.
pub async fn allocation_choose(conn: &mut Conn, node: &Node, wanted: Option<u16>) -> Result<Option<Choice>, DbError> {
    let there = allocations::allocation_free(conn, node.id, wanted).await?;
    let there = there.map(|allocation| Choice { allocation, is_new: false });
    if node.kind == NodeKind::Node || there.as_ref().is_some_and(|it| Some(it.allocation.port) == wanted) {
        return Ok(there);
    }
    let Some(range) = ports(node) else { return Ok(there) };
    let taken = ports_taken(conn, node).await?;
    let new = |port| Choice { allocation: fresh(node, port), is_new: true };
    let same = wanted.filter(|port| (range.0..=range.1).contains(port) && !taken.contains(port));
    let lowest = || (range.0.max(LOWEST)..=range.1).find(|port| !taken.contains(port));
    Ok(same.map(new).or(there).or_else(|| lowest().map(new)))
}

/// Ports that only root may have are given to nobody who did not ask for them.
const LOWEST: u16 = 1024;

fn fresh(node: &Node, port: u16) -> Allocation {
    Allocation {
        id: AllocationId::new(),
        node_id: node.id,
        ip_address: node.player_address().to_owned(),
        ip_alias: None,
        port,
        server_id: None,
        is_primary: false,
        reserved_by: None,
    }
}

async fn ports_taken(conn: &mut Conn, node: &Node) -> Result<BTreeSet<u16>, DbError> {
    let shared = node.facts.as_ref().is_some_and(|facts| facts.node_ports.is_some());
    let sql = "SELECT port FROM allocations WHERE node_id = $1 AND ($2 = 1 OR ip_address = $3)";
    let select = sqlx::query_scalar(sql).bind(node.id.to_string()).bind(i64::from(shared));
    let ports: Vec<i64> = select.bind(node.player_address().to_owned()).fetch_all(conn).await?;
    ports.into_iter().map(allocations::port).collect()
}

/// Writes down one that was chosen. It must be given to somebody in the same transaction.
pub async fn allocation_insert(tx: &mut Conn, new: &Allocation) -> Result<(), DbError> {
    allocations::allocation_insert(tx, new).await?;
    let update = sqlx::query("UPDATE allocations SET on_demand = 1 WHERE id = $1").bind(new.id.to_string());
    super::exactly_one(&update.execute(tx).await?)
}

/// Removes those that nobody has any more.
pub(super) async fn unused_remove(conn: &mut Conn) -> Result<(), DbError> {
    let sql = "DELETE FROM allocations WHERE on_demand = 1 AND server_id IS NULL AND reserved_by IS NULL";
    sqlx::query(sql).execute(conn).await?;
    Ok(())
}

/// The place where players reach a cluster moved: its allocations move with it, those with an address of their own do not.
pub(super) async fn addresses_follow(conn: &mut Conn, node: NodeId, from: &str, to: &str) -> Result<(), DbError> {
    if from == to || from.is_empty() || to.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE allocations SET ip_address = $1 WHERE node_id = $2 AND ip_address = $3 AND NOT EXISTS (
                   SELECT 1 FROM allocations b
                   WHERE b.node_id = $2 AND b.ip_address = $1 AND b.port = allocations.port)";
    let update = sqlx::query(sql).bind(to.to_owned()).bind(node.to_string()).bind(from.to_owned());
    update.execute(conn).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use model::agent_api::ClusterFacts;
    use model::{Timestamp, TransferId};

    use super::*;
    use crate::db::Db;
    use crate::db::nodes::{node_get, node_insert};

    async fn cluster(conn: &mut Conn, node_ports: Option<(u16, u16)>) -> Node {
        let facts = ClusterFacts { node_ports, ..ClusterFacts::default() };
        let node = Node {
            id: NodeId::new(),
            kind: NodeKind::Cluster,
            name: "eu".to_owned(),
            memory_mb: 0,
            disk_mb: 0,
            cpu_percent: 0,
            cordoned: false,
            agent: None,
            facts: None,
            address: None,
            last_seen_at: None,
            created_at: Timestamp::UNIX_EPOCH,
        };
        node_insert(conn, &node).await.unwrap();
        Node { facts: Some(facts), ..node_get(conn, node.id).await.unwrap() }
    }

    async fn take(conn: &mut Conn, node: &Node, wanted: Option<u16>) -> Option<Allocation> {
        let choice = allocation_choose(conn, node, wanted).await.unwrap()?;
        assert!(choice.is_new);
        allocation_insert(conn, &choice.allocation).await.unwrap();
        Some(choice.allocation)
    }

    #[tokio::test]
    async fn the_wanted_port_is_taken_if_it_can_be_had_and_else_the_lowest() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&dir.path().join("panel.db")).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        let node = cluster(&mut tx, Some((30000, 30002))).await;
        let mut taken = Vec::new();
        for wanted in [Some(30001), Some(25565), Some(30001)] {
            let made = take(&mut tx, &node, wanted).await.unwrap();
            allocations::allocation_reserve(&mut tx, made.id, node.id, TransferId::new()).await.unwrap();
            taken.push(made.port);
        }
        assert_eq!(taken, [30001, 30000, 30002]);
        assert_eq!(take(&mut tx, &node, None).await, None);
    }

    #[tokio::test]
    async fn before_its_orchestrator_has_told_a_cluster_has_no_ports() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&dir.path().join("panel.db")).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        let node = Node { facts: None, ..cluster(&mut tx, None).await };
        assert_eq!(take(&mut tx, &node, Some(25565)).await, None);
    }

    #[tokio::test]
    async fn behind_a_load_balancer_a_port_is_free_again_once_its_service_has_an_address() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open_sqlite(&dir.path().join("panel.db")).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        let node = cluster(&mut tx, None).await;
        let first = take(&mut tx, &node, Some(25565)).await.unwrap();
        assert_eq!((first.port, first.ip_address.as_str()), (25565, ""));
        allocations::allocation_reserve(&mut tx, first.id, node.id, TransferId::new()).await.unwrap();
        assert_eq!(allocation_choose(&mut tx, &node, Some(25565)).await.unwrap().unwrap().allocation.port, LOWEST);
        allocations::allocation_address_set(&mut tx, first.id, "198.51.100.1").await.unwrap();
        let second = take(&mut tx, &node, Some(25565)).await.unwrap();
        allocations::allocation_address_set(&mut tx, second.id, "198.51.100.2").await.unwrap();
        unused_remove(&mut tx).await.unwrap();
        assert!(allocations::allocation_get(&mut tx, first.id).await.is_ok());
        assert!(matches!(allocations::allocation_get(&mut tx, second.id).await, Err(DbError::NotFound)));
    }
}
