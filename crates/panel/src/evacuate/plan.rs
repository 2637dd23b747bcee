//! What would happen if: each server looked at as a preflight does, and what all of them together take of their targets.
//!
//! Servers are looked at a few at a time and for a bounded time in all; one that nobody had time for is reported as
//! that. The sums are pure: what earlier servers of the same plan will have taken is not there for later ones.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use model::agent_api::{Check, CheckLevel, Reply, Request};
use model::{Limits, NodeId, Options, Timestamp};
use tokio::time::{Instant, timeout_at};

use super::decide::order;
use crate::access::Vault;
use crate::agent::Agents;
use crate::databases::preflight as databases;
use crate::db::nodes::{self, Node};
use crate::db::servers::Server;
use crate::db::{Conn, Db, DbError, allocations, on_demand};
use crate::dns::preflight as names;
use crate::migrate::admission::{Free, Shortage, list, shortages};
use crate::migrate::preflight::{Finding, Question, preflight};
use crate::migrate::{Addresses, MigrateError, free};

/// For all servers of a plan together.
const LOOKING: Duration = Duration::from_secs(90);
/// For the sizes of all servers before a start.
const SIZING: Duration = Duration::from_secs(15);
/// Servers that are looked at at once: each is a walk over its files.
const AT_ONCE: usize = 8;
const MIB: u64 = 1 << 20;

/// A server, and where it is to go.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) server: Server,
    pub(crate) target: NodeId,
    /// Of content, if somebody could tell.
    pub(crate) bytes: Option<u64>,
}

/// What is known about one server of a plan.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) wish: Wish,
    /// None if there was no time to look.
    pub(crate) finding: Option<Finding>,
    /// Obstacles first, those of the plan among them.
    pub(crate) checks: Vec<Check>,
}

impl Planned {
    /// Whether nothing forbids it.
    pub(crate) fn is_ok(&self) -> bool {
        self.checks.iter().all(|check| check.level != CheckLevel::Error)
    }
}

/// What a target has and what a plan takes of it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) node: Node,
    /// Before the plan. None where it is not bounded.
    pub(crate) free: Room,
    /// Addresses in all; none where each server gets one of its own.
    pub(crate) allocations: Option<u64>,
    /// All servers of the plan that would be admitted.
    pub(crate) needed: Taken,
}

/// What is left somewhere; none where it is not bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) limits: Free,
    pub(crate) allocations: Option<u64>,
}

/// What servers take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) limits: Limits,
    pub(crate) allocations: u64,
}

impl Taken {
    /// What is short for `need` where `self` is taken of `room` already.
    fn lacks(self, room: Room, need: Taken) -> Vec<Shortage> {
        let left = |room: Option<u64>, taken: u64| room.map(|room| room.saturating_sub(taken));
        let free = Free {
            memory_mb: left(room.limits.memory_mb, self.limits.memory_mb),
            disk_mb: left(room.limits.disk_mb, self.limits.disk_mb),
            cpu_percent: left(room.limits.cpu_percent, self.limits.cpu_percent),
        };
        let addresses = left(room.allocations, self.allocations).unwrap_or(u64::MAX);
        shortages(need.limits, free, (need.allocations, addresses))
    }

    fn add(&mut self, need: Taken) {
        self.limits.memory_mb += need.limits.memory_mb;
        self.limits.disk_mb += need.limits.disk_mb;
        self.limits.cpu_percent += need.limits.cpu_percent;
        self.allocations += need.allocations;
    }
}

/// The wishes in the order in which they would be granted, with their sizes as far as their agents tell in time.
pub(crate) async fn in_order(agents: &dyn Agents, wishes: Vec<Wish>) -> Vec<Wish> {
    let deadline = Instant::now() + SIZING;
    let measure = async |mut wish: Wish| {
        let request = Request::MeasureServer { server_id: wish.server.id };
        let asked = timeout_at(deadline, agents.call(wish.server.node_id, request)).await;
        if let Ok(Ok(Reply::Measured { bytes, .. })) = asked {
            wish.bytes = Some(bytes);
        }
        wish
    };
    let mut wishes: Vec<Wish> = stream::iter(wishes).map(measure).buffered(AT_ONCE).collect().await;
    sort(&mut wishes);
    wishes
}

/// One whose size nobody knows counts as full.
fn sort(wishes: &mut [Wish]) {
    let bytes = |wish: &Wish| wish.bytes.unwrap_or(wish.server.limits.disk_mb.saturating_mul(MIB));
    order(wishes, |wish| wish.server.status.is_live(), bytes);
}

/// Looks at everything and starts nothing.
pub(crate) async fn look(
    db: &Db,
    agents: &dyn Agents,
    secrets: &Vault,
    wishes: Vec<Wish>,
    options: &Options,
    now: Timestamp,
) -> Result<(Vec<Planned>, Vec<Target>), MigrateError> {
    let deadline = Instant::now() + LOOKING;
    let find = async |mut wish: Wish| {
        let databases = databases::load(&mut *db.acquire().await?, secrets, wish.server.id).await?;
        let question = Question {
            server_id: wish.server.id,
            target: Some(wish.target),
            allocation_id: None,
            addresses: Addresses::default(),
            mode: options.mode,
            bandwidth_limit: options.bandwidth_limit,
            databases,
            known: names::checks(db, secrets, wish.server.id, now).await?,
            backup_first: options.backup_first,
        };
        let finding = match timeout_at(deadline, preflight(db, agents, &question)).await {
            Ok(found) => found?.into_iter().next(),
            Err(_) => None,
        };
        wish.bytes = finding.as_ref().and_then(|finding| finding.bytes);
        let checks = finding.as_ref().map_or_else(|| vec![no_time()], |finding| finding.checks.clone());
        Ok::<_, MigrateError>(Planned { wish, finding, checks })
    };
    let found: Vec<_> = stream::iter(wishes).map(find).buffered(AT_ONCE).collect().await;
    let mut planned = found.into_iter().collect::<Result<Vec<_>, _>>()?;
    let bytes = |it: &Planned| it.wish.bytes.unwrap_or(it.wish.server.limits.disk_mb.saturating_mul(MIB));
    order(&mut planned, |it| it.wish.server.status.is_live(), bytes);
    let targets = sums(&mut *db.acquire().await?, &mut planned).await?;
    Ok((planned, targets))
}

