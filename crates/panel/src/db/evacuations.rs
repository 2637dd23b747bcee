//! Evacuations: several servers that are moved one after the other, and the turn of each.
//!
//! Each change of an item names the state that it comes from, so that two who act on the same rows cannot both have
//! their way. What comes next is decided in [`crate::evacuate`], from these rows alone.

use model::{EvacuationId, EvacuationItemId, Failure, NodeId, Options, ServerId, Timestamp, TransferId, TransferState};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;

use super::nodes::NodeKind;
use super::{
    Conn, DbError, Page, Paging, direction, exactly_one, from_i64, from_json, from_ms, from_word, parse, to_i64,
    to_json, to_ms, to_word,
};

/// Where an evacuation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Servers are started one after the other.
    Running,
    /// No new ones are started; those that are on their way go on.
    Paused,
    /// No new ones are started any more, and those that are on their way end.
    Cancelling,
    /// All are where they belong.
    Completed,
    /// It came to its end, and some are not.
    CompletedWithFailures,
    /// It was called off.
    Cancelled,
}

impl State {
    /// Whether nothing will happen any more without a person.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::CompletedWithFailures | Self::Cancelled)
    }
}

/// Where the turn of one server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    /// Its turn has not come, or it cannot be started yet.
    Waiting,
    /// Its transfer has an id and may exist.
    Starting,
    /// Its transfer is on its way.
    Running,
    /// It is where it belongs.
    Completed,
    /// It is not; the problem says why.
    Failed,
    /// There was nothing to do any more.
    Skipped,
    /// It was called off before its turn came.
    Cancelled,
}

impl ItemState {
    /// Whether its turn is over.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Skipped | Self::Cancelled)
    }
}

/// Why a server was not moved, or waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable word.
    pub code: String,
    /// For people.
    pub message: String,
}

impl Problem {
    /// With a stable `code`.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

/// One evacuation.
#[derive(Clone, Debug, PartialEq)]
pub struct Evacuation {
    /// Its id.
    pub id: EvacuationId,
    /// Where it stands.
    pub state: State,
    /// What is emptied; none where servers were picked.
    pub source: Option<(NodeKind, NodeId)>,
    /// How many are on their way at once.
    pub concurrency: u64,
    /// How each is moved.
    pub options: Options,
    /// Whether a cancel is for those on their way, too.
    pub cancel_running: bool,
    /// Who asked for it.
    pub requested_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it came to its end.
    pub finished_at: Option<Timestamp>,
}

/// The turn of one server.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its id.
    pub id: EvacuationItemId,
    /// Whose it is.
    pub evacuation_id: EvacuationId,
    /// From 1.
    pub position: u64,
    /// The server.
    pub server_id: ServerId,
    /// Its name when this was planned.
    pub server_name: String,
    /// Where it was then.
    pub source_node_id: NodeId,
    /// Where it is to go.
    pub target_node_id: NodeId,
    /// What that is.
    pub target_kind: NodeKind,
    /// Bytes of content, as measured when the order was made.
    pub bytes: Option<u64>,
    /// Where it stands.
    pub state: ItemState,
    /// Its transfer.
    pub transfer_id: Option<TransferId>,
    /// Why it failed, was left out, or still waits.
    pub problem: Option<Problem>,
    /// Since when its turn has come and it could not be started.
    pub blocked_since: Option<Timestamp>,
    /// Not to be tried before.
    pub retry_at: Option<Timestamp>,
    /// When its transfer was started.
    pub started_at: Option<Timestamp>,
    /// When its turn was over.
    pub finished_at: Option<Timestamp>,
    /// What became of its transfer; none if there is no such transfer.
    pub transfer: Option<Moving>,
}

/// What an evacuation must know of a transfer.
#[derive(Clone, Debug, PartialEq)]
pub struct Moving {
    /// Where it stands.
    pub state: TransferState,
    /// Why it did not complete.
    pub failure: Option<Failure>,
    /// Whether a cancel was accepted.
    pub cancel_requested: bool,
    /// How long players waited.
    pub freeze_ms: Option<u64>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    state: String,
    source_node_id: Option<String>,
    source_kind: Option<String>,
    concurrency: i64,
    options: String,
    cancel_running: i64,
    requested_by: String,
    created_at: i64,
    finished_at: Option<i64>,
}

