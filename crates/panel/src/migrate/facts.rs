//! Gathers what [`admission`](super::admission) decides on, in the transaction that then acts on it.

use model::{AllocationId, NodeId, ServerId};

use super::admission::{Facts, Free, NodeFacts, Refusal, Wanted};
use crate::agent::Agents;
use crate::db::nodes::{Node, Usage};
use crate::db::servers::Server;
use crate::db::{Conn, DbError, allocations, flags, nodes, servers, transfers};

/// Facts, and the rows that they were made of.
pub(super) struct Gathered {
    pub(super) facts: Facts,
    pub(super) server: Server,
    pub(super) source: Node,
    pub(super) target: Node,
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
        return Ok(Err(Refusal::UnknownNode));
    };
    let source = nodes::node_get(tx, server.node_id).await?;
    let facts = Facts {
        enabled: flags::flag_enabled(tx, flags::SERVER_TRANSFERS).await?,
        server_id: server.id,
        status: server.status,
        locked_by: server.locked_by.clone(),
        limits: server.limits,
        source: node_facts(&source, agents),
        target: node_facts(&target, agents),
        free: free(tx, &target).await?,
        allocation: wanted(tx, &server, &target, allocation).await?,
    };
    Ok(Ok(Gathered { facts, server, source, target }))
}

fn node_facts(node: &Node, agents: &dyn Agents) -> NodeFacts {
    let runtime = node.agent.as_ref().map(|agent| agent.runtime);
    NodeFacts { id: node.id, name: node.name.clone(), online: runtime.is_some() && agents.is_online(node.id), runtime }
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
) -> Result<Wanted, DbError> {
    let Some(id) = allocation else {
        let port = server.primary.as_ref().map(|primary| primary.port);
        return Ok(Wanted::Chosen(allocations::allocation_free(tx, target.id, port).await?));
    };
    Ok(match found(allocations::allocation_get(tx, id).await)? {
        Some(named) => Wanted::Named(named),
        None => Wanted::Unknown(id),
    })
}

fn found<T>(result: Result<T, DbError>) -> Result<Option<T>, DbError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(DbError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
