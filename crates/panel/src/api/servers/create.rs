//! Making a server: what is asked for, what speaks against it, and what is written down.
//!
//! Everything is decided and written in one transaction; the agent hears of it afterwards ([`crate::install`]).

use std::collections::BTreeMap;

use axum::extract::State;
use jiff::Timestamp;
use model::{AllocationId, EggId, Epoch, Limits, NodeId, ServerId, ServerStatus, UserId};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::ServerView;
use crate::api::views::One;
use crate::api::{Admin, Answer, ApiError, Body, Idempotency, check};
use crate::app::App;
use crate::db::nodes::{self, Node, NodeKind};
use crate::db::on_demand::{self, Choice};
use crate::db::servers::{self, Server};
use crate::db::{Conn, DbError, allocations, audit, eggs, outbox};
use crate::egg::{Egg, check_environment};
use crate::install;

/// A server to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "survival", "egg_id": "0198a7b2-0000-7000-8000-000000000002",
    "node_id": "0198a7b2-0000-7000-8000-000000000001", "memory_limit": 2048, "disk_limit": 10240, "cpu_limit": 200,
    "environment": {"SERVER_JARFILE": "server.jar"}, "start_on_completion": true,
}))]
pub(super) struct NewServer {
    /// For people; need not be unique.
    name: String,
    /// What it is made from.
    #[schema(value_type = uuid::Uuid)]
    egg_id: EggId,
    /// Where it is made: a node, or `cluster_id`.
    #[schema(value_type = Option<uuid::Uuid>)]
    node_id: Option<NodeId>,
    /// Where it is made: a cluster.
    #[schema(value_type = Option<uuid::Uuid>)]
    cluster_id: Option<NodeId>,
    /// A free allocation of that node or cluster; without it one is chosen, on a cluster made.
    #[schema(value_type = Option<uuid::Uuid>)]
    allocation_id: Option<AllocationId>,
    /// MiB; 0 for no limit.
    memory_limit: u64,
    /// MiB; 0 for no limit.
    disk_limit: u64,
    /// Percent of one core on a node, millicores on a cluster (1000 is one core); 0 for no limit.
    cpu_limit: u64,
    /// Values for the egg's variables; its defaults where there are none.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Command line; without it the egg's.
    startup: Option<String>,
    /// Container image; without it the egg's first.
    docker_image: Option<String>,
    /// Whose it is; without it nobody's.
    #[schema(value_type = Option<uuid::Uuid>)]
    owner_id: Option<UserId>,
    /// Addresses in all, up to which its owner may take more; without it the owner takes none.
    #[serde(default)]
    allocation_limit: u64,
    /// How many backups it may have; without it as many as one likes.
    backup_limit: Option<u64>,
    /// Whether it is started once it is installed.
    #[serde(default)]
    start_on_completion: bool,
}

/// Makes a server.
///
/// It is `installing` until its agent has installed it, which begins when the agent is connected; then `offline` or
/// `install_failed`.
#[utoipa::path(post, path = "/api/v1/admin/servers", tag = "servers", request_body = NewServer,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same answer for 24 h")),
    responses(
        (status = 201, description = "The server", body = One<ServerView>),
        (status = 409, description = "`allocation_in_use`, `node_cordoned`, `cluster_cordoned`"),
        (status = 422, description = "`insufficient_resources`, `allocation_not_of_node`, `allocation_none_free`"),
    ))]
pub(super) async fn create(
    State(app): State<App>,
    admin: Admin,
    idempotency: Idempotency,
    body: Body<NewServer>,
) -> Result<Answer, ApiError> {
    admin.may("admin.servers.create")?;
    let (new, raw) = (body.value, body.raw);
    let work = async {
        let start = new.start_on_completion;
        let mut tx = app.db.begin().await?;
        let (server, choice) = plan(&mut tx, new, app.now()).await?;
        let id = server.id;
        servers::server_insert(&mut tx, &server).await?;
        if choice.is_new {
            on_demand::allocation_insert(&mut tx, &choice.allocation).await?;
        }
        allocations::allocation_assign(&mut tx, choice.allocation.id, server.node_id, id).await?;
        if start {
            servers::server_want_start(&mut tx, id).await?;
        }
        let place = format!("{}_id", server.node_kind.noun());
        let details = json!({"name": server.name, place.as_str(): server.node_id});
        audit::audit(&mut tx, app.now(), &admin.actor(), "server.create", id, &details).await?;
        let server = servers::server_get(&mut tx, id).await?;
        let data = json!({"server": {"id": id, "name": server.name, place: server.node_id}});
        outbox::tell(&mut tx, app.now(), "server.created", &data).await?;
        let committed = tx.commit().await.map_err(DbError::from);
        // Only now: an agent never hears of a server that may not exist. Also where the answer was lost, and whether it
        // exists is not known here: the installation begins by looking.
        install::begin(&app, id);
        committed?;
        Answer::created(format!("/api/v1/admin/servers/{id}"), &ServerView::from(server))
    };
    idempotency.once(&app, &admin, "POST /admin/servers", &raw, work).await
}

