//! Answers that are remembered under an `Idempotency-Key`. Status 0 marks a claim without an answer yet.
//!
//! `owner` is the caller: the id of an API key, or `user:` and the id of a user (the column is older than users).

use model::Timestamp;

use super::{Conn, DbError, exactly_one, to_ms};

/// What [`key_claim`] found.
#[derive(Debug)]
pub enum Claim {
    /// Nobody had it; now it is the caller's.
    Mine,
    /// A request with it has not been answered.
    Pending {
        /// Of that request.
        request_hash: String,
    },
    /// A request with it was answered.
    Answered {
        /// The recorded answer.
        body: String,
        /// Of that request.
        request_hash: String,
    },
}

/// Takes `key` for one request of `owner`, or tells what became of the request that has it.
pub async fn key_claim(
    conn: &mut Conn,
    owner: &str,
    key: &str,
    route: &str,
    request_hash: &str,
    now: Timestamp,
) -> Result<Claim, DbError> {
    let sql = "INSERT INTO idempotency_keys (api_key_id, key, route, request_hash, status, body, created_at)
               VALUES ($1, $2, $3, $4, 0, '', $5) ON CONFLICT (api_key_id, key) DO NOTHING";
    let insert = sqlx::query(sql).bind(owner.to_owned()).bind(key.to_owned()).bind(route.to_owned());
    let done = insert.bind(request_hash.to_owned()).bind(to_ms(now)).execute(&mut *conn).await?;
    if done.rows_affected() == 1 {
        return Ok(Claim::Mine);
    }
    let sql = "SELECT status, body, request_hash FROM idempotency_keys WHERE api_key_id = $1 AND key = $2";
    let select = sqlx::query_as(sql).bind(owner.to_owned()).bind(key.to_owned());
    let (status, body, request_hash): (i64, String, String) = select.fetch_one(&mut *conn).await?;
    Ok(if status == 0 { Claim::Pending { request_hash } } else { Claim::Answered { body, request_hash } })
}

/// Records the answer to the request that claimed `key`.
pub async fn key_answer(conn: &mut Conn, owner: &str, key: &str, body: &str) -> Result<(), DbError> {
    let sql = "UPDATE idempotency_keys SET status = 1, body = $1 WHERE api_key_id = $2 AND key = $3 AND status = 0";
    let update = sqlx::query(sql).bind(body.to_owned()).bind(owner.to_owned()).bind(key.to_owned());
    exactly_one(&update.execute(&mut *conn).await?)
}

/// Gives `key` back, because nothing was started.
pub async fn key_release(conn: &mut Conn, owner: &str, key: &str) -> Result<(), DbError> {
    let sql = "DELETE FROM idempotency_keys WHERE api_key_id = $1 AND key = $2 AND status = 0";
    let delete = sqlx::query(sql).bind(owner.to_owned()).bind(key.to_owned());
    exactly_one(&delete.execute(&mut *conn).await?)
}

/// Forgets everything that was claimed before `before_ms`.
pub async fn keys_forget(conn: &mut Conn, before_ms: i64) -> Result<(), DbError> {
    let sql = "DELETE FROM idempotency_keys WHERE created_at < $1";
    sqlx::query(sql).bind(before_ms).execute(&mut *conn).await?;
    Ok(())
}
