//! Servers: make one out of an egg, see them, remove one. Power is in [`super::power`], moving in [`super::transfers`].

mod create;
mod view;

use axum::Router;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::routing::get;
use model::agent_api::{ErrorCode, Request};
use model::{Limits, ServerId, ServerStatus, UserId};
use serde::Deserialize;
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

pub(super) use create::{choose_allocation, none_free};
pub(super) use view::ServerView;

use super::check::Given;
use super::on_server::{OnServer, Right, good_for_servers};
use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Body, Id, ListQuery, calls, check};
use crate::agent::CallError;
use crate::app::App;
use crate::db::nodes::{self, NodeKind};
use crate::db::servers::{self, Filter, Server};
use crate::db::{Conn, DbError, Page, audit, databases, outbox, specs, subusers, users};
use crate::tell;

#[derive(OpenApi)]
#[openapi(paths(create::create, list, show, update, list_own, show_own, remove))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/servers", get(list).post(create::create))
        .route("/admin/servers/{id}", get(show).patch(update).delete(remove))
        .route("/servers", get(list_own))
        .route("/servers/{id}", get(show_own))
}

/// Lists servers.
#[utoipa::path(get, path = "/api/v1/admin/servers", tag = "servers", params(
    ("sort" = Option<String>, Query, description = "created_at, name, status, memory_limit, disk_limit, cpu_limit; - in front for descending"),
    ("filter[node_id]" = Option<uuid::Uuid>, Query, description = "On this node"),
    ("filter[cluster_id]" = Option<uuid::Uuid>, Query, description = "On this cluster"),
    ("filter[egg_id]" = Option<uuid::Uuid>, Query, description = "Made from this egg"),
    ("filter[status]" = Option<String>, Query, description = "With this status"),
    ("filter[name]" = Option<String>, Query, description = "With exactly this name"),
    ("filter[search]" = Option<String>, Query, description = "With this in its name, in any case of ASCII letters"),
    ("filter[owner_id]" = Option<uuid::Uuid>, Query, description = "Owned by this user"),
), responses((status = 200, description = "One page", body = Many<ServerView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.servers.list")?;
    query.only_filters(&["node_id", "cluster_id", "egg_id", "status", "name", "search", "owner_id"])?;
    let sort = query.sort(servers::SORTS, "created_at")?;
    let filter = Filter {
        node_id: query.filter_place()?,
        egg_id: query.filter("egg_id")?,
        status: query.filter_word("status")?,
        name: query.filter("name")?,
        search: query.filter("search")?,
        owner_id: query.filter("owner_id")?,
        open_to: None,
    };
    let mut conn = app.db.acquire().await?;
    let page = servers::servers_page(&mut conn, &filter, query.paging, sort.column, sort.descending).await?;
    Answer::page(&page.map(ServerView::from), query.paging)
}

/// Shows a server.
#[utoipa::path(get, path = "/api/v1/admin/servers/{id}", tag = "servers", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The server", body = One<ServerView>)))]
async fn show(State(app): State<App>, admin: Admin, Id(id): Id<ServerId>) -> Result<Answer, ApiError> {
    admin.may("admin.servers.list")?;
    let mut conn = app.db.acquire().await?;
    Answer::ok(&ServerView::from(load(&mut conn, id).await?))
}

/// What a server becomes. What is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "creative", "owner_id": null, "memory_limit": 4096, "allocation_limit": 3}))]
struct ServerChange {
    /// For people; need not be unique.
    name: Option<String>,
    /// Whose it becomes; null for nobody's.
    #[serde(default)]
    #[schema(value_type = Option<uuid::Uuid>)]
    owner_id: Given<UserId>,
    /// How many databases it may have; null for as many as are asked for. `GET /servers/{id}/databases` shows it.
    #[serde(default)]
    #[schema(value_type = Option<u64>, example = 2)]
    database_limit: Given<u64>,
    /// MiB; 0 for no limit. From its next start on.
    memory_limit: Option<u64>,
    /// MiB; 0 for no limit. From its next start on.
    disk_limit: Option<u64>,
    /// Percent of one core on a node, millicores on a cluster (1000 is one core); 0 for no limit. From its next start on.
    cpu_limit: Option<u64>,
    /// Addresses in all, up to which its owner may take more.
    allocation_limit: Option<u64>,
    /// How many backups it may have; null for as many as one likes. Those that are too many stay.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    backup_limit: Given<u64>,
}

impl ServerChange {
    /// What the server may use then, or what is wrong with that.
    fn limits(&self, server: &Server) -> Result<Limits, ApiError> {
        let mut problems = Vec::new();
        let fields = [("memory_limit", self.memory_limit), ("disk_limit", self.disk_limit)];
        for (field, value) in fields.into_iter().chain([("allocation_limit", self.allocation_limit)]) {
            problems.extend(value.map(|value| check::size(field, value)).unwrap_or_default());
        }
        let (unit, cpu) = match server.node_kind {
            NodeKind::Node => (1, self.cpu_limit.map(|value| check::size("cpu_limit", value))),
            NodeKind::Cluster => {
                (check::MILLICORES_PER_PERCENT, self.cpu_limit.map(|value| check::millicores("cpu_limit", value)))
            }
        };
        problems.extend(cpu.unwrap_or_default());
        check::none(problems)?;
        Ok(Limits {
            memory_mb: self.memory_limit.unwrap_or(server.limits.memory_mb),
            disk_mb: self.disk_limit.unwrap_or(server.limits.disk_mb),
            cpu_percent: self.cpu_limit.map_or(server.limits.cpu_percent, |value| value / unit),
        })
    }
}

/// Renames a server, gives it to somebody else, or changes what it may use.
///
/// More than its node or cluster has left is refused. The game has new limits from its next start on.
#[utoipa::path(patch, path = "/api/v1/admin/servers/{id}", tag = "servers", request_body = ServerChange,
    params(("id" = uuid::Uuid, Path)), responses(
        (status = 200, description = "The server as it is now", body = One<ServerView>),
        (status = 409, description = "`server_locked`: its limits do not change while something holds it"),
        (status = 422, description = "`insufficient_resources`, with `needed` and `available` of each"),
    ))]
