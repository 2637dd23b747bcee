//! What would happen if: the same body as a start, and nothing is started.

use axum::extract::State;
use model::agent_api::{Check, CheckLevel};
use model::{NodeId, PathKind, ServerId};
use serde::Serialize;
use utoipa::ToSchema;

use super::addresses::{self, MovedAddressView, MovedVariableView};
use super::view::AddressView;
use super::{StartTransfer, known_as};
use crate::api::views::One;
use crate::api::{Admin, Answer, ApiError, Body, Id};
use crate::app::App;
use crate::databases;
use crate::db::nodes::NodeKind;
use crate::dns;
use crate::migrate::preflight::{Finding, Question, preflight};

/// One target, and what speaks for and against it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PreflightView {
    /// The node; null if it is a cluster.
    #[schema(value_type = Option<uuid::Uuid>)]
    node_id: Option<NodeId>,
    /// The cluster; null if it is a node.
    #[schema(value_type = Option<uuid::Uuid>)]
    cluster_id: Option<NodeId>,
    /// Its name.
    #[schema(example = "eu-west")]
    name: String,
    /// Whether nothing forbids the move now.
    ok: bool,
    /// What was found, obstacles first.
    checks: Vec<CheckView>,
    /// The first address that the server would have there; null if there is none.
    allocation: Option<AddressView>,
    /// What would become of each of its addresses, the primary one first.
    allocations: Vec<MovedAddressView>,
    /// Variables whose value is a port that would change.
    variables: Vec<MovedVariableView>,
    /// Bytes of content; null if the source could not tell.
    bytes: Option<u64>,
    /// Files, directories and links; null if the source could not tell.
    files: Option<u64>,
    /// Seconds that the move would take, by the bandwidth that the last copy between the two measured; null without one.
    estimated_duration_s: Option<u64>,
    /// Seconds that players would wait: for a live move as long as at the last one between the two; null without one.
    #[schema(example = 0.8)]
    estimated_freeze_s: Option<f64>,
    /// `direct`, `reverse` or `relay`, as the last copy between the two went; null without one.
    #[schema(value_type = Option<String>, example = "direct")]
    path: Option<PathKind>,
    /// Bytes per second, as measured then; null without one.
    bandwidth: Option<u64>,
}

/// One finding.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct CheckView {
    /// Stable word; for an obstacle that a start would be refused for, the code of that refusal.
    #[schema(example = "insufficient_resources")]
    code: String,
    /// `error` forbids the move, `warning` may disappoint, `info` is good to know.
    #[schema(value_type = String, example = "error")]
    level: CheckLevel,
    /// What is.
    message: String,
    /// What to do; empty where nothing needs doing.
    remedy: String,
}

impl From<Check> for CheckView {
    fn from(check: Check) -> Self {
        Self { code: check.code, level: check.level, message: check.message, remedy: check.remedy }
    }
}

impl From<Finding> for PreflightView {
    fn from(finding: Finding) -> Self {
        let first = finding.addresses.first().and_then(|(_, new)| new.as_ref());
        Self {
            node_id: finding.kind.only(NodeKind::Node, finding.target),
            cluster_id: finding.kind.only(NodeKind::Cluster, finding.target),
            ok: finding.is_ok(),
            name: finding.name,
            checks: finding.checks.into_iter().map(CheckView::from).collect(),
            allocation: first.map(AddressView::without_id),
            allocations: addresses::planned(&finding.addresses, &finding.made),
            variables: finding.variables.into_iter().map(MovedVariableView::from).collect(),
            bytes: finding.bytes,
            files: finding.files,
            estimated_duration_s: finding.duration_s,
            estimated_freeze_s: finding.freeze_s,
            path: finding.path,
            bandwidth: finding.bandwidth,
        }
    }
}

/// Looks whether and how a server could be moved, and starts nothing.
///
/// The body is that of a start; without a target every node and cluster is looked at. Agents have a bounded time; one that
/// does not answer is a finding.
#[utoipa::path(post, path = "/api/v1/admin/servers/{id}/transfer/preflight", tag = "transfers",
    request_body = StartTransfer, params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 200, description = "One entry for each target", body = One<Vec<PreflightView>>),
        (status = 422, description = "`allocation_unknown`: a pick is not an address of the server"),
    ))]
pub(super) async fn look(
    State(app): State<App>,
    admin: Admin,
    Id(server_id): Id<ServerId>,
    body: Body<StartTransfer>,
) -> Result<Answer, ApiError> {
    admin.may("admin.servers.transfer")?;
    let body = body.value;
    let options = body.options()?;
    let addresses = body.addresses()?;
    let target = match (body.target_node_id, body.target_cluster_id) {
        (None, None) if body.allocation_id.is_some() => {
            return Err(ApiError::invalid("allocation_id", "is one target's: name the target too"));
        }
        (None, None) if !addresses.picks.is_empty() => {
            return Err(ApiError::invalid("allocations.picks", "are one target's: name the target too"));
        }
        (None, None) => None,
        _ => {
            let (kind, target) = body.target()?;
            known_as(&app, kind, target).await?;
            Some(target)
        }
    };
    let question = Question {
        server_id,
        target,
        allocation_id: body.allocation_id,
        addresses,
        mode: options.mode,
        bandwidth_limit: options.bandwidth_limit,
        databases: databases::preflight::load(&mut *app.db.acquire().await?, &app.access.secrets, server_id).await?,
        known: dns::preflight::checks(&app.db, &app.access.secrets, server_id, app.now()).await?,
        backup_first: options.backup_first,
    };
    let found = preflight(&app.db, &*app.agents, &question).await?;
    Answer::ok(&found.into_iter().map(PreflightView::from).collect::<Vec<_>>())
}
