//! What people change about a transfer that goes on: that it stands still, and within which limits it moves.

use model::{Options, Timestamp, TransferId};

use super::Paused;
use crate::db::{Conn, DbError, exactly_one, parse, to_i64, to_json, to_ms};

/// Accepts a pause. Again is the same. [`DbError::Conflict`] once the transfer is over.
pub async fn pause_request(conn: &mut Conn, id: TransferId) -> Result<(), DbError> {
    let sql = "UPDATE transfers SET pause_requested = 1 WHERE id = $1 AND finished_at IS NULL";
    exactly_one(&sqlx::query(sql).bind(id.to_string()).execute(conn).await?)
}

/// Ends a pause. [`DbError::Conflict`] if there is none.
pub async fn pause_end(conn: &mut Conn, id: TransferId) -> Result<(), DbError> {
    let sql = "UPDATE transfers SET pause_requested = 0
               WHERE id = $1 AND finished_at IS NULL AND (pause_requested = 1 OR paused_step IS NOT NULL)";
    exactly_one(&sqlx::query(sql).bind(id.to_string()).execute(conn).await?)
}

/// Shows where it is held, or that it is not. Since when stays what it is while it is held at one step.
pub async fn paused_show(conn: &mut Conn, id: TransferId, paused: Option<&Paused>) -> Result<(), DbError> {
    let sql = "UPDATE transfers SET paused_at = CASE WHEN paused_step = $1 THEN paused_at ELSE $2 END, paused_step = $1
               WHERE id = $3";
    let update = sqlx::query(sql).bind(paused.map(|paused| paused.step.clone()));
    let update = update.bind(paused.map(|paused| to_ms(paused.since))).bind(id.to_string());
    exactly_one(&update.execute(conn).await?)
}

/// Changes the options of a transfer that goes on and that were changed `tuned` times before.
///
/// [`DbError::Conflict`] if somebody was faster, if it is over, if it is settled (unless the change counts afterwards,
/// too), or if all is copied.
pub async fn options_set(
    conn: &mut Conn,
    id: TransferId,
    options: &Options,
    tuned: u64,
    counts_when_settled: bool,
) -> Result<(), DbError> {
    let sql = "UPDATE transfers SET options = $1, tuned = tuned + 1
               WHERE id = $2 AND tuned = $3 AND finished_at IS NULL AND receipt IS NULL AND (settled = 0 OR $4 = 1)
               AND state IN ('queued', 'running', 'paused')";
    let update = sqlx::query(sql).bind(to_json("transfers.options", options)?).bind(id.to_string());
    exactly_one(&update.bind(to_i64(tuned)).bind(i64::from(counts_when_settled)).execute(conn).await?)
}

/// From here on nothing is changed that counts before the server is stopped only. Answers false if the options are not
/// those that were changed `tuned` times: then they must be looked at again.
pub async fn settle(conn: &mut Conn, id: TransferId, tuned: u64) -> Result<bool, DbError> {
    let update = sqlx::query("UPDATE transfers SET settled = 1 WHERE id = $1 AND tuned = $2");
    let done = update.bind(id.to_string()).bind(to_i64(tuned)).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}

/// The decision to stop the server is made again. Again is the same.
pub async fn unsettle(conn: &mut Conn, id: TransferId) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE transfers SET settled = 0 WHERE id = $1").bind(id.to_string());
    exactly_one(&update.execute(conn).await?)
}

/// A transfer that is stuck goes on. [`DbError::Conflict`] if it is not stuck. Its lock and its reservations were kept.
pub async fn transfer_reopen(tx: &mut Conn, id: TransferId) -> Result<(), DbError> {
    let sql = "UPDATE transfers SET state = 'running', failure = NULL, finished_at = NULL
               WHERE id = $1 AND state = 'stuck'";
    exactly_one(&sqlx::query(sql).bind(id.to_string()).execute(tx).await?)
}

/// What came of a transfer later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Later {
    /// The youngest that tries it again.
    pub retried_by: Option<TransferId>,
    /// The youngest that takes it back.
    pub undone_by: Option<TransferId>,
}

/// What came of a transfer later.
pub async fn later(conn: &mut Conn, id: TransferId) -> Result<Later, DbError> {
    let sql = "SELECT id, CASE WHEN retry_of = $1 THEN 1 ELSE 0 END FROM transfers
               WHERE retry_of = $1 OR undo_of = $1 ORDER BY created_at, id";
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).bind(id.to_string()).fetch_all(conn).await?;
    let mut later = Later::default();
    for (id, retries) in rows {
        let which = if retries == 1 { &mut later.retried_by } else { &mut later.undone_by };
        *which = Some(parse("transfers.id", &id)?);
    }
    Ok(later)
}

/// The transfer that takes `id` back now, if one does.
pub async fn undone_now(conn: &mut Conn, id: TransferId) -> Result<Option<TransferId>, DbError> {
    let sql = "SELECT id FROM transfers WHERE undo_of = $1 AND state NOT IN ('completed', 'rolled_back') LIMIT 1";
    let found: Option<String> = sqlx::query_scalar(sql).bind(id.to_string()).fetch_optional(conn).await?;
    found.map(|id| parse("transfers.id", &id)).transpose()
}

impl Paused {
    /// At `step` since `at`.
    #[must_use]
    pub fn at(step: &str, at: Timestamp) -> Self {
        Self { step: step.to_owned(), since: at }
    }
}
