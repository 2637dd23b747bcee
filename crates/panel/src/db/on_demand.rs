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
    if from == to || from.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE allocations SET ip_address = $1 WHERE node_id = $2 AND ip_address = $3 AND NOT EXISTS (
                   SELECT 1 FROM allocations b
                   WHERE b.node_id = $2 AND b.ip_address = $1 AND b.port = allocations.port)";
    let update = sqlx::query(sql).bind(to.to_owned()).bind(node.to_string()).bind(from.to_owned());
    update.execute(conn).await?;
    Ok(())
}
