//! Transfers: what was asked for, where it stands, what came of it.
//!
//! The saga's log says what happens next; these rows are what people are shown, and what other parts of the panel
//! count with (reservations, locks). [`ownership`] has the few statements that move a server.

mod addresses;
mod events;
mod operate;
mod owed;
mod ownership;
mod row;

use model::{
    AllocationId, CopyPath, CopyProgress, CopyReceipt, Epoch, Failure, Limits, Mode, NodeId, Options, ServerId, Stage,
    Timestamp, TransferId, TransferState,
};
use sqlx::AssertSqlSafe;

pub use addresses::{
    AddressMove, End, VariableMove, addresses_insert, addresses_of, notes_carry, targets_of, variables_back,
    variables_move, variables_of,
};
pub use events::{EventRow, event_append, events_after, events_since};
pub use operate::{
    Later, later, options_set, pause_end, pause_request, paused_show, settle, transfer_reopen, undone_now, unsettle,
};
pub use owed::{Owed, owed_insert, owed_list, owed_paid};
pub use ownership::{
    Switch, epoch_raise, lock_confirm, lock_release, reserved_for_return, server_switch, source_released,
};

use super::nodes::NodeKind;
use super::{
    Conn, DbError, Page, Paging, direction, exactly_one, from_i64, from_ms, from_word, to_i64, to_json, to_ms, to_word,
};

/// One transfer.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    /// Its id, and its saga's.
    pub id: TransferId,
    /// The server that moves.
    pub server_id: ServerId,
    /// Live or cold.
    pub mode: Mode,
    /// Where it stands.
    pub state: TransferState,
    /// The same in the words of the product's page.
    pub stage: Stage,
    /// Where from.
    pub source_node_id: NodeId,
    /// What that is.
    pub source_kind: NodeKind,
    /// Where to.
    pub target_node_id: NodeId,
    /// What that is.
    pub target_kind: NodeKind,
    /// Primary allocation at its start.
    pub source_allocation_id: Option<AllocationId>,
    /// Primary allocation on the target.
    pub target_allocation_id: Option<AllocationId>,
    /// `ip:port` of the first.
    pub source_address: Option<String>,
    /// `ip:port` of the second.
    pub target_address: Option<String>,
    /// What the caller chose.
    pub options: Options,
    /// Epoch of the server at its start.
    pub epoch: Epoch,
    /// What is kept for it on the target.
    pub reserved: Limits,
    /// Where the copy stands, as last written down.
    pub progress: CopyProgress,
    /// Which way the copy takes, once one was looked for.
    pub path: Option<CopyPath>,
    /// What the copy can prove.
    pub receipt: Option<CopyReceipt>,
    /// Milliseconds from the end of the game's process on the source to its start on the target.
    pub freeze_ms: Option<u64>,
    /// Milliseconds that it then took to be up.
    pub boot_ms: Option<u64>,
    /// Why it did not complete.
    pub failure: Option<Failure>,
    /// Whether a cancel was accepted.
    pub cancel_requested: bool,
    /// Whether a pause was accepted that nobody has ended yet.
    pub pause_requested: bool,
    /// Where it is held, if it is.
    pub paused: Option<Paused>,
    /// How often its options were changed.
    pub tuned: u64,
    /// Whether the server is about to be stopped, or was.
    pub settled: bool,
    /// When the source's copy may be destroyed.
    pub retained_until: Option<Timestamp>,
    /// How big that is.
    pub retained_bytes: Option<u64>,
    /// The one that was rolled back and that this one tries again.
    pub retry_of: Option<TransferId>,
    /// The one that completed and that this one takes back.
    pub undo_of: Option<TransferId>,
    /// Who asked for it.
    pub requested_by: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it came to rest.
    pub finished_at: Option<Timestamp>,
}

/// Where a transfer is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// The saga's step that comes next, or is begun again.
    pub step: String,
    /// Since when.
    pub since: Timestamp,
}

/// A stage that was entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageRow {
    /// Which.
    pub name: Stage,
    /// When it began.
    pub started_at: Timestamp,
    /// When the next one began, or the transfer ended.
    pub finished_at: Option<Timestamp>,
}

/// What a list of transfers is narrowed to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// In this state.
    pub state: Option<TransferState>,
    /// Of this server.
    pub server_id: Option<ServerId>,
    /// From or to this node.
    pub node_id: Option<NodeId>,
}

