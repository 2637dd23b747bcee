//! Which of a server's addresses becomes which by a transfer, and what that makes of its variables.
//!
//! Written down when a transfer is accepted, in the transaction that reserves the new ones. The text of an address stays
//! when the allocation is gone, for history.

use std::collections::BTreeMap;

use model::{AllocationId, ServerId, TransferId};
use serde::{Deserialize, Serialize};

use crate::db::allocations::{self, Allocation};
use crate::db::{Conn, DbError, exactly_one, from_json, parse, to_json};

/// One address of a server that moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressMove {
    /// On the source; none if the server had no address.
    pub old: Option<End>,
    /// On the target.
    pub new: End,
}

/// An address as it was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The allocation, which may be gone by now.
    pub id: AllocationId,
    /// `ip:port`.
    pub address: String,
}

impl From<&Allocation> for End {
    fn from(row: &Allocation) -> Self {
        Self { id: row.id, address: row.address() }
    }
}

/// A variable whose value is a port that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariableMove {
    /// Its name in the environment.
    pub name: String,
    /// Its value on the source.
    pub old: String,
    /// Its value on the target.
    pub new: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    old_allocation_id: Option<String>,
    old_address: Option<String>,
    new_allocation_id: String,
    new_address: String,
}

impl TryFrom<Row> for AddressMove {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let old = match (row.old_allocation_id, row.old_address) {
            (Some(id), Some(address)) => Some(End { id: parse("transfer_addresses.old_allocation_id", &id)?, address }),
            _ => None,
        };
        let id = parse("transfer_addresses.new_allocation_id", &row.new_allocation_id)?;
        Ok(Self { old, new: End { id, address: row.new_address } })
    }
}

/// Writes down what becomes what; the first is the primary one.
pub async fn addresses_insert(tx: &mut Conn, transfer: TransferId, moves: &[AddressMove]) -> Result<(), DbError> {
    let sql = "INSERT INTO transfer_addresses
               (transfer_id, position, old_allocation_id, old_address, new_allocation_id, new_address)
               VALUES ($1, $2, $3, $4, $5, $6)";
    for (position, one) in (0_i64..).zip(moves) {
        let (id, address) = one.old.as_ref().map(|old| (old.id.to_string(), old.address.clone())).unzip();
        let insert = sqlx::query(sql).bind(transfer.to_string()).bind(position).bind(id).bind(address);
        insert.bind(one.new.id.to_string()).bind(one.new.address.clone()).execute(&mut *tx).await?;
    }
    Ok(())
}

/// What becomes what, the primary one first.
pub async fn addresses_of(conn: &mut Conn, transfer: TransferId) -> Result<Vec<AddressMove>, DbError> {
    let sql = "SELECT old_allocation_id, old_address, new_allocation_id, new_address FROM transfer_addresses
               WHERE transfer_id = $1 ORDER BY position";
    let rows = sqlx::query_as::<_, Row>(sql).bind(transfer.to_string()).fetch_all(conn).await?;
    rows.into_iter().map(AddressMove::try_from).collect()
}

/// The allocations on the target as they are now, the primary one first, each with the port that it takes the place of.
pub async fn targets_of(conn: &mut Conn, transfer: TransferId) -> Result<Vec<(Option<u16>, Allocation)>, DbError> {
    let mut targets = Vec::new();
    for one in addresses_of(conn, transfer).await? {
        let old = one.old.as_ref().and_then(|old| old.address.rsplit_once(':')?.1.parse().ok());
        targets.push((old, allocations::allocation_get(conn, one.new.id).await?));
    }
    Ok(targets)
}

/// Gives what the owner wrote about the old addresses to the new ones. The old ones keep it until they are let go.
pub async fn notes_carry(tx: &mut Conn, transfer: TransferId) -> Result<(), DbError> {
    let sql = "UPDATE allocations SET notes = COALESCE((
                   SELECT o.notes FROM transfer_addresses t JOIN allocations o ON o.id = t.old_allocation_id
                   WHERE t.transfer_id = $1 AND t.new_allocation_id = allocations.id), notes)
               WHERE id IN (SELECT new_allocation_id FROM transfer_addresses WHERE transfer_id = $1)";
    sqlx::query(sql).bind(transfer.to_string()).execute(tx).await?;
    Ok(())
}

/// Gives the server's variables their values on the target, and keeps what they were.
pub async fn variables_move(
    tx: &mut Conn,
    transfer: TransferId,
    server: ServerId,
    before: &BTreeMap<String, String>,
    moves: &[VariableMove],
) -> Result<(), DbError> {
    let mut after = before.clone();
    after.extend(moves.iter().map(|one| (one.name.clone(), one.new.clone())));
    let sql = "UPDATE transfers SET variables = $1, environment_before = $2 WHERE id = $3";
    let keep = sqlx::query(sql).bind(to_json("transfers.variables", moves)?);
    let keep = keep.bind(to_json("transfers.environment_before", before)?).bind(transfer.to_string());
    exactly_one(&keep.execute(&mut *tx).await?)?;
    environment_set(tx, server, &to_json("servers.environment", &after)?).await
}

/// Gives them back the values that they had. None were moved: nothing changes.
pub async fn variables_back(tx: &mut Conn, transfer: TransferId, server: ServerId) -> Result<(), DbError> {
    let select = sqlx::query_scalar("SELECT environment_before FROM transfers WHERE id = $1");
    let before: Option<String> = select.bind(transfer.to_string()).fetch_one(&mut *tx).await?;
    let Some(before) = before else { return Ok(()) };
    let sql = "UPDATE transfers SET variables = '[]', environment_before = NULL WHERE id = $1";
    exactly_one(&sqlx::query(sql).bind(transfer.to_string()).execute(&mut *tx).await?)?;
    environment_set(tx, server, &before).await
}

async fn environment_set(tx: &mut Conn, server: ServerId, environment: &str) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE servers SET environment = $1 WHERE id = $2").bind(environment.to_owned());
    exactly_one(&update.bind(server.to_string()).execute(tx).await?)
}

/// What was made of the server's variables.
pub async fn variables_of(conn: &mut Conn, transfer: TransferId) -> Result<Vec<VariableMove>, DbError> {
    let select = sqlx::query_scalar("SELECT variables FROM transfers WHERE id = $1").bind(transfer.to_string());
    let moves: String = select.fetch_one(conn).await?;
    from_json("transfers.variables", &moves)
}
