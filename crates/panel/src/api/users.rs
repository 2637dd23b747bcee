//! Users, for administrators: who there is, what role they have, whether they may come in.
//!
//! Nobody makes or changes somebody who may more than they do themselves; and there is always an administrator left who
//! can log in.

use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get, post};
use jiff::Timestamp;
use model::{RoleId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::check::{self, Given};
use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Body, Id, ListQuery};
use crate::access::password;
use crate::app::App;
use crate::db::users::{self, Filter, NewUser, User};
use crate::db::{Conn, DbError, audit, outbox, roles, sessions};

#[derive(OpenApi)]
#[openapi(paths(create, list, show, update, set_password, end_sessions, remove))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/users", get(list).post(create))
        .route("/admin/users/{id}", get(show).patch(update).delete(remove))
        .route("/admin/users/{id}/password", post(set_password))
        .route("/admin/users/{id}/sessions", delete(end_sessions))
}

/// A user to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"username": "kim", "email": "kim@example.com", "password": "correct horse battery staple"}))]
struct NewUserRequest {
    /// Letters, digits, `.`, `-`, `_`; at most 64. Unique, whatever the case.
    username: String,
    /// Unique; the other way to log in.
    email: Option<String>,
    /// At least 10 characters.
    password: String,
    /// Without it the role `User`. No more than the caller may.
    #[schema(value_type = Option<uuid::Uuid>)]
    role_id: Option<RoleId>,
}

/// What a user becomes. What is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"disabled": true}))]
struct UserChange {
    /// As for a new one.
    username: Option<String>,
    /// Null takes it away.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    email: Given<String>,
    /// No more than the caller may.
    #[schema(value_type = Option<uuid::Uuid>)]
    role_id: Option<RoleId>,
    /// Keeps them out: sessions end, keys do not work.
    disabled: Option<bool>,
}

/// Another password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"password": "correct horse battery staple"}))]
struct NewPassword {
    /// At least 10 characters.
    password: String,
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
struct UserView {
    /// Their id.
    #[schema(value_type = uuid::Uuid)]
    id: UserId,
    /// How they log in.
    #[schema(example = "kim")]
    username: String,
    /// The other way to log in.
    #[schema(example = "kim@example.com")]
    email: Option<String>,
    /// Their role's name.
    #[schema(example = "User")]
    role: String,
    /// Their role.
    #[schema(value_type = uuid::Uuid)]
    role_id: RoleId,
    /// Whether they are kept out.
    disabled: bool,
    /// When they were made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When they last logged in.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_login_at: Option<Timestamp>,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        let User { id, username, email, role_id, role, disabled, created_at, last_login_at, .. } = user;
        Self { id, username, email, role, role_id, disabled, created_at, last_login_at }
    }
}

fn location(id: UserId) -> String {
    format!("/api/v1/admin/users/{id}")
}

/// Makes a user.
#[utoipa::path(post, path = "/api/v1/admin/users", tag = "users", request_body = NewUserRequest, responses(
    (status = 201, description = "The user", body = One<UserView>),
    (status = 409, description = "`user_exists`: name or e-mail address is taken"),
    (status = 503, description = "`busy`"),
))]
async fn create(State(app): State<App>, admin: Admin, body: Body<NewUserRequest>) -> Result<Answer, ApiError> {
    admin.may("admin.users.create")?;
    let new = body.value;
    let mut problems = check::username("username", &new.username);
    problems.extend(new.email.iter().flat_map(|email| check::email("email", email)));
    let problem = password::problem(&new.password, &new.username);
    problems.extend(problem.map(|problem| ("password".to_owned(), problem)));
    check::none(problems)?;
    let role_id = new.role_id.unwrap_or(roles::USER);
    may_give(&mut *app.db.acquire().await?, &admin, role_id).await?;
    let password_hash = app.access.passwords.hash(new.password).await?;
    let user = NewUser { id: UserId::new(), username: new.username, email: new.email, password_hash, role_id };
    let mut tx = app.db.begin().await?;
    users::user_insert(&mut tx, &user, app.now()).await.map_err(taken)?;
    let details = json!({"username": user.username, "role_id": role_id});
    audit::audit(&mut tx, app.now(), &admin.actor(), "user.create", user.id, &details).await?;
    let user = users::user_get(&mut tx, user.id).await?;
    outbox::tell(&mut tx, app.now(), "user.created", &about(&user)).await?;
    tx.commit().await.map_err(DbError::from)?;
    let view = UserView::from(user);
    Answer::created(location(view.id), &view)
}

