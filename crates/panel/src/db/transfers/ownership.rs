//! The statements that move a server: who holds it, who owns it, whose the addresses are.
//!
//! Each names the state that it expects in its `WHERE`, and each tells "this was done before" from "this cannot be".

use model::{AllocationId, Epoch, NodeId, ServerId, TransferId};

use crate::db::nodes::Usage;
use crate::db::{Conn, DbError, exactly_one, from_i64, on_demand, parse, to_i64};

/// A change of the owner.
#[derive(Clone, Copy, Debug)]
pub struct Switch {
    /// The server that moves.
    pub server: ServerId,
    /// The transfer that holds it.
    pub transfer: TransferId,
    /// The owner until now, and its epoch.
    pub from: (NodeId, Epoch),
    /// The owner from now on, and its epoch.
    pub to: (NodeId, Epoch),
    /// The primary address from now on.
    pub primary: Option<AllocationId>,
    /// Whether the new owner was told the server as it is on record; else it is at its next start.
    pub is_told: bool,
}

/// Makes sure that `transfer` holds the server and that nobody moved it meanwhile.
pub async fn lock_confirm(
    conn: &mut Conn,
    server: ServerId,
    transfer: TransferId,
    owner: (NodeId, Epoch),
) -> Result<(), DbError> {
    let sql = "UPDATE servers SET locked_by = $1, transfer_state = 'running'
               WHERE id = $2 AND node_id = $3 AND epoch = $4 AND (locked_by IS NULL OR locked_by = $1)";
    let update = sqlx::query(sql).bind(transfer.to_string()).bind(server.to_string()).bind(owner.0.to_string());
    exactly_one(&update.bind(to_i64(owner.1.0)).execute(conn).await?)
}

/// Lets the server go if `transfer` holds it. Again is the same.
pub async fn lock_release(conn: &mut Conn, server: ServerId, transfer: TransferId) -> Result<(), DbError> {
    let sql = "UPDATE servers SET locked_by = NULL, transfer_state = NULL WHERE id = $1 AND locked_by = $2";
    sqlx::query(sql).bind(server.to_string()).bind(transfer.to_string()).execute(conn).await?;
    Ok(())
}

/// Changes the owner, the epoch and the addresses, in the caller's transaction (I2: the database says where the
/// authoritative copy is at every instant). Answers false if that is how it is already.
///
/// The addresses on the other side are not free afterwards: the transfer keeps them until nothing can go back there.
pub async fn server_switch(tx: &mut Conn, switch: &Switch) -> Result<bool, DbError> {
    if owner(tx, switch.server).await? == switch.to {
        return Ok(false);
    }
    // What the old owner said of it is not true of the new one.
    let sql = "UPDATE servers SET node_id = $1, epoch = $2, attention = '[]', spec_told = spec_version * $7
               WHERE id = $3 AND node_id = $4 AND epoch = $5 AND locked_by = $6";
    let update = sqlx::query(sql).bind(switch.to.0.to_string()).bind(to_i64(switch.to.1.0));
    let update = update.bind(switch.server.to_string()).bind(switch.from.0.to_string());
    let update = update.bind(to_i64(switch.from.1.0)).bind(switch.transfer.to_string());
    let update = update.bind(i64::from(switch.is_told));
    exactly_one(&update.execute(&mut *tx).await?)?;

    let sql = "UPDATE allocations SET server_id = NULL, is_primary = 0, reserved_by = $1
               WHERE server_id = $2 AND node_id = $3";
    let keep = sqlx::query(sql).bind(switch.transfer.to_string()).bind(switch.server.to_string());
    keep.bind(switch.from.0.to_string()).execute(&mut *tx).await?;
    let sql = "UPDATE allocations SET server_id = $1, reserved_by = NULL WHERE reserved_by = $2 AND node_id = $3";
    let give = sqlx::query(sql).bind(switch.server.to_string()).bind(switch.transfer.to_string());
    give.bind(switch.to.0.to_string()).execute(&mut *tx).await?;
    if let Some(primary) = switch.primary {
        let sql = "UPDATE allocations SET is_primary = 1 WHERE id = $1 AND server_id = $2";
        let first = sqlx::query(sql).bind(primary.to_string()).bind(switch.server.to_string());
        exactly_one(&first.execute(tx).await?)?;
    }
    Ok(true)
}

/// Raises the epoch of a server that stays with its owner, so that a tombstone for `from` can be lifted. Answers false
/// if that was done before.
pub async fn epoch_raise(
    tx: &mut Conn,
    server: ServerId,
    node: NodeId,
    (from, to): (Epoch, Epoch),
) -> Result<bool, DbError> {
    if owner(tx, server).await? == (node, to) {
        return Ok(false);
    }
    let sql = "UPDATE servers SET epoch = $1 WHERE id = $2 AND node_id = $3 AND epoch = $4";
    let update = sqlx::query(sql).bind(to_i64(to.0)).bind(server.to_string()).bind(node.to_string());
    exactly_one(&update.bind(to_i64(from.0)).execute(tx).await?)?;
    Ok(true)
}

/// Nothing goes back to the source any more: frees what was kept there. Again is the same.
pub async fn source_released(conn: &mut Conn, transfer: TransferId, source: NodeId) -> Result<(), DbError> {
    let sql = "UPDATE allocations SET reserved_by = NULL, notes = '' WHERE reserved_by = $1 AND node_id = $2";
    sqlx::query(sql).bind(transfer.to_string()).bind(source.to_string()).execute(&mut *conn).await?;
    let sql = "UPDATE transfers SET environment_before = NULL WHERE id = $1";
    sqlx::query(sql).bind(transfer.to_string()).execute(&mut *conn).await?;
    on_demand::unused_remove(conn).await
}

/// What must stay free on `node` because a server that just left may have to come back.
pub async fn reserved_for_return(conn: &mut Conn, node: NodeId) -> Result<Usage, DbError> {
    let sql = "SELECT CAST(COALESCE(SUM(s.memory_limit), 0) AS BIGINT), CAST(COALESCE(SUM(s.disk_limit), 0) AS BIGINT),
               CAST(COALESCE(SUM(s.cpu_limit), 0) AS BIGINT)
               FROM transfers t JOIN servers s ON s.id = t.server_id
               WHERE t.source_node_id = $1 AND s.node_id <> t.source_node_id AND s.locked_by = t.id";
    let (memory, disk, cpu): (i64, i64, i64) = sqlx::query_as(sql).bind(node.to_string()).fetch_one(conn).await?;
    Ok(Usage {
        memory_mb: from_i64("servers.memory_limit", memory)?,
        disk_mb: from_i64("servers.disk_limit", disk)?,
        cpu_percent: from_i64("servers.cpu_limit", cpu)?,
        servers: 0,
    })
}

async fn owner(conn: &mut Conn, server: ServerId) -> Result<(NodeId, Epoch), DbError> {
    let select = sqlx::query_as("SELECT node_id, epoch FROM servers WHERE id = $1").bind(server.to_string());
    let (node, epoch): (String, i64) = select.fetch_one(conn).await?;
    Ok((parse("servers.node_id", &node)?, Epoch(from_i64("servers.epoch", epoch)?)))
}
