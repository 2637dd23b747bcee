//! API keys: make one, see which there are, take one away.

use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get};
use ipnet::IpNet;
use jiff::Timestamp;
use model::{ApiKeyId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::auth::{Proof, new_secret, sha256_hex};
use super::on_server::Right;
use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Body, Id, ListQuery, check};
use crate::app::App;
use crate::db::keys::{self, ApiKey};
use crate::db::{DbError, audit};

/// Networks that one key can name.
const MOST_NETWORKS: usize = 50;

#[derive(OpenApi)]
#[openapi(paths(create, list, remove))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/admin/api-keys", get(list).post(create)).route("/admin/api-keys/{id}", delete(remove))
}

/// A key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "deploy", "scopes": ["admin.servers.*"], "expires_at": "2030-01-01T00:00:00Z"}))]
struct NewKey {
    /// For people.
    name: String,
    /// Permissions: `admin.servers.transfer`, `admin.servers.*`, or `*`. No more than the caller has.
    scopes: Vec<String>,
    /// From when on it is worth nothing.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Networks (CIDR) from which it may be used; without them everywhere.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["10.0.0.0/8", "2001:db8::/32"]))]
    allowed_networks: Vec<IpNet>,
}

/// An API key.
#[derive(Debug, Serialize, ToSchema)]
struct KeyView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: ApiKeyId,
    /// For people.
    #[schema(example = "deploy")]
    name: String,
    /// Permissions.
    #[schema(example = json!(["admin.servers.*"]))]
    scopes: Vec<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// From when on it is worth nothing.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was last used (to the minute).
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    /// Whose it is: it has no more rights than they have, and ends with them. Null for a key of nobody.
    #[schema(value_type = Option<uuid::Uuid>)]
    user_id: Option<UserId>,
    /// Networks from which it may be used; empty for everywhere.
    #[schema(value_type = Vec<String>, example = json!(["10.0.0.0/8"]))]
    allowed_networks: Vec<IpNet>,
    /// The key itself: in the answer to its creation, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "bp_…")]
    key: Option<String>,
}

impl KeyView {
    fn new(row: ApiKey, key: Option<String>) -> Self {
        Self {
            id: row.id,
            name: row.name,
            scopes: row.scopes,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
            user_id: row.user_id,
            allowed_networks: row.allowed_networks,
            key,
        }
    }
}

/// Makes an API key.
#[utoipa::path(post, path = "/api/v1/admin/api-keys", tag = "API keys", request_body = NewKey, responses(
    (status = 201, description = "The key, with `key` itself: this once", body = One<KeyView>),
))]
async fn create(State(app): State<App>, admin: Admin, body: Body<NewKey>) -> Result<Answer, ApiError> {
    admin.may("admin.api-keys.create")?;
    let new = body.value;
    let mut problems = check::name("name", &new.name);
    problems.extend(new.scopes.iter().enumerate().filter_map(|(index, scope)| scope_problem(&admin, index, scope)));
    if new.scopes.is_empty() {
        problems.push(("scopes".to_owned(), "must name at least one permission".to_owned()));
    }
    if new.allowed_networks.len() > MOST_NETWORKS {
        problems.push(("allowed_networks".to_owned(), format!("must be at most {MOST_NETWORKS}")));
    }
    if new.expires_at.is_some_and(|at| at <= app.now()) {
        problems.push(("expires_at".to_owned(), "must be in the future".to_owned()));
    }
    check::none(problems)?;
    let key = new_secret("bp_").map_err(ApiError::internal)?;
    let row = ApiKey {
        id: ApiKeyId::new(),
        name: new.name,
        key_hash: sha256_hex(&key),
        scopes: new.scopes,
        created_at: app.now(),
        expires_at: new.expires_at,
        last_used_at: None,
        user_id: admin.user_id(),
        allowed_networks: new.allowed_networks,
    };
    let mut tx = app.db.begin().await?;
    keys::key_insert(&mut tx, &row).await?;
    let details = json!({"name": row.name, "scopes": row.scopes});
    audit::audit(&mut tx, app.now(), &admin.actor(), "api_key.create", row.id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::created(format!("/api/v1/admin/api-keys/{}", row.id), &KeyView::new(row, Some(key)))
}

fn scope_problem(admin: &Admin, index: usize, scope: &str) -> Option<check::Problem> {
    // What one has on one's own servers is not in the role; a key can be good for it all the same.
    let is_own = scope == "server.*" || Right::from_permission(scope).is_some();
    let held = admin.has(scope) || (is_own && admin.user.is_some() && admin.in_scope(scope));
    let problem = match check::permission(scope) {
        Some(problem) => problem,
        None if !held => "is more than the one has who asks for it",
        None => return None,
    };
    Some((format!("scopes[{index}]"), problem.to_owned()))
}

/// Lists API keys.
#[utoipa::path(get, path = "/api/v1/admin/api-keys", tag = "API keys",
    responses((status = 200, description = "One page, oldest first", body = Many<KeyView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.api-keys.list")?;
    query.only_filters(&[])?;
    query.sort(&["created_at"], "created_at")?;
    let mut conn = app.db.acquire().await?;
    let page = keys::keys_list(&mut conn, query.paging).await?;
    Answer::page(&page.map(|row| KeyView::new(row, None)), query.paging)
}

/// Takes an API key away, at once.
#[utoipa::path(delete, path = "/api/v1/admin/api-keys/{id}", tag = "API keys", params(("id" = uuid::Uuid, Path)),
    responses((status = 204, description = "Gone"), (status = 409, description = "`key_in_use`: it is the one that asks")))]
async fn remove(State(app): State<App>, admin: Admin, Id(id): Id<ApiKeyId>) -> Result<Answer, ApiError> {
    admin.may("admin.api-keys.delete")?;
    if admin.proof == Proof::Key(id) {
        return Err(ApiError::conflict("key_in_use", "This request uses the key itself. Delete it with another key."));
    }
    let mut tx = app.db.begin().await?;
    keys::key_delete(&mut tx, id).await.map_err(|error| match error {
        DbError::NotFound => ApiError::not_found("API key"),
        error => error.into(),
    })?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "api_key.delete", id, &json!({})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}
