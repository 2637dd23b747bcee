//! What came of each time that a schedule was due.
//!
//! ```text
//!   due ──► running ──► completed | failed
//!    │ ▲
//!    ▼ │ the server is being transferred
//!  deferred ──► skipped          missed: the panel was down for too long, nothing was tried
//! ```

use model::{ScheduleId, ScheduleRunId, ServerId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Conn, DbError, Page, Paging, exactly_one, from_i64, from_json, from_ms, from_word, parse, to_json, to_ms, to_word,
};
use crate::schedule::Task;

/// Runs of one schedule that are kept.
const KEPT: i64 = 100;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It begins in a moment.
    Due,
    /// It waits for the end of a transfer.
    Deferred,
    /// It goes on.
    Running,
    /// All tasks were done.
    Completed,
    /// A task was not done; the message says which and why.
    Failed,
    /// Nothing was tried; the message says why.
    Skipped,
    /// The panel was down when it was due.
    Missed,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its id.
    pub id: ScheduleRunId,
    /// Of which schedule.
    pub schedule_id: ScheduleId,
    /// Of which server.
    pub server_id: ServerId,
    /// When it was due.
    pub due_at: Timestamp,
    /// Who asked for it; none if it was the clock.
    pub requested_by: Option<String>,
    /// Where it stands.
    pub state: RunState,
    /// Why, for people.
    pub message: Option<String>,
    /// What is done, as it was when the run was due.
    pub tasks: Vec<Task>,
    /// Index of the first task that has not begun.
    pub next_task: usize,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    schedule_id: String,
    server_id: String,
    due_at: i64,
    requested_by: Option<String>,
    state: String,
    message: Option<String>,
    tasks: String,
    next_task: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
}

impl TryFrom<Row> for Run {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let next_task = from_i64("schedule_runs.next_task", row.next_task)?;
        Ok(Self {
            id: parse("schedule_runs.id", &row.id)?,
            schedule_id: parse("schedule_runs.schedule_id", &row.schedule_id)?,
            server_id: parse("schedule_runs.server_id", &row.server_id)?,
            due_at: from_ms("schedule_runs.due_at", row.due_at)?,
            requested_by: row.requested_by,
            state: from_word("schedule_runs.state", &row.state)?,
            message: row.message,
            tasks: from_json("schedule_runs.tasks", &row.tasks)?,
            next_task: usize::try_from(next_task).unwrap_or(usize::MAX),
            started_at: row.started_at.map(|at| from_ms("schedule_runs.started_at", at)).transpose()?,
            finished_at: row.finished_at.map(|at| from_ms("schedule_runs.finished_at", at)).transpose()?,
        })
    }
}

/// Writes a run down, and forgets the oldest of its schedule.
pub async fn run_insert(tx: &mut Conn, run: &Run) -> Result<(), DbError> {
    let sql = "INSERT INTO schedule_runs (id, schedule_id, server_id, due_at, requested_by, state, message, tasks,
               next_task, finished_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9)";
    let insert = sqlx::query(sql).bind(run.id.to_string()).bind(run.schedule_id.to_string());
    let insert = insert.bind(run.server_id.to_string()).bind(to_ms(run.due_at)).bind(run.requested_by.clone());
    let insert = insert.bind(to_word("schedule_runs.state", &run.state)?).bind(run.message.clone());
    let insert = insert.bind(to_json("schedule_runs.tasks", &run.tasks)?).bind(run.finished_at.map(to_ms));
    insert.execute(&mut *tx).await?;
    let sql = "DELETE FROM schedule_runs WHERE schedule_id = $1 AND finished_at IS NOT NULL AND id NOT IN
               (SELECT id FROM schedule_runs WHERE schedule_id = $1 ORDER BY id DESC LIMIT $2)";
    sqlx::query(sql).bind(run.schedule_id.to_string()).bind(KEPT).execute(tx).await?;
    Ok(())
}

