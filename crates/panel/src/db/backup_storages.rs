//! Places for backups. One of them is the default.

use model::{BackupStorageId, Timestamp};

use super::{Conn, DbError, Page, Paging, exactly_one, from_i64, from_ms, parse, to_ms};

/// One place.
#[derive(Clone)]
pub struct BackupStorage {
    /// Its id.
    pub id: BackupStorageId,
    /// For people.
    pub name: String,
    /// `https://host` or `http://host:port`.
    pub endpoint: String,
    /// As its signatures say.
    pub region: String,
    /// Where in it.
    pub bucket: String,
    /// In front of each object's key; empty, or with a slash at its end.
    pub prefix: String,
    /// Whether the bucket is in the path and not in the host.
    pub path_style: bool,
    /// Whose key it is.
    pub access_key: String,
    /// The key, sealed.
    pub secret: String,
    /// Where a backup goes that names no place.
    pub is_default: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

impl std::fmt::Debug for BackupStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupStorage").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    endpoint: String,
    region: String,
    bucket: String,
    prefix: String,
    path_style: i64,
    access_key: String,
    secret: String,
    is_default: i64,
    created_at: i64,
}

impl TryFrom<Row> for BackupStorage {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("backup_storages.id", &row.id)?,
            name: row.name,
            endpoint: row.endpoint,
            region: row.region,
            bucket: row.bucket,
            prefix: row.prefix,
            path_style: row.path_style != 0,
            access_key: row.access_key,
            secret: row.secret,
            is_default: row.is_default != 0,
            created_at: from_ms("backup_storages.created_at", row.created_at)?,
        })
    }
}

/// Writes a place down. [`DbError::Conflict`] if its name is taken.
pub async fn storage_insert(tx: &mut Conn, it: &BackupStorage) -> Result<(), DbError> {
    let sql = "INSERT INTO backup_storages (id, name, endpoint, region, bucket, prefix, path_style, access_key, secret,
               is_default, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let insert = sqlx::query(sql).bind(it.id.to_string()).bind(it.name.clone()).bind(it.endpoint.clone());
    let insert = insert.bind(it.region.clone()).bind(it.bucket.clone()).bind(it.prefix.clone());
    let insert = insert.bind(i64::from(it.path_style)).bind(it.access_key.clone()).bind(it.secret.clone());
    insert.bind(i64::from(it.is_default)).bind(to_ms(it.created_at)).execute(tx).await?;
    Ok(())
}

/// The place, or [`DbError::NotFound`].
pub async fn storage_get(conn: &mut Conn, id: BackupStorageId) -> Result<BackupStorage, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM backup_storages WHERE id = $1").bind(id.to_string());
    BackupStorage::try_from(select.fetch_one(conn).await?)
}

/// The default, if there is one.
pub async fn storage_default(conn: &mut Conn) -> Result<Option<BackupStorage>, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM backup_storages WHERE is_default = 1");
    select.fetch_optional(conn).await?.map(BackupStorage::try_from).transpose()
}

/// One page, by name.
pub async fn storages_page(conn: &mut Conn, paging: Paging) -> Result<Page<BackupStorage>, DbError> {
    let sql = "SELECT * FROM backup_storages ORDER BY name, id LIMIT $1 OFFSET $2";
    let select = sqlx::query_as::<_, Row>(sql).bind(paging.limit()).bind(paging.offset());
    let rows = select.fetch_all(&mut *conn).await?;
    let total: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM backup_storages").fetch_one(conn).await?;
    let items = rows.into_iter().map(BackupStorage::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("backup_storages", total)? })
}

/// Changes everything that can be changed about a place. [`DbError::Conflict`] if its name is taken.
pub async fn storage_update(tx: &mut Conn, it: &BackupStorage) -> Result<(), DbError> {
    let sql = "UPDATE backup_storages SET name = $1, endpoint = $2, region = $3, bucket = $4, prefix = $5,
               path_style = $6, access_key = $7, secret = $8, is_default = $9 WHERE id = $10";
    let update = sqlx::query(sql).bind(it.name.clone()).bind(it.endpoint.clone()).bind(it.region.clone());
    let update = update.bind(it.bucket.clone()).bind(it.prefix.clone()).bind(i64::from(it.path_style));
    let update = update.bind(it.access_key.clone()).bind(it.secret.clone()).bind(i64::from(it.is_default));
    exactly_one(&update.bind(it.id.to_string()).execute(tx).await?).map_err(|_| DbError::NotFound)
}

/// No place but this one is the default.
pub async fn storage_only_default(tx: &mut Conn, id: BackupStorageId) -> Result<(), DbError> {
    let sql = "UPDATE backup_storages SET is_default = 0 WHERE id <> $1 AND is_default = 1";
    sqlx::query(sql).bind(id.to_string()).execute(tx).await?;
    Ok(())
}

/// How many backups a place has.
pub async fn storage_used(conn: &mut Conn, id: BackupStorageId) -> Result<u64, DbError> {
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM backups WHERE storage_id = $1").bind(id.to_string());
    from_i64("backups", count.fetch_one(conn).await?)
}

/// Removes a place. [`DbError::Conflict`] while it has backups.
pub async fn storage_delete(tx: &mut Conn, id: BackupStorageId) -> Result<(), DbError> {
    let done = sqlx::query("DELETE FROM backup_storages WHERE id = $1").bind(id.to_string()).execute(tx).await?;
    exactly_one(&done).map_err(|_| DbError::NotFound)
}
