//! Allocations of clusters that nobody made beforehand: a port is written down when a server needs one, and the row goes
//! when no server and no transfer has it any more.
//!
//! Every node of a cluster serves the same NodePorts, so what is unique there is the port. Behind a load balancer each
//! server has an address of its own, which is known only once its service is there; until then the row has none.
//!
//! The lowest port that is free: Kubernetes gives ports out by itself from the upper part of its range first, so that
//! the lower part stays for those who ask for a certain one.

use std::collections::{BTreeMap, BTreeSet};

use model::{AllocationId, NodeId, ServerId};

use super::allocations::{self, Allocation, Free};
use super::nodes::{Node, NodeKind, node_get};
use super::{Conn, DbError, exactly_one, parse};

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

/// What a node or a cluster has for those who need addresses.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Those that are there, the best first.
    pub free: Vec<Free>,
    /// What can be made; none of a node.
    pub makes: Option<Makes>,
}

/// Ports of a cluster that nobody has.
#[derive(Clone, Debug)]
pub struct Makes {
    node: NodeId,
    ip_address: String,
    range: (u16, u16),
    taken: BTreeSet<u16>,
}

impl Makes {
    /// One with this port, if it can be had.
    pub fn with_port(&mut self, port: u16) -> Option<Choice> {
        let there = (self.range.0..=self.range.1).contains(&port);
        (there && self.taken.insert(port)).then(|| self.made(port))
    }

    /// The lowest one that is left.
    pub fn lowest(&mut self) -> Option<Choice> {
        let port = (self.range.0.max(LOWEST)..=self.range.1).find(|port| !self.taken.contains(port))?;
        self.with_port(port)
    }

    /// This port is spoken for.
    pub fn leave(&mut self, port: u16) {
        self.taken.insert(port);
    }

    fn made(&self, port: u16) -> Choice {
        Choice { allocation: Allocation::new(self.node, &self.ip_address, port), is_new: true }
    }
}

/// What `node` has between two ports for a server that needs `needed` addresses and has the ports `wanted` today. Changes
/// nothing.
pub async fn offer(
    conn: &mut Conn,
    node: &Node,
    (first, last): (u16, u16),
    wanted: &[u16],
    needed: usize,
) -> Result<Offer, DbError> {
    // More than are needed: some of the lowest may be wanted by their port as well.
    let most = wanted.len() + needed;
    let free = allocations::allocations_free_on(conn, node.id, (first, last), wanted, most).await?;
    let makes = match ports(node).filter(|_| node.kind == NodeKind::Cluster) {
        Some((low, high)) => Some(Makes {
            node: node.id,
            ip_address: node.player_address().to_owned(),
            range: (low.max(first), high.min(last)),
            taken: ports_taken(conn, node).await?,
        }),
        None => None,
    };
    Ok(Offer { free, makes })
}

impl Offer {
    /// One address for each of `wanted`, the first of which is the primary one: the same port where it can be had, else
    /// the lowest, beside the primary one if that has an address of its own. None where nothing is left. All that can
    /// keep their port do, before the others choose.
    #[must_use]
    pub fn choose(mut self, wanted: &[Option<u16>], beside: Option<&str>) -> Vec<Option<Choice>> {
        let mut chosen: Vec<Option<Choice>> = vec![None; wanted.len()];
        let mut beside = beside.map(str::to_owned);
        for pass in [Pass::SamePort, Pass::Lowest, Pass::ContestedSamePort, Pass::Contested] {
            for (place, port) in chosen.iter_mut().zip(wanted).filter(|(place, _)| place.is_none()) {
                *place = self.take(pass, *port, beside.as_deref());
                if let Some(choice) = place.as_ref().filter(|_| beside.is_none()) {
                    beside = Some(choice.allocation.ip_address.clone());
                }
            }
        }
        chosen
    }

    fn take(&mut self, pass: Pass, port: Option<u16>, beside: Option<&str>) -> Option<Choice> {
        let contested = matches!(pass, Pass::ContestedSamePort | Pass::Contested);
        let same = matches!(pass, Pass::SamePort | Pass::ContestedSamePort);
        let fits = |free: &Free| free.is_contested == contested && (!same || Some(free.allocation.port) == port);
        let far = |free: &Free| beside.is_some_and(|ip| free.allocation.ip_address != ip);
        let fitting = self.free.iter().enumerate().filter(|(_, free)| fits(free));
        // The first of the nearest: they are in the order of their ports.
        let there = fitting.min_by_key(|(_, free)| far(free)).map(|(index, _)| index);
        if let Some(index) = there {
            return Some(Choice { allocation: self.free.remove(index).allocation, is_new: false });
        }
        match (pass, port) {
            (Pass::SamePort, Some(port)) => self.makes.as_mut()?.with_port(port),
            (Pass::Lowest, _) => self.makes.as_mut()?.lowest(),
            _ => None,
        }
    }
}

