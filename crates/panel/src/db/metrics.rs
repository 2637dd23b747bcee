//! Sums over everything, for people who watch numbers.

use super::{Conn, DbError, from_i64};

/// Upper bounds of the freeze histogram, milliseconds.
pub const FREEZE_BUCKETS_MS: [u64; 9] = [100, 250, 500, 1000, 2000, 5000, 15_000, 60_000, 300_000];

/// How long the players of completed transfers waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freezes {
    /// How many waited at most as long as each of [`FREEZE_BUCKETS_MS`].
    pub buckets: [u64; 9],
    /// How many there were.
    pub count: u64,
    /// Milliseconds together.
    pub sum_ms: u64,
}

/// Servers by status.
pub async fn servers_by_status(conn: &mut Conn) -> Result<Vec<(String, u64)>, DbError> {
    counts(conn, "SELECT status, COUNT(*) FROM servers GROUP BY status ORDER BY status").await
}

/// Transfers by state.
pub async fn transfers_by_state(conn: &mut Conn) -> Result<Vec<(String, u64)>, DbError> {
    counts(conn, "SELECT state, COUNT(*) FROM transfers GROUP BY state ORDER BY state").await
}

/// Evacuations by state.
pub async fn evacuations_by_state(conn: &mut Conn) -> Result<Vec<(String, u64)>, DbError> {
    counts(conn, "SELECT state, COUNT(*) FROM evacuations GROUP BY state ORDER BY state").await
}

async fn counts(conn: &mut Conn, sql: &'static str) -> Result<Vec<(String, u64)>, DbError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(conn).await?;
    rows.into_iter().map(|(word, count)| Ok((word, from_i64("COUNT(*)", count)?))).collect()
}

/// The freezes of all transfers that completed.
pub async fn freezes(conn: &mut Conn) -> Result<Freezes, DbError> {
    let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(freeze_ms), 0) AS BIGINT) FROM transfers
               WHERE state = 'completed' AND freeze_ms IS NOT NULL";
    let (count, sum): (i64, i64) = sqlx::query_as(sql).fetch_one(&mut *conn).await?;
    let mut found = Freezes {
        count: from_i64("transfers", count)?,
        sum_ms: from_i64("transfers.freeze_ms", sum)?,
        ..Freezes::default()
    };
    let sql = "SELECT COUNT(*) FROM transfers WHERE state = 'completed' AND freeze_ms <= $1";
    for (bucket, bound) in found.buckets.iter_mut().zip(FREEZE_BUCKETS_MS) {
        let below: i64 = sqlx::query_scalar(sql).bind(super::to_i64(bound)).fetch_one(&mut *conn).await?;
        *bucket = from_i64("transfers", below)?;
    }
    Ok(found)
}