async fn update(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<ServerId>,
    body: Body<ServerChange>,
) -> Result<Answer, ApiError> {
    admin.may("admin.servers.update")?;
    let change = body.value;
    let mut problems: Vec<_> = change.name.iter().flat_map(|name| check::name("name", name)).collect();
    problems.extend(change.database_limit.value().into_iter().flat_map(|limit| check::size("database_limit", *limit)));
    problems.extend(change.backup_limit.value().into_iter().flat_map(|limit| check::size("backup_limit", *limit)));
    check::none(problems)?;
    let mut tx = app.db.begin().await?;
    let before = load(&mut tx, id).await?;
    let limits = change.limits(&before)?;
    if let Some(name) = &change.name {
        servers::server_rename(&mut tx, id, name).await?;
    }
    let owner = change.owner_id.clone().or(before.owner_id);
    if owner != before.owner_id {
        owner_exists(&mut tx, owner).await?;
        subusers::owner_set(&mut tx, id, owner).await?;
    }
    let database_limit = change.database_limit.or(databases::limit_get(&mut tx, id).await?);
    databases::limit_set(&mut tx, id, database_limit).await?;
    let backup_limit = change.backup_limit.or(before.backup_limit);
    if backup_limit != before.backup_limit {
        servers::server_backup_limit(&mut tx, id, backup_limit).await?;
    }
    if let Some(limit) = change.allocation_limit {
        servers::server_allocation_limit_set(&mut tx, id, limit).await?;
    }
    let limits_change = limits != before.limits;
    if limits_change {
        change_limits(&mut tx, &before, limits).await?;
    }
    let server = load(&mut tx, id).await?;
    let details = json!({
        "name": server.name, "owner_id": server.owner_id, "limits": server.limits,
        "allocation_limit": server.allocation_limit, "database_limit": database_limit, "backup_limit": backup_limit,
    });
    audit::audit(&mut tx, app.now(), &admin.actor(), "server.update", id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    if limits_change {
        tell::tell_of_change(&app, id).await;
    }
    Answer::ok(&ServerView::from(server))
}

async fn change_limits(tx: &mut Conn, before: &Server, limits: Limits) -> Result<(), ApiError> {
    if before.locked_by.is_some() {
        return Err(locked());
    }
    let node = nodes::node_get(tx, before.node_id).await?;
    create::has_room(tx, &node, limits, before.limits).await?;
    servers::server_limits_set(tx, before.id, limits).await?;
    Ok(specs::spec_changed(tx, before.id).await?)
}

/// Passes if there is such a user.
async fn owner_exists(tx: &mut Conn, owner: Option<UserId>) -> Result<(), ApiError> {
    let Some(owner) = owner else { return Ok(()) };
    match users::user_get(tx, owner).await {
        Ok(_) => Ok(()),
        Err(DbError::NotFound) => Err(ApiError::invalid("owner_id", "there is no such user")),
        Err(error) => Err(error.into()),
    }
}

/// Lists the servers that are the caller's own, or that their owner lets the caller in to.
#[utoipa::path(get, path = "/api/v1/servers", tag = "servers", params(
    ("sort" = Option<String>, Query, description = "created_at, name, status, memory_limit, disk_limit, cpu_limit; - in front for descending"),
    ("filter[status]" = Option<String>, Query, description = "With this status"),
    ("filter[name]" = Option<String>, Query, description = "With exactly this name"),
), responses((status = 200, description = "One page", body = Many<ServerView>)))]
async fn list_own(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    query.only_filters(&["status", "name"])?;
    let sort = query.sort(servers::SORTS, "created_at")?;
    let (status, name) = (query.filter_word("status")?, query.filter("name")?);
    // A key that belongs to nobody has no servers; neither has one that is good for nothing at them.
    let Some(user) = admin.user_id().filter(|_| good_for_servers(&admin)) else {
        return Answer::page::<ServerView>(&Page { items: Vec::new(), total: 0 }, query.paging);
    };
    let filter = Filter { status, name, open_to: Some(user), ..Filter::default() };
    let mut conn = app.db.acquire().await?;
    let page = servers::servers_page(&mut conn, &filter, query.paging, sort.column, sort.descending).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for server in page.items {
        let relation = subusers::relation(&mut conn, server.id, Some(user)).await?;
        let on = OnServer::new(server.id, admin.clone(), relation);
        items.push(seen_by(&on, server));
    }
    Answer::page(&Page { items, total: page.total }, query.paging)
}