/// In which order addresses are looked for.
#[derive(Clone, Copy)]
enum Pass {
    SamePort,
    Lowest,
    ContestedSamePort,
    Contested,
}

/// All ports there are.
pub const ANY_PORT: (u16, u16) = (1, u16::MAX);

/// An address of `node` that nobody has: the wanted port if it can be had, else the lowest. Changes nothing.
pub async fn allocation_choose(conn: &mut Conn, node: &Node, wanted: Option<u16>) -> Result<Option<Choice>, DbError> {
    let offer = offer(conn, node, ANY_PORT, wanted.as_slice(), 1).await?;
    Ok(offer.choose(&[wanted], None).pop().flatten())
}

/// How many ports are tried for one server before its maker hears that they are taken.
const PORTS_TRIED: usize = 16;

/// Ports that only root may have are given to nobody who did not ask for them.
const LOWEST: u16 = 1024;

async fn ports_taken(conn: &mut Conn, node: &Node) -> Result<BTreeSet<u16>, DbError> {
    let shared = node.facts.as_ref().is_some_and(|facts| facts.node_ports.is_some());
    let sql = "SELECT port FROM allocations WHERE node_id = $1 AND ($2 = 1 OR ip_address = $3)";
    let select = sqlx::query_scalar(sql).bind(node.id.to_string()).bind(i64::from(shared));
    let ports: Vec<i64> = select.bind(node.player_address().to_owned()).fetch_all(conn).await?;
    ports.into_iter().map(allocations::port).collect()
}

/// How many addresses servers of `node` can have in all, and how many of them nobody has. None where each server gets
/// one of its own from a load balancer.
pub async fn addresses_count(conn: &mut Conn, node: &Node) -> Result<Option<(u64, u64)>, DbError> {
    let (rows, free) = allocations::allocations_count(conn, node.id).await?;
    let Some(facts) = node.facts.as_ref().filter(|_| node.kind == NodeKind::Cluster) else {
        return Ok(Some((rows, free)));
    };
    let Some((first, last)) = facts.node_ports else { return Ok(None) };
    let range = first.max(LOWEST)..=last;
    let taken = ports_taken(conn, node).await?;
    let inside = taken.iter().filter(|port| range.contains(port)).count();
    let unused = range.len().saturating_sub(inside) as u64;
    Ok(Some((rows + unused, free + unused)))
}

/// Writes down one that was chosen. It must be given to somebody in the same transaction.
pub async fn allocation_insert(tx: &mut Conn, new: &Allocation) -> Result<(), DbError> {
    allocations::allocation_insert(tx, new).await?;
    let update = sqlx::query("UPDATE allocations SET on_demand = 1 WHERE id = $1").bind(new.id.to_string());
    exactly_one(&update.execute(tx).await?)
}

/// Removes those that nobody has any more.
pub(super) async fn unused_remove(conn: &mut Conn) -> Result<(), DbError> {
    let sql = "DELETE FROM allocations WHERE on_demand = 1 AND server_id IS NULL AND reserved_by IS NULL";
    sqlx::query(sql).execute(conn).await?;
    Ok(())
}

/// Which allocations of servers of `node` have another address than a load balancer gave them, and which that is. One
/// query for all of them: mostly none has.
pub async fn addresses_differing<'a>(
    conn: &mut Conn,
    node: NodeId,
    told: &'a BTreeMap<ServerId, String>,
) -> Result<Vec<(AllocationId, &'a str)>, DbError> {
    let sql = "SELECT id, server_id, ip_address FROM allocations
               WHERE node_id = $1 AND on_demand = 1 AND server_id IS NOT NULL";
    let rows: Vec<(String, String, String)> = sqlx::query_as(sql).bind(node.to_string()).fetch_all(conn).await?;
    let mut differing = Vec::new();
    for (id, server, ip) in rows {
        if let Some(given) = told.get(&parse("allocations.server_id", &server)?).filter(|given| **given != ip) {
            differing.push((parse("allocations.id", &id)?, given.as_str()));
        }
    }
    Ok(differing)
}