impl TryFrom<Row> for Evacuation {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let source = match (row.source_kind, row.source_node_id) {
            (Some(kind), Some(id)) => {
                Some((from_word("evacuations.source_kind", &kind)?, parse("evacuations.source_node_id", &id)?))
            }
            _ => None,
        };
        Ok(Self {
            id: parse("evacuations.id", &row.id)?,
            state: from_word("evacuations.state", &row.state)?,
            source,
            concurrency: from_i64("evacuations.concurrency", row.concurrency)?,
            options: from_json("evacuations.options", &row.options)?,
            cancel_running: row.cancel_running != 0,
            requested_by: row.requested_by,
            created_at: from_ms("evacuations.created_at", row.created_at)?,
            finished_at: row.finished_at.map(|at| from_ms("evacuations.finished_at", at)).transpose()?,
        })
    }
}

#[derive(sqlx::FromRow)]
struct ItemRow {
    id: String,
    evacuation_id: String,
    position: i64,
    server_id: String,
    server_name: String,
    source_node_id: String,
    target_node_id: String,
    target_kind: String,
    bytes: Option<i64>,
    state: String,
    transfer_id: Option<String>,
    problem: Option<String>,
    blocked_since: Option<i64>,
    retry_at: Option<i64>,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    t_state: Option<String>,
    t_failure: Option<String>,
    t_cancel: Option<i64>,
    t_freeze: Option<i64>,
}

impl TryFrom<ItemRow> for Item {
    type Error = DbError;

    fn try_from(row: ItemRow) -> Result<Self, DbError> {
        let time = |at: Option<i64>| at.map(|at| from_ms("evacuation_items.finished_at", at)).transpose();
        let moving = |state: String| {
            Ok::<_, DbError>(Moving {
                state: from_word("transfers.state", &state)?,
                failure: row.t_failure.map(|failure| from_json("transfers.failure", &failure)).transpose()?,
                cancel_requested: row.t_cancel == Some(1),
                freeze_ms: row.t_freeze.map(|ms| from_i64("transfers.freeze_ms", ms)).transpose()?,
            })
        };
        Ok(Self {
            id: parse("evacuation_items.id", &row.id)?,
            evacuation_id: parse("evacuation_items.evacuation_id", &row.evacuation_id)?,
            position: from_i64("evacuation_items.position", row.position)?,
            server_id: parse("evacuation_items.server_id", &row.server_id)?,
            server_name: row.server_name,
            source_node_id: parse("evacuation_items.source_node_id", &row.source_node_id)?,
            target_node_id: parse("evacuation_items.target_node_id", &row.target_node_id)?,
            target_kind: from_word("evacuation_items.target_kind", &row.target_kind)?,
            bytes: row.bytes.map(|bytes| from_i64("evacuation_items.bytes", bytes)).transpose()?,
            state: from_word("evacuation_items.state", &row.state)?,
            transfer_id: row.transfer_id.map(|id| parse("evacuation_items.transfer_id", &id)).transpose()?,
            problem: row.problem.map(|problem| from_json("evacuation_items.problem", &problem)).transpose()?,
            blocked_since: time(row.blocked_since)?,
            retry_at: time(row.retry_at)?,
            started_at: time(row.started_at)?,
            finished_at: time(row.finished_at)?,
            transfer: row.t_state.map(moving).transpose()?,
        })
    }
}

/// Columns by which a list can be ordered.
pub const SORTS: &[&str] = &["created_at", "finished_at", "state"];

/// Writes an evacuation down. Its items come with [`item_insert`], in the same transaction.
pub async fn evacuation_insert(tx: &mut Conn, it: &Evacuation) -> Result<(), DbError> {
    let sql = "INSERT INTO evacuations (id, state, source_node_id, source_kind, concurrency, options, requested_by,
               created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let kind = it.source.map(|(kind, _)| to_word("evacuations.source_kind", &kind)).transpose()?;
    let insert = sqlx::query(sql).bind(it.id.to_string()).bind(to_word("evacuations.state", &it.state)?);
    let insert = insert.bind(it.source.map(|(_, id)| id.to_string())).bind(kind).bind(to_i64(it.concurrency));
    let insert = insert.bind(to_json("evacuations.options", &it.options)?).bind(it.requested_by.clone());
    insert.bind(to_ms(it.created_at)).execute(tx).await?;
    Ok(())
}

