//! Announcements: what an administrator wants everybody who uses the panel to read, for a time.

use model::{AnnouncementId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Conn, DbError, Page, Paging, exactly_one, from_i64, from_ms, from_word, parse, to_ms, to_word};

/// How much it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    #[default]
    Info,
    /// Something will not work as usual.
    Warning,
    /// Something does not work.
    Critical,
}

/// One announcement.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// Its id.
    pub id: AnnouncementId,
    /// One line.
    pub title: String,
    /// The rest, plain text.
    pub body: String,
    /// How much it matters.
    pub level: Level,
    /// From when on it is shown.
    pub starts_at: Timestamp,
    /// Until when it is shown; for ever without it.
    pub ends_at: Option<Timestamp>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    title: String,
    body: String,
    level: String,
    starts_at: i64,
    ends_at: Option<i64>,
    created_by: String,
    created_at: i64,
}

impl TryFrom<Row> for Announcement {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("announcements.id", &row.id)?,
            title: row.title,
            body: row.body,
            level: from_word("announcements.level", &row.level)?,
            starts_at: from_ms("announcements.starts_at", row.starts_at)?,
            ends_at: row.ends_at.map(|at| from_ms("announcements.ends_at", at)).transpose()?,
            created_by: row.created_by,
            created_at: from_ms("announcements.created_at", row.created_at)?,
        })
    }
}

/// Writes an announcement down.
pub async fn announcement_insert(tx: &mut Conn, it: &Announcement) -> Result<(), DbError> {
    let sql = "INSERT INTO announcements (id, title, body, level, starts_at, ends_at, created_by, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let insert = sqlx::query(sql).bind(it.id.to_string()).bind(it.title.clone()).bind(it.body.clone());
    let insert = insert.bind(to_word("announcements.level", &it.level)?).bind(to_ms(it.starts_at));
    let insert = insert.bind(it.ends_at.map(to_ms)).bind(it.created_by.clone()).bind(to_ms(it.created_at));
    insert.execute(tx).await?;
    Ok(())
}

/// The announcement, or [`DbError::NotFound`].
pub async fn announcement_get(conn: &mut Conn, id: AnnouncementId) -> Result<Announcement, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM announcements WHERE id = $1").bind(id.to_string());
    Announcement::try_from(select.fetch_one(conn).await?)
}

/// One page, the youngest first: of all, or of those that are shown at a time.
pub async fn announcements_page(
    conn: &mut Conn,
    shown_at: Option<Timestamp>,
    paging: Paging,
) -> Result<Page<Announcement>, DbError> {
    let at = shown_at.map_or(-1, to_ms);
    let sql = "SELECT * FROM announcements WHERE $1 < 0 OR (starts_at <= $1 AND (ends_at IS NULL OR ends_at > $1))
               ORDER BY starts_at DESC, id DESC LIMIT $2 OFFSET $3";
    let select = sqlx::query_as::<_, Row>(sql).bind(at).bind(paging.limit()).bind(paging.offset());
    let rows = select.fetch_all(&mut *conn).await?;
    let sql = "SELECT COUNT(*) FROM announcements
               WHERE $1 < 0 OR (starts_at <= $1 AND (ends_at IS NULL OR ends_at > $1))";
    let total: i64 = sqlx::query_scalar(sql).bind(at).fetch_one(conn).await?;
    let items = rows.into_iter().map(Announcement::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("announcements", total)? })
}

/// Changes everything that an announcement says.
pub async fn announcement_update(tx: &mut Conn, it: &Announcement) -> Result<(), DbError> {
    let sql = "UPDATE announcements SET title = $1, body = $2, level = $3, starts_at = $4, ends_at = $5 WHERE id = $6";
    let update = sqlx::query(sql).bind(it.title.clone()).bind(it.body.clone());
    let update = update.bind(to_word("announcements.level", &it.level)?).bind(to_ms(it.starts_at));
    let done = update.bind(it.ends_at.map(to_ms)).bind(it.id.to_string()).execute(tx).await?;
    exactly_one(&done).map_err(|_| DbError::NotFound)
}

/// Removes an announcement.
pub async fn announcement_delete(tx: &mut Conn, id: AnnouncementId) -> Result<(), DbError> {
    let done = sqlx::query("DELETE FROM announcements WHERE id = $1").bind(id.to_string()).execute(tx).await?;
    exactly_one(&done).map_err(|_| DbError::NotFound)
}
