//! Database hosts: administrators say on which MySQL and MariaDB servers databases may be made.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use jiff::Timestamp;
use model::{DatabaseHostId, NodeId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::check::{self, Given, Problem};
use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Body, Id, ListQuery};
use crate::app::App;
use crate::databases::{MysqlError, host_purpose, server};
use crate::db::database_hosts::{self, DatabaseHost};
use crate::db::{Conn, DbError, Page, audit, nodes};

#[derive(OpenApi)]
#[openapi(paths(create, list, show, update, remove, test))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/database-hosts", get(list).post(create))
        .route("/admin/database-hosts/{id}", get(show).patch(update).delete(remove))
        .route("/admin/database-hosts/{id}/test", post(test))
}

/// A database host to make known.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "main", "host": "db.example", "port": 3306, "username": "badgerpanel", "password": "…"}))]
struct NewHost {
    /// For people; unique.
    name: String,
    /// Address or name at which the panel and the servers reach it.
    #[schema(example = "db.example")]
    host: String,
    /// 3306 without it.
    #[serde(default = "mysql_port")]
    port: u16,
    /// An account that may make databases and users, and may grant what it has.
    username: String,
    /// Its password. Kept sealed, never shown.
    password: String,
    /// The node that it runs on, if it is one of ours: a preflight says so when a server leaves it.
    #[schema(value_type = Option<uuid::Uuid>)]
    node_id: Option<NodeId>,
    /// How many databases it takes; without it as many as are asked for.
    max_databases: Option<u64>,
}

fn mysql_port() -> u16 {
    3306
}

/// What a database host becomes. What is not given stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"max_databases": 100}))]
struct HostChange {
    /// For people; unique.
    name: Option<String>,
    /// Address or name.
    host: Option<String>,
    /// Port.
    port: Option<u16>,
    /// The account.
    username: Option<String>,
    /// Its password.
    password: Option<String>,
    /// The node that it runs on; null for none.
    #[serde(default)]
    #[schema(value_type = Option<uuid::Uuid>)]
    node_id: Given<NodeId>,
    /// How many databases it takes; null for as many as are asked for.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    max_databases: Given<u64>,
}

/// A database host.
#[derive(Debug, Serialize, ToSchema)]
struct HostView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: DatabaseHostId,
    /// For people.
    #[schema(example = "main")]
    name: String,
    /// Address or name.
    #[schema(example = "db.example")]
    host: String,
    /// Port.
    #[schema(example = 3306)]
    port: u16,
    /// The account.
    #[schema(example = "badgerpanel")]
    username: String,
    /// The node that it runs on; null if it is none of ours.
    #[schema(value_type = Option<uuid::Uuid>)]
    node_id: Option<NodeId>,
    /// How many databases it takes; null for as many as are asked for.
    max_databases: Option<u64>,
    /// How many are there.
    #[schema(example = 3)]
    databases: u64,
    /// When it was made known.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

async fn seen(conn: &mut Conn, it: DatabaseHost) -> Result<HostView, DbError> {
    let databases = database_hosts::databases_on(conn, it.id).await?;
    let DatabaseHost { id, name, host, port, username, node_id, max_databases, created_at, .. } = it;
    Ok(HostView { id, name, host, port, username, node_id, max_databases, databases, created_at })
}

/// Whether a database host does what is asked of it.
#[derive(Debug, Serialize, ToSchema)]
struct HostTest {
    /// Whether it answers and the account may make databases and users.
    ok: bool,
    /// What it calls its version; null if it did not say.
    #[schema(example = "10.11.6-MariaDB")]
    version: Option<String>,
    /// What is wrong; null if nothing is.
    #[schema(example = "it cannot be reached: Connection refused")]
    error: Option<String>,
}

fn problems(it: &DatabaseHost, password: Option<&str>) -> Vec<Problem> {
    let mut problems = check::name("name", &it.name);
    problems.extend(check::address("host", &it.host));
    let text = |field: &str, value: &str, longest: usize| {
        let fits = (1..=longest).contains(&value.len()) && !value.contains('\0');
        (!fits).then(|| (field.to_owned(), format!("must be 1 to {longest} bytes")))
    };
    problems.extend(text("username", &it.username, 80));
    problems.extend(password.and_then(|password| text("password", password, 500)));
    problems.extend((it.port == 0).then(|| ("port".to_owned(), "must be 1 to 65535".to_owned())));
    problems.extend(it.max_databases.into_iter().flat_map(|most| check::size("max_databases", most)));
    problems
}

async fn node_exists(conn: &mut Conn, id: Option<NodeId>) -> Result<(), ApiError> {
    let Some(id) = id else { return Ok(()) };
    match nodes::node_get(conn, id).await {
        Ok(_) => Ok(()),
        Err(DbError::NotFound) => Err(ApiError::invalid("node_id", "there is no such node")),
        Err(error) => Err(error.into()),
    }
}

/// Makes a database host known. It is not connected to; test it.
#[utoipa::path(post, path = "/api/v1/admin/database-hosts", tag = "database hosts", request_body = NewHost, responses(
    (status = 201, description = "The database host", body = One<HostView>),
    (status = 409, description = "`database_host_exists`: its name is taken"),
))]
async fn create(State(app): State<App>, admin: Admin, body: Body<NewHost>) -> Result<Answer, ApiError> {
    admin.may("admin.database-hosts.create")?;
    let NewHost { name, host, port, username, password, node_id, max_databases } = body.value;
    let (id, created_at) = (DatabaseHostId::new(), app.now());
    let sealed = app.access.secrets.seal(&host_purpose(id), &password).map_err(ApiError::internal)?;
    let it = DatabaseHost { id, name, host, port, username, password: sealed, node_id, max_databases, created_at };
    check::none(problems(&it, Some(&password)))?;
    let mut tx = app.db.begin().await?;
    node_exists(&mut tx, node_id).await?;
    database_hosts::host_insert(&mut tx, &it).await.map_err(taken)?;
    let details = json!({"name": it.name, "host": it.host, "port": port});
    audit::audit(&mut tx, created_at, &admin.actor(), "database_host.create", id, &details).await?;
    let view = seen(&mut tx, it).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::created(format!("/api/v1/admin/database-hosts/{id}"), &view)
}

