//! Events of a transfer that a client may ask for again (`Last-Event-ID`).

use model::{ServerId, Timestamp, TransferId};

use crate::db::{Conn, DbError, from_i64, from_json, from_ms, parse, to_i64, to_json, to_ms};

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

/// The events of all transfers from a moment on, oldest first, `most` at most, each with its transfer and server.
pub async fn events_since(
    conn: &mut Conn,
    since: Timestamp,
    most: u64,
) -> Result<Vec<(TransferId, ServerId, EventRow)>, DbError> {
    let sql = "SELECT e.transfer_id, t.server_id, e.seq, e.kind, e.body, e.at
               FROM transfer_events e JOIN transfers t ON t.id = e.transfer_id
               WHERE e.at >= $1 ORDER BY e.at, e.transfer_id, e.seq LIMIT $2";
    let select = sqlx::query_as(sql).bind(to_ms(since)).bind(to_i64(most));
    let rows: Vec<(String, String, i64, String, String, i64)> = select.fetch_all(conn).await?;
    let read = |(transfer, server, seq, kind, body, at): (String, String, i64, String, String, i64)| {
        let row = EventRow {
            seq: from_i64("transfer_events.seq", seq)?,
            kind,
            body: from_json("transfer_events.body", &body)?,
            at: from_ms("transfer_events.at", at)?,
        };
        Ok((parse("transfer_events.transfer_id", &transfer)?, parse("transfers.server_id", &server)?, row))
    };
    rows.into_iter().map(read).collect()
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