/// Checks a request against what is there, and says what to write.
async fn plan(tx: &mut Conn, new: NewServer, now: Timestamp) -> Result<(Server, Choice), ApiError> {
    let missing = |field: &'static str, noun: &'static str| {
        move |error| match error {
            DbError::NotFound => ApiError::invalid(field, format!("there is no such {noun}")),
            error => ApiError::from(error),
        }
    };
    let stored = eggs::egg_get(tx, new.egg_id).await.map_err(missing("egg_id", "egg"))?;
    let egg = Egg::parse(&stored.document).map_err(ApiError::internal)?;
    let (kind, place) = check::one_of(("node_id", new.node_id), ("cluster_id", new.cluster_id))?;
    let node = crate::api::allocations::owner(tx, kind, place).await?;
    check::none(problems(&new, &egg, kind))?;
    super::owner_exists(tx, new.owner_id).await?;
    if node.cordoned {
        let noun = kind.noun();
        let message = format!("This {noun} takes no new servers. Choose another one.");
        return Err(ApiError::conflict(format!("{noun}_cordoned"), message));
    }
    let cpu_percent = match kind {
        NodeKind::Node => new.cpu_limit,
        NodeKind::Cluster => new.cpu_limit / check::MILLICORES_PER_PERCENT,
    };
    let limits = Limits { memory_mb: new.memory_limit, disk_mb: new.disk_limit, cpu_percent };
    has_room(tx, &node, limits, Limits::default()).await?;
    let choice = choose_allocation(tx, &node, new.allocation_id).await?;
    let server = Server {
        id: ServerId::new(),
        name: new.name,
        egg_id: new.egg_id,
        node_id: node.id,
        node_kind: kind,
        epoch: Epoch::FIRST,
        status: ServerStatus::Installing,
        locked_by: None,
        transfer_state: None,
        limits,
        startup: new.startup.unwrap_or_else(|| egg.startup.clone()),
        image: new.docker_image.unwrap_or_else(|| egg.default_image().to_owned()),
        environment: new.environment,
        install_error: None,
        attention: Vec::new(),
        owner_id: new.owner_id,
        allocation_limit: new.allocation_limit,
        backup_limit: new.backup_limit,
        created_at: now,
        primary: None,
        others: Vec::new(),
    };
    Ok((server, choice))
}

fn problems(new: &NewServer, egg: &Egg, kind: NodeKind) -> Vec<check::Problem> {
    let mut problems = check::name("name", &new.name);
    problems.extend(check::size("memory_limit", new.memory_limit));
    problems.extend(check::size("disk_limit", new.disk_limit));
    problems.extend(check::size("allocation_limit", new.allocation_limit));
    problems.extend(new.backup_limit.iter().flat_map(|limit| check::size("backup_limit", *limit)));
    problems.extend(match kind {
        NodeKind::Node => check::size("cpu_limit", new.cpu_limit),
        NodeKind::Cluster => check::millicores("cpu_limit", new.cpu_limit),
    });
    problems.extend(check_environment(egg, &new.environment));
    for (field, text) in [("startup", &new.startup), ("docker_image", &new.docker_image)] {
        if text.as_ref().is_some_and(|text| text.trim().is_empty() || text.contains('\0')) {
            problems.push((field.to_owned(), "must not be empty".to_owned()));
        }
    }
    problems
}

/// Refuses with needed and available of whatever does not suffice, for a server that has `own` of it already. A node's 0 is
/// no limit, and what becomes less always fits.
pub(super) async fn has_room(tx: &mut Conn, node: &Node, limits: Limits, own: Limits) -> Result<(), ApiError> {
    let usage = nodes::node_usage(tx, node.id, None).await?;
    let mut short = serde_json::Map::new();
    for (name, needed, own, total, used) in [
        ("memory_mb", limits.memory_mb, own.memory_mb, node.memory_mb, usage.memory_mb),
        ("disk_mb", limits.disk_mb, own.disk_mb, node.disk_mb, usage.disk_mb),
        ("cpu_percent", limits.cpu_percent, own.cpu_percent, node.cpu_percent, usage.cpu_percent),
    ] {
        let available = total.saturating_sub(used.saturating_sub(own));
        if total > 0 && needed > own && needed > available {
            short.insert(name.to_owned(), json!({"needed": needed, "available": available}));
        }
    }
    if short.is_empty() {
        return Ok(());
    }
    let (noun, name) = (node.kind.noun(), &node.name);
    let message = format!("Insufficient Resources: {noun} {name} has too little left. See details.");
    let error = ApiError::unprocessable("insufficient_resources", message);
    Err(short.into_iter().fold(error, |error, (name, numbers)| error.detail(&name, numbers)))
}

/// The allocation that a server of `node` is to have, or one that is free.
pub(in crate::api) async fn choose_allocation(
    tx: &mut Conn,
    node: &Node,
    wanted: Option<AllocationId>,
) -> Result<Choice, ApiError> {
    let Some(id) = wanted else {
        let choice = on_demand::allocation_choose(tx, node, None).await?;
        return choice.ok_or_else(|| ApiError::unprocessable("allocation_none_free", none_free(node)));
    };
    let row = allocations::allocation_get(tx, id).await.map_err(|error| match error {
        DbError::NotFound => ApiError::invalid("allocation_id", "there is no such allocation"),
        error => error.into(),
    })?;
    if row.node_id != node.id {
        let message = "The allocation belongs to another node or cluster. Choose one of the server's own.";
        return Err(ApiError::unprocessable("allocation_not_of_node", message));
    }
    if !row.is_free() {
        let message = "Another server or a transfer has the allocation. Choose a free one.";
        return Err(ApiError::conflict("allocation_in_use", message));
    }
    Ok(Choice { allocation: row, is_new: false })
}

/// That a node or a cluster has no address left, and what to do.
pub(in crate::api) fn none_free(node: &Node) -> String {
    let name = &node.name;
    match (node.kind, &node.facts) {
        (NodeKind::Node, _) => format!("Node {name} has no free allocation. Add some to it."),
        (NodeKind::Cluster, None) => {
            format!("Cluster {name} has no ports before its orchestrator is installed. Run its install command.")
        }
        (NodeKind::Cluster, Some(_)) => {
            format!("Cluster {name} has no free port left. Widen the range in its orchestrator's configuration.")
        }
    }
}
