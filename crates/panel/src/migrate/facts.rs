//! Gathers what [`admission`](super::admission) decides on, in the transaction that then acts on it.

use std::collections::BTreeSet;

use model::{AllocationId, NodeId, ServerId};

use super::addresses::{self, Addresses};
use super::admission::{Facts, Free, NodeFacts, Place, Refusal};
use crate::agent::Agents;
use crate::db::nodes::{Node, NodeKind, Usage};
use crate::db::servers::Server;
use crate::db::{Conn, DbError, allocations, flags, nodes, servers, transfers};

/// Facts, and the rows that they were made of.
pub(super) struct Gathered {
    pub(super) facts: Facts,
    pub(super) server: Server,
    pub(super) source: Node,
    pub(super) target: Node,
    /// Allocations that were chosen and must be written down before they can be kept.
    pub(super) new_allocations: BTreeSet<AllocationId>,
}

/// Everything known about moving `server` to `target`; a refusal where there is no such thing.
pub(super) async fn gather(
    tx: &mut Conn,
    agents: &dyn Agents,
    server: ServerId,
    target: NodeId,
    allocation: Option<AllocationId>,
    rule: &Addresses,
) -> Result<Result<Gathered, Refusal>, DbError> {
    let Some(server) = found(servers::server_get(tx, server).await)? else {
        return Ok(Err(Refusal::UnknownServer));
    };
    let Some(target) = found(nodes::node_get(tx, target).await)? else {
        return Ok(Err(Refusal::UnknownTarget(NodeKind::Node)));
    };
    let source = nodes::node_get(tx, server.node_id).await?;
    let old = allocations::allocations_of(tx, server.id).await?;
    let foreign = rule.picks.keys().find(|id| old.iter().all(|row| row.id != **id));
    if let Some(id) = foreign {
        return Ok(Err(Refusal::AllocationUnknown(*id)));
    }
    let chosen = addresses::choose(tx, &target, old, allocation, rule).await?;
    let facts = Facts {
        enabled: flags::flag_enabled(tx, flags::SERVER_TRANSFERS).await?,
        server_id: server.id,
        status: server.status,
        locked_by: server.locked_by.clone(),
        limits: server.limits,
        source: node_facts(&source, agents),
        target: node_facts(&target, agents),
        free: free(tx, &target).await?,
        addresses: chosen.wants,
    };
    Ok(Ok(Gathered { facts, server, source, target, new_allocations: chosen.new }))
}

fn node_facts(node: &Node, agents: &dyn Agents) -> NodeFacts {
    let runtime = node.agent.as_ref().map(|agent| agent.runtime);
    let place = Place { kind: node.kind, name: node.name.clone() };
    let online = runtime.is_some() && agents.is_online(node.id);
    NodeFacts { id: node.id, place, online, runtime, cordoned: node.cordoned }
}

/// What is left of a node: its capacity without what its servers, transfers on their way to it, and servers that may
/// have to come back to it may use.
pub(crate) async fn free(tx: &mut Conn, node: &Node) -> Result<Free, DbError> {
    let used = nodes::node_usage(tx, node.id, None).await?;
    let back = transfers::reserved_for_return(tx, node.id).await?;
    let left = |capacity: u64, of: fn(&Usage) -> u64| {
        (capacity > 0).then(|| capacity.saturating_sub(of(&used)).saturating_sub(of(&back)))
    };
    Ok(Free {
        memory_mb: left(node.memory_mb, |usage| usage.memory_mb),
        disk_mb: left(node.disk_mb, |usage| usage.disk_mb),
        cpu_percent: left(node.cpu_percent, |usage| usage.cpu_percent),
    })
}

fn found<T>(result: Result<T, DbError>) -> Result<Option<T>, DbError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(DbError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
