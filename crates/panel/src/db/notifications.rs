//! What users are told in the panel, each in one plain sentence, in the transaction of what happened.

use model::{NotificationId, ServerId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

use super::{Conn, DbError, Page, Paging, exactly_one, from_i64, from_json, from_ms, from_word, parse, to_ms, to_word};

/// Notifications of one user that are kept.
const KEPT: i64 = 200;

/// What somebody may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A server of theirs is being moved.
    TransferStarted,
    /// It has been.
    TransferCompleted,
    /// It was not, and is where it was.
    TransferRolledBack,
    /// It waits for a person. Told to administrators too.
    TransferStuck,
    /// A schedule of a server of theirs failed.
    ScheduleFailed,
    /// A backup of a server of theirs failed.
    BackupFailed,
    /// A name of a server of theirs does not lead where it should.
    DnsFailed,
    /// Administrators: a webhook was disabled.
    WebhookDisabled,
    /// Administrators: a node or cluster is offline.
    NodeOffline,
}

/// One thing that somebody is told.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Its id.
    pub id: NotificationId,
    /// What kind of thing.
    pub kind: Kind,
    /// A plain sentence.
    pub message: String,
    /// About which server, if about one.
    pub server_id: Option<ServerId>,
    /// When.
    pub at: Timestamp,
    /// When it was read.
    pub read_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    kind: String,
    message: String,
    server_id: Option<String>,
    at: i64,
    read_at: Option<i64>,
}

impl TryFrom<Row> for Notification {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("notifications.id", &row.id)?,
            kind: from_word("notifications.kind", &row.kind)?,
            message: row.message,
            server_id: row.server_id.map(|id| parse("notifications.server_id", &id)).transpose()?,
            at: from_ms("notifications.at", row.at)?,
            read_at: row.read_at.map(|at| from_ms("notifications.read_at", at)).transpose()?,
        })
    }
}

/// Tells the owner of a server, if it has one.
pub async fn notify_owner(
    tx: &mut Conn,
    now: Timestamp,
    server: ServerId,
    kind: Kind,
    message: &str,
) -> Result<(), DbError> {
    let select = sqlx::query_scalar("SELECT owner_id FROM servers WHERE id = $1").bind(server.to_string());
    let owner: Option<Option<String>> = select.fetch_optional(&mut *tx).await?;
    let Some(owner) = owner.flatten() else { return Ok(()) };
    notify(tx, now, parse("servers.owner_id", &owner)?, kind, message, Some(server)).await
}

/// Tells everybody whose role is about all servers or all nodes.
pub async fn notify_admins(
    tx: &mut Conn,
    now: Timestamp,
    kind: Kind,
    message: &str,
    server: Option<ServerId>,
) -> Result<(), DbError> {
    let sql = "SELECT u.id, r.permissions FROM users u JOIN roles r ON r.id = u.role_id WHERE u.disabled = 0";
    let rows: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut *tx).await?;
    for (id, permissions) in rows {
        let permissions: Vec<String> = from_json("roles.permissions", &permissions)?;
        if permissions.iter().any(|held| matches!(held.as_str(), "*" | "admin.*" | "admin.nodes.*")) {
            notify(tx, now, parse("users.id", &id)?, kind, message, server).await?;
        }
    }
    Ok(())
}

async fn notify(
    tx: &mut Conn,
    now: Timestamp,
    user: UserId,
    kind: Kind,
    message: &str,
    server: Option<ServerId>,
) -> Result<(), DbError> {
    let sql = "INSERT INTO notifications (id, user_id, kind, message, server_id, at)
               SELECT $1, $2, $3, $4, $5, CAST($6 AS BIGINT)
               WHERE NOT EXISTS (SELECT 1 FROM muted_notifications WHERE user_id = $2 AND kind = $3)";
    let insert = sqlx::query(sql).bind(NotificationId::new().to_string()).bind(user.to_string());
    let insert = insert.bind(to_word("notifications.kind", &kind)?).bind(message.to_owned());
    insert.bind(server.map(|id| id.to_string())).bind(to_ms(now)).execute(&mut *tx).await?;
    let sql = "DELETE FROM notifications WHERE user_id = $1 AND id NOT IN
               (SELECT id FROM notifications WHERE user_id = $1 ORDER BY id DESC LIMIT $2)";
    sqlx::query(sql).bind(user.to_string()).bind(KEPT).execute(tx).await?;
    Ok(())
}