/// Shows a server to whoever may see it.
#[utoipa::path(get, path = "/api/v1/servers/{id}", tag = "servers", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The server", body = One<ServerView>)))]
async fn show_own(State(app): State<App>, on: OnServer) -> Result<Answer, ApiError> {
    let mut conn = app.db.acquire().await?;
    Answer::ok(&seen_by(&on, load(&mut conn, on.id).await?))
}

/// A server as this caller may see it.
pub(super) fn seen_by(on: &OnServer, server: Server) -> ServerView {
    let view = ServerView::from(server);
    let all = on.has(Right::Startup) || on.admin.has("admin.servers.list");
    if all { view } else { view.without_variables() }
}

/// The server, or a 404.
pub(super) async fn load(conn: &mut Conn, id: ServerId) -> Result<Server, ApiError> {
    servers::server_get(conn, id).await.map_err(|error| match error {
        DbError::NotFound => ApiError::not_found("server"),
        error => error.into(),
    })
}

/// 409 `server_locked`, in the words of the product's page.
pub(super) fn locked() -> ApiError {
    ApiError::conflict(
        "server_locked",
        "Server Is Currently Locked: a transfer or another operation holds it. Wait for its end, or cancel it.",
    )
}

/// `?delete_backups=true` of a removal.
struct WithBackups(bool);

