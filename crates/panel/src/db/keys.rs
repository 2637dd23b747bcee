//! API keys. The key itself is never here, only its SHA-256.

use ipnet::IpNet;
use model::{ApiKeyId, Timestamp, UserId};

use super::{Conn, DbError, Page, Paging, exactly_one, from_json, from_ms, parse, to_json, to_ms};

/// One key.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Name for people.
    pub name: String,
    /// SHA-256 of the key, lower-case hex.
    pub key_hash: String,
    /// Permissions; `*` for all.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is worth nothing.
    pub expires_at: Option<Timestamp>,
    /// About when it was last used (to the minute).
    pub last_used_at: Option<Timestamp>,
    /// Whose it is. It has no more rights than they have, and ends with them.
    pub user_id: Option<UserId>,
    /// From where it may be used; empty for everywhere.
    pub allowed_networks: Vec<IpNet>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    key_hash: String,
    scopes: String,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
    user_id: Option<String>,
    allowed_networks: String,
}

impl TryFrom<Row> for ApiKey {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("api_keys.id", &row.id)?,
            name: row.name,
            key_hash: row.key_hash,
            scopes: from_json("api_keys.scopes", &row.scopes)?,
            created_at: from_ms("api_keys.created_at", row.created_at)?,
            expires_at: row.expires_at.map(|at| from_ms("api_keys.expires_at", at)).transpose()?,
            last_used_at: row.last_used_at.map(|at| from_ms("api_keys.last_used_at", at)).transpose()?,
            user_id: row.user_id.map(|id| parse("api_keys.user_id", &id)).transpose()?,
            allowed_networks: from_json("api_keys.allowed_networks", &row.allowed_networks)?,
        })
    }
}

/// Writes a new key down.
pub async fn key_insert(conn: &mut Conn, key: &ApiKey) -> Result<(), DbError> {
    let sql = "INSERT INTO api_keys (id, name, key_hash, scopes, created_at, expires_at, user_id, allowed_networks)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let insert = sqlx::query(sql).bind(key.id.to_string()).bind(key.name.clone()).bind(key.key_hash.clone());
    let insert = insert.bind(to_json("api_keys.scopes", &key.scopes)?).bind(to_ms(key.created_at));
    let insert = insert.bind(key.expires_at.map(to_ms)).bind(key.user_id.map(|id| id.to_string()));
    insert.bind(to_json("api_keys.allowed_networks", &key.allowed_networks)?).execute(conn).await?;
    Ok(())
}

/// The key with this hash.
pub async fn key_by_hash(conn: &mut Conn, hash: &str) -> Result<Option<ApiKey>, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM api_keys WHERE key_hash = $1").bind(hash.to_owned());
    select.fetch_optional(conn).await?.map(ApiKey::try_from).transpose()
}

/// The key, if there still is one.
pub async fn key_get(conn: &mut Conn, id: ApiKeyId) -> Result<Option<ApiKey>, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM api_keys WHERE id = $1").bind(id.to_string());
    select.fetch_optional(conn).await?.map(ApiKey::try_from).transpose()
}

/// All keys, oldest first.
pub async fn keys_list(conn: &mut Conn, paging: Paging) -> Result<Page<ApiKey>, DbError> {
    let sql = "SELECT * FROM api_keys ORDER BY created_at, id LIMIT $1 OFFSET $2";
    let rows: Vec<Row> = sqlx::query_as(sql).bind(paging.limit()).bind(paging.offset()).fetch_all(&mut *conn).await?;
    let total = keys_count(conn).await?;
    Ok(Page { items: rows.into_iter().map(ApiKey::try_from).collect::<Result<_, _>>()?, total })
}

/// How many there are.
pub async fn keys_count(conn: &mut Conn) -> Result<u64, DbError> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM api_keys").fetch_one(conn).await?;
    super::from_i64("api_keys", count)
}

/// Remembers that it was used.
pub async fn key_used(conn: &mut Conn, id: ApiKeyId, now: Timestamp) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE api_keys SET last_used_at = $1 WHERE id = $2").bind(to_ms(now));
    // No row: it was deleted between the two queries, and this request was still in time.
    update.bind(id.to_string()).execute(conn).await?;
    Ok(())
}

/// Removes it; it is worth nothing from now on.
pub async fn key_delete(conn: &mut Conn, id: ApiKeyId) -> Result<(), DbError> {
    let done = sqlx::query("DELETE FROM api_keys WHERE id = $1").bind(id.to_string()).execute(conn).await?;
    exactly_one(&done).map_err(|_| DbError::NotFound)
}