/// Writes the turn of one server down: it waits.
pub async fn item_insert(tx: &mut Conn, item: &Item) -> Result<(), DbError> {
    let sql = "INSERT INTO evacuation_items (id, evacuation_id, position, server_id, server_name, source_node_id,
               target_node_id, target_kind, bytes, state) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'waiting')";
    let insert = sqlx::query(sql).bind(item.id.to_string()).bind(item.evacuation_id.to_string());
    let insert = insert.bind(to_i64(item.position)).bind(item.server_id.to_string()).bind(item.server_name.clone());
    let insert = insert.bind(item.source_node_id.to_string()).bind(item.target_node_id.to_string());
    let insert = insert.bind(to_word("evacuation_items.target_kind", &item.target_kind)?);
    insert.bind(item.bytes.map(to_i64)).execute(tx).await?;
    Ok(())
}

/// The evacuation, or [`DbError::NotFound`].
pub async fn evacuation_get(conn: &mut Conn, id: EvacuationId) -> Result<Evacuation, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM evacuations WHERE id = $1").bind(id.to_string());
    select.fetch_one(conn).await?.try_into()
}

/// Those that are not over.
pub async fn evacuations_unfinished(conn: &mut Conn) -> Result<Vec<Evacuation>, DbError> {
    let sql = "SELECT * FROM evacuations WHERE state IN ('running', 'paused', 'cancelling') ORDER BY created_at, id";
    let rows: Vec<Row> = sqlx::query_as(sql).fetch_all(conn).await?;
    rows.into_iter().map(Evacuation::try_from).collect()
}

/// One page. `column` is one of [`SORTS`].
pub async fn evacuations_page(
    conn: &mut Conn,
    state: Option<State>,
    paging: Paging,
    column: &'static str,
    descending: bool,
) -> Result<Page<Evacuation>, DbError> {
    let state = state.map_or(Ok(String::new()), |state| to_word("evacuations.state", &state))?;
    let direction = direction(descending);
    let sql = format!(
        "SELECT * FROM evacuations WHERE ($1 = '' OR state = $1) ORDER BY {column} {direction}, id {direction}
         LIMIT $2 OFFSET $3"
    );
    let select = sqlx::query_as::<_, Row>(AssertSqlSafe(sql)).bind(state.clone());
    let rows = select.bind(paging.limit()).bind(paging.offset()).fetch_all(&mut *conn).await?;
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM evacuations WHERE ($1 = '' OR state = $1)").bind(state);
    let total: i64 = count.fetch_one(conn).await?;
    let items = rows.into_iter().map(Evacuation::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("evacuations", total)? })
}

/// Its items in their order, with what became of their transfers.
pub async fn items_of(conn: &mut Conn, id: EvacuationId) -> Result<Vec<Item>, DbError> {
    let sql = "SELECT i.*, t.state AS t_state, t.failure AS t_failure, t.cancel_requested AS t_cancel,
               t.freeze_ms AS t_freeze
               FROM evacuation_items i LEFT JOIN transfers t ON t.id = i.transfer_id
               WHERE i.evacuation_id = $1 ORDER BY i.position, i.id";
    let rows: Vec<ItemRow> = sqlx::query_as(sql).bind(id.to_string()).fetch_all(conn).await?;
    rows.into_iter().map(Item::try_from).collect()
}

/// How many items of an evacuation are in each state.
pub async fn items_count(conn: &mut Conn, id: EvacuationId) -> Result<Vec<(ItemState, u64)>, DbError> {
    let sql = "SELECT state, COUNT(*) FROM evacuation_items WHERE evacuation_id = $1 GROUP BY state ORDER BY state";
    let rows: Vec<(String, i64)> = sqlx::query_as(sql).bind(id.to_string()).fetch_all(conn).await?;
    let read = |(state, count): (String, i64)| {
        Ok((from_word("evacuation_items.state", &state)?, from_i64("evacuation_items", count)?))
    };
    rows.into_iter().map(read).collect()
}

/// Goes from one state to another. [`DbError::Conflict`] unless it is in the first.
pub async fn evacuation_turn(conn: &mut Conn, id: EvacuationId, from: State, to: State) -> Result<(), DbError> {
    let sql = "UPDATE evacuations SET state = $1, finished_at = NULL WHERE id = $2 AND state = $3";
    let update = sqlx::query(sql).bind(to_word("evacuations.state", &to)?).bind(id.to_string());
    exactly_one(&update.bind(to_word("evacuations.state", &from)?).execute(conn).await?)
}

/// Comes to its end. [`DbError::Conflict`] unless it is still in `from`.
pub async fn evacuation_finish(
    conn: &mut Conn,
    id: EvacuationId,
    from: State,
    to: State,
    now: Timestamp,
) -> Result<(), DbError> {
    let sql = "UPDATE evacuations SET state = $1, finished_at = $2 WHERE id = $3 AND state = $4";
    let update = sqlx::query(sql).bind(to_word("evacuations.state", &to)?).bind(to_ms(now)).bind(id.to_string());
    exactly_one(&update.bind(to_word("evacuations.state", &from)?).execute(conn).await?)
}

