//! Events of a transfer that a client may ask for again (`Last-Event-ID`).

use model::{Timestamp, TransferId};

use crate::db::{Conn, DbError, from_i64, from_json, from_ms, to_i64, to_json, to_ms};

/// One event on record.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// From 1, without gaps, per transfer.
    pub seq: u64,
    /// `stage`, `log` or `end`.
    pub kind: String,
    /// What it says.
    pub body: serde_json::Value,
    /// When.
    pub at: Timestamp,
}

/// Writes an event down and answers its number.
pub async fn event_append(
    tx: &mut Conn,
    transfer: TransferId,
    kind: &str,
    body: &serde_json::Value,
    at: Timestamp,
) -> Result<u64, DbError> {
    let sql = "INSERT INTO transfer_events (transfer_id, seq, kind, body, at)
               SELECT $1, COALESCE(MAX(seq), 0) + 1, $2, $3, $4 FROM transfer_events WHERE transfer_id = $1
               RETURNING seq";
    let insert = sqlx::query_scalar(sql).bind(transfer.to_string()).bind(kind.to_owned());
    let insert = insert.bind(to_json("transfer_events.body", body)?).bind(to_ms(at));
    let seq: i64 = insert.fetch_one(tx).await?;
    from_i64("transfer_events.seq", seq)
}

/// The events of a transfer behind number `after`, oldest first.
pub async fn events_after(conn: &mut Conn, transfer: TransferId, after: u64) -> Result<Vec<EventRow>, DbError> {
    let sql = "SELECT seq, kind, body, at FROM transfer_events WHERE transfer_id = $1 AND seq > $2 ORDER BY seq";
    let select = sqlx::query_as(sql).bind(transfer.to_string()).bind(to_i64(after));
    let rows: Vec<(i64, String, String, i64)> = select.fetch_all(conn).await?;
    let read = |(seq, kind, body, at): (i64, String, String, i64)| {
        Ok(EventRow {
            seq: from_i64("transfer_events.seq", seq)?,
            kind,
            body: from_json("transfer_events.body", &body)?,
            at: from_ms("transfer_events.at", at)?,
        })
    };
    rows.into_iter().map(read).collect()
}