fn no_time() -> Check {
    Check {
        code: "not_looked_at".to_owned(),
        level: CheckLevel::Warning,
        message: format!("There was no time to look at this server: all of them together get {} s.", LOOKING.as_secs()),
        remedy: "Plan fewer servers at once, or ask for its preflight alone; it is looked at when its turn comes."
            .to_owned(),
    }
}

/// Adds to each what earlier ones leave too little of, and sums up by target.
async fn sums(conn: &mut Conn, planned: &mut [Planned]) -> Result<Vec<Target>, DbError> {
    let mut targets: BTreeMap<NodeId, Target> = BTreeMap::new();
    for it in planned {
        let id = it.wish.target;
        let target = match targets.entry(id) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => new.insert(target(conn, id).await?),
        };
        let addresses = allocations::allocations_of(conn, it.wish.server.id).await?.len() as u64;
        let need = Taken { limits: it.wish.server.limits, allocations: addresses.max(1) };
        let short = target.needed.lacks(target.free, need);
        let told = it.checks.iter().any(|check| check.code == "insufficient_resources");
        if !short.is_empty() && !told {
            it.checks.insert(0, too_little(&target.node, &short));
        }
        if it.is_ok() {
            target.needed.add(need);
        }
    }
    Ok(targets.into_values().collect())
}

async fn target(conn: &mut Conn, id: NodeId) -> Result<Target, DbError> {
    let node = nodes::node_get(conn, id).await?;
    let limits = free(conn, &node).await?;
    let (allocations, unused) = on_demand::addresses_count(conn, &node).await?.unzip();
    Ok(Target { node, free: Room { limits, allocations: unused }, allocations, needed: Taken::default() })
}

fn too_little(node: &Node, short: &[Shortage]) -> Check {
    Check {
        code: "insufficient_resources".to_owned(),
        level: CheckLevel::Error,
        message: format!(
            "Insufficient Resources: when the servers before it are there, {} {} has not enough free {}.",
            node.kind.noun(),
            node.name,
            list(short)
        ),
        remedy: "Choose another target for some of them, or free something there.".to_owned(),
    }
}

/// How long all of it would take: what is known, as many at once as allowed.
pub(crate) fn duration_s(durations: impl Iterator<Item = Option<u64>>, concurrency: u64) -> Option<u64> {
    let mut lanes = vec![0_u64; usize::try_from(concurrency.clamp(1, 1024)).unwrap_or(1)];
    let mut known = false;
    for duration in durations {
        let duration = duration?;
        known = true;
        if let Some(next) = lanes.iter_mut().min() {
            *next += duration;
        }
    }
    known.then(|| lanes.into_iter().max().unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn need(memory_mb: u64, allocations: u64) -> Taken {
        Taken { limits: Limits { memory_mb, disk_mb: 10, cpu_percent: 1 }, allocations }
    }

    #[test]
    fn what_earlier_ones_take_is_not_there_for_later_ones() {
        let limits = Free { memory_mb: Some(1000), disk_mb: None, cpu_percent: Some(100) };
        let room = Room { limits, allocations: Some(3) };
        let mut taken = Taken::default();
        assert_eq!(taken.lacks(room, need(600, 1)), []);
        taken.add(need(600, 1));
        let short = taken.lacks(room, need(600, 1));
        assert_eq!(short, [Shortage { resource: "memory_mb", needed: 600, available: 400 }]);
        assert_eq!(taken.lacks(room, need(400, 2)), []);
        let short = taken.lacks(room, need(400, 3));
        assert_eq!(short, [Shortage { resource: "allocations", needed: 3, available: 2 }]);
    }

    #[test]
    fn what_is_never_more_than_there_is_in_any_order() {
        let mut seed = 7_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..500 {
            let limits = Free { memory_mb: Some(random(5000)), disk_mb: Some(random(200)), cpu_percent: None };
            let room = Room { limits, allocations: Some(random(8)) };
            let mut taken = Taken::default();
            for _ in 0..20 {
                let need = need(1 + random(1500), 1 + random(2));
                if taken.lacks(room, need).is_empty() {
                    taken.add(need);
                }
            }
            assert!(taken.limits.memory_mb <= room.limits.memory_mb.unwrap());
            assert!(taken.limits.disk_mb <= room.limits.disk_mb.unwrap());
            assert!(taken.allocations <= room.allocations.unwrap());
        }
    }

    #[test]
    fn the_whole_takes_as_long_as_its_longest_lane() {
        assert_eq!(duration_s([Some(5), Some(5), Some(5)].into_iter(), 2), Some(10));
        assert_eq!(duration_s([Some(9), Some(1), Some(1)].into_iter(), 2), Some(9));
        assert_eq!(duration_s([Some(9), None].into_iter(), 2), None, "what was never measured is not estimated");
        assert_eq!(duration_s(std::iter::empty(), 2), None);
    }
}
