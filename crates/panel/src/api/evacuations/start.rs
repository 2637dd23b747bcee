//! The start of an evacuation, or with `dry_run` what it would do.

use std::collections::BTreeSet;

use axum::extract::State;
use model::{EvacuationId, EvacuationItemId, NodeId, Options, ServerId};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::plan::PlanView;
use super::view::EvacuationView;
use super::{load, view};
use crate::api::transfers::StartTransfer;
use crate::api::views::One;
use crate::api::{Admin, Answer, ApiError, Body, Idempotency, check, nodes as api_nodes};
use crate::app::App;
use crate::db::evacuations::{self, Evacuation, Item, ItemState, State as Stands};
use crate::db::nodes::{self, Node, NodeKind};
use crate::db::servers::{self, Filter, Server};
use crate::db::{Conn, DbError, Paging, audit, flags, outbox};
use crate::evacuate::plan::{self, Wish};
use crate::migrate::Refusal;
use crate::migrate::admission::Place;

/// Servers that are on their way at once, unless somebody says otherwise.
const CONCURRENCY: u64 = 2;
/// And at most.
const MOST_AT_ONCE: u64 = 32;
/// Servers of one evacuation.
const MOST_SERVERS: usize = 10_000;

/// Servers to move: picked ones, or all of a node or a cluster.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "node_id": "0198a7b2-0000-7000-8000-000000000001",
    "target_node_id": "0198a7b2-0000-7000-8000-000000000002",
    "dry_run": true,
}))]
pub(super) struct StartEvacuation {
    /// These servers, or `node_id`, or `cluster_id`.
    #[schema(value_type = Option<Vec<uuid::Uuid>>)]
    server_ids: Option<Vec<ServerId>>,
    /// All servers of this node.
    #[schema(value_type = Option<uuid::Uuid>)]
    node_id: Option<NodeId>,
    /// All servers of this cluster.
    #[schema(value_type = Option<uuid::Uuid>)]
    cluster_id: Option<NodeId>,
    /// Where to: a node, or `target_cluster_id`.
    #[schema(value_type = Option<uuid::Uuid>)]
    target_node_id: Option<NodeId>,
    /// Where to: a cluster.
    #[schema(value_type = Option<uuid::Uuid>)]
    target_cluster_id: Option<NodeId>,
    /// How many are on their way at once, 1 to 32. Default 2.
    concurrency: Option<u64>,
    /// How each is moved: a transfer's body without target and allocation.
    options: Option<StartTransfer>,
    /// Whether the node or cluster takes no new servers from now on. Default true; picked servers leave theirs as it is.
    cordon: Option<bool>,
    /// Only look what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// What is asked for, checked by itself.
struct Asked {
    from: Which,
    target: (NodeKind, NodeId),
    concurrency: u64,
    options: Options,
    cordon: bool,
    dry_run: bool,
}

enum Which {
    Place(NodeKind, NodeId),
    Servers(Vec<ServerId>),
}

impl StartEvacuation {
    fn checked(self) -> Result<Asked, ApiError> {
        let from = match (self.server_ids, self.node_id, self.cluster_id) {
            (Some(ids), None, None) => Which::Servers(picked(ids)?),
            (None, Some(id), None) => Which::Place(NodeKind::Node, id),
            (None, None, Some(id)) => Which::Place(NodeKind::Cluster, id),
            (None, None, None) => {
                return Err(ApiError::invalid("server_ids", "is required, or node_id, or cluster_id"));
            }
            _ => {
                return Err(ApiError::invalid("server_ids", "only one of server_ids, node_id and cluster_id is taken"));
            }
        };
        let target =
            check::one_of(("target_node_id", self.target_node_id), ("target_cluster_id", self.target_cluster_id))?;
        let concurrency = self.concurrency.unwrap_or(CONCURRENCY);
        if !(1..=MOST_AT_ONCE).contains(&concurrency) {
            return Err(ApiError::invalid("concurrency", format!("must be 1 to {MOST_AT_ONCE}")));
        }
        let options = match self.options {
            Some(options) if options.names_a_place() => {
                return Err(ApiError::invalid("options", "must not have a target or an allocation"));
            }
            Some(options) => options.options()?,
            None => Options::default(),
        };
        let is_place = matches!(from, Which::Place(..));
        if !is_place && self.cordon == Some(true) {
            return Err(ApiError::invalid("cordon", "is for a node or a cluster that is emptied"));
        }
        let cordon = is_place && self.cordon.unwrap_or(true);
        Ok(Asked { from, target, concurrency, options, cordon, dry_run: self.dry_run })
    }
}

fn picked(ids: Vec<ServerId>) -> Result<Vec<ServerId>, ApiError> {
    let problem = if ids.is_empty() {
        "must name at least one server"
    } else if ids.len() > MOST_SERVERS {
        "names too many servers: 10000 at most"
    } else if ids.iter().collect::<BTreeSet<_>>().len() < ids.len() {
        "names a server twice"
    } else {
        return Ok(ids);
    };
    Err(ApiError::invalid("server_ids", problem))
}

/// Starts an evacuation, or says what it would do.
///
/// Each server is moved by a transfer of its own, a few at a time: the next starts when one is up on the target and its
/// copy was audited. Offline servers go first, then the smallest. It survives a restart of the panel and goes on past a
/// failure. With `dry_run` nothing is started, and the answer is the plan.
#[utoipa::path(post, path = "/api/v1/admin/evacuations", tag = "evacuations", request_body = StartEvacuation,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same answer for 24 h")),
    responses(
        (status = 200, description = "With `dry_run`: the plan", body = One<PlanView>),
        (status = 202, description = "Started; `Location` is the evacuation", body = One<EvacuationView>),
        (status = 403, description = "`feature_disabled`, `forbidden`"),
        (status = 404, description = "`not_found`: a server, the node or cluster, or the target"),
        (status = 409, description = "`target_cordoned`"),
        (status = 422, description = "`nothing_to_move`, `same_target`"),
        (status = 503, description = "`database_unavailable`"),
    ))]
