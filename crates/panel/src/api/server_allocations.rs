//! The addresses of one server: its owner sees them, takes more within a limit, writes down what they are for, chooses
//! which is the first, and lets go of those that are not.
//!
//! The row changes at once; the game has what it was started with until its next start (a cluster opens and closes ports
//! at once). While a transfer holds the server its addresses are the transfer's.

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::routing::{get, patch};
use model::AllocationId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::on_server::{OnServer, Right, id_of};
use super::servers::{load, locked};
use super::views::{Many, One};
use super::{Answer, ApiError, Body, Idempotency, ListQuery, check};
use crate::app::App;
use crate::db::allocations::{self, Allocation};
use crate::db::nodes::{self, Node};
use crate::db::on_demand::{self, Choice};
use crate::db::servers::Server;
use crate::db::{Conn, DbError, Page, Paging, audit, specs};
use crate::tell;

/// Whoever has it may choose among the addresses of a node, and is bound by no server's limit.
const ANY_ADDRESS: &str = "admin.servers.update";

#[derive(OpenApi)]
#[openapi(paths(list, add, update, remove))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/servers/{id}/allocations", get(list).post(add))
        .route("/servers/{id}/allocations/{allocation_id}", patch(update).delete(remove))
}

/// An address to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"notes": "for queries"}))]
struct NewAddress {
    /// A free allocation of the server's node or cluster; for administrators.
    #[schema(value_type = Option<uuid::Uuid>)]
    allocation_id: Option<AllocationId>,
    /// The port that it must have; for administrators. Without both the next free one is taken, beside the first if it can be.
    port: Option<u16>,
    /// What it is for; at most 191 characters.
    #[serde(default)]
    notes: String,
}

/// What an address becomes. What is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"is_primary": true}))]
struct AddressChange {
    /// What it is for.
    notes: Option<String>,
    /// `true` makes it the server's first address, in the place of the one that is.
    is_primary: Option<bool>,
}

/// An address of a server.
#[derive(Debug, Serialize, ToSchema)]
struct ServerAllocationView {
    /// The allocation's id.
    #[schema(value_type = uuid::Uuid)]
    id: AllocationId,
    /// Address on the node, or where players reach the cluster; empty until a load balancer has given one.
    #[schema(example = "10.0.0.5")]
    ip_address: String,
    /// What players are told instead.
    #[schema(example = "play.example.org")]
    ip_alias: Option<String>,
    /// TCP and UDP port.
    #[schema(example = 27016)]
    port: u16,
    /// Whether it is the server's first address.
    is_primary: bool,
    /// What it is for.
    #[schema(example = "for queries")]
    notes: String,
}

impl From<Allocation> for ServerAllocationView {
    fn from(row: Allocation) -> Self {
        Self {
            id: row.id,
            ip_address: row.ip_address,
            ip_alias: row.ip_alias,
            port: row.port,
            is_primary: row.is_primary,
            notes: row.notes,
        }
    }
}

/// Which address of the server.
struct Which(AllocationId);

impl FromRequestParts<App> for Which {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        id_of(parts, app, "allocation_id").await.map(Self)
    }
}

/// Lists the addresses of a server.
#[utoipa::path(get, path = "/api/v1/servers/{id}/allocations", tag = "addresses", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "One page, the first address first", body = Many<ServerAllocationView>)))]
async fn list(State(app): State<App>, on: OnServer, query: ListQuery) -> Result<Answer, ApiError> {
    on.may(Right::Allocations)?;
    query.only_filters(&[])?;
    query.sort(&["port"], "port")?;
    let rows = allocations::allocations_of(&mut *app.db.acquire().await?, on.id).await?;
    Answer::page(&slice(rows, query.paging).map(ServerAllocationView::from), query.paging)
}

fn slice(rows: Vec<Allocation>, paging: Paging) -> Page<Allocation> {
    let number = |of: i64| usize::try_from(of).unwrap_or(usize::MAX);
    let total = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    Page { items: rows.into_iter().skip(number(paging.offset())).take(number(paging.limit())).collect(), total }
}