/// One page of those of a user, the youngest first.
pub async fn notifications_page(
    conn: &mut Conn,
    user: UserId,
    unread_only: bool,
    paging: Paging,
) -> Result<Page<Notification>, DbError> {
    let sql = "SELECT id, kind, message, server_id, at, read_at FROM notifications
               WHERE user_id = $1 AND ($2 = 0 OR read_at IS NULL) ORDER BY id DESC LIMIT $3 OFFSET $4";
    let select = sqlx::query_as::<_, Row>(sql).bind(user.to_string()).bind(i64::from(unread_only));
    let rows = select.bind(paging.limit()).bind(paging.offset()).fetch_all(&mut *conn).await?;
    let sql = "SELECT COUNT(*) FROM notifications WHERE user_id = $1 AND ($2 = 0 OR read_at IS NULL)";
    let count = sqlx::query_scalar(sql).bind(user.to_string()).bind(i64::from(unread_only));
    let total: i64 = count.fetch_one(conn).await?;
    let items = rows.into_iter().map(Notification::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("notifications", total)? })
}

/// How many a user has not read.
pub async fn notifications_unread(conn: &mut Conn, user: UserId) -> Result<u64, DbError> {
    let sql = "SELECT COUNT(*) FROM notifications WHERE user_id = $1 AND read_at IS NULL";
    from_i64("notifications", sqlx::query_scalar(sql).bind(user.to_string()).fetch_one(conn).await?)
}

/// A user has read one. Again is the same. [`DbError::NotFound`] if it is not theirs.
pub async fn notification_read(
    conn: &mut Conn,
    user: UserId,
    id: NotificationId,
    now: Timestamp,
) -> Result<(), DbError> {
    let sql = "UPDATE notifications SET read_at = COALESCE(read_at, $1) WHERE id = $2 AND user_id = $3";
    let update = sqlx::query(sql).bind(to_ms(now)).bind(id.to_string()).bind(user.to_string());
    exactly_one(&update.execute(conn).await?).map_err(|_| DbError::NotFound)
}

/// A user has read all.
pub async fn notifications_read(conn: &mut Conn, user: UserId, now: Timestamp) -> Result<(), DbError> {
    let sql = "UPDATE notifications SET read_at = $1 WHERE user_id = $2 AND read_at IS NULL";
    sqlx::query(sql).bind(to_ms(now)).bind(user.to_string()).execute(conn).await?;
    Ok(())
}

/// What a user does not want to be told.
pub async fn muted(conn: &mut Conn, user: UserId) -> Result<Vec<Kind>, DbError> {
    let select = sqlx::query_scalar("SELECT kind FROM muted_notifications WHERE user_id = $1 ORDER BY kind");
    let kinds: Vec<String> = select.bind(user.to_string()).fetch_all(conn).await?;
    kinds.iter().map(|kind| from_word("muted_notifications.kind", kind)).collect()
}

/// Settles what a user does not want to be told.
pub async fn mute(tx: &mut Conn, user: UserId, kinds: &[Kind]) -> Result<(), DbError> {
    let delete = sqlx::query("DELETE FROM muted_notifications WHERE user_id = $1").bind(user.to_string());
    delete.execute(&mut *tx).await?;
    for kind in kinds {
        let sql = "INSERT INTO muted_notifications (user_id, kind) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let insert = sqlx::query(sql).bind(user.to_string()).bind(to_word("muted_notifications.kind", kind)?);
        insert.execute(&mut *tx).await?;
    }
    Ok(())
}
