//! Who changed what. Rows are only ever added, in the transaction of the change where there is one.

use model::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{Conn, DbError, Page, Paging, direction, from_i64, from_json, from_ms, parse, to_json, to_ms};

/// Writes down that `actor` did `action` (`server.create`) to `subject` (an id).
pub async fn audit(
    conn: &mut Conn,
    now: Timestamp,
    actor: &str,
    action: &'static str,
    subject: impl ToString,
    details: &(impl Serialize + Sync),
) -> Result<(), DbError> {
    let sql = "INSERT INTO audit_log (id, at, actor, action, subject, details) VALUES ($1, $2, $3, $4, $5, $6)";
    let insert = sqlx::query(sql).bind(Uuid::now_v7().to_string()).bind(to_ms(now)).bind(actor.to_owned());
    let insert = insert.bind(action).bind(subject.to_string()).bind(to_json("audit_log.details", details)?);
    insert.execute(conn).await?;
    Ok(())
}

/// Something that was done.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// By whom: `user:<id>:<name>`, `api_key:<id>:<name>`, `address:<address>`.
    pub actor: String,
    /// What: `server.create`.
    pub action: String,
    /// To what, an id as a rule.
    pub subject: String,
    /// More, by action.
    pub details: Value,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    at: i64,
    actor: String,
    action: String,
    subject: String,
    details: String,
}

impl TryFrom<Row> for Entry {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("audit_log.id", &row.id)?,
            at: from_ms("audit_log.at", row.at)?,
            actor: row.actor,
            action: row.action,
            subject: row.subject,
            details: from_json("audit_log.details", &row.details)?,
        })
    }
}

/// What the log is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The beginning of the actor: `user:<id>`, or the whole of it.
    pub actor: Option<String>,
    /// Exactly this action (`server.create`), or all of a noun (`server`).
    pub action: Option<String>,
    /// To exactly this.
    pub subject: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

/// One page, by time.
pub async fn audit_page(
    conn: &mut Conn,
    filter: &Filter,
    paging: Paging,
    descending: bool,
) -> Result<Page<Entry>, DbError> {
    // SUBSTR and not LIKE: a name may have `%` in it, and SQLite's LIKE knows no case.
    const WHERE: &str = "WHERE ($1 = '' OR SUBSTR(actor, 1, LENGTH($1)) = $1)
        AND ($2 = '' OR action = $2 OR SUBSTR(action, 1, LENGTH($2) + 1) = $2 || '.')
        AND ($3 = '' OR subject = $3) AND at >= $4 AND at < $5";
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (actor, action, subject) = (text(&filter.actor), text(&filter.action), text(&filter.subject));
    let (from, until) = (filter.from.map_or(i64::MIN, to_ms), filter.until.map_or(i64::MAX, to_ms));
    let direction = direction(descending);
    let sql = format!("SELECT * FROM audit_log {WHERE} ORDER BY at {direction}, id {direction} LIMIT $6 OFFSET $7");
    let select = sqlx::query_as::<_, Row>(AssertSqlSafe(sql)).bind(actor.clone()).bind(action.clone());
    let select = select.bind(subject.clone()).bind(from).bind(until).bind(paging.limit()).bind(paging.offset());
    let rows = select.fetch_all(&mut *conn).await?;
    let count = sqlx::query_scalar(AssertSqlSafe(format!("SELECT COUNT(*) FROM audit_log {WHERE}")));
    let total: i64 = count.bind(actor).bind(action).bind(subject).bind(from).bind(until).fetch_one(conn).await?;
    let items = rows.into_iter().map(Entry::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("audit_log", total)? })
}