/// Lists the database hosts.
#[utoipa::path(get, path = "/api/v1/admin/database-hosts", tag = "database hosts",
    responses((status = 200, description = "One page, by name", body = Many<HostView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.database-hosts.list")?;
    query.only_filters(&[])?;
    query.sort(&["name"], "name")?;
    let mut conn = app.db.acquire().await?;
    let page = database_hosts::hosts_page(&mut conn, query.paging).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for host in page.items {
        items.push(seen(&mut conn, host).await?);
    }
    Answer::page(&Page { items, total: page.total }, query.paging)
}

/// Shows a database host.
#[utoipa::path(get, path = "/api/v1/admin/database-hosts/{id}", tag = "database hosts", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The database host", body = One<HostView>)))]
async fn show(State(app): State<App>, admin: Admin, Id(id): Id<DatabaseHostId>) -> Result<Answer, ApiError> {
    admin.may("admin.database-hosts.list")?;
    let mut conn = app.db.acquire().await?;
    let host = load(&mut conn, id).await?;
    Answer::ok(&seen(&mut conn, host).await?)
}

/// Changes a database host. Databases that are there stay where they are: change this when it has moved.
#[utoipa::path(patch, path = "/api/v1/admin/database-hosts/{id}", tag = "database hosts", request_body = HostChange,
    params(("id" = uuid::Uuid, Path)), responses(
        (status = 200, description = "The database host as it is now", body = One<HostView>),
        (status = 409, description = "`database_host_exists`: its name is taken"),
    ))]
async fn update(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<DatabaseHostId>,
    body: Body<HostChange>,
) -> Result<Answer, ApiError> {
    admin.may("admin.database-hosts.update")?;
    let change = body.value;
    let mut tx = app.db.begin().await?;
    let before = load(&mut tx, id).await?;
    let password = match &change.password {
        Some(password) => app.access.secrets.seal(&host_purpose(id), password).map_err(ApiError::internal)?,
        None => before.password,
    };
    let after = DatabaseHost {
        name: change.name.unwrap_or(before.name),
        host: change.host.unwrap_or(before.host),
        port: change.port.unwrap_or(before.port),
        username: change.username.unwrap_or(before.username),
        password,
        node_id: change.node_id.or(before.node_id),
        max_databases: change.max_databases.or(before.max_databases),
        ..before
    };
    check::none(problems(&after, change.password.as_deref()))?;
    node_exists(&mut tx, after.node_id).await?;
    database_hosts::host_update(&mut tx, &after).await.map_err(taken)?;
    let details = json!({"name": after.name, "host": after.host, "port": after.port});
    audit::audit(&mut tx, app.now(), &admin.actor(), "database_host.update", id, &details).await?;
    let view = seen(&mut tx, after).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::ok(&view)
}

/// Forgets a database host. Not while a server has a database there.
#[utoipa::path(delete, path = "/api/v1/admin/database-hosts/{id}", tag = "database hosts", params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 204, description = "Forgotten"),
        (status = 409, description = "`database_host_in_use`"),
    ))]
async fn remove(State(app): State<App>, admin: Admin, Id(id): Id<DatabaseHostId>) -> Result<Answer, ApiError> {
    admin.may("admin.database-hosts.delete")?;
    let mut tx = app.db.begin().await?;
    let host = load(&mut tx, id).await?;
    database_hosts::host_delete(&mut tx, id).await.map_err(|error| match error {
        DbError::Conflict => {
            ApiError::conflict("database_host_in_use", "Servers have databases on this host. Delete those first.")
        }
        error => error.into(),
    })?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "database_host.delete", id, &json!({"name": host.name})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}

/// Connects to a database host, and makes and drops a user and a database there.
#[utoipa::path(post, path = "/api/v1/admin/database-hosts/{id}/test", tag = "database hosts", request_body = check::Nothing,
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "What came of it", body = One<HostTest>)))]
async fn test(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<DatabaseHostId>,
    _body: Body<check::Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.database-hosts.update")?;
    let host = load(&mut *app.db.acquire().await?, id).await?;
    let server = server(&app.access.secrets, &host).map_err(ApiError::internal)?;
    let (version, error) = match server.test().await {
        Ok(version) => (Some(version), None),
        Err(error @ (MysqlError::Refused { .. } | MysqlError::Unreachable(_))) => (None, Some(error.to_string())),
    };
    Answer::ok(&HostTest { ok: error.is_none(), version, error })
}

async fn load(conn: &mut Conn, id: DatabaseHostId) -> Result<DatabaseHost, ApiError> {
    database_hosts::host_get(conn, id).await.map_err(|error| match error {
        DbError::NotFound => ApiError::not_found("database host"),
        error => error.into(),
    })
}

fn taken(error: DbError) -> ApiError {
    match error {
        DbError::Conflict => {
            ApiError::conflict("database_host_exists", "Another database host has this name. Choose another one.")
        }
        error => error.into(),
    }
}