pub(super) async fn start(
    State(app): State<App>,
    admin: Admin,
    idempotency: Idempotency,
    body: Body<StartEvacuation>,
) -> Result<Answer, ApiError> {
    admin.may("admin.servers.transfer")?;
    let Body { value, raw } = body;
    let asked = value.checked()?;
    if matches!(asked.from, Which::Place(..)) {
        admin.may("admin.nodes.evacuate")?;
    }
    let wishes = wishes(&app, &asked).await?;
    if asked.dry_run {
        let (planned, targets) =
            plan::look(&app.db, &*app.agents, &app.access.secrets, wishes, &asked.options, app.now()).await?;
        return Answer::ok(&PlanView::new(planned, &targets, asked.concurrency));
    }
    let work = async {
        let wishes = plan::in_order(&*app.agents, wishes).await;
        let id = write(&app, &admin, &asked, wishes).await?;
        app.evacuations.nudge();
        let mut conn = app.db.acquire().await?;
        let evacuation = load(&mut conn, id).await?;
        app.evacuations.tell(&mut conn, &evacuation).await?;
        Answer::accepted(format!("/api/v1/admin/evacuations/{id}"), &view(&mut conn, evacuation).await?)
    };
    idempotency.once(&app, &admin, "POST /admin/evacuations", &raw, work).await
}

/// The servers, and that there is a sense in moving them there.
async fn wishes(app: &App, asked: &Asked) -> Result<Vec<Wish>, ApiError> {
    let mut conn = app.db.acquire().await?;
    let (kind, target) = asked.target;
    let target = target_of(&mut conn, kind, target).await?;
    let servers = match &asked.from {
        Which::Servers(ids) => by_id(&mut conn, ids).await?,
        Which::Place(kind, id) => {
            let source = api_nodes::load(&mut conn, *kind, *id).await?;
            if source.id == target.id {
                return Err(Refusal::SameTarget { place: place(&target) }.into());
            }
            all_of(&mut conn, source.id).await?
        }
    };
    if !flags::flag_enabled(&mut conn, flags::SERVER_TRANSFERS).await? {
        return Err(Refusal::FeatureDisabled.into());
    }
    if target.cordoned {
        return Err(Refusal::Cordoned { place: place(&target) }.into());
    }
    if servers.is_empty() {
        let message = "There is no server to move. Look at the node's or cluster's servers again.";
        return Err(ApiError::unprocessable("nothing_to_move", message));
    }
    Ok(servers.into_iter().map(|server| Wish { server, target: target.id, bytes: None }).collect())
}