impl FromRequestParts<App> for WithBackups {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, app)
            .await
            .map_err(|_| ApiError::invalid("query", "could not be parsed"))?;
        pairs.into_iter().try_fold(Self(false), |_, (name, value)| match (name.as_str(), value.as_str()) {
            ("delete_backups", "true") => Ok(Self(true)),
            ("delete_backups", "false") => Ok(Self(false)),
            ("delete_backups", _) => Err(ApiError::invalid("delete_backups", "must be true or false")),
            (other, _) => Err(ApiError::invalid(other, "is not a parameter of this route")),
        })
    }
}

/// Removes a server and its files. It must be stopped, and its agent connected.
///
/// Its backups stay in their storage, and `/admin/backups` lists them; with `delete_backups=true` those that are not locked
/// are deleted after it, as far as their storage lets them.
#[utoipa::path(delete, path = "/api/v1/admin/servers/{id}", tag = "servers", params(
        ("id" = uuid::Uuid, Path),
        ("delete_backups" = Option<bool>, Query, description = "Whether its backups are deleted as well; false without it"),
    ),
    responses(
        (status = 204, description = "Removed"),
        (status = 409, description = "`server_locked`, `server_installing`, `server_running`"),
        (status = 503, description = "`agent_offline`"),
    ))]
async fn remove(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<ServerId>,
    WithBackups(with_backups): WithBackups,
) -> Result<Answer, ApiError> {
    admin.may("admin.servers.delete")?;
    let holder = format!("delete:{}", uuid::Uuid::now_v7());
    let mut tx = app.db.begin().await?;
    let server = load(&mut tx, id).await?;
    match server.status {
        _ if server.locked_by.is_some() => return Err(locked()),
        ServerStatus::Installing => {
            let message = "The server is being installed. Wait for the end of it.";
            return Err(ApiError::conflict("server_installing", message));
        }
        status if status.is_live() => {
            return Err(ApiError::conflict("server_running", "The server runs. Stop it first."));
        }
        _ => {}
    }
    servers::server_lock(&mut tx, id, &holder).await?;
    tx.commit().await.map_err(DbError::from)?;

    let removed = calls::call(&app, server.node_id, Request::RemoveServer { server_id: id }, calls::REMOVE).await;
    match removed {
        Ok(_) => {}
        // It never got there, or an earlier attempt removed it and its answer was lost.
        Err(CallError::Refused(error)) if error.code == ErrorCode::NotFound => {}
        Err(error) => {
            app.insist(async || servers::server_release(&mut *app.db.acquire().await?, id, &holder).await).await?;
            return Err(calls::refusal(error));
        }
    }
    app.insist(async || forget(&app, &admin, &server, &holder).await).await?;
    if with_backups {
        app.backups.remove_all_of(id, &admin.actor()).await?;
    }
    Ok(Answer::no_content())
}

/// Deletes the row of a server whose files are gone. Again is the same.
async fn forget(app: &App, admin: &Admin, server: &Server, holder: &str) -> Result<(), DbError> {
    let mut tx = app.db.begin().await?;
    match servers::server_get(&mut tx, server.id).await {
        Ok(_) => {}
        Err(DbError::NotFound) => return Ok(()),
        Err(error) => return Err(error),
    }
    servers::server_delete(&mut tx, server.id, holder).await?;
    let details = json!({"name": server.name});
    audit::audit(&mut tx, app.now(), &admin.actor(), "server.delete", server.id, &details).await?;
    let data = json!({"server": {"id": server.id, "name": server.name}});
    outbox::tell(&mut tx, app.now(), "server.deleted", &data).await?;
    Ok(tx.commit().await?)
}
