//! Backups of servers. A row outlives its server, and says at each moment what the storage may hold of it.
//!
//! ```text
//! running ──uploaded──► verifying ──► completed
//!    └──────────────────────┴───────► failed       (`owes` until the storage has been cleared)
//! ```

use model::{BackupContents, BackupId, BackupProgress, BackupStorageId, NodeId, ServerId, Timestamp, TransferId};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;

use super::{
    Conn, DbError, Page, Paging, direction, exactly_one, from_i64, from_json, from_ms, from_word, parse, to_i64,
    to_json, to_ms, to_word,
};

/// Where a backup stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupState {
    /// Files are read and uploaded.
    Running,
    /// All is there, and is read back.
    Verifying,
    /// It can be restored.
    Completed,
    /// There is none.
    Failed,
}

impl BackupState {
    /// Whether somebody works on it.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Verifying)
    }
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFailure {
    /// Stable word.
    pub code: String,
    /// What happened and what to do.
    pub message: String,
}

impl BackupFailure {
    /// With a stable word.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

/// One backup.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Its id.
    pub id: BackupId,
    /// Of which server, which may be gone.
    pub server_id: ServerId,
    /// What that was called.
    pub server_name: String,
    /// Where it is.
    pub storage_id: BackupStorageId,
    /// Under which key there.
    pub object_key: String,
    /// For people.
    pub name: String,
    /// Whether it is kept from being deleted.
    pub locked: bool,
    /// Where it stands.
    pub state: BackupState,
    /// Where the server was.
    pub node_id: NodeId,
    /// The transfer in front of which it was made.
    pub transfer_id: Option<TransferId>,
    /// Bytes of the object.
    pub bytes: Option<u64>,
    /// What is in it.
    pub contents: Option<BackupContents>,
    /// How far it is.
    pub progress: BackupProgress,
    /// Files that changed while they were read, the first thousand.
    pub changed: Vec<String>,
    /// How many those are.
    pub changed_count: u64,
    /// Sockets, the first thousand.
    pub left_out: Vec<String>,
    /// Why there is none.
    pub failure: Option<BackupFailure>,
    /// Who asked for it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    server_id: String,
    server_name: String,
    storage_id: String,
    object_key: String,
    name: String,
    locked: i64,
    state: String,
    node_id: String,
    transfer_id: Option<String>,
    bytes: Option<i64>,
    contents: Option<String>,
    progress: String,
    changed: String,
    changed_count: i64,
    left_out: String,
    failure: Option<String>,
    created_by: String,
    created_at: i64,
    finished_at: Option<i64>,
}

impl TryFrom<Row> for Backup {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("backups.id", &row.id)?,
            server_id: parse("backups.server_id", &row.server_id)?,
            server_name: row.server_name,
            storage_id: parse("backups.storage_id", &row.storage_id)?,
            object_key: row.object_key,
            name: row.name,
            locked: row.locked != 0,
            state: from_word("backups.state", &row.state)?,
            node_id: parse("backups.node_id", &row.node_id)?,
            transfer_id: row.transfer_id.map(|id| parse("backups.transfer_id", &id)).transpose()?,
            bytes: row.bytes.map(|bytes| from_i64("backups.bytes", bytes)).transpose()?,
            contents: row.contents.map(|json| from_json("backups.contents", &json)).transpose()?,
            progress: from_json("backups.progress", &row.progress)?,
            changed: from_json("backups.changed", &row.changed)?,
            changed_count: from_i64("backups.changed_count", row.changed_count)?,
            left_out: from_json("backups.left_out", &row.left_out)?,
            failure: row.failure.map(|json| from_json("backups.failure", &json)).transpose()?,
            created_by: row.created_by,
            created_at: from_ms("backups.created_at", row.created_at)?,
            finished_at: row.finished_at.map(|at| from_ms("backups.finished_at", at)).transpose()?,
        })
    }
}

/// Columns by which a list can be ordered.
pub const SORTS: &[&str] = &["created_at", "name", "bytes"];