/// Columns by which a list can be ordered.
pub const SORTS: &[&str] = &["created_at", "finished_at", "state"];

/// Writes a new transfer down.
pub async fn transfer_insert(tx: &mut Conn, transfer: &Transfer) -> Result<(), DbError> {
    let sql = "INSERT INTO transfers (id, server_id, mode, state, stage, source_node_id, target_node_id,
               source_allocation_id, target_allocation_id, source_address, target_address, options, epoch, memory_mb,
               disk_mb, cpu_percent, progress, requested_by, created_at, source_kind, target_kind,
               retry_of, undo_of)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
               $23)";
    let id = |id: Option<AllocationId>| id.map(|id| id.to_string());
    sqlx::query(sql)
        .bind(transfer.id.to_string())
        .bind(transfer.server_id.to_string())
        .bind(to_word("transfers.mode", &transfer.mode)?)
        .bind(to_word("transfers.state", &transfer.state)?)
        .bind(to_word("transfers.stage", &transfer.stage)?)
        .bind(transfer.source_node_id.to_string())
        .bind(transfer.target_node_id.to_string())
        .bind(id(transfer.source_allocation_id))
        .bind(id(transfer.target_allocation_id))
        .bind(transfer.source_address.clone())
        .bind(transfer.target_address.clone())
        .bind(to_json("transfers.options", &transfer.options)?)
        .bind(to_i64(transfer.epoch.0))
        .bind(to_i64(transfer.reserved.memory_mb))
        .bind(to_i64(transfer.reserved.disk_mb))
        .bind(to_i64(transfer.reserved.cpu_percent))
        .bind(to_json("transfers.progress", &transfer.progress)?)
        .bind(transfer.requested_by.clone())
        .bind(to_ms(transfer.created_at))
        .bind(to_word("transfers.source_kind", &transfer.source_kind)?)
        .bind(to_word("transfers.target_kind", &transfer.target_kind)?)
        .bind(transfer.retry_of.map(|id| id.to_string()))
        .bind(transfer.undo_of.map(|id| id.to_string()))
        .execute(tx)
        .await?;
    Ok(())
}

/// The transfer, or [`DbError::NotFound`].
pub async fn transfer_get(conn: &mut Conn, id: TransferId) -> Result<Transfer, DbError> {
    let select = sqlx::query_as::<_, row::Row>("SELECT * FROM transfers WHERE id = $1").bind(id.to_string());
    select.fetch_one(conn).await?.try_into()
}

/// The current or last one of a server, or [`DbError::NotFound`].
pub async fn transfer_of_server(conn: &mut Conn, server: ServerId) -> Result<Transfer, DbError> {
    let sql = "SELECT * FROM transfers WHERE server_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1";
    sqlx::query_as::<_, row::Row>(sql).bind(server.to_string()).fetch_one(conn).await?.try_into()
}

/// The youngest that came to its end between two places, in either direction: what was measured then is the best that is
/// known about the way between them.
pub async fn transfer_between(conn: &mut Conn, one: NodeId, other: NodeId) -> Result<Option<Transfer>, DbError> {
    let sql = "SELECT * FROM transfers WHERE state = 'completed'
               AND ((source_node_id = $1 AND target_node_id = $2) OR (source_node_id = $2 AND target_node_id = $1))
               ORDER BY created_at DESC, id DESC LIMIT 1";
    let select = sqlx::query_as::<_, row::Row>(sql).bind(one.to_string()).bind(other.to_string());
    select.fetch_optional(conn).await?.map(Transfer::try_from).transpose()
}

