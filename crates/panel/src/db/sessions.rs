//! Sessions: where users are logged in. A token without its row here is worth nothing.

use model::{SessionId, Timestamp, UserId};

use super::users::{self, User};
use super::{Conn, DbError, exactly_one, from_i64, from_ms, parse, to_i64, to_ms};

/// One log-in.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// Of the refresh token that is good now.
    pub generation: u64,
    /// When that was made.
    pub rotated_at: Timestamp,
    /// When the user logged in.
    pub created_at: Timestamp,
    /// From when on it is over, unless it is used again.
    pub expires_at: Timestamp,
    /// From where the user logged in.
    pub address: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    user_id: String,
    generation: i64,
    rotated_at: i64,
    created_at: i64,
    expires_at: i64,
    address: String,
}

impl TryFrom<Row> for Session {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("sessions.id", &row.id)?,
            user_id: parse("sessions.user_id", &row.user_id)?,
            generation: from_i64("sessions.generation", row.generation)?,
            rotated_at: from_ms("sessions.rotated_at", row.rotated_at)?,
            created_at: from_ms("sessions.created_at", row.created_at)?,
            expires_at: from_ms("sessions.expires_at", row.expires_at)?,
            address: row.address,
        })
    }
}

/// Sessions that one user can have; the oldest ends when there is one more.
const MOST: i64 = 50;

/// Begins a session, and ends what is over or too much. Remembers when and from where the user came.
pub async fn session_begin(tx: &mut Conn, session: &Session) -> Result<(), DbError> {
    let sql = "INSERT INTO sessions (id, user_id, generation, rotated_at, created_at, expires_at, address)
               VALUES ($1, $2, $3, $4, $4, $5, $6)";
    let insert = sqlx::query(sql).bind(session.id.to_string()).bind(session.user_id.to_string());
    let insert = insert.bind(to_i64(session.generation)).bind(to_ms(session.created_at));
    insert.bind(to_ms(session.expires_at)).bind(session.address.clone()).execute(&mut *tx).await?;
    let now = to_ms(session.created_at);
    sqlx::query("DELETE FROM sessions WHERE expires_at <= $1").bind(now).execute(&mut *tx).await?;
    let sql = "DELETE FROM sessions WHERE user_id = $1 AND id NOT IN
               (SELECT id FROM sessions WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2)";
    sqlx::query(sql).bind(session.user_id.to_string()).bind(MOST).execute(&mut *tx).await?;
    let update = sqlx::query("UPDATE users SET last_login_at = $1 WHERE id = $2").bind(now);
    exactly_one(&update.bind(session.user_id.to_string()).execute(&mut *tx).await?)?;
    address_remember(tx, session.user_id, &session.address, now).await
}

/// How long an address stays known.
const KNOWN_MS: i64 = 90 * 24 * 3600 * 1000;

async fn address_remember(tx: &mut Conn, user: UserId, address: &str, now: i64) -> Result<(), DbError> {
    let sql = "INSERT INTO known_addresses (user_id, address, at) VALUES ($1, $2, $3)
               ON CONFLICT (user_id, address) DO UPDATE SET at = $3";
    sqlx::query(sql).bind(user.to_string()).bind(address.to_owned()).bind(now).execute(&mut *tx).await?;
    let forget = sqlx::query("DELETE FROM known_addresses WHERE user_id = $1 AND at < $2");
    forget.bind(user.to_string()).bind(now - KNOWN_MS).execute(tx).await?;
    Ok(())
}

/// Whether `user` has logged in from `address` before.
pub async fn address_is_known(conn: &mut Conn, user: UserId, address: &str) -> Result<bool, DbError> {
    let select = sqlx::query_scalar("SELECT COUNT(*) FROM known_addresses WHERE user_id = $1 AND address = $2");
    let count: i64 = select.bind(user.to_string()).bind(address.to_owned()).fetch_one(conn).await?;
    Ok(count > 0)
}

/// A session that is not over, and its user as they are now.
pub async fn session_get(conn: &mut Conn, id: SessionId, now: Timestamp) -> Result<Option<(Session, User)>, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM sessions WHERE id = $1 AND expires_at > $2");
    let row = select.bind(id.to_string()).bind(to_ms(now)).fetch_optional(&mut *conn).await?;
    let Some(row) = row else { return Ok(None) };
    let session = Session::try_from(row)?;
    match users::user_get(conn, session.user_id).await {
        Ok(user) => Ok(Some((session, user))),
        Err(DbError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All sessions of a user that are not over, the youngest first. There are never more than some dozens.
pub async fn sessions_of(conn: &mut Conn, user: UserId, now: Timestamp) -> Result<Vec<Session>, DbError> {
    let sql = "SELECT * FROM sessions WHERE user_id = $1 AND expires_at > $2 ORDER BY created_at DESC, id DESC";
    let select = sqlx::query_as::<_, Row>(sql).bind(user.to_string()).bind(to_ms(now));
    select.fetch_all(conn).await?.into_iter().map(Session::try_from).collect()
}

/// Makes the next refresh token the good one. [`DbError::Conflict`] if somebody did so at the same moment.
pub async fn session_rotate(conn: &mut Conn, next: &Session) -> Result<(), DbError> {
    let sql = "UPDATE sessions SET generation = $1, rotated_at = $2, expires_at = $3 WHERE id = $4 AND generation = $5";
    let update = sqlx::query(sql).bind(to_i64(next.generation)).bind(to_ms(next.rotated_at));
    let update = update.bind(to_ms(next.expires_at)).bind(next.id.to_string());
    exactly_one(&update.bind(to_i64(next.generation.saturating_sub(1))).execute(conn).await?)
}

/// Ends a session. One that has ended already stays so.
pub async fn session_end(conn: &mut Conn, id: SessionId) -> Result<(), DbError> {
    sqlx::query("DELETE FROM sessions WHERE id = $1").bind(id.to_string()).execute(conn).await?;
    Ok(())
}

/// Ends all sessions of a user but `except`.
pub async fn sessions_end(conn: &mut Conn, user: UserId, except: Option<SessionId>) -> Result<(), DbError> {
    let except = except.map_or_else(String::new, |id| id.to_string());
    let delete = sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND id <> $2");
    delete.bind(user.to_string()).bind(except).execute(conn).await?;
    Ok(())
}
