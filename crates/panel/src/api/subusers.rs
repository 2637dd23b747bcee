//! Subusers: whom the owner of a server lets in, and to do what.
//!
//! Nobody gives more than they have; everybody may leave.

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::routing::get;
use jiff::Timestamp;
use model::UserId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::check::{self, Problem};
use super::on_server::{OnServer, Right, id_of};
use super::views::{Many, One};
use super::{Answer, ApiError, Body, ListQuery};
use crate::app::App;
use crate::db::servers;
use crate::db::subusers::{self, Subuser};
use crate::db::{DbError, audit, users};

#[derive(OpenApi)]
#[openapi(paths(create, list, show, update, remove))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/servers/{id}/subusers", get(list).post(create))
        .route("/servers/{id}/subusers/{user_id}", get(show).patch(update).delete(remove))
}

/// Somebody to let in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"user": "kim", "permissions": ["server.power", "server.console"]}))]
struct NewSubuser {
    /// Name or e-mail address of a user.
    user: String,
    /// `server.power`, `server.console`, `server.files`, `server.backups`, `server.schedules`, `server.databases`,
    /// `server.allocations`, `server.startup`, `server.subusers`. No more than the caller has. Without any they see the
    /// server and do nothing.
    permissions: Vec<String>,
}

/// What a subuser becomes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"permissions": ["server.console"]}))]
struct SubuserChange {
    /// As for a new one.
    permissions: Vec<String>,
}

/// Somebody who is let in.
#[derive(Debug, Serialize, ToSchema)]
struct SubuserView {
    /// Who.
    #[schema(value_type = uuid::Uuid)]
    user_id: UserId,
    /// Their name.
    #[schema(example = "kim")]
    username: String,
    /// What they may.
    #[schema(example = json!(["server.power"]))]
    permissions: Vec<String>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Subuser> for SubuserView {
    fn from(row: Subuser) -> Self {
        let Subuser { user_id, username, permissions, created_at } = row;
        Self { user_id, username, permissions, created_at }
    }
}

/// The `{user_id}` of a route.
struct Whom(UserId);

impl FromRequestParts<App> for Whom {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        id_of(parts, app, "user_id").await.map(Self)
    }
}

/// Lets somebody in.
#[utoipa::path(post, path = "/api/v1/servers/{id}/subusers", tag = "subusers", request_body = NewSubuser,
    params(("id" = uuid::Uuid, Path)), responses(
        (status = 201, description = "The subuser", body = One<SubuserView>),
        (status = 409, description = "`already_subuser`, `is_owner`"),
    ))]
async fn create(State(app): State<App>, on: OnServer, body: Body<NewSubuser>) -> Result<Answer, ApiError> {
    on.may(Right::Subusers)?;
    let new = body.value;
    check::none(problems(&on, &new.permissions))?;
    let mut tx = app.db.begin().await?;
    let Some((user, _)) = users::user_by_login(&mut tx, &new.user).await? else {
        return Err(ApiError::invalid("user", "there is no such user"));
    };
    if servers::server_get(&mut tx, on.id).await?.owner_id == Some(user.id) {
        return Err(ApiError::conflict("is_owner", "This user owns the server and may do everything already."));
    }
    let (username, permissions) = (user.username, sorted(new.permissions));
    let subuser = Subuser { user_id: user.id, username, permissions, created_at: app.now() };
    subusers::subuser_insert(&mut tx, on.id, &subuser).await.map_err(|error| match error {
        DbError::Conflict => {
            ApiError::conflict("already_subuser", "This user is a subuser already. Change what they may instead.")
        }
        error => error.into(),
    })?;
    let details = json!({"user_id": subuser.user_id, "permissions": subuser.permissions});
    audit::audit(&mut tx, app.now(), &on.admin.actor(), "subuser.create", on.id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    let location = format!("/api/v1/servers/{}/subusers/{}", on.id, subuser.user_id);
    Answer::created(location, &SubuserView::from(subuser))
}

/// Unknown words, and what the caller has not got themselves.
fn problems(on: &OnServer, permissions: &[String]) -> Vec<Problem> {
    let problem = |word: &String| match Right::from_permission(word) {
        None => Some("is no permission at a server"),
        Some(right) if !on.has(right) => Some("is more than the one has who asks for it"),
        Some(_) => None,
    };
    let all = permissions.iter().enumerate();
    all.filter_map(|(i, word)| Some((format!("permissions[{i}]"), problem(word)?.to_owned()))).collect()
}

fn sorted(mut permissions: Vec<String>) -> Vec<String> {
    permissions.sort();
    permissions.dedup();
    permissions
}

/// Lists whom the owner lets in.
#[utoipa::path(get, path = "/api/v1/servers/{id}/subusers", tag = "subusers", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "One page, by name", body = Many<SubuserView>)))]
async fn list(State(app): State<App>, on: OnServer, query: ListQuery) -> Result<Answer, ApiError> {
    on.may(Right::Subusers)?;
    query.only_filters(&[])?;
    query.sort(&["username"], "username")?;
    let mut conn = app.db.acquire().await?;
    let page = subusers::subusers_page(&mut conn, on.id, query.paging).await?;
    Answer::page(&page.map(SubuserView::from), query.paging)
}

/// Shows a subuser; everybody may look at themselves.
#[utoipa::path(get, path = "/api/v1/servers/{id}/subusers/{user_id}", tag = "subusers",
    params(("id" = uuid::Uuid, Path), ("user_id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The subuser", body = One<SubuserView>)))]