/// One page. `column` is one of [`SORTS`].
pub async fn transfers_page(
    conn: &mut Conn,
    filter: Filter,
    paging: Paging,
    column: &'static str,
    descending: bool,
) -> Result<Page<Transfer>, DbError> {
    const WHERE: &str = "FROM transfers WHERE ($1 = '' OR state = $1) AND ($2 = '' OR server_id = $2)
        AND ($3 = '' OR source_node_id = $3 OR target_node_id = $3)";
    let state = filter.state.map_or(Ok(String::new()), |state| to_word("transfers.state", &state))?;
    let server = filter.server_id.map_or_else(String::new, |id| id.to_string());
    let node = filter.node_id.map_or_else(String::new, |id| id.to_string());
    let direction = direction(descending);
    let sql = format!("SELECT * {WHERE} ORDER BY {column} {direction}, id {direction} LIMIT $4 OFFSET $5");
    let select = sqlx::query_as::<_, row::Row>(AssertSqlSafe(sql)).bind(state.clone()).bind(server.clone());
    let select = select.bind(node.clone()).bind(paging.limit()).bind(paging.offset());
    let rows = select.fetch_all(&mut *conn).await?;
    let count = sqlx::query_scalar(AssertSqlSafe(format!("SELECT COUNT(*) {WHERE}")));
    let total: i64 = count.bind(state).bind(server).bind(node).fetch_one(conn).await?;
    let items = rows.into_iter().map(Transfer::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("transfers", total)? })
}

/// Shows where it stands. A transfer that is over stays over.
pub async fn transfer_show(conn: &mut Conn, id: TransferId, state: TransferState) -> Result<(), DbError> {
    let sql = "UPDATE transfers SET state = $1 WHERE id = $2 AND finished_at IS NULL";
    let update = sqlx::query(sql).bind(to_word("transfers.state", &state)?).bind(id.to_string());
    // No row: it is over, and a late word about its middle counts for nothing.
    update.execute(&mut *conn).await?;
    let sql = "UPDATE servers SET transfer_state = $1 WHERE locked_by = $2";
    let update = sqlx::query(sql).bind(to_word("servers.transfer_state", &state)?).bind(id.to_string());
    update.execute(conn).await?;
    Ok(())
}

/// It came to rest. Answers false if it had before.
pub async fn transfer_finish(
    tx: &mut Conn,
    id: TransferId,
    state: TransferState,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Result<bool, DbError> {
    let sql = "UPDATE transfers SET state = $1, failure = $2, finished_at = $3 WHERE id = $4 AND finished_at IS NULL";
    let failure = failure.map(|failure| to_json("transfers.failure", failure)).transpose()?;
    let update = sqlx::query(sql).bind(to_word("transfers.state", &state)?).bind(failure).bind(to_ms(now));
    let done = update.bind(id.to_string()).execute(&mut *tx).await?;
    let sql = "UPDATE transfer_stages SET finished_at = $1 WHERE transfer_id = $2 AND finished_at IS NULL";
    sqlx::query(sql).bind(to_ms(now)).bind(id.to_string()).execute(tx).await?;
    Ok(done.rows_affected() == 1)
}

/// Accepts a cancel. [`DbError::Conflict`] unless the transfer is going on.
pub async fn transfer_cancel(conn: &mut Conn, id: TransferId) -> Result<(), DbError> {
    let sql = "UPDATE transfers SET cancel_requested = 1, state = 'cancelling'
               WHERE id = $1 AND state IN ('queued', 'running', 'paused', 'cancelling')";
    exactly_one(&sqlx::query(sql).bind(id.to_string()).execute(conn).await?)
}

/// The same where it is honoured already, and the transfer may have come to its end by that.
pub async fn transfer_cancelled(conn: &mut Conn, id: TransferId) -> Result<(), DbError> {
    let sql = "UPDATE transfers SET cancel_requested = 1 WHERE id = $1";
    exactly_one(&sqlx::query(sql).bind(id.to_string()).execute(conn).await?)
}

/// Enters a stage. Entering it again changes nothing; answers whether it is new.
pub async fn stage_enter(tx: &mut Conn, id: TransferId, stage: Stage, now: Timestamp) -> Result<bool, DbError> {
    let name = to_word("transfer_stages.name", &stage)?;
    let sql = "INSERT INTO transfer_stages (transfer_id, name, started_at) VALUES ($1, $2, $3)
               ON CONFLICT (transfer_id, name) DO NOTHING";
    let insert = sqlx::query(sql).bind(id.to_string()).bind(name.clone()).bind(to_ms(now));
    if insert.execute(&mut *tx).await?.rows_affected() == 0 {
        return Ok(false);
    }
    let sql = "UPDATE transfer_stages SET finished_at = $1
               WHERE transfer_id = $2 AND name <> $3 AND finished_at IS NULL";
    sqlx::query(sql).bind(to_ms(now)).bind(id.to_string()).bind(name.clone()).execute(&mut *tx).await?;
    let update = sqlx::query("UPDATE transfers SET stage = $1 WHERE id = $2").bind(name).bind(id.to_string());
    exactly_one(&update.execute(tx).await?)?;
    Ok(true)
}

/// The stages that were entered, in that order.
pub async fn stages_of(conn: &mut Conn, id: TransferId) -> Result<Vec<StageRow>, DbError> {
    let sql = "SELECT name, started_at, finished_at FROM transfer_stages WHERE transfer_id = $1";
    let rows: Vec<(String, i64, Option<i64>)> = sqlx::query_as(sql).bind(id.to_string()).fetch_all(conn).await?;
    let read = |(name, started, finished): (String, i64, Option<i64>)| {
        Ok(StageRow {
            name: from_word("transfer_stages.name", &name)?,
            started_at: from_ms("transfer_stages.started_at", started)?,
            finished_at: finished.map(|at| from_ms("transfer_stages.finished_at", at)).transpose()?,
        })
    };
    let mut stages = rows.into_iter().map(read).collect::<Result<Vec<_>, DbError>>()?;
    stages.sort_by_key(|stage| (stage.started_at, stage.name));
    Ok(stages)
}

/// Where the copy stands. A transfer that is over keeps its last word: one that was on its way may come late.
pub async fn progress_set(conn: &mut Conn, id: TransferId, progress: &CopyProgress) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE transfers SET progress = $1 WHERE id = $2 AND finished_at IS NULL");
    update.bind(to_json("transfers.progress", progress)?).bind(id.to_string()).execute(conn).await?;
    Ok(())
}

