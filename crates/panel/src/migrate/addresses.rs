//! Which addresses a server is to have on its target: what a caller may choose, and what becomes of it.
//!
//! ```text
//! named    the caller said which one (`allocation_id` for the first address, `picks` for any)
//! chosen   the same port if it can be had, else the lowest; only between the ports of `range`, if that is given
//! ```
//!
//! All that can keep their port do before the others choose, so no address takes a port that another one could keep.

use std::collections::{BTreeMap, BTreeSet};

use model::AllocationId;
use serde::{Deserialize, Serialize};

use super::admission::{Want, Wanted};
use crate::db::allocations::{self, Allocation};
use crate::db::nodes::Node;
use crate::db::on_demand::{self, ANY_PORT, Choice};
use crate::db::{Conn, DbError};

/// How the addresses of a server are chosen on its target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// First and last port that may be chosen; none for any.
    #[serde(default)]
    pub range: Option<(u16, u16)>,
    /// Addresses of the server, and the target's that are to take their places.
    #[serde(default)]
    pub picks: BTreeMap<AllocationId, AllocationId>,
}

/// What becomes of each address of a server, the primary one first.
pub(super) struct Chosen {
    pub(super) wants: Vec<Want>,
    /// Those that must be written down before they can be kept.
    pub(super) new: BTreeSet<AllocationId>,
}

/// Looks for an address on `target` for each of `old`, and for one if there is none: a server has at least one. `primary`
/// names the first.
pub(super) async fn choose(
    conn: &mut Conn,
    target: &Node,
    old: Vec<Allocation>,
    primary: Option<AllocationId>,
    rule: &Addresses,
) -> Result<Chosen, DbError> {
    let mut old: Vec<Option<Allocation>> = old.into_iter().map(Some).collect();
    if old.is_empty() {
        old.push(None);
    }
    let mut named = BTreeMap::new();
    for (index, row) in old.iter().enumerate() {
        let pick = row.as_ref().and_then(|row| rule.picks.get(&row.id)).copied();
        if let Some(id) = pick.or(primary.filter(|_| index == 0)) {
            named.insert(index, look_up(conn, id).await?);
        }
    }
    let ports: Vec<Option<u16>> = left(&old, &named).map(|row| row.as_ref().map(|row| row.port)).collect();
    let mut choices = offered(conn, target, &ports, &named, rule.range).await?.into_iter();
    let (mut wants, mut new) = (Vec::with_capacity(old.len()), BTreeSet::new());
    for (index, old) in old.into_iter().enumerate() {
        let wanted = match named.remove(&index) {
            Some(named) => named,
            None => Wanted::Chosen(choices.next().flatten().map(|Choice { allocation, is_new }| {
                new.extend(is_new.then_some(allocation.id));
                allocation
            })),
        };
        wants.push(Want { old, wanted });
    }
    Ok(Chosen { wants, new })
}

fn left<'a>(
    old: &'a [Option<Allocation>],
    named: &'a BTreeMap<usize, Wanted>,
) -> impl Iterator<Item = &'a Option<Allocation>> {
    old.iter().enumerate().filter(|(index, _)| !named.contains_key(index)).map(|(_, row)| row)
}

async fn look_up(conn: &mut Conn, id: AllocationId) -> Result<Wanted, DbError> {
    match allocations::allocation_get(conn, id).await {
        Ok(row) => Ok(Wanted::Named(row)),
        Err(DbError::NotFound) => Ok(Wanted::Unknown(id)),
        Err(error) => Err(error),
    }
}

async fn offered(
    conn: &mut Conn,
    target: &Node,
    ports: &[Option<u16>],
    named: &BTreeMap<usize, Wanted>,
    range: Option<(u16, u16)>,
) -> Result<Vec<Option<Choice>>, DbError> {
    let known: Vec<u16> = ports.iter().flatten().copied().collect();
    let most = ports.len() + named.len();
    let mut offer = on_demand::offer(conn, target, range.unwrap_or(ANY_PORT), &known, most).await?;
    let taken = |wanted: &Wanted| match wanted {
        Wanted::Named(row) => Some((row.id, row.port)),
        _ => None,
    };
    for (id, port) in named.values().filter_map(taken) {
        offer.free.retain(|free| free.allocation.id != id);
        if let Some(makes) = &mut offer.makes {
            makes.leave(port);
        }
    }
    let beside = match named.get(&0) {
        Some(Wanted::Named(row)) => Some(row.ip_address.clone()),
        _ => None,
    };
    Ok(offer.choose(ports, beside.as_deref()))
}
