//! Schedules: when something is done to a server. What came of it is in [`super::schedule_runs`].

use model::{ScheduleId, ServerId, Timestamp};

use super::{Conn, DbError, Page, Paging, exactly_one, from_i64, from_json, from_ms, parse, to_json, to_ms};
use crate::schedule::Task;

/// One schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// Whose.
    pub server_id: ServerId,
    /// For people.
    pub name: String,
    /// Five fields.
    pub cron: String,
    /// IANA name.
    pub time_zone: String,
    /// Whether the clock runs it.
    pub enabled: bool,
    /// Whether it is left out while the game does not run.
    pub only_when_online: bool,
    /// What it does, in this order.
    pub tasks: Vec<Task>,
    /// When it is due next; none while it is disabled.
    pub next_run_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    server_id: String,
    name: String,
    cron: String,
    time_zone: String,
    enabled: i64,
    only_when_online: i64,
    tasks: String,
    next_run_at: Option<i64>,
    created_at: i64,
}

impl TryFrom<Row> for Schedule {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("schedules.id", &row.id)?,
            server_id: parse("schedules.server_id", &row.server_id)?,
            name: row.name,
            cron: row.cron,
            time_zone: row.time_zone,
            enabled: row.enabled != 0,
            only_when_online: row.only_when_online != 0,
            tasks: from_json("schedules.tasks", &row.tasks)?,
            next_run_at: row.next_run_at.map(|at| from_ms("schedules.next_run_at", at)).transpose()?,
            created_at: from_ms("schedules.created_at", row.created_at)?,
        })
    }
}

/// Writes a schedule down.
pub async fn schedule_insert(tx: &mut Conn, it: &Schedule) -> Result<(), DbError> {
    let sql = "INSERT INTO schedules (id, server_id, name, cron, time_zone, enabled, only_when_online, tasks,
               next_run_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let insert = sqlx::query(sql).bind(it.id.to_string()).bind(it.server_id.to_string()).bind(it.name.clone());
    let insert = insert.bind(it.cron.clone()).bind(it.time_zone.clone()).bind(i64::from(it.enabled));
    let insert = insert.bind(i64::from(it.only_when_online)).bind(to_json("schedules.tasks", &it.tasks)?);
    insert.bind(it.next_run_at.map(to_ms)).bind(to_ms(it.created_at)).execute(tx).await?;
    Ok(())
}

/// The schedule of a server, or [`DbError::NotFound`].
pub async fn schedule_get(conn: &mut Conn, server: ServerId, id: ScheduleId) -> Result<Schedule, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM schedules WHERE id = $1 AND server_id = $2");
    Schedule::try_from(select.bind(id.to_string()).bind(server.to_string()).fetch_one(conn).await?)
}

/// One page of those of a server, the oldest first.
pub async fn schedules_page(conn: &mut Conn, server: ServerId, paging: Paging) -> Result<Page<Schedule>, DbError> {
    let sql = "SELECT * FROM schedules WHERE server_id = $1 ORDER BY id LIMIT $2 OFFSET $3";
    let select = sqlx::query_as::<_, Row>(sql).bind(server.to_string());
    let rows = select.bind(paging.limit()).bind(paging.offset()).fetch_all(&mut *conn).await?;
    let items = rows.into_iter().map(Schedule::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: schedules_count(conn, server).await? })
}

/// How many a server has.
pub async fn schedules_count(conn: &mut Conn, server: ServerId) -> Result<u64, DbError> {
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM schedules WHERE server_id = $1").bind(server.to_string());
    from_i64("schedules", count.fetch_one(conn).await?)
}

/// Changes everything that a person may change, and when it is due next.
pub async fn schedule_update(tx: &mut Conn, it: &Schedule) -> Result<(), DbError> {
    let sql = "UPDATE schedules SET name = $1, cron = $2, time_zone = $3, enabled = $4, only_when_online = $5,
               tasks = $6, next_run_at = $7 WHERE id = $8";
    let update = sqlx::query(sql).bind(it.name.clone()).bind(it.cron.clone()).bind(it.time_zone.clone());
    let update = update.bind(i64::from(it.enabled)).bind(i64::from(it.only_when_online));
    let update = update.bind(to_json("schedules.tasks", &it.tasks)?).bind(it.next_run_at.map(to_ms));
    exactly_one(&update.bind(it.id.to_string()).execute(tx).await?).map_err(|_| DbError::NotFound)
}

/// Removes a schedule and its history.
pub async fn schedule_delete(tx: &mut Conn, server: ServerId, id: ScheduleId) -> Result<(), DbError> {
    let delete = sqlx::query("DELETE FROM schedules WHERE id = $1 AND server_id = $2").bind(id.to_string());
    exactly_one(&delete.bind(server.to_string()).execute(tx).await?).map_err(|_| DbError::NotFound)
}

/// Those that are due, the longest first.
pub async fn schedules_due(conn: &mut Conn, now: Timestamp) -> Result<Vec<Schedule>, DbError> {
    let sql = "SELECT * FROM schedules WHERE enabled = 1 AND next_run_at <= $1 ORDER BY next_run_at, id LIMIT 500";
    let rows = sqlx::query_as::<_, Row>(sql).bind(to_ms(now)).fetch_all(conn).await?;
    rows.into_iter().map(Schedule::try_from).collect()
}

/// Takes the time at which a schedule is due: it is due at `next` now. [`DbError::Conflict`] if somebody took it, changed
/// the schedule or disabled it.
pub async fn schedule_claim(
    tx: &mut Conn,
    id: ScheduleId,
    due_at: Timestamp,
    next: Option<Timestamp>,
) -> Result<(), DbError> {
    let sql = "UPDATE schedules SET next_run_at = $1 WHERE id = $2 AND enabled = 1 AND next_run_at = $3";
    let update = sqlx::query(sql).bind(next.map(to_ms)).bind(id.to_string()).bind(to_ms(due_at));
    exactly_one(&update.execute(tx).await?)
}
