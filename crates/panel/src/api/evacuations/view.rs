//! An evacuation as every route gives it.

use jiff::Timestamp;
use model::{EvacuationId, EvacuationItemId, NodeId, Options, ServerId, TransferId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::evacuations::{Evacuation, Item, ItemState, Problem, State};
use crate::db::nodes::NodeKind;

/// An evacuation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EvacuationView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: EvacuationId,
    /// `running`, `paused`, `cancelling`, then `completed`, `completed_with_failures` or `cancelled`.
    #[schema(value_type = String, example = "running")]
    state: State,
    /// The node that is emptied; null if it is a cluster or servers were picked.
    #[schema(value_type = Option<uuid::Uuid>)]
    node_id: Option<NodeId>,
    /// The cluster that is emptied; null if it is a node or servers were picked.
    #[schema(value_type = Option<uuid::Uuid>)]
    cluster_id: Option<NodeId>,
    /// How many servers are on their way at once.
    #[schema(example = 2)]
    concurrency: u64,
    /// How each is moved: the options of a transfer.
    #[schema(value_type = Object)]
    options: Options,
    /// How many servers are in which state.
    counts: Counts,
    /// The servers in the order of their turns; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<ItemView>>,
    /// Who asked for it.
    #[schema(example = "user:0198a7b2-0000-7000-8000-000000000001:kim")]
    requested_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it came to its end.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

/// How many servers are in which state.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Counts {
    /// All of them.
    #[schema(example = 6)]
    total: u64,
    /// Their turn has not come.
    #[schema(example = 2)]
    waiting: u64,
    /// On their way.
    #[schema(example = 2)]
    running: u64,
    /// Where they belong.
    #[schema(example = 1)]
    completed: u64,
    /// Not.
    #[schema(example = 1)]
    failed: u64,
    /// There was nothing to do any more.
    skipped: u64,
    /// Called off before their turn.
    cancelled: u64,
}

impl Counts {
    fn new(counts: &[(ItemState, u64)]) -> Self {
        let mut all = Self::default();
        for (state, count) in counts {
            all.total += count;
            match state {
                ItemState::Waiting => all.waiting += count,
                ItemState::Starting | ItemState::Running => all.running += count,
                ItemState::Completed => all.completed += count,
                ItemState::Failed => all.failed += count,
                ItemState::Skipped => all.skipped += count,
                ItemState::Cancelled => all.cancelled += count,
            }
        }
        all
    }
}

/// The turn of one server.
#[derive(Debug, Serialize, ToSchema)]
struct ItemView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: EvacuationItemId,
    /// From 1.
    #[schema(example = 1)]
    position: u64,
    /// The server.
    #[schema(value_type = uuid::Uuid)]
    server_id: ServerId,
    /// Its name when this was started.
    #[schema(example = "survival")]
    name: String,
    /// `waiting`, `starting`, `running`, then `completed`, `failed`, `skipped` (nothing to do any more) or `cancelled`.
    #[schema(value_type = String, example = "running")]
    state: ItemState,
    /// Where it goes: a node.
    #[schema(value_type = Option<uuid::Uuid>)]
    target_node_id: Option<NodeId>,
    /// Where it goes: a cluster.
    #[schema(value_type = Option<uuid::Uuid>)]
    target_cluster_id: Option<NodeId>,
    /// Its transfer, once its turn has come.
    #[schema(value_type = Option<uuid::Uuid>)]
    transfer_id: Option<TransferId>,
    /// Why it failed or was skipped, and of one that waits though its turn has come, for what.
    failure: Option<ProblemView>,
    /// Bytes of content, as measured when this was started; null if nobody could tell.
    #[schema(example = 1_073_741_824)]
    bytes: Option<u64>,
    /// Milliseconds that its players waited.
    #[schema(example = 640)]
    freeze_ms: Option<u64>,
    /// When its transfer was started.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When its turn was over.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

/// Why.
#[derive(Debug, Serialize, ToSchema)]
struct ProblemView {
    /// Stable word: of a refusal of a transfer, or of its failure.
    #[schema(example = "insufficient_resources")]
    code: String,
    /// What happened and what to do.
    message: String,
}

impl From<Problem> for ProblemView {
    fn from(Problem { code, message }: Problem) -> Self {
        Self { code, message }
    }
}

impl From<Item> for ItemView {
    fn from(item: Item) -> Self {
        // The row does not name a transfer that was only going to be.
        let transfer_id = item.transfer_id.filter(|_| item.transfer.is_some());
        Self {
            id: item.id,
            position: item.position,
            server_id: item.server_id,
            name: item.server_name,
            state: item.state,
            target_node_id: item.target_kind.only(NodeKind::Node, item.target_node_id),
            target_cluster_id: item.target_kind.only(NodeKind::Cluster, item.target_node_id),
            transfer_id,
            failure: item.problem.map(ProblemView::from),
            bytes: item.bytes,
            freeze_ms: item.transfer.and_then(|moving| moving.freeze_ms),
            started_at: item.started_at,
            finished_at: item.finished_at,
        }
    }
}

impl EvacuationView {
    pub(super) fn new(it: &Evacuation, counts: &[(ItemState, u64)], items: Option<Vec<Item>>) -> Self {
        let source = |wanted| it.source.and_then(|(kind, id)| kind.only(wanted, id));
        Self {
            id: it.id,
            state: it.state,
            node_id: source(NodeKind::Node),
            cluster_id: source(NodeKind::Cluster),
            concurrency: it.concurrency,
            options: it.options.clone(),
            counts: Counts::new(counts),
            items: items.map(|items| items.into_iter().map(ItemView::from).collect()),
            requested_by: it.requested_by.clone(),
            created_at: it.created_at,
            finished_at: it.finished_at,
        }
    }
}
