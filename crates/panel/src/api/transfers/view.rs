//! A transfer as every route gives it.

use jiff::Timestamp;
use model::{
    AllocationId, CopyPath, CopyProgress, CopyReceipt, Failure, Mode, NodeId, Options, PathKind, ServerId, Stage,
    StartAfter, TransferId, TransferState, Verify,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::addresses::{self, MovedAddressView, MovedVariableView};
use crate::db::nodes::NodeKind;
use crate::db::transfers::{AddressMove, Later, StageRow, Transfer, VariableMove};

/// A transfer. Times, sizes and roots that are not known yet are null.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct TransferView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: TransferId,
    /// The server that moves.
    #[schema(value_type = uuid::Uuid)]
    server_id: ServerId,
    /// `live` or `cold`.
    #[schema(value_type = String, example = "live")]
    mode: Mode,
    /// `queued`, `running`, `paused`, `cancelling`, `rolling_back`, then `completed`, `rolled_back` or `stuck`.
    #[schema(value_type = String, example = "running")]
    state: TransferState,
    /// `preparing`, `copying_while_running`, `stopping`, `compressing`, `transferring`, `extracting`, `starting`, `cleanup`.
    #[schema(value_type = String, example = "copying_while_running")]
    stage: Stage,
    /// The stage as people read it.
    #[schema(example = "Copying while running")]
    stage_label: &'static str,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it came to rest.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// Where from.
    source: EndView,
    /// Where to.
    target: EndView,
    /// What becomes of each of its addresses, the primary one first.
    allocations: Vec<MovedAddressView>,
    /// Variables whose value was a port that changed; empty until the target owns the server, and after a roll-back.
    variables: Vec<MovedVariableView>,
    /// Which way the copy takes; null until one was looked for.
    path: Option<PathView>,
    /// Where the copy stands.
    progress: ProgressView,
    /// Milliseconds from the end of the game on the source to its start on the target.
    #[schema(example = 640)]
    freeze_ms: Option<u64>,
    /// Milliseconds that it then took to be up.
    #[schema(example = 3100)]
    boot_ms: Option<u64>,
    /// Tree roots that both sides computed on their own.
    roots: RootsView,
    /// What the copy can prove.
    receipt: Option<ReceiptView>,
    /// The stages that were entered, in that order.
    stages: Vec<StageView>,
    /// Why it did not complete.
    failure: Option<FailureView>,
    /// Whether a cancel was accepted.
    cancel_requested: bool,
    /// Whether a pause was accepted and not ended. The transfer is `paused` as soon as what it is at allows it.
    pause_requested: bool,
    /// Where it is held; null while it is not.
    paused: Option<PausedView>,
    /// The transfer that was rolled back and that this one tries again.
    #[schema(value_type = Option<uuid::Uuid>)]
    retry_of: Option<TransferId>,
    /// The youngest transfer that tries this one again.
    #[schema(value_type = Option<uuid::Uuid>)]
    retried_by: Option<TransferId>,
    /// The completed transfer that this one takes back, building on the copy that it left on its source.
    #[schema(value_type = Option<uuid::Uuid>)]
    undo_of: Option<TransferId>,
    /// The youngest transfer that takes this one back.
    #[schema(value_type = Option<uuid::Uuid>)]
    undone_by: Option<TransferId>,
    /// Until when the source keeps its copy.
    #[schema(value_type = Option<String>, format = DateTime)]
    retained_until: Option<Timestamp>,
    /// How big that is.
    retained_bytes: Option<u64>,
    /// What was chosen at its start.
    options: OptionsView,
    /// Who asked for it.
    requested_by: String,
}

