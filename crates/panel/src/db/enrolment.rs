//! How an agent comes to speak for a node: a token once, its own secret from then on. Only hashes are kept.
//!
//! ```text
//! token, unused ──hello with secret──► used by that secret ──same secret again──► the same enrolment
//!       │                                     └──another secret──► refused
//!       └──expired──► refused
//! ```

use model::{NodeId, Timestamp};

use super::{Conn, DbError, exactly_one, parse, to_ms};

/// A token that exists.
#[derive(Clone, Debug)]
pub struct Token {
    /// The node that it is for.
    pub node_id: NodeId,
    /// SHA-256, hex.
    pub token_hash: String,
    expires_at_ms: i64,
    secret_hash: Option<String>,
}

impl Token {
    /// Whether it can still start an enrolment, or repeat the one that it started.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.secret_hash.is_some() || self.expires_at_ms > to_ms(now)
    }

    /// Whether its time has not run out, used or not: what is made with it can be made again.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.expires_at_ms > to_ms(now)
    }
}

/// Makes a token for `node`. Unused ones of that node are worth nothing from now on.
pub async fn token_insert(tx: &mut Conn, node: NodeId, token_hash: &str, expires_at: Timestamp) -> Result<(), DbError> {
    let unused = "DELETE FROM enrolment_tokens WHERE node_id = $1 AND secret_hash IS NULL";
    sqlx::query(unused).bind(node.to_string()).execute(&mut *tx).await?;
    let sql = "INSERT INTO enrolment_tokens (token_hash, node_id, expires_at) VALUES ($1, $2, $3)";
    let insert = sqlx::query(sql).bind(token_hash.to_owned()).bind(node.to_string()).bind(to_ms(expires_at));
    insert.execute(tx).await?;
    Ok(())
}

/// The token with this hash.
pub async fn token_get(conn: &mut Conn, token_hash: &str) -> Result<Option<Token>, DbError> {
    let sql = "SELECT node_id, expires_at, secret_hash FROM enrolment_tokens WHERE token_hash = $1";
    let row: Option<(String, i64, Option<String>)> =
        sqlx::query_as(sql).bind(token_hash.to_owned()).fetch_optional(conn).await?;
    let Some((node_id, expires_at_ms, secret_hash)) = row else { return Ok(None) };
    let node_id = parse("enrolment_tokens.node_id", &node_id)?;
    Ok(Some(Token { node_id, token_hash: token_hash.to_owned(), expires_at_ms, secret_hash }))
}

/// Makes the secret with `secret_hash` the one of the token's node. [`DbError::Conflict`] if the token was used with
/// another secret, or if a later token has replaced the secret since.
pub async fn token_use(tx: &mut Conn, token: &Token, secret_hash: &str) -> Result<(), DbError> {
    if token.secret_hash.is_some() {
        let current = secret_of(tx, token.node_id).await?;
        let same = token.secret_hash.as_deref() == Some(secret_hash) && current.as_deref() == Some(secret_hash);
        return if same { Ok(()) } else { Err(DbError::Conflict) };
    }
    let sql = "UPDATE enrolment_tokens SET secret_hash = $1 WHERE token_hash = $2 AND secret_hash IS NULL";
    let update = sqlx::query(sql).bind(secret_hash.to_owned()).bind(token.token_hash.clone());
    exactly_one(&update.execute(&mut *tx).await?)?;
    let update = sqlx::query("UPDATE nodes SET secret_hash = $1 WHERE id = $2").bind(secret_hash.to_owned());
    exactly_one(&update.bind(token.node_id.to_string()).execute(tx).await?)
}

/// The hash of the secret with which the agent of `node` identifies itself; none before it has enrolled.
pub async fn secret_of(conn: &mut Conn, node: NodeId) -> Result<Option<String>, DbError> {
    let select = sqlx::query_scalar("SELECT secret_hash FROM nodes WHERE id = $1").bind(node.to_string());
    let found: Option<Option<String>> = select.fetch_optional(conn).await?;
    Ok(found.flatten())
}
