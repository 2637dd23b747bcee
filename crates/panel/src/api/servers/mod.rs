//! Servers: make one out of an egg, see them, remove one. Power is in [`super::power`], moving in [`super::transfers`].

mod create;
mod view;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use model::agent_api::{ErrorCode, Request};
use model::{ServerId, ServerStatus};
use serde_json::json;
use utoipa::OpenApi;

pub(super) use view::ServerView;

use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Id, ListQuery, calls};
use crate::agent::CallError;
use crate::app::App;
use crate::db::servers::{self, Filter, Server};
use crate::db::{Conn, DbError, audit};

#[derive(OpenApi)]
#[openapi(paths(create::create, list, show, show_own, remove))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/servers", get(list).post(create::create))
        .route("/admin/servers/{id}", get(show).delete(remove))
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
), responses((status = 200, description = "One page", body = Many<ServerView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.servers.list")?;
    query.only_filters(&["node_id", "cluster_id", "egg_id", "status", "name"])?;
    let sort = query.sort(servers::SORTS, "created_at")?;
    let filter = Filter {
        node_id: query.filter_place()?,
        egg_id: query.filter("egg_id")?,
        status: query.filter_word("status")?,
        name: query.filter("name")?,
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

/// Shows a server to whoever uses it.
#[utoipa::path(get, path = "/api/v1/servers/{id}", tag = "servers", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The server", body = One<ServerView>)))]
async fn show_own(app: State<App>, admin: Admin, id: Id<ServerId>) -> Result<Answer, ApiError> {
    show(app, admin, id).await
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

/// Removes a server and its files. It must be stopped, and its agent connected.
#[utoipa::path(delete, path = "/api/v1/admin/servers/{id}", tag = "servers", params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 204, description = "Removed"),
        (status = 409, description = "`server_locked`, `server_installing`, `server_running`"),
        (status = 503, description = "`agent_offline`"),
    ))]
async fn remove(State(app): State<App>, admin: Admin, Id(id): Id<ServerId>) -> Result<Answer, ApiError> {
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
    let mut tx = app.db.begin().await?;
    match removed {
        Ok(_) => {}
        // It never got there, or an earlier attempt removed it and its answer was lost.
        Err(CallError::Refused(error)) if error.code == ErrorCode::NotFound => {}
        Err(error) => {
            servers::server_unlock(&mut tx, id, &holder).await?;
            tx.commit().await.map_err(DbError::from)?;
            return Err(calls::refusal(error));
        }
    }
    servers::server_delete(&mut tx, id, &holder).await?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "server.delete", id, &json!({"name": server.name})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}
