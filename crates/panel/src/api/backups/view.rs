//! How the API shows a backup and a restore.

use jiff::Timestamp;
use model::{BackupId, BackupProgress, BackupStorageId, NodeId, RestoreId, ServerId, TransferId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::backups::{Backup, BackupFailure, BackupState};
use crate::db::restores::{Restore, RestoreState};

/// A backup of a server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BackupView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: BackupId,
    /// Of which server, which may be gone.
    #[schema(value_type = uuid::Uuid)]
    server_id: ServerId,
    /// What that was called then.
    #[schema(example = "survival")]
    server_name: String,
    /// For people.
    #[schema(example = "before the update")]
    name: String,
    /// `running`, `verifying`, `completed` or `failed`.
    #[schema(value_type = String, example = "completed")]
    state: BackupState,
    /// Whether it is kept from being deleted.
    locked: bool,
    /// Where it is.
    #[schema(value_type = uuid::Uuid)]
    storage_id: BackupStorageId,
    /// Under which key there: an ordinary `.tar.zst`.
    #[schema(example = "panel/0198a7b2-0000-7000-8000-000000000001/0198a7b2-0000-7000-8000-000000000002.tar.zst")]
    object_key: String,
    /// The node or cluster where the server was.
    #[schema(value_type = uuid::Uuid)]
    node_id: NodeId,
    /// The transfer in front of which it was made.
    #[schema(value_type = Option<uuid::Uuid>)]
    transfer_id: Option<TransferId>,
    /// Bytes of the object.
    #[schema(example = 104_857_600)]
    bytes: Option<u64>,
    /// Bytes of the server's files.
    #[schema(example = 262_144_000)]
    tree_bytes: Option<u64>,
    /// Files, directories and links.
    #[schema(example = 1200)]
    files: Option<u64>,
    /// SHA-256 of the object, as it was read back.
    sha256: Option<String>,
    /// How far it is.
    progress: ProgressView,
    /// Files that changed or vanished while they were read, the first thousand: what is in the backup of them is of several
    /// moments.
    #[schema(example = json!(["logs/latest.log"]))]
    changed: Vec<String>,
    /// How many those are.
    changed_count: u64,
    /// Sockets, which are not in it.
    left_out: Vec<String>,
    /// Why there is none.
    failure: Option<FailureView>,
    /// The last restore of it.
    restore: Option<RestoreView>,
    /// Who asked for it.
    created_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

/// A restore of a backup.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RestoreView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: RestoreId,
    /// `running`, `completed`, or `failed`: then the server is as it was.
    #[schema(value_type = String, example = "completed")]
    state: RestoreState,
    /// Whether the server was stopped for it, and is started again.
    was_running: bool,
    /// How far it is.
    progress: ProgressView,
    /// Why it failed.
    failure: Option<FailureView>,
    /// Who asked for it.
    created_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

/// How far it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackupProgressView)]
struct ProgressView {
    /// Bytes of the server's files; 0 while that is not known.
    #[schema(example = 262_144_000)]
    bytes_total: u64,
    /// Of these, read by a backup or written by a restore.
    #[schema(example = 131_072_000)]
    bytes_done: u64,
    /// Bytes that went to the storage or came from it, compressed.
    #[schema(example = 52_428_800)]
    bytes_moved: u64,
    /// Files, directories and links.
    #[schema(example = 1200)]
    files_total: u64,
    /// Of these, done.
    #[schema(example = 600)]
    files_done: u64,
}

/// Why it failed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackupFailureView)]
struct FailureView {
    /// Stable word.
    #[schema(example = "storage_unreachable")]
    code: String,
    /// What happened and what to do.
    message: String,
}

/// Where a backup can be downloaded.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DownloadView {
    /// Good for whoever has it.
    #[schema(example = "http://10.0.0.9:9000/backups/panel/….tar.zst?X-Amz-Signature=…")]
    pub(super) url: String,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub(super) expires_at: Timestamp,
}

impl BackupView {
    pub(super) fn new(row: Backup, restore: Option<Restore>) -> Self {
        let contents = row.contents.unwrap_or_default();
        let known = row.bytes.is_some();
        Self {
            id: row.id,
            server_id: row.server_id,
            server_name: row.server_name,
            name: row.name,
            state: row.state,
            locked: row.locked,
            storage_id: row.storage_id,
            object_key: row.object_key,
            node_id: row.node_id,
            transfer_id: row.transfer_id,
            bytes: row.bytes,
            tree_bytes: known.then_some(contents.tree_bytes),
            files: known.then_some(contents.files),
            sha256: known.then_some(contents.sha256),
            progress: row.progress.into(),
            changed: row.changed,
            changed_count: row.changed_count,
            left_out: row.left_out,
            failure: row.failure.map(FailureView::from),
            restore: restore.map(RestoreView::from),
            created_by: row.created_by,
            created_at: row.created_at,
            finished_at: row.finished_at,
        }
    }
}

impl From<Restore> for RestoreView {
    fn from(row: Restore) -> Self {
        Self {
            id: row.id,
            state: row.state,
            was_running: row.was_running,
            progress: row.progress.into(),
            failure: row.failure.map(FailureView::from),
            created_by: row.created_by,
            created_at: row.created_at,
            finished_at: row.finished_at,
        }
    }
}

impl From<BackupProgress> for ProgressView {
    fn from(progress: BackupProgress) -> Self {
        let BackupProgress { bytes_total, bytes_done, bytes_moved, files_total, files_done } = progress;
        Self { bytes_total, bytes_done, bytes_moved, files_total, files_done }
    }
}

impl From<BackupFailure> for FailureView {
    fn from(failure: BackupFailure) -> Self {
        Self { code: failure.code, message: failure.message }
    }
}
