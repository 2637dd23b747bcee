//! A plan as the API gives it.

use model::{NodeId, ServerId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::transfers::CheckView;
use crate::db::nodes::NodeKind;
use crate::evacuate::plan::{Planned, Target, duration_s};

/// What an evacuation would do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanView {
    /// Whether every server would be admitted now.
    ok: bool,
    /// How many would be.
    #[schema(example = 5)]
    movable: u64,
    /// How many would be on their way at once.
    #[schema(example = 2)]
    concurrency: u64,
    /// Bytes of all that would be; null if a source could not tell.
    bytes: Option<u64>,
    /// Seconds that all of it would take; null if there is no measurement for one of them.
    estimated_duration_s: Option<u64>,
    /// The servers in the order of their turns.
    servers: Vec<PlannedView>,
    /// What the targets have and what would be taken.
    targets: Vec<TargetView>,
}

/// One server of a plan.
#[derive(Debug, Serialize, ToSchema)]
struct PlannedView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    server_id: ServerId,
    /// Its name.
    #[schema(example = "survival")]
    name: String,
    /// From 1.
    #[schema(example = 1)]
    position: u64,
    /// Whether it runs, so that players would notice.
    running: bool,
    /// Where it would go: a node.
    #[schema(value_type = Option<uuid::Uuid>)]
    target_node_id: Option<NodeId>,
    /// Where it would go: a cluster.
    #[schema(value_type = Option<uuid::Uuid>)]
    target_cluster_id: Option<NodeId>,
    /// Whether it would be admitted now, after those before it.
    ok: bool,
    /// What was found, obstacles first.
    checks: Vec<CheckView>,
    /// Bytes of content; null if the source could not tell.
    bytes: Option<u64>,
    /// Files, directories and links; null if the source could not tell.
    files: Option<u64>,
    /// Seconds that its move would take; null without a measurement.
    estimated_duration_s: Option<u64>,
    /// Seconds that its players would wait; null without a measurement.
    #[schema(example = 0.8)]
    estimated_freeze_s: Option<f64>,
}

/// What a target has, and what of it the plan would take.
#[derive(Debug, Serialize, ToSchema)]
struct TargetView {
    /// A node; null if it is a cluster.
    #[schema(value_type = Option<uuid::Uuid>)]
    node_id: Option<NodeId>,
    /// A cluster; null if it is a node.
    #[schema(value_type = Option<uuid::Uuid>)]
    cluster_id: Option<NodeId>,
    /// Its name.
    #[schema(example = "beta")]
    name: String,
    /// MiB.
    memory_mb: NeedView,
    /// MiB.
    disk_mb: NeedView,
    /// Percent of one core.
    cpu_percent: NeedView,
    /// Addresses.
    allocations: NeedView,
}

/// One resource of a target.
#[derive(Debug, Serialize, ToSchema)]
struct NeedView {
    /// What servers may have of it in all; null where that is not bounded.
    total: Option<u64>,
    /// What is free before the plan; null where that is not bounded.
    free: Option<u64>,
    /// What the servers that would be admitted need together.
    needed: u64,
    /// What is left then; null where that is not bounded.
    left: Option<u64>,
}

impl NeedView {
    fn new(total: Option<u64>, free: Option<u64>, needed: u64) -> Self {
        Self { total, free, needed, left: free.map(|free| free.saturating_sub(needed)) }
    }
}

impl PlanView {
    pub(super) fn new(planned: Vec<Planned>, targets: &[Target], concurrency: u64) -> Self {
        let movable = || planned.iter().filter(|it| it.is_ok());
        let durations = movable().map(|it| it.finding.as_ref().and_then(|finding| finding.duration_s));
        Self {
            ok: planned.iter().all(Planned::is_ok),
            movable: movable().count() as u64,
            concurrency,
            bytes: movable().map(|it| it.wish.bytes).sum(),
            estimated_duration_s: duration_s(durations, concurrency),
            targets: targets.iter().map(TargetView::from).collect(),
            servers: (1..).zip(planned).map(|(position, it)| planned_view(position, it, targets)).collect(),
        }
    }
}

fn planned_view(position: u64, it: Planned, targets: &[Target]) -> PlannedView {
    let ok = it.is_ok();
    let target = it.wish.target;
    let kind = targets.iter().find(|known| known.node.id == target).map_or(NodeKind::Node, |known| known.node.kind);
    let finding = it.finding.as_ref();
    PlannedView {
        server_id: it.wish.server.id,
        position,
        running: it.wish.server.status.is_live(),
        target_node_id: kind.only(NodeKind::Node, target),
        target_cluster_id: kind.only(NodeKind::Cluster, target),
        ok,
        bytes: it.wish.bytes,
        files: finding.and_then(|finding| finding.files),
        estimated_duration_s: finding.and_then(|finding| finding.duration_s),
        estimated_freeze_s: finding.and_then(|finding| finding.freeze_s),
        checks: it.checks.into_iter().map(CheckView::from).collect(),
        name: it.wish.server.name,
    }
}

impl From<&Target> for TargetView {
    fn from(it: &Target) -> Self {
        let bounded = |total: u64| (total > 0).then_some(total);
        let (free, needed) = (it.free, it.needed);
        Self {
            node_id: it.node.kind.only(NodeKind::Node, it.node.id),
            cluster_id: it.node.kind.only(NodeKind::Cluster, it.node.id),
            name: it.node.name.clone(),
            memory_mb: NeedView::new(bounded(it.node.memory_mb), free.limits.memory_mb, needed.limits.memory_mb),
            disk_mb: NeedView::new(bounded(it.node.disk_mb), free.limits.disk_mb, needed.limits.disk_mb),
            cpu_percent: NeedView::new(
                bounded(it.node.cpu_percent),
                free.limits.cpu_percent,
                needed.limits.cpu_percent,
            ),
            allocations: NeedView::new(it.allocations, free.allocations, needed.allocations),
        }
    }
}