/// Gives a server one more address.
///
/// Its owner takes the next free one, up to the server's `allocation_limit`; an administrator may name one. The game has it
/// from its next start on.
#[utoipa::path(post, path = "/api/v1/servers/{id}/allocations", tag = "addresses", request_body = NewAddress,
    params(
        ("id" = uuid::Uuid, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same answer for 24 h"),
    ),
    responses(
        (status = 201, description = "The address", body = One<ServerAllocationView>),
        (status = 403, description = "`forbidden`: only an administrator may name an address"),
        (status = 409, description = "`allocation_limit_reached`, `allocation_in_use`, `server_locked`"),
        (status = 422, description = "`allocation_none_free`, `allocation_not_of_node`"),
    ))]
async fn add(
    State(app): State<App>,
    on: OnServer,
    idempotency: Idempotency,
    body: Body<NewAddress>,
) -> Result<Answer, ApiError> {
    on.may(Right::Allocations)?;
    let (new, raw) = (body.value, body.raw);
    let mut problems = notes_problems(&new.notes);
    if new.allocation_id.is_some() && new.port.is_some() {
        problems.push(("port".to_owned(), "must not be given beside allocation_id".to_owned()));
    }
    check::none(problems)?;
    let id = on.id;
    let work = async {
        let mut tx = app.db.begin().await?;
        let server = load_free(&mut tx, &on).await?;
        admit(&on, &server, &new)?;
        let node = nodes::node_get(&mut tx, server.node_id).await?;
        let choice = choose(&mut tx, &server, &node, &new).await?;
        if choice.is_new {
            on_demand::allocation_insert(&mut tx, &choice.allocation).await?;
        }
        let chosen = choice.allocation.id;
        match server.primary {
            Some(_) => allocations::allocation_add(&mut tx, chosen, node.id, id).await?,
            None => allocations::allocation_assign(&mut tx, chosen, node.id, id).await?,
        }
        allocations::allocation_note(&mut tx, chosen, id, &new.notes).await?;
        specs::spec_changed(&mut tx, id).await?;
        let details = json!({"allocation_id": chosen, "address": choice.allocation.address()});
        audit::audit(&mut tx, app.now(), &on.admin.actor(), "server.allocation.add", id, &details).await?;
        tx.commit().await.map_err(DbError::from)?;
        tell::tell_of_change(&app, id).await;
        let row = allocations::allocation_get(&mut *app.db.acquire().await?, chosen).await?;
        Answer::created(format!("/api/v1/servers/{id}/allocations"), &ServerAllocationView::from(row))
    };
    idempotency.once(&app, &on.admin, &format!("POST /servers/{id}/allocations"), &raw, work).await
}

/// The server, if nobody holds it.
async fn load_free(tx: &mut Conn, on: &OnServer) -> Result<Server, ApiError> {
    let server = load(tx, on.id).await?;
    if server.locked_by.is_some() { Err(locked()) } else { Ok(server) }
}

fn admit(on: &OnServer, server: &Server, new: &NewAddress) -> Result<(), ApiError> {
    if on.admin.has(ANY_ADDRESS) {
        return Ok(());
    }
    if new.allocation_id.is_some() || new.port.is_some() {
        return Err(ApiError::forbidden(ANY_ADDRESS));
    }
    let has = server.others.len() + usize::from(server.primary.is_some());
    if u64::try_from(has).is_ok_and(|has| has < server.allocation_limit) {
        return Ok(());
    }
    let limit = server.allocation_limit;
    let message = format!("The server has {has} addresses and may have {limit}. Ask an administrator for more.");
    Err(ApiError::conflict("allocation_limit_reached", message).detail("limit", limit).detail("has", has))
}

async fn choose(tx: &mut Conn, server: &Server, node: &Node, new: &NewAddress) -> Result<Choice, ApiError> {
    if let Some(named) = new.allocation_id {
        return super::servers::choose_allocation(tx, node, Some(named)).await;
    }
    let only = new.port.map_or(on_demand::ANY_PORT, |port| (port, port));
    let offer = on_demand::offer(tx, node, only, new.port.as_slice(), 1).await?;
    let beside = server.primary.as_ref().map(|primary| primary.ip_address.as_str());
    let choice = offer.choose(&[new.port], beside).pop().flatten();
    choice.ok_or_else(|| match new.port {
        Some(port) => {
            let (noun, name) = (node.kind.noun(), &node.name);
            let message = format!("Port {port} of {noun} {name} is not free. Choose another one, or none.");
            ApiError::unprocessable("allocation_none_free", message)
        }
        None => ApiError::unprocessable("allocation_none_free", super::servers::none_free(node)),
    })
}