/// Is called off. What waits is over at once, in the same transaction. [`DbError::Conflict`] unless it is in `from`.
pub async fn evacuation_cancel(
    tx: &mut Conn,
    id: EvacuationId,
    from: State,
    running_too: bool,
    now: Timestamp,
) -> Result<(), DbError> {
    evacuation_turn(tx, id, from, State::Cancelling).await?;
    let sql = "UPDATE evacuations SET cancel_running = $1 WHERE id = $2";
    let update = sqlx::query(sql).bind(i64::from(running_too)).bind(id.to_string());
    exactly_one(&update.execute(&mut *tx).await?)?;
    let sql = "UPDATE evacuation_items SET state = 'cancelled', finished_at = $1
               WHERE evacuation_id = $2 AND state = 'waiting'";
    sqlx::query(sql).bind(to_ms(now)).bind(id.to_string()).execute(tx).await?;
    Ok(())
}

/// Lets those that failed wait again, behind those that wait already. Answers how many.
pub async fn items_retry(tx: &mut Conn, id: EvacuationId) -> Result<u64, DbError> {
    let sql = "UPDATE evacuation_items SET state = 'waiting', transfer_id = NULL, problem = NULL, blocked_since = NULL,
               retry_at = NULL, started_at = NULL, finished_at = NULL
               WHERE evacuation_id = $1 AND state = 'failed'";
    Ok(sqlx::query(sql).bind(id.to_string()).execute(tx).await?.rows_affected())
}

/// Its turn has come: the id of its transfer is written down before there is one.
pub async fn item_choose(
    conn: &mut Conn,
    id: EvacuationItemId,
    transfer: TransferId,
    now: Timestamp,
) -> Result<(), DbError> {
    let sql = "UPDATE evacuation_items SET state = 'starting', transfer_id = $1, started_at = $2
               WHERE id = $3 AND state = 'waiting'";
    let update = sqlx::query(sql).bind(transfer.to_string()).bind(to_ms(now)).bind(id.to_string());
    exactly_one(&update.execute(conn).await?)
}

/// Its transfer exists.
pub async fn item_started(conn: &mut Conn, id: EvacuationItemId) -> Result<(), DbError> {
    let sql = "UPDATE evacuation_items SET state = 'running', problem = NULL, blocked_since = NULL, retry_at = NULL
               WHERE id = $1 AND state = 'starting'";
    exactly_one(&sqlx::query(sql).bind(id.to_string()).execute(conn).await?)
}

/// It could not be started and waits again: for `problem` to pass if there is one.
pub async fn item_wait(
    conn: &mut Conn,
    id: EvacuationItemId,
    waits: Option<(&Problem, Timestamp, Timestamp)>,
) -> Result<(), DbError> {
    let sql = "UPDATE evacuation_items SET state = 'waiting', transfer_id = NULL, started_at = NULL, problem = $1,
               blocked_since = $2, retry_at = $3 WHERE id = $4 AND state = 'starting'";
    let problem = waits.map(|(problem, ..)| to_json("evacuation_items.problem", problem)).transpose()?;
    let update = sqlx::query(sql).bind(problem).bind(waits.map(|(_, since, _)| to_ms(since)));
    let update = update.bind(waits.map(|(.., retry)| to_ms(retry))).bind(id.to_string());
    exactly_one(&update.execute(conn).await?)
}

/// Its turn is over. [`DbError::Conflict`] unless it is in `from`.
pub async fn item_end(
    conn: &mut Conn,
    id: EvacuationItemId,
    (from, to): (ItemState, ItemState),
    problem: Option<&Problem>,
    now: Timestamp,
) -> Result<(), DbError> {
    let sql = "UPDATE evacuation_items SET state = $1, problem = $2, finished_at = $3, retry_at = NULL
               WHERE id = $4 AND state = $5";
    let problem = problem.map(|problem| to_json("evacuation_items.problem", problem)).transpose()?;
    let update = sqlx::query(sql).bind(to_word("evacuation_items.state", &to)?).bind(problem).bind(to_ms(now));
    let update = update.bind(id.to_string()).bind(to_word("evacuation_items.state", &from)?);
    exactly_one(&update.execute(conn).await?)
}
