//! Addresses of a server that moves: how they are chosen, and what becomes of each.

use std::collections::{BTreeMap, BTreeSet};

use model::AllocationId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::view::{AddressView, parse_address};
use crate::api::ApiError;
use crate::db::allocations::Allocation;
use crate::db::transfers::{AddressMove, End, VariableMove};
use crate::migrate::Addresses;

/// How the addresses on the target are chosen. All of the server's move, those beside the first one too.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"strategy": "range", "range": [30000, 30100]}))]
pub(super) struct ChooseAddresses {
    /// `same_port` (the default): the same port where it is free, else the lowest that is free. `range`: the same, but only
    /// between the two ports of `range`.
    strategy: Option<Strategy>,
    /// First and last port that may be chosen.
    #[schema(value_type = Option<Vec<u16>>, example = json!([30000, 30100]))]
    range: Option<(u16, u16)>,
    /// Ids of the server's allocations, and for each the id of the target's that takes its place. What is not named is
    /// chosen.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, uuid::Uuid>,
        example = json!({"0198a7b2-0000-7000-8000-000000000004": "0198a7b2-0000-7000-8000-000000000005"}))]
    picks: BTreeMap<AllocationId, AllocationId>,
}

/// How they are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AddressStrategy)]
enum Strategy {
    /// The same port where it is free, else the lowest.
    SamePort,
    /// The same between two ports.
    Range,
}

impl ChooseAddresses {
    /// What was asked for, or what is wrong with it.
    pub(super) fn read(&self) -> Result<Addresses, ApiError> {
        let range = match (self.strategy, self.range) {
            (Some(Strategy::Range), None) => {
                return Err(ApiError::invalid("allocations.range", "is required by the strategy range"));
            }
            (Some(Strategy::SamePort), Some(_)) => {
                return Err(ApiError::invalid("allocations.range", "is for the strategy range only"));
            }
            (_, range) => range,
        };
        if range.is_some_and(|(first, last)| first == 0 || first > last) {
            return Err(ApiError::invalid("allocations.range", "must be two ports (1-65535), the lower one first"));
        }
        Ok(Addresses { range, picks: self.picks.clone() })
    }
}

/// What becomes of one address of a server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MovedAddressView {
    /// On the source; null if the server has none.
    old: Option<AddressView>,
    /// On the target; null if there is none.
    new: Option<AddressView>,
    /// Whether it is the server's first address.
    is_primary: bool,
}

/// A variable whose value is a port that changes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MovedVariableView {
    /// Its name in the environment.
    #[schema(example = "QUERY_PORT")]
    name: String,
    /// Its value on the source.
    #[schema(example = "27016")]
    old: String,
    /// Its value on the target.
    #[schema(example = "30001")]
    new: String,
}

impl From<VariableMove> for MovedVariableView {
    fn from(moved: VariableMove) -> Self {
        Self { name: moved.name, old: moved.old, new: moved.new }
    }
}

impl AddressView {
    /// Where only the address counts.
    pub(super) fn without_id(row: &Allocation) -> Self {
        Self { id: None, ip_address: row.ip_address.clone(), port: row.port }
    }
}

/// As it would be. Those of `made` have no id yet.
pub(super) fn planned(
    addresses: &[(Option<Allocation>, Option<Allocation>)],
    made: &BTreeSet<AllocationId>,
) -> Vec<MovedAddressView> {
    let view = |row: &Option<Allocation>| {
        let row = row.as_ref()?;
        Some(AddressView { id: Some(row.id).filter(|id| !made.contains(id)), ..AddressView::without_id(row) })
    };
    let moved = |(index, (old, new)): (usize, &(Option<Allocation>, Option<Allocation>))| MovedAddressView {
        old: view(old),
        new: view(new),
        is_primary: index == 0,
    };
    addresses.iter().enumerate().map(moved).collect()
}

/// As it was written down.
pub(super) fn moved(addresses: Vec<AddressMove>) -> Vec<MovedAddressView> {
    let view = |end: End| parse_address(&end.address).map(|view| AddressView { id: Some(end.id), ..view });
    let moved = |(index, one): (usize, AddressMove)| MovedAddressView {
        old: one.old.and_then(view),
        new: view(one.new),
        is_primary: index == 0,
    };
    addresses.into_iter().enumerate().map(moved).collect()
}