fn notes_problems(notes: &str) -> Vec<check::Problem> {
    if notes.is_empty() { Vec::new() } else { check::name("notes", notes) }
}

/// Changes what is written about an address, or makes it the first.
///
/// `SERVER_IP` and `SERVER_PORT` follow the first address; the game has them from its next start on.
#[utoipa::path(patch, path = "/api/v1/servers/{id}/allocations/{allocation_id}", tag = "addresses",
    request_body = AddressChange, params(("id" = uuid::Uuid, Path), ("allocation_id" = uuid::Uuid, Path)),
    responses(
        (status = 200, description = "The address as it is now", body = One<ServerAllocationView>),
        (status = 409, description = "`server_locked`"),
    ))]
async fn update(
    State(app): State<App>,
    on: OnServer,
    Which(which): Which,
    body: Body<AddressChange>,
) -> Result<Answer, ApiError> {
    on.may(Right::Allocations)?;
    let change = body.value;
    let mut problems = change.notes.as_deref().map(notes_problems).unwrap_or_default();
    if change.is_primary == Some(false) {
        problems.push(("is_primary".to_owned(), "cannot be taken away: make another address the first".to_owned()));
    }
    check::none(problems)?;
    let mut tx = app.db.begin().await?;
    load_free(&mut tx, &on).await?;
    let before = find(&mut tx, &on, which).await?;
    if let Some(notes) = &change.notes {
        allocations::allocation_note(&mut tx, which, on.id, notes).await?;
    }
    let first = change.is_primary == Some(true) && !before.is_primary;
    if first {
        allocations::allocation_make_primary(&mut tx, which, on.id).await?;
        specs::spec_changed(&mut tx, on.id).await?;
    }
    let row = allocations::allocation_get(&mut tx, which).await?;
    let details = json!({"allocation_id": which, "notes": row.notes, "is_primary": row.is_primary});
    audit::audit(&mut tx, app.now(), &on.admin.actor(), "server.allocation.update", on.id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    if first {
        tell::tell_of_change(&app, on.id).await;
    }
    Answer::ok(&ServerAllocationView::from(row))
}

async fn find(tx: &mut Conn, on: &OnServer, which: AllocationId) -> Result<Allocation, ApiError> {
    match allocations::allocation_get(tx, which).await {
        Ok(row) if row.server_id == Some(on.id) => Ok(row),
        Ok(_) | Err(DbError::NotFound) => Err(ApiError::not_found("allocation")),
        Err(error) => Err(error.into()),
    }
}

/// Takes an address from a server that does not run. Never the first one.
///
/// An owner may let go of what an owner may take: of no address where the server's `allocation_limit` is 0.
#[utoipa::path(delete, path = "/api/v1/servers/{id}/allocations/{allocation_id}", tag = "addresses",
    params(("id" = uuid::Uuid, Path), ("allocation_id" = uuid::Uuid, Path)),
    responses(
        (status = 204, description = "It is free"),
        (status = 409, description = "`allocation_primary`, `server_running`, `server_locked`"),
    ))]
async fn remove(State(app): State<App>, on: OnServer, Which(which): Which) -> Result<Answer, ApiError> {
    on.may(Right::Allocations)?;
    let mut tx = app.db.begin().await?;
    let server = load_free(&mut tx, &on).await?;
    let row = find(&mut tx, &on, which).await?;
    if row.is_primary {
        let message = "This is the server's first address. Make another one the first, then remove it.";
        return Err(ApiError::conflict("allocation_primary", message));
    }
    if server.allocation_limit == 0 && !on.admin.has(ANY_ADDRESS) {
        return Err(ApiError::forbidden(ANY_ADDRESS));
    }
    if server.status.is_live() {
        let message = "The server runs, and may listen there. Stop it first.";
        return Err(ApiError::conflict("server_running", message));
    }
    allocations::allocation_take(&mut tx, which, on.id).await?;
    specs::spec_changed(&mut tx, on.id).await?;
    let details = json!({"allocation_id": which, "address": row.address()});
    audit::audit(&mut tx, app.now(), &on.admin.actor(), "server.allocation.remove", on.id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    tell::tell_of_change(&app, on.id).await;
    Ok(Answer::no_content())
}