/// Where a transfer is held.
#[derive(Debug, Serialize, ToSchema)]
struct PausedView {
    /// The step that comes next, or is begun again: `lock_server`, `reserve_target`, `prepare_target`, `precopy`,
    /// `await_window`.
    #[schema(example = "precopy")]
    step: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

/// One end of a transfer.
#[derive(Debug, Serialize, ToSchema)]
struct EndView {
    /// The node; null if it is a cluster.
    #[schema(value_type = Option<uuid::Uuid>)]
    node_id: Option<NodeId>,
    /// The cluster; null if it is a node.
    #[schema(value_type = Option<uuid::Uuid>)]
    cluster_id: Option<NodeId>,
    /// The primary address there.
    allocation: Option<AddressView>,
}

/// An address, as it was when the transfer began.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TransferAddressView)]
pub(super) struct AddressView {
    /// The allocation, which may be gone by now; absent where it is not said.
    #[schema(value_type = Option<uuid::Uuid>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<AllocationId>,
    /// Address on the node, or where players reach the cluster.
    #[schema(example = "10.0.0.5")]
    pub(super) ip_address: String,
    /// TCP and UDP port.
    #[schema(example = 25565)]
    pub(super) port: u16,
}

/// Which way a copy takes between the agents. TLS runs from end to end inside each.
#[derive(Debug, Serialize, ToSchema)]
struct PathView {
    /// `direct` (the target listens), `reverse` (the source listens), `relay` (through the panel); null if none was found.
    #[schema(value_type = Option<String>, example = "direct")]
    kind: Option<PathKind>,
    /// Those that failed before, in that order.
    tried: Vec<TriedView>,
    /// Round-trip time in microseconds, as measured on it.
    #[schema(example = 310)]
    rtt_us: Option<u64>,
    /// Bytes per second, as measured on it.
    #[schema(example = 941_000_000)]
    bandwidth: Option<u64>,
}

/// A way that did not work.
#[derive(Debug, Serialize, ToSchema)]
struct TriedView {
    /// `direct`, `reverse` or `relay`.
    #[schema(value_type = String, example = "direct")]
    kind: PathKind,
    /// Why not.
    reason: String,
}

impl From<CopyPath> for PathView {
    fn from(path: CopyPath) -> Self {
        let tried = path.tried.into_iter().map(|tried| TriedView { kind: tried.kind, reason: tried.reason });
        Self { kind: path.kind, tried: tried.collect(), rtt_us: path.rtt_us, bandwidth: path.bandwidth }
    }
}

/// Where a copy stands. Counters only grow within one attempt.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProgressView {
    /// Bytes of content known so far.
    bytes_total: u64,
    /// Read and hashed on the source.
    bytes_read: u64,
    /// Put on the wire.
    bytes_sent: u64,
    /// Written on the target.
    bytes_written: u64,
    /// Files, directories and links known so far.
    files_total: u64,
    /// Of these, how many are on the target.
    files_done: u64,
    /// 1 for the first pass.
    round: u32,
    /// Bytes of content per second, moving average.
    rate_bytes_per_s: u64,
    /// Seconds to the end of this round.
    eta_s: u64,
    /// How long the freeze would be if the server were stopped now.
    predicted_freeze_ms: Option<u64>,
}

/// Tree roots, hex.
#[derive(Debug, Serialize, ToSchema)]
struct RootsView {
    /// Of what the source read.
    source: Option<String>,
    /// Of what the target's disk gave back.
    target: Option<String>,
}

/// What a finished copy can prove.
#[derive(Debug, Serialize, ToSchema)]
struct ReceiptView {
    /// Tree root computed by the source, hex.
    root_source: String,
    /// Tree root computed by the target, hex.
    root_target: String,
    /// Files, directories and links in the tree.
    files: u64,
    /// Bytes of content in the tree.
    bytes_total: u64,
    /// Of these, copied while the game ran.
    bytes_live: u64,
    /// Of these, copied while it was stopped.
    bytes_frozen: u64,
    /// Bytes on the wire.
    bytes_wire: u64,
    /// Rounds, the last one included.
    rounds: u32,
    /// Milliseconds of the last round.
    final_round_ms: u64,
}

