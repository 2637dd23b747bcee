//! Gathers what [`admission`](super::admission) decides on, in the transaction that then acts on it.

use model::{AllocationId, NodeId, ServerId};

use super::admission::{Facts, Free, NodeFacts, Place, Refusal, Wanted};
use crate::agent::Agents;
use crate::db::nodes::{Node, NodeKind, Usage};
use crate::db::servers::Server;
use crate::db::{Conn, DbError, allocations, flags, nodes, on_demand, servers, transfers};

/// Facts, and the rows that they were made of.
pub(super) struct Gathered {
    pub(super) facts: Facts,
    pub(super) server: Server,
    pub(super) source: Node,
    pub(super) target: Node,
    /// Whether the allocation was chosen and must be written down before it can be kept.
    pub(super) is_new_allocation: bool,
}

/// Everything known about moving `server` to `target`; a refusal where there is no such thing.
pub(super) async fn gather(
    tx: &mut Conn,
    agents: &dyn Agents,
    server: ServerId,
    target: NodeId,
    allocation: Option<AllocationId>,
) -> Result<Result<Gathered, Refusal>, DbError> {
    let Some(server) = found(servers::server_get(tx, server).await)? else {
        return Ok(Err(Refusal::UnknownServer));
    };
    let Some(target) = found(nodes::node_get(tx, target).await)? else {
        return Ok(Err(Refusal::UnknownTarget(NodeKind::Node)));
    };
    let source = nodes::node_get(tx, server.node_id).await?;
    let (allocation, is_new_allocation) = wanted(tx, &server, &target, allocation).await?;
    let facts = Facts {
        enabled: flags::flag_enabled(tx, flags::SERVER_TRANSFERS).await?,
        server_id: server.id,
        status: server.status,
        locked_by: server.locked_by.clone(),
        limits: server.limits,
        source: node_facts(&source, agents),
        target: node_facts(&target, agents),
        free: free(tx, &target).await?,
        allocation,
    };
    Ok(Ok(Gathered { facts, server, source, target, is_new_allocation }))
}

fn node_facts(node: &Node, agents: &dyn Agents) -> NodeFacts {
    let runtime = node.agent.as_ref().map(|agent| agent.runtime);
    let place = Place { kind: node.kind, name: node.name.clone() };
    NodeFacts { id: node.id, place, online: runtime.is_some() && agents.is_online(node.id), runtime }
}

/// What is left of a node: its capacity without what its servers, transfers on their way to it, and servers that may
/// have to come back to it may use.
async fn free(tx: &mut Conn, node: &Node) -> Result<Free, DbError> {
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

async fn wanted(
    tx: &mut Conn,
    server: &Server,
    target: &Node,
    allocation: Option<AllocationId>,
) -> Result<(Wanted, bool), DbError> {
    let Some(id) = allocation else {
        let port = server.primary.as_ref().map(|primary| primary.port);
        let choice = on_demand::allocation_choose(tx, target, port).await?;
        let is_new = choice.as_ref().is_some_and(|choice| choice.is_new);
        return Ok((Wanted::Chosen(choice.map(|choice| choice.allocation)), is_new));
    };
    let named = found(allocations::allocation_get(tx, id).await)?;
    Ok((named.map_or(Wanted::Unknown(id), Wanted::Named), false))
}

fn found<T>(result: Result<T, DbError>) -> Result<Option<T>, DbError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(DbError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