/// One page of those of a schedule, the youngest first.
pub async fn runs_page(conn: &mut Conn, schedule: ScheduleId, paging: Paging) -> Result<Page<Run>, DbError> {
    let sql = "SELECT * FROM schedule_runs WHERE schedule_id = $1 ORDER BY id DESC LIMIT $2 OFFSET $3";
    let select = sqlx::query_as::<_, Row>(sql).bind(schedule.to_string());
    let rows = select.bind(paging.limit()).bind(paging.offset()).fetch_all(&mut *conn).await?;
    let sql = "SELECT COUNT(*) FROM schedule_runs WHERE schedule_id = $1";
    let total: i64 = sqlx::query_scalar(sql).bind(schedule.to_string()).fetch_one(conn).await?;
    let items = rows.into_iter().map(Run::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("schedule_runs", total)? })
}

/// The youngest of a schedule.
pub async fn run_last(conn: &mut Conn, schedule: ScheduleId) -> Result<Option<Run>, DbError> {
    let sql = "SELECT * FROM schedule_runs WHERE schedule_id = $1 ORDER BY id DESC LIMIT 1";
    let row = sqlx::query_as::<_, Row>(sql).bind(schedule.to_string()).fetch_optional(conn).await?;
    row.map(Run::try_from).transpose()
}

/// Whether one of a schedule goes on.
pub async fn run_goes_on(conn: &mut Conn, schedule: ScheduleId) -> Result<bool, DbError> {
    let sql = "SELECT COUNT(*) FROM schedule_runs WHERE schedule_id = $1 AND state = 'running'";
    let count: i64 = sqlx::query_scalar(sql).bind(schedule.to_string()).fetch_one(conn).await?;
    Ok(count > 0)
}

/// Those that have not begun, the longest due first.
pub async fn runs_waiting(conn: &mut Conn) -> Result<Vec<Run>, DbError> {
    let sql = "SELECT * FROM schedule_runs WHERE state IN ('due', 'deferred') ORDER BY due_at, id LIMIT 500";
    sqlx::query_as::<_, Row>(sql).fetch_all(conn).await?.into_iter().map(Run::try_from).collect()
}

/// Those that were cut: what a panel that starts again goes on with.
pub async fn runs_cut(conn: &mut Conn) -> Result<Vec<Run>, DbError> {
    let sql = "SELECT * FROM schedule_runs WHERE state = 'running' ORDER BY id";
    sqlx::query_as::<_, Row>(sql).fetch_all(conn).await?.into_iter().map(Run::try_from).collect()
}

/// It waits for the end of a transfer. [`DbError::Conflict`] if it does not wait any more.
pub async fn run_defer(conn: &mut Conn, id: ScheduleRunId, why: &str) -> Result<(), DbError> {
    let sql =
        "UPDATE schedule_runs SET state = 'deferred', message = $1 WHERE id = $2 AND state IN ('due', 'deferred')";
    exactly_one(&sqlx::query(sql).bind(why.to_owned()).bind(id.to_string()).execute(conn).await?)
}

/// It begins. [`DbError::Conflict`] if somebody else has begun it.
pub async fn run_begin(conn: &mut Conn, id: ScheduleRunId, now: Timestamp) -> Result<(), DbError> {
    let sql = "UPDATE schedule_runs SET state = 'running', message = NULL, started_at = $1
               WHERE id = $2 AND state IN ('due', 'deferred')";
    exactly_one(&sqlx::query(sql).bind(to_ms(now)).bind(id.to_string()).execute(conn).await?)
}

/// Its task `index` begins: whatever happens now, that one is not begun again.
pub async fn run_task_begin(conn: &mut Conn, id: ScheduleRunId, index: usize) -> Result<(), DbError> {
    let sql = "UPDATE schedule_runs SET next_task = $1 WHERE id = $2 AND state = 'running' AND next_task = $3";
    let index = i64::try_from(index).unwrap_or(i64::MAX - 1);
    exactly_one(&sqlx::query(sql).bind(index + 1).bind(id.to_string()).bind(index).execute(conn).await?)
}

/// It ends. [`DbError::Conflict`] if it has ended.
pub async fn run_end(
    conn: &mut Conn,
    id: ScheduleRunId,
    state: RunState,
    message: Option<&str>,
    now: Timestamp,
) -> Result<(), DbError> {
    let sql = "UPDATE schedule_runs SET state = $1, message = $2, finished_at = $3
               WHERE id = $4 AND finished_at IS NULL";
    let update = sqlx::query(sql).bind(to_word("schedule_runs.state", &state)?).bind(message.map(str::to_owned));
    exactly_one(&update.bind(to_ms(now)).bind(id.to_string()).execute(conn).await?)
}