/// A stage that was entered.
#[derive(Debug, Serialize, ToSchema)]
struct StageView {
    /// Which.
    #[schema(value_type = String, example = "preparing")]
    name: Stage,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When the next one began, or the transfer ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

/// Why a transfer did not complete.
#[derive(Debug, Serialize, ToSchema)]
struct FailureView {
    /// Stable word, `cancelled` after a cancel.
    #[schema(example = "insufficient_disk")]
    code: String,
    /// What happened and what to do.
    message: String,
    /// The step that failed.
    #[schema(example = "prepare_target")]
    step: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

/// What was chosen at the start.
#[derive(Debug, Serialize, ToSchema)]
struct OptionsView {
    /// Seconds that the freeze may be predicted to last.
    max_freeze_s: u64,
    /// Bytes per second.
    bandwidth_limit: Option<u64>,
    /// Seconds for which the source's copy is kept.
    retain_source_for_s: u64,
    /// `full`.
    #[schema(value_type = String, example = "full")]
    verify: Verify,
    /// `as_before`, `yes` or `no`.
    #[schema(value_type = String, example = "as_before")]
    start_after: StartAfter,
    /// Whether a backup is made before anything else.
    backup_first: bool,
    /// The server is not stopped before this; null for at once.
    #[schema(value_type = Option<String>, format = DateTime)]
    not_before: Option<Timestamp>,
}

impl TransferView {
    pub(super) fn new(
        row: Transfer,
        stages: Vec<StageRow>,
        (addresses, variables): (Vec<AddressMove>, Vec<VariableMove>),
        later: Later,
    ) -> Self {
        let end = |kind: NodeKind, id, address: Option<&str>| EndView {
            node_id: kind.only(NodeKind::Node, id),
            cluster_id: kind.only(NodeKind::Cluster, id),
            allocation: address.and_then(parse_address),
        };
        let receipt = row.receipt;
        Self {
            id: row.id,
            server_id: row.server_id,
            mode: row.mode,
            state: row.state,
            stage: row.stage,
            stage_label: row.stage.label(),
            created_at: row.created_at,
            finished_at: row.finished_at,
            source: end(row.source_kind, row.source_node_id, row.source_address.as_deref()),
            target: end(row.target_kind, row.target_node_id, row.target_address.as_deref()),
            allocations: addresses::moved(addresses),
            variables: variables.into_iter().map(MovedVariableView::from).collect(),
            path: row.path.map(PathView::from),
            progress: row.progress.into(),
            freeze_ms: row.freeze_ms,
            boot_ms: row.boot_ms,
            roots: RootsView {
                source: receipt.as_ref().map(|receipt| receipt.root_source.clone()),
                target: receipt.as_ref().map(|receipt| receipt.root_target.clone()),
            },
            receipt: receipt.map(ReceiptView::from),
            stages: stages.into_iter().map(StageView::from).collect(),
            failure: row.failure.map(FailureView::from),
            cancel_requested: row.cancel_requested,
            pause_requested: row.pause_requested,
            paused: row.paused.map(|paused| PausedView { step: paused.step, since: paused.since }),
            retry_of: row.retry_of,
            retried_by: later.retried_by,
            undo_of: row.undo_of,
            undone_by: later.undone_by,
            retained_until: row.retained_until,
            retained_bytes: row.retained_bytes,
            options: row.options.into(),
            requested_by: row.requested_by,
        }
    }
}

/// `ip:port`, the address of an allocation that may be gone by now.
pub(super) fn parse_address(text: &str) -> Option<AddressView> {
    let (ip_address, port) = text.rsplit_once(':')?;
    Some(AddressView { id: None, ip_address: ip_address.to_owned(), port: port.parse().ok()? })
}

impl From<CopyProgress> for ProgressView {
    fn from(progress: CopyProgress) -> Self {
        Self {
            bytes_total: progress.bytes_total,
            bytes_read: progress.bytes_read,
            bytes_sent: progress.bytes_sent,
            bytes_written: progress.bytes_written,
            files_total: progress.files_total,
            files_done: progress.files_done,
            round: progress.round,
            rate_bytes_per_s: progress.rate_bytes_per_s,
            eta_s: progress.eta_s,
            predicted_freeze_ms: progress.predicted_freeze_ms,
        }
    }
}

impl From<CopyReceipt> for ReceiptView {
    fn from(receipt: CopyReceipt) -> Self {
        Self {
            root_source: receipt.root_source,
            root_target: receipt.root_target,
            files: receipt.files,
            bytes_total: receipt.bytes_total,
            bytes_live: receipt.bytes_live,
            bytes_frozen: receipt.bytes_frozen,
            bytes_wire: receipt.bytes_wire,
            rounds: receipt.rounds,
            final_round_ms: receipt.final_round_ms,
        }
    }
}

impl From<StageRow> for StageView {
    fn from(stage: StageRow) -> Self {
        Self { name: stage.name, started_at: stage.started_at, finished_at: stage.finished_at }
    }
}

impl From<Failure> for FailureView {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code, message: failure.message, step: failure.step, at: failure.at }
    }
}

impl From<Options> for OptionsView {
    fn from(options: Options) -> Self {
        Self {
            max_freeze_s: options.max_freeze_s,
            bandwidth_limit: options.bandwidth_limit,
            retain_source_for_s: options.retain_source_for_s,
            verify: options.verify,
            start_after: options.start_after,
            backup_first: options.backup_first,
            not_before: options.not_before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_split_at_the_port() {
        for (text, ip, port) in [("10.0.0.5:25565", "10.0.0.5", 25565), ("::1:80", "::1", 80)] {
            let address = parse_address(text).expect("an address");
            assert_eq!((address.ip_address.as_str(), address.port), (ip, port));
        }
        assert!(parse_address("nothing").is_none());
    }
}