/// Which way the copy takes. The last word counts: a way that failed in the middle is followed by another.
pub async fn path_set(conn: &mut Conn, id: TransferId, path: &CopyPath) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE transfers SET path = $1 WHERE id = $2");
    let update = update.bind(to_json("transfers.path", path)?).bind(id.to_string());
    exactly_one(&update.execute(conn).await?)
}

/// What the copy can prove.
pub async fn receipt_set(conn: &mut Conn, id: TransferId, receipt: &CopyReceipt) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE transfers SET receipt = $1 WHERE id = $2");
    let update = update.bind(to_json("transfers.receipt", receipt)?).bind(id.to_string());
    exactly_one(&update.execute(conn).await?)
}

/// How long the server was frozen.
pub async fn freeze_set(conn: &mut Conn, id: TransferId, freeze_ms: u64) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE transfers SET freeze_ms = $1 WHERE id = $2").bind(to_i64(freeze_ms));
    exactly_one(&update.bind(id.to_string()).execute(conn).await?)
}

/// How long it took to be up.
pub async fn boot_set(conn: &mut Conn, id: TransferId, boot_ms: u64) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE transfers SET boot_ms = $1 WHERE id = $2").bind(to_i64(boot_ms));
    exactly_one(&update.bind(id.to_string()).execute(conn).await?)
}

/// Settles until when the source's copy is kept, once; answers what is settled.
pub async fn retained_until(tx: &mut Conn, id: TransferId, wanted: Timestamp) -> Result<Timestamp, DbError> {
    let sql = "UPDATE transfers SET retained_until = COALESCE(retained_until, $1) WHERE id = $2";
    exactly_one(&sqlx::query(sql).bind(to_ms(wanted)).bind(id.to_string()).execute(&mut *tx).await?)?;
    let settled: i64 = sqlx::query_scalar("SELECT retained_until FROM transfers WHERE id = $1")
        .bind(id.to_string())
        .fetch_one(tx)
        .await?;
    from_ms("transfers.retained_until", settled)
}

/// How big the source's copy is.
pub async fn retained_bytes(conn: &mut Conn, id: TransferId, bytes: u64) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE transfers SET retained_bytes = $1 WHERE id = $2").bind(to_i64(bytes));
    exactly_one(&update.bind(id.to_string()).execute(conn).await?)
}

/// The source's copy is gone.
pub async fn retained_gone(conn: &mut Conn, id: TransferId, now: Timestamp) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE transfers SET retained_until = $1, retained_bytes = 0 WHERE id = $2");
    exactly_one(&update.bind(to_ms(now)).bind(id.to_string()).execute(conn).await?)
}
