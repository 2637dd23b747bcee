//! Feature flags: what an administrator can turn off while the panel runs.

use super::{Conn, DbError, exactly_one};

/// The flag without which no transfer starts.
pub const SERVER_TRANSFERS: &str = "server_transfers";

/// All flags by name.
pub async fn flags_list(conn: &mut Conn) -> Result<Vec<(String, bool)>, DbError> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT name, enabled FROM feature_flags ORDER BY name").fetch_all(conn).await?;
    Ok(rows.into_iter().map(|(name, enabled)| (name, enabled != 0)).collect())
}

/// Whether the flag `name` is on. One that does not exist is [`DbError::NotFound`].
pub async fn flag_enabled(conn: &mut Conn, name: &str) -> Result<bool, DbError> {
    let select = sqlx::query_scalar("SELECT enabled FROM feature_flags WHERE name = $1").bind(name.to_owned());
    let enabled: i64 = select.fetch_one(conn).await?;
    Ok(enabled != 0)
}

/// Turns the flag `name` on or off.
pub async fn flag_set(conn: &mut Conn, name: &str, enabled: bool) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE feature_flags SET enabled = $1 WHERE name = $2").bind(i64::from(enabled));
    exactly_one(&update.bind(name.to_owned()).execute(conn).await?).map_err(|_| DbError::NotFound)
}
