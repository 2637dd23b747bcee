//! Restores: attempts to give a server the files of a backup.

use model::{BackupId, BackupProgress, NodeId, RestoreId, ServerId, Timestamp};
use serde::{Deserialize, Serialize};

use super::backups::BackupFailure;
use super::{Conn, DbError, exactly_one, from_json, from_ms, from_word, parse, to_json, to_ms};

/// Where a restore stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreState {
    /// Files are downloaded and put in place.
    Running,
    /// The server has them.
    Completed,
    /// The server is as it was.
    Failed,
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct Restore {
    /// Its id.
    pub id: RestoreId,
    /// Of which backup.
    pub backup_id: BackupId,
    /// Into which server.
    pub server_id: ServerId,
    /// Where that is.
    pub node_id: NodeId,
    /// Where it stands.
    pub state: RestoreState,
    /// Whether the server ran, and is to be started again.
    pub was_running: bool,
    /// How far it is.
    pub progress: BackupProgress,
    /// Why it failed.
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
    backup_id: String,
    server_id: String,
    node_id: String,
    state: String,
    was_running: i64,
    progress: String,
    failure: Option<String>,
    created_by: String,
    created_at: i64,
    finished_at: Option<i64>,
}

impl TryFrom<Row> for Restore {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("restores.id", &row.id)?,
            backup_id: parse("restores.backup_id", &row.backup_id)?,
            server_id: parse("restores.server_id", &row.server_id)?,
            node_id: parse("restores.node_id", &row.node_id)?,
            state: from_word("restores.state", &row.state)?,
            was_running: row.was_running != 0,
            progress: from_json("restores.progress", &row.progress)?,
            failure: row.failure.map(|json| from_json("restores.failure", &json)).transpose()?,
            created_by: row.created_by,
            created_at: from_ms("restores.created_at", row.created_at)?,
            finished_at: row.finished_at.map(|at| from_ms("restores.finished_at", at)).transpose()?,
        })
    }
}

/// Writes a restore down that is about to begin.
pub async fn restore_insert(tx: &mut Conn, it: &Restore) -> Result<(), DbError> {
    let sql = "INSERT INTO restores (id, backup_id, server_id, node_id, state, was_running, progress, created_by,
               created_at) VALUES ($1, $2, $3, $4, 'running', $5, $6, $7, $8)";
    let insert = sqlx::query(sql).bind(it.id.to_string()).bind(it.backup_id.to_string()).bind(it.server_id.to_string());
    let insert = insert.bind(it.node_id.to_string()).bind(i64::from(it.was_running));
    let insert = insert.bind(to_json("restores.progress", &it.progress)?).bind(it.created_by.clone());
    insert.bind(to_ms(it.created_at)).execute(tx).await?;
    Ok(())
}

/// The restore, or [`DbError::NotFound`].
pub async fn restore_get(conn: &mut Conn, id: RestoreId) -> Result<Restore, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM restores WHERE id = $1").bind(id.to_string());
    Restore::try_from(select.fetch_one(conn).await?)
}

/// The last restore of a backup.
pub async fn restore_last(conn: &mut Conn, backup: BackupId) -> Result<Option<Restore>, DbError> {
    let sql = "SELECT * FROM restores WHERE backup_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1";
    let row: Option<Row> = sqlx::query_as(sql).bind(backup.to_string()).fetch_optional(conn).await?;
    row.map(Restore::try_from).transpose()
}

/// Those that are not over: what a panel that starts again has to go on with.
pub async fn restores_running(conn: &mut Conn) -> Result<Vec<RestoreId>, DbError> {
    let ids: Vec<String> =
        sqlx::query_scalar("SELECT id FROM restores WHERE state = 'running'").fetch_all(conn).await?;
    ids.iter().map(|id| parse("restores.id", id)).collect()
}

/// How far it is.
pub async fn restore_progress(conn: &mut Conn, id: RestoreId, progress: &BackupProgress) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE restores SET progress = $1 WHERE id = $2");
    let update = update.bind(to_json("restores.progress", progress)?).bind(id.to_string());
    update.execute(conn).await?;
    Ok(())
}

/// Ends it.
pub async fn restore_end(
    tx: &mut Conn,
    id: RestoreId,
    failure: Option<&BackupFailure>,
    at: Timestamp,
) -> Result<(), DbError> {
    let state = if failure.is_some() { "failed" } else { "completed" };
    let sql = "UPDATE restores SET state = $1, failure = $2, finished_at = $3 WHERE id = $4 AND state = 'running'";
    let failure = failure.map(|failure| to_json("restores.failure", failure)).transpose()?;
    let update = sqlx::query(sql).bind(state).bind(failure).bind(to_ms(at)).bind(id.to_string());
    exactly_one(&update.execute(tx).await?)
}

/// The server's files are being replaced, by whoever holds it.
pub async fn server_restoring(tx: &mut Conn, id: ServerId, holder: &str) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE servers SET status = 'restoring_backup' WHERE id = $1 AND locked_by = $2");
    exactly_one(&update.bind(id.to_string()).bind(holder.to_owned()).execute(tx).await?)
}

/// They are no more. Answers nothing about which they are.
pub async fn server_restored(tx: &mut Conn, id: ServerId) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE servers SET status = 'offline' WHERE id = $1 AND status = 'restoring_backup'");
    update.bind(id.to_string()).execute(tx).await?;
    Ok(())
}