/// Lists users.
#[utoipa::path(get, path = "/api/v1/admin/users", tag = "users", params(
    ("sort" = Option<String>, Query, description = "created_at, username, last_login_at; - in front for descending"),
    ("filter[role_id]" = Option<uuid::Uuid>, Query, description = "With this role"),
    ("filter[username]" = Option<String>, Query, description = "With exactly this name, in any case"),
    ("filter[email]" = Option<String>, Query, description = "With exactly this address, in any case"),
    ("filter[disabled]" = Option<bool>, Query, description = "Kept out, or not"),
), responses((status = 200, description = "One page", body = Many<UserView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.users.list")?;
    query.only_filters(&["role_id", "username", "email", "disabled"])?;
    let sort = query.sort(users::SORTS, "created_at")?;
    let filter = Filter {
        role_id: query.filter("role_id")?,
        username: query.filter("username")?,
        email: query.filter("email")?,
        disabled: query.filter("disabled")?,
    };
    let mut conn = app.db.acquire().await?;
    let page = users::users_page(&mut conn, &filter, query.paging, sort.column, sort.descending).await?;
    Answer::page(&page.map(UserView::from), query.paging)
}

/// Shows a user.
#[utoipa::path(get, path = "/api/v1/admin/users/{id}", tag = "users", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The user", body = One<UserView>)))]
async fn show(State(app): State<App>, admin: Admin, Id(id): Id<UserId>) -> Result<Answer, ApiError> {
    admin.may("admin.users.list")?;
    let mut conn = app.db.acquire().await?;
    Answer::ok(&UserView::from(load(&mut conn, id).await?))
}

/// Changes a user. Who is disabled is out at once.
#[utoipa::path(patch, path = "/api/v1/admin/users/{id}", tag = "users", request_body = UserChange,
    params(("id" = uuid::Uuid, Path)), responses(
        (status = 200, description = "The user as they are now", body = One<UserView>),
        (status = 409, description = "`user_exists`, `last_admin`, `own_account`"),
    ))]
async fn update(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<UserId>,
    body: Body<UserChange>,
) -> Result<Answer, ApiError> {
    admin.may("admin.users.update")?;
    let change = body.value;
    let mut problems: Vec<_> = change.username.iter().flat_map(|name| check::username("username", name)).collect();
    problems.extend(change.email.value().into_iter().flat_map(|email| check::email("email", email)));
    check::none(problems)?;
    let mut tx = app.db.begin().await?;
    let before = load(&mut tx, id).await?;
    below(&admin, &before)?;
    let after = User {
        username: change.username.unwrap_or_else(|| before.username.clone()),
        email: change.email.or(before.email.clone()),
        role_id: change.role_id.unwrap_or(before.role_id),
        disabled: change.disabled.unwrap_or(before.disabled),
        ..before.clone()
    };
    if after.role_id != before.role_id {
        may_give(&mut tx, &admin, after.role_id).await?;
    }
    if after.disabled {
        not_oneself(&admin, id)?;
        sessions::sessions_end(&mut tx, id, None).await?;
    }
    if after.disabled || after.role_id != roles::ADMIN {
        an_admin_stays(&mut tx, &before).await?;
    }
    users::user_update(&mut tx, &after).await.map_err(taken)?;
    let details = json!({"username": after.username, "role_id": after.role_id, "disabled": after.disabled});
    audit::audit(&mut tx, app.now(), &admin.actor(), "user.update", id, &details).await?;
    outbox::tell(&mut tx, app.now(), "user.updated", &about(&after)).await?;
    let view = UserView::from(users::user_get(&mut tx, id).await?);
    tx.commit().await.map_err(DbError::from)?;
    Answer::ok(&view)
}

/// Gives a user another password, for when it is lost. All their sessions end.
#[utoipa::path(post, path = "/api/v1/admin/users/{id}/password", tag = "users", request_body = NewPassword,
    params(("id" = uuid::Uuid, Path)),
    responses((status = 204, description = "Done"), (status = 503, description = "`busy`")))]