/// Writes a backup down that is about to begin. From now on the storage may hold something of it.
pub async fn backup_insert(tx: &mut Conn, it: &Backup) -> Result<(), DbError> {
    let sql = "INSERT INTO backups (id, server_id, server_name, storage_id, object_key, name, locked, state, node_id,
               transfer_id, owes, progress, changed, left_out, created_by, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, 'running', $8, $9, 1, '{}', '[]', '[]', $10, $11)";
    let insert = sqlx::query(sql).bind(it.id.to_string()).bind(it.server_id.to_string()).bind(it.server_name.clone());
    let insert = insert.bind(it.storage_id.to_string()).bind(it.object_key.clone()).bind(it.name.clone());
    let insert = insert.bind(i64::from(it.locked)).bind(it.node_id.to_string());
    let insert = insert.bind(it.transfer_id.map(|id| id.to_string()));
    insert.bind(it.created_by.clone()).bind(to_ms(it.created_at)).execute(&mut *tx).await?;
    backup_progress(tx, it.id, &it.progress).await
}

/// The backup, or [`DbError::NotFound`].
pub async fn backup_get(conn: &mut Conn, id: BackupId) -> Result<Backup, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM backups WHERE id = $1").bind(id.to_string());
    Backup::try_from(select.fetch_one(conn).await?)
}

/// What a list of backups is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this server.
    pub server_id: Option<ServerId>,
    /// In this storage.
    pub storage_id: Option<BackupStorageId>,
    /// Standing there.
    pub state: Option<BackupState>,
}

/// One page. `column` is one of [`SORTS`].
pub async fn backups_page(
    conn: &mut Conn,
    filter: &Filter,
    paging: Paging,
    column: &'static str,
    descending: bool,
) -> Result<Page<Backup>, DbError> {
    const WHERE: &str =
        "WHERE ($1 = '' OR server_id = $1) AND ($2 = '' OR storage_id = $2) AND ($3 = '' OR state = $3)";
    let server = filter.server_id.map_or_else(String::new, |id| id.to_string());
    let storage = filter.storage_id.map_or_else(String::new, |id| id.to_string());
    let state = filter.state.map_or(Ok(String::new()), |state| to_word("backups.state", &state))?;
    let direction = direction(descending);
    let sql = format!("SELECT * FROM backups {WHERE} ORDER BY {column} {direction}, id {direction} LIMIT $4 OFFSET $5");
    let select = sqlx::query_as::<_, Row>(AssertSqlSafe(sql)).bind(server.clone()).bind(storage.clone());
    let select = select.bind(state.clone()).bind(paging.limit()).bind(paging.offset());
    let rows = select.fetch_all(&mut *conn).await?;
    let count = sqlx::query_scalar(AssertSqlSafe(format!("SELECT COUNT(*) FROM backups {WHERE}")));
    let total: i64 = count.bind(server).bind(storage).bind(state).fetch_one(conn).await?;
    let items = rows.into_iter().map(Backup::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("backups", total)? })
}

/// How many backups of a server there are, or will be; those that failed do not count.
pub async fn backups_of(conn: &mut Conn, server: ServerId) -> Result<u64, DbError> {
    let sql = "SELECT COUNT(*) FROM backups WHERE server_id = $1 AND state <> 'failed'";
    from_i64("backups", sqlx::query_scalar(sql).bind(server.to_string()).fetch_one(conn).await?)
}

/// All backups of a server.
pub async fn backups_all_of(conn: &mut Conn, server: ServerId) -> Result<Vec<Backup>, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM backups WHERE server_id = $1").bind(server.to_string());
    select.fetch_all(conn).await?.into_iter().map(Backup::try_from).collect()
}

/// Those that an earlier run of the panel left in the middle, without those of transfers, which go on by themselves.
pub async fn backups_interrupted(conn: &mut Conn) -> Result<Vec<Backup>, DbError> {
    let sql = "SELECT * FROM backups WHERE state IN ('running', 'verifying') AND transfer_id IS NULL";
    let rows: Vec<Row> = sqlx::query_as(sql).fetch_all(conn).await?;
    rows.into_iter().map(Backup::try_from).collect()
}

