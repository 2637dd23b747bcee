//! A row of `transfers`, and what it means.

use model::{Epoch, Limits};

use super::{Paused, Transfer};
use crate::db::{DbError, from_i64, from_json, from_ms, from_word, parse};

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    id: String,
    server_id: String,
    mode: String,
    state: String,
    stage: String,
    source_node_id: String,
    source_kind: String,
    target_node_id: String,
    target_kind: String,
    source_allocation_id: Option<String>,
    target_allocation_id: Option<String>,
    source_address: Option<String>,
    target_address: Option<String>,
    options: String,
    epoch: i64,
    memory_mb: i64,
    disk_mb: i64,
    cpu_percent: i64,
    progress: String,
    path: Option<String>,
    receipt: Option<String>,
    freeze_ms: Option<i64>,
    boot_ms: Option<i64>,
    failure: Option<String>,
    cancel_requested: i64,
    pause_requested: i64,
    paused_step: Option<String>,
    paused_at: Option<i64>,
    tuned: i64,
    settled: i64,
    retained_until: Option<i64>,
    retained_bytes: Option<i64>,
    retry_of: Option<String>,
    undo_of: Option<String>,
    requested_by: String,
    created_at: i64,
    finished_at: Option<i64>,
}

impl TryFrom<Row> for Transfer {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("transfers.id", &row.id)?,
            server_id: parse("transfers.server_id", &row.server_id)?,
            mode: from_word("transfers.mode", &row.mode)?,
            state: from_word("transfers.state", &row.state)?,
            stage: from_word("transfers.stage", &row.stage)?,
            source_node_id: parse("transfers.source_node_id", &row.source_node_id)?,
            source_kind: from_word("transfers.source_kind", &row.source_kind)?,
            target_node_id: parse("transfers.target_node_id", &row.target_node_id)?,
            target_kind: from_word("transfers.target_kind", &row.target_kind)?,
            source_allocation_id: optional(row.source_allocation_id, |id| parse("transfers.source_allocation_id", id))?,
            target_allocation_id: optional(row.target_allocation_id, |id| parse("transfers.target_allocation_id", id))?,
            source_address: row.source_address,
            target_address: row.target_address,
            options: from_json("transfers.options", &row.options)?,
            epoch: Epoch(from_i64("transfers.epoch", row.epoch)?),
            reserved: Limits {
                memory_mb: from_i64("transfers.memory_mb", row.memory_mb)?,
                disk_mb: from_i64("transfers.disk_mb", row.disk_mb)?,
                cpu_percent: from_i64("transfers.cpu_percent", row.cpu_percent)?,
            },
            progress: from_json("transfers.progress", &row.progress)?,
            path: optional(row.path, |json| from_json("transfers.path", json))?,
            receipt: optional(row.receipt, |json| from_json("transfers.receipt", json))?,
            freeze_ms: row.freeze_ms.map(|ms| from_i64("transfers.freeze_ms", ms)).transpose()?,
            boot_ms: row.boot_ms.map(|ms| from_i64("transfers.boot_ms", ms)).transpose()?,
            failure: optional(row.failure, |json| from_json("transfers.failure", json))?,
            cancel_requested: row.cancel_requested != 0,
            pause_requested: row.pause_requested != 0,
            paused: match (row.paused_step, row.paused_at) {
                (Some(step), Some(at)) => Some(Paused { step, since: from_ms("transfers.paused_at", at)? }),
                _ => None,
            },
            tuned: from_i64("transfers.tuned", row.tuned)?,
            settled: row.settled != 0,
            retained_until: row.retained_until.map(|at| from_ms("transfers.retained_until", at)).transpose()?,
            retained_bytes: row.retained_bytes.map(|n| from_i64("transfers.retained_bytes", n)).transpose()?,
            retry_of: optional(row.retry_of, |id| parse("transfers.retry_of", id))?,
            undo_of: optional(row.undo_of, |id| parse("transfers.undo_of", id))?,
            requested_by: row.requested_by,
            created_at: from_ms("transfers.created_at", row.created_at)?,
            finished_at: row.finished_at.map(|at| from_ms("transfers.finished_at", at)).transpose()?,
        })
    }
}

fn optional<T>(text: Option<String>, read: impl FnOnce(&str) -> Result<T, DbError>) -> Result<Option<T>, DbError> {
    text.map(|text| read(&text)).transpose()
}
