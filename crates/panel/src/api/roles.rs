//! Roles: what users may. Three are built in; others are made of permissions that their maker has.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use jiff::Timestamp;
use model::RoleId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Body, Id, ListQuery, check};
use crate::app::App;
use crate::db::roles::{self, Role};
use crate::db::{Conn, DbError, audit};

/// Permissions that one role can name.
const MOST_PERMISSIONS: usize = 200;

#[derive(OpenApi)]
#[openapi(paths(create, list, show, update, remove))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/roles", get(list).post(create))
        .route("/admin/roles/{id}", get(show).patch(update).delete(remove))
}

/// A role to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Night shift", "permissions": ["admin.servers.list", "admin.servers.power"]}))]
struct NewRole {
    /// For people; unique.
    name: String,
    /// `admin.servers.transfer`, `admin.servers.*`, or `*`. No more than the caller has.
    permissions: Vec<String>,
}

/// What a role becomes. What is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"permissions": ["admin.servers.*"]}))]
struct RoleChange {
    /// As for a new one.
    name: Option<String>,
    /// As for a new one.
    permissions: Option<Vec<String>>,
}

/// A role.
#[derive(Debug, Serialize, ToSchema)]
struct RoleView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: RoleId,
    /// For people.
    #[schema(example = "Moderator")]
    name: String,
    /// What it allows.
    #[schema(example = json!(["admin.servers.list"]))]
    permissions: Vec<String>,
    /// Whether it came with the panel, and stays as it is.
    built_in: bool,
    /// How many users have it.
    users: u64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Role> for RoleView {
    fn from(role: Role) -> Self {
        let Role { id, name, permissions, built_in, users, created_at } = role;
        Self { id, name, permissions, built_in, users, created_at }
    }
}

/// Makes a role.
#[utoipa::path(post, path = "/api/v1/admin/roles", tag = "roles", request_body = NewRole, responses(
    (status = 201, description = "The role", body = One<RoleView>),
    (status = 409, description = "`role_exists`: the name is taken"),
))]
async fn create(State(app): State<App>, admin: Admin, body: Body<NewRole>) -> Result<Answer, ApiError> {
    admin.may("admin.roles.create")?;
    let NewRole { name, permissions } = body.value;
    let mut problems = check::name("name", &name);
    problems.extend(permission_problems(&admin, &permissions));
    check::none(problems)?;
    let role = Role { id: RoleId::new(), name, permissions, built_in: false, users: 0, created_at: app.now() };
    let mut tx = app.db.begin().await?;
    roles::role_insert(&mut tx, &role).await.map_err(taken)?;
    let details = json!({"name": role.name, "permissions": role.permissions});
    audit::audit(&mut tx, app.now(), &admin.actor(), "role.create", role.id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::created(format!("/api/v1/admin/roles/{}", role.id), &RoleView::from(role))
}

fn permission_problems(admin: &Admin, permissions: &[String]) -> Vec<check::Problem> {
    if permissions.len() > MOST_PERMISSIONS {
        return vec![("permissions".to_owned(), format!("must be at most {MOST_PERMISSIONS}"))];
    }
    let problem = |text: &String| match check::permission(text) {
        None if !admin.has(text) => Some("is more than the one has who asks for it"),
        problem => problem,
    };
    let found = permissions.iter().enumerate();
    found.filter_map(|(i, text)| Some((format!("permissions[{i}]"), problem(text)?.to_owned()))).collect()
}

/// Lists roles.
#[utoipa::path(get, path = "/api/v1/admin/roles", tag = "roles",
    responses((status = 200, description = "One page, those that are built in first", body = Many<RoleView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.roles.list")?;
    query.only_filters(&[])?;
    query.sort(&["created_at"], "created_at")?;
    let mut conn = app.db.acquire().await?;
    let page = roles::roles_page(&mut conn, query.paging).await?;
    Answer::page(&page.map(RoleView::from), query.paging)
}

/// Shows a role.
#[utoipa::path(get, path = "/api/v1/admin/roles/{id}", tag = "roles", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The role", body = One<RoleView>)))]
async fn show(State(app): State<App>, admin: Admin, Id(id): Id<RoleId>) -> Result<Answer, ApiError> {
    admin.may("admin.roles.list")?;
    let mut conn = app.db.acquire().await?;
    Answer::ok(&RoleView::from(load(&mut conn, id).await?))
}

/// Changes a role; it counts at once for all who have it.
#[utoipa::path(patch, path = "/api/v1/admin/roles/{id}", tag = "roles", request_body = RoleChange,
    params(("id" = uuid::Uuid, Path)), responses(
        (status = 200, description = "The role as it is now", body = One<RoleView>),
        (status = 409, description = "`role_built_in`, `role_exists`"),
    ))]
async fn update(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<RoleId>,
    body: Body<RoleChange>,
) -> Result<Answer, ApiError> {
    admin.may("admin.roles.update")?;
    let change = body.value;
    let mut problems: Vec<_> = change.name.iter().flat_map(|name| check::name("name", name)).collect();
    problems.extend(change.permissions.iter().flat_map(|list| permission_problems(&admin, list)));
    check::none(problems)?;
    let mut tx = app.db.begin().await?;
    let mut role = own(load(&mut tx, id).await?)?;
    // Who has less than the role has no business with it, upwards or downwards.
    role.permissions.iter().try_for_each(|permission| admin.may(permission))?;
    role.name = change.name.unwrap_or(role.name);
    role.permissions = change.permissions.unwrap_or(role.permissions);
    roles::role_update(&mut tx, &role).await.map_err(taken)?;
    let details = json!({"name": role.name, "permissions": role.permissions});
    audit::audit(&mut tx, app.now(), &admin.actor(), "role.update", id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::ok(&RoleView::from(role))
}

/// Removes a role that nobody has.
#[utoipa::path(delete, path = "/api/v1/admin/roles/{id}", tag = "roles", params(("id" = uuid::Uuid, Path)), responses(
    (status = 204, description = "Removed"),
    (status = 409, description = "`role_built_in`, `role_in_use`"),
))]
async fn remove(State(app): State<App>, admin: Admin, Id(id): Id<RoleId>) -> Result<Answer, ApiError> {
    admin.may("admin.roles.delete")?;
    let mut tx = app.db.begin().await?;
    let role = own(load(&mut tx, id).await?)?;
    roles::role_delete(&mut tx, id).await.map_err(|error| match error {
        DbError::Conflict => {
            ApiError::conflict("role_in_use", "There are users with this role. Give them another one first.")
        }
        error => error.into(),
    })?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "role.delete", id, &json!({"name": role.name})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}

async fn load(conn: &mut Conn, id: RoleId) -> Result<Role, ApiError> {
    roles::role_get(conn, id).await.map_err(|error| match error {
        DbError::NotFound => ApiError::not_found("role"),
        error => error.into(),
    })
}

/// A role that is not built in.
fn own(role: Role) -> Result<Role, ApiError> {
    if !role.built_in {
        return Ok(role);
    }
    let message = "This role came with the panel and stays as it is. Make another one.";
    Err(ApiError::conflict("role_built_in", message))
}

fn taken(error: DbError) -> ApiError {
    match error {
        DbError::Conflict => ApiError::conflict("role_exists", "Another role has this name. Choose another one."),
        error => error.into(),
    }
}