/// Its port turned out to be somebody else's in the cluster: it gets the next that nobody here has and that is not among
/// `tried`, from there upwards and then from the bottom. None, and nothing is changed: there is no other, or it is one
/// that a person made and chose.
pub async fn port_move(tx: &mut Conn, id: AllocationId, tried: &BTreeSet<u16>) -> Result<Option<Allocation>, DbError> {
    let row = allocations::allocation_get(tx, id).await?;
    let sql = "SELECT COUNT(*) FROM allocations WHERE id = $1 AND on_demand = 1";
    let made_for_it: i64 = sqlx::query_scalar(sql).bind(id.to_string()).fetch_one(&mut *tx).await?;
    let node = node_get(tx, row.node_id).await?;
    let Some((first, last)) = ports(&node).filter(|_| made_for_it == 1) else { return Ok(None) };
    let taken = ports_taken(tx, &node).await?;
    let free = |port: &u16| !taken.contains(port) && !tried.contains(port);
    let above = (row.port.saturating_add(1)..=last).find(free);
    let Some(port) = above.or_else(|| (first.max(LOWEST)..row.port).find(free)) else { return Ok(None) };
    let update = sqlx::query("UPDATE allocations SET port = $1 WHERE id = $2 AND port = $3").bind(i64::from(port));
    exactly_one(&update.bind(id.to_string()).bind(i64::from(row.port)).execute(&mut *tx).await?)?;
    let moved = Allocation { port, ..row };
    allocations::show_on_transfers(tx, &moved).await?;
    Ok(Some(moved))
}

/// A cluster said that a port of `rows` is somebody else's: the one that it named gets another, or else each that was
/// made for its server is tried in turn. Answers which port became which; none, and nothing is changed, if there is no
/// other. `tried` remembers across calls.
pub async fn another_port(
    tx: &mut Conn,
    rows: &[Allocation],
    said: &str,
    tried: &mut BTreeSet<u16>,
) -> Result<Option<(u16, u16)>, DbError> {
    let named: BTreeSet<u16> = said.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    let (first, others): (Vec<_>, Vec<_>) = rows.iter().partition(|row| named.contains(&row.port));
    for row in if first.is_empty() { others } else { first } {
        if tried.len() >= PORTS_TRIED || !tried.insert(row.port) {
            continue;
        }
        if let Some(moved) = port_move(tx, row.id, tried).await? {
            return Ok(Some((row.port, moved.port)));
        }
    }
    Ok(None)
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
    use crate::db::nodes::node_insert;
    use crate::db::testing;

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
        let update = sqlx::query("UPDATE nodes SET facts = $1 WHERE id = $2");
        let facts = serde_json::to_string(&facts).unwrap();
        update.bind(facts).bind(node.id.to_string()).execute(&mut *conn).await.unwrap();
        node_get(conn, node.id).await.unwrap()
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
        let db = testing::open(dir.path()).await.unwrap();
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
    async fn a_port_that_is_somebody_elses_gives_way_to_the_next_that_nobody_has() {
        let dir = tempfile::tempdir().unwrap();
        let db = testing::open(dir.path()).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        let node = cluster(&mut tx, Some((30000, 30003))).await;
        let ours = take(&mut tx, &node, Some(30001)).await.unwrap();
        let neighbour = take(&mut tx, &node, Some(30002)).await.unwrap();
        let mut tried = BTreeSet::new();
        for next in [Some(30003), Some(30000), None] {
            let before = allocations::allocation_get(&mut tx, ours.id).await.unwrap();
            tried.insert(before.port);
            let moved = port_move(&mut tx, ours.id, &tried).await.unwrap();
            assert_eq!(moved.as_ref().map(|row| row.port), next);
            let after = allocations::allocation_get(&mut tx, ours.id).await.unwrap();
            assert_eq!(after.port, next.unwrap_or(before.port), "none other: it keeps the one that it has");
        }
        assert_eq!(allocations::allocation_get(&mut tx, neighbour.id).await.unwrap().port, 30002);
    }

    #[tokio::test]
    async fn a_port_that_a_person_chose_does_not_move() {
        let dir = tempfile::tempdir().unwrap();
        let db = testing::open(dir.path()).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        let node = cluster(&mut tx, Some((30000, 30003))).await;
        let named = Allocation::new(node.id, node.player_address(), 30001);
        allocations::allocation_insert(&mut tx, &named).await.unwrap();
        assert_eq!(port_move(&mut tx, named.id, &BTreeSet::from([30001])).await.unwrap(), None);
        assert_eq!(allocations::allocation_get(&mut tx, named.id).await.unwrap().port, 30001);
    }

    #[tokio::test]
    async fn before_its_orchestrator_has_told_a_cluster_has_no_ports() {
        let dir = tempfile::tempdir().unwrap();
        let db = testing::open(dir.path()).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        let node = Node { facts: None, ..cluster(&mut tx, None).await };
        assert_eq!(take(&mut tx, &node, Some(25565)).await, None);
    }

    #[tokio::test]
    async fn behind_a_load_balancer_a_port_is_free_again_once_its_service_has_an_address() {
        let dir = tempfile::tempdir().unwrap();
        let db = testing::open(dir.path()).await.unwrap();
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