async fn set_password(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<UserId>,
    body: Body<NewPassword>,
) -> Result<Answer, ApiError> {
    admin.may("admin.users.update")?;
    let user = load(&mut *app.db.acquire().await?, id).await?;
    below(&admin, &user)?;
    if let Some(problem) = password::problem(&body.value.password, &user.username) {
        return Err(ApiError::invalid("password", problem));
    }
    let hash = app.access.passwords.hash(body.value.password).await?;
    let mut tx = app.db.begin().await?;
    below(&admin, &load(&mut tx, id).await?)?;
    users::user_set_password(&mut tx, id, &hash).await?;
    sessions::sessions_end(&mut tx, id, None).await?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "user.set_password", id, &json!({})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}

/// Logs a user out everywhere.
#[utoipa::path(delete, path = "/api/v1/admin/users/{id}/sessions", tag = "users", params(("id" = uuid::Uuid, Path)),
    responses((status = 204, description = "Done")))]
async fn end_sessions(State(app): State<App>, admin: Admin, Id(id): Id<UserId>) -> Result<Answer, ApiError> {
    admin.may("admin.users.update")?;
    let mut tx = app.db.begin().await?;
    below(&admin, &load(&mut tx, id).await?)?;
    sessions::sessions_end(&mut tx, id, None).await?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "user.end_sessions", id, &json!({})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}

/// Removes a user, with their sessions and API keys. Not while they own servers.
#[utoipa::path(delete, path = "/api/v1/admin/users/{id}", tag = "users", params(("id" = uuid::Uuid, Path)), responses(
    (status = 204, description = "Removed"),
    (status = 409, description = "`last_admin`, `own_account`, `user_owns_servers`"),
))]
async fn remove(State(app): State<App>, admin: Admin, Id(id): Id<UserId>) -> Result<Answer, ApiError> {
    admin.may("admin.users.delete")?;
    let mut tx = app.db.begin().await?;
    let user = load(&mut tx, id).await?;
    below(&admin, &user)?;
    not_oneself(&admin, id)?;
    an_admin_stays(&mut tx, &user).await?;
    users::user_delete(&mut tx, id).await.map_err(|error| match error {
        DbError::Conflict => ApiError::conflict(
            "user_owns_servers",
            "This user owns servers. Give them to somebody else, or delete them, first.",
        ),
        error => error.into(),
    })?;
    let details = json!({"username": user.username});
    audit::audit(&mut tx, app.now(), &admin.actor(), "user.delete", id, &details).await?;
    outbox::tell(&mut tx, app.now(), "user.deleted", &about(&user)).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}

/// A user as webhooks are told about them.
fn about(user: &User) -> serde_json::Value {
    json!({"user": {"id": user.id, "username": user.username, "disabled": user.disabled}})
}

async fn load(conn: &mut Conn, id: UserId) -> Result<User, ApiError> {
    users::user_get(conn, id).await.map_err(|error| match error {
        DbError::NotFound => ApiError::not_found("user"),
        error => error.into(),
    })
}

/// Passes if the caller may all that `user` may: else a password for an administrator would be had by any helper.
fn below(admin: &Admin, user: &User) -> Result<(), ApiError> {
    user.permissions.iter().try_for_each(|permission| admin.may(permission))
}

/// Passes if there is such a role and the caller may all that it allows.
async fn may_give(conn: &mut Conn, admin: &Admin, id: RoleId) -> Result<(), ApiError> {
    let role = roles::role_get(conn, id).await.map_err(|error| match error {
        DbError::NotFound => ApiError::invalid("role_id", "there is no such role"),
        error => error.into(),
    })?;
    role.permissions.iter().try_for_each(|permission| admin.may(permission))
}

fn not_oneself(admin: &Admin, id: UserId) -> Result<(), ApiError> {
    if admin.user_id() != Some(id) {
        return Ok(());
    }
    Err(ApiError::conflict("own_account", "This is your own account. Ask another administrator to do this."))
}

/// Passes if there is an administrator beside `user`, or `user` is none anyway.
async fn an_admin_stays(tx: &mut Conn, user: &User) -> Result<(), ApiError> {
    if user.role_id != roles::ADMIN || user.disabled || users::admins_beside(tx, user.id).await? > 0 {
        return Ok(());
    }
    let message = "This is the last administrator who can log in. Make another one first.";
    Err(ApiError::conflict("last_admin", message))
}

fn taken(error: DbError) -> ApiError {
    match error {
        DbError::Conflict => {
            ApiError::conflict("user_exists", "Another user has this name or e-mail address. Choose another one.")
        }
        error => error.into(),
    }
}