/// The backups of a transfer, the youngest last.
pub async fn backups_of_transfer(conn: &mut Conn, transfer: TransferId) -> Result<Vec<Backup>, DbError> {
    let sql = "SELECT * FROM backups WHERE transfer_id = $1 ORDER BY created_at, id";
    let rows: Vec<Row> = sqlx::query_as(sql).bind(transfer.to_string()).fetch_all(conn).await?;
    rows.into_iter().map(Backup::try_from).collect()
}

/// Those that failed and of which the storage may hold something.
pub async fn backups_owing(conn: &mut Conn) -> Result<Vec<Backup>, DbError> {
    let rows: Vec<Row> =
        sqlx::query_as("SELECT * FROM backups WHERE state = 'failed' AND owes = 1").fetch_all(conn).await?;
    rows.into_iter().map(Backup::try_from).collect()
}

/// The storage holds nothing of a failed backup.
pub async fn backup_cleared(conn: &mut Conn, id: BackupId) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE backups SET owes = 0 WHERE id = $1 AND state = 'failed'").bind(id.to_string());
    update.execute(conn).await?;
    Ok(())
}

/// How far it is.
pub async fn backup_progress(conn: &mut Conn, id: BackupId, progress: &BackupProgress) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE backups SET progress = $1 WHERE id = $2");
    let update = update.bind(to_json("backups.progress", progress)?).bind(id.to_string());
    update.execute(conn).await?;
    Ok(())
}

/// What an upload has found.
#[derive(Clone, Debug)]
pub struct Uploaded {
    /// What is in the object.
    pub contents: BackupContents,
    /// Bytes of it.
    pub bytes: u64,
    /// Files that changed meanwhile.
    pub changed: Vec<String>,
    /// How many those are.
    pub changed_count: u64,
    /// Sockets.
    pub left_out: Vec<String>,
}

/// All is there; whether it is what was read will be seen.
pub async fn backup_uploaded(conn: &mut Conn, id: BackupId, found: &Uploaded) -> Result<(), DbError> {
    let sql = "UPDATE backups SET state = 'verifying', contents = $1, bytes = $2, changed = $3, changed_count = $4,
               left_out = $5 WHERE id = $6 AND state = 'running'";
    let update = sqlx::query(sql).bind(to_json("backups.contents", &found.contents)?).bind(to_i64(found.bytes));
    let update = update.bind(to_json("backups.changed", &found.changed)?).bind(to_i64(found.changed_count));
    let update = update.bind(to_json("backups.left_out", &found.left_out)?).bind(id.to_string());
    exactly_one(&update.execute(conn).await?)
}

/// It can be restored from now on.
pub async fn backup_completed(tx: &mut Conn, id: BackupId, at: Timestamp) -> Result<(), DbError> {
    let sql =
        "UPDATE backups SET state = 'completed', owes = 0, finished_at = $1 WHERE id = $2 AND state = 'verifying'";
    exactly_one(&sqlx::query(sql).bind(to_ms(at)).bind(id.to_string()).execute(tx).await?)
}

/// There is none. [`DbError::Conflict`] if it has ended already.
pub async fn backup_failed(tx: &mut Conn, id: BackupId, failure: &BackupFailure, at: Timestamp) -> Result<(), DbError> {
    let sql = "UPDATE backups SET state = 'failed', failure = $1, finished_at = $2
               WHERE id = $3 AND state IN ('running', 'verifying')";
    let update = sqlx::query(sql).bind(to_json("backups.failure", failure)?).bind(to_ms(at)).bind(id.to_string());
    exactly_one(&update.execute(tx).await?)
}

/// Names a backup, and locks or unlocks it.
pub async fn backup_update(tx: &mut Conn, id: BackupId, name: &str, locked: bool) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE backups SET name = $1, locked = $2 WHERE id = $3").bind(name.to_owned());
    let done = update.bind(i64::from(locked)).bind(id.to_string()).execute(tx).await?;
    exactly_one(&done).map_err(|_| DbError::NotFound)
}

/// Removes a backup of which the storage holds nothing any more.
pub async fn backup_delete(tx: &mut Conn, id: BackupId) -> Result<(), DbError> {
    let delete = sqlx::query("DELETE FROM backups WHERE id = $1 AND state IN ('completed', 'failed')");
    exactly_one(&delete.bind(id.to_string()).execute(tx).await?)
}