fn place(node: &Node) -> Place {
    Place { kind: node.kind, name: node.name.clone() }
}

async fn target_of(conn: &mut Conn, kind: NodeKind, id: NodeId) -> Result<Node, ApiError> {
    match nodes::node_get(conn, id).await {
        Ok(node) if node.kind == kind => Ok(node),
        Ok(_) | Err(DbError::NotFound) => Err(Refusal::UnknownTarget(kind).into()),
        Err(error) => Err(error.into()),
    }
}

async fn by_id(conn: &mut Conn, ids: &[ServerId]) -> Result<Vec<Server>, ApiError> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        found.push(servers::server_get(conn, *id).await.map_err(|error| match error {
            DbError::NotFound => ApiError::not_found("server").detail("server_id", id.to_string()),
            error => error.into(),
        })?);
    }
    Ok(found)
}

async fn all_of(conn: &mut Conn, node: NodeId) -> Result<Vec<Server>, DbError> {
    let filter = Filter { node_id: Some(node), ..Filter::default() };
    let mut paging = Paging { page: 1, per_page: 100 };
    let mut all = Vec::new();
    loop {
        let page = servers::servers_page(conn, &filter, paging, "created_at", false).await?;
        let is_last = page.items.len() < 100;
        all.extend(page.items);
        if is_last {
            return Ok(all);
        }
        paging.page += 1;
    }
}

/// The promise: rows, and the cordon with them.
async fn write(app: &App, admin: &Admin, asked: &Asked, wishes: Vec<Wish>) -> Result<EvacuationId, ApiError> {
    let (id, now) = (EvacuationId::new(), app.now());
    let source = match asked.from {
        Which::Place(kind, id) => Some((kind, id)),
        Which::Servers(_) => None,
    };
    let evacuation = Evacuation {
        id,
        state: Stands::Running,
        source,
        concurrency: asked.concurrency,
        options: asked.options.clone(),
        cancel_running: false,
        requested_by: admin.actor(),
        created_at: now,
        finished_at: None,
    };
    let servers = wishes.len();
    let mut tx = app.db.begin().await?;
    evacuations::evacuation_insert(&mut tx, &evacuation).await?;
    for (position, wish) in (1..).zip(wishes) {
        evacuations::item_insert(&mut tx, &item(id, position, wish, asked.target.0)).await?;
    }
    if let Some((kind, node)) = source.filter(|_| asked.cordon) {
        nodes::node_cordon(&mut tx, node, true).await?;
        let action = if kind == NodeKind::Node { "node.cordon" } else { "cluster.cordon" };
        audit::audit(&mut tx, now, &admin.actor(), action, node, &json!({"evacuation_id": id})).await?;
    }
    let details = json!({"servers": servers, "source": source.map(|(_, id)| id), "target": asked.target.1});
    audit::audit(&mut tx, now, &admin.actor(), "evacuation.start", id, &details).await?;
    outbox::tell(&mut tx, now, "node.evacuation.started", &json!({"evacuation_id": id, "about": details})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(id)
}

fn item(evacuation_id: EvacuationId, position: u64, wish: Wish, target_kind: NodeKind) -> Item {
    Item {
        id: EvacuationItemId::new(),
        evacuation_id,
        position,
        server_id: wish.server.id,
        server_name: wish.server.name,
        source_node_id: wish.server.node_id,
        target_node_id: wish.target,
        target_kind,
        bytes: wish.bytes,
        state: ItemState::Waiting,
        transfer_id: None,
        problem: None,
        blocked_since: None,
        retry_at: None,
        started_at: None,
        finished_at: None,
        transfer: None,
    }
}