async fn show(State(app): State<App>, on: OnServer, Whom(user): Whom) -> Result<Answer, ApiError> {
    if on.admin.user_id() != Some(user) {
        on.may(Right::Subusers)?;
    }
    let mut conn = app.db.acquire().await?;
    Answer::ok(&SubuserView::from(subusers::subuser_get(&mut conn, on.id, user).await.map_err(missing)?))
}

/// Changes what a subuser may. Not oneself, and nobody who may more than the caller.
#[utoipa::path(patch, path = "/api/v1/servers/{id}/subusers/{user_id}", tag = "subusers", request_body = SubuserChange,
    params(("id" = uuid::Uuid, Path), ("user_id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The subuser as they are now", body = One<SubuserView>)))]
async fn update(
    State(app): State<App>,
    on: OnServer,
    Whom(user): Whom,
    body: Body<SubuserChange>,
) -> Result<Answer, ApiError> {
    on.may(Right::Subusers)?;
    check::none(problems(&on, &body.value.permissions))?;
    let mut tx = app.db.begin().await?;
    let before = subusers::subuser_get(&mut tx, on.id, user).await.map_err(missing)?;
    below(&on, &before)?;
    let subuser = Subuser { permissions: sorted(body.value.permissions), ..before };
    subusers::subuser_update(&mut tx, on.id, user, &subuser.permissions).await.map_err(missing)?;
    let details = json!({"user_id": user, "permissions": subuser.permissions});
    audit::audit(&mut tx, app.now(), &on.admin.actor(), "subuser.update", on.id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::ok(&SubuserView::from(subuser))
}

/// Lets a subuser in no more. Everybody may leave.
#[utoipa::path(delete, path = "/api/v1/servers/{id}/subusers/{user_id}", tag = "subusers",
    params(("id" = uuid::Uuid, Path), ("user_id" = uuid::Uuid, Path)),
    responses((status = 204, description = "They are out")))]
async fn remove(State(app): State<App>, on: OnServer, Whom(user): Whom) -> Result<Answer, ApiError> {
    let leaves = on.admin.user_id() == Some(user);
    if !leaves {
        on.may(Right::Subusers)?;
    }
    let mut tx = app.db.begin().await?;
    let subuser = subusers::subuser_get(&mut tx, on.id, user).await.map_err(missing)?;
    if !leaves {
        below(&on, &subuser)?;
    }
    subusers::subuser_delete(&mut tx, on.id, user).await.map_err(missing)?;
    audit::audit(&mut tx, app.now(), &on.admin.actor(), "subuser.delete", on.id, &json!({"user_id": user})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}

/// Passes if the caller has all that the subuser has.
fn below(on: &OnServer, subuser: &Subuser) -> Result<(), ApiError> {
    let rights = subuser.permissions.iter().filter_map(|word| Right::from_permission(word));
    rights.into_iter().try_for_each(|right| on.may(right))
}

fn missing(error: DbError) -> ApiError {
    match error {
        DbError::NotFound => ApiError::not_found("subuser"),
        error => error.into(),
    }
}
