//! What is left on targets that could not be reached when their transfer was rolled back.

use model::{Epoch, NodeId, ServerId, TransferId};

use crate::db::{Conn, DbError, from_i64, parse, to_i64};

/// One clean-up that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The transfer that was rolled back.
    pub transfer_id: TransferId,
    /// Its server.
    pub server_id: ServerId,
    /// Its target.
    pub node_id: NodeId,
    /// Epoch of the server when it began.
    pub epoch: Epoch,
}

/// Remembers it. Again is the same.
pub async fn owed_insert(conn: &mut Conn, owed: &Owed) -> Result<(), DbError> {
    let sql = "INSERT INTO owed_cleanups (transfer_id, server_id, node_id, epoch) VALUES ($1, $2, $3, $4)
               ON CONFLICT (transfer_id) DO NOTHING";
    let insert = sqlx::query(sql).bind(owed.transfer_id.to_string()).bind(owed.server_id.to_string());
    insert.bind(owed.node_id.to_string()).bind(to_i64(owed.epoch.0)).execute(conn).await?;
    Ok(())
}

/// All of them.
pub async fn owed_list(conn: &mut Conn) -> Result<Vec<Owed>, DbError> {
    let sql = "SELECT transfer_id, server_id, node_id, epoch FROM owed_cleanups ORDER BY transfer_id";
    let rows: Vec<(String, String, String, i64)> = sqlx::query_as(sql).fetch_all(conn).await?;
    let read = |(transfer, server, node, epoch): (String, String, String, i64)| {
        Ok(Owed {
            transfer_id: parse("owed_cleanups.transfer_id", &transfer)?,
            server_id: parse("owed_cleanups.server_id", &server)?,
            node_id: parse("owed_cleanups.node_id", &node)?,
            epoch: Epoch(from_i64("owed_cleanups.epoch", epoch)?),
        })
    };
    rows.into_iter().map(read).collect()
}

/// It was done. Again is the same.
pub async fn owed_paid(conn: &mut Conn, transfer: TransferId) -> Result<(), DbError> {
    sqlx::query("DELETE FROM owed_cleanups WHERE transfer_id = $1").bind(transfer.to_string()).execute(conn).await?;
    Ok(())
}
