//! Feature flags: see and turn them.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::views::One;
use super::{Admin, Answer, ApiError, Body, Id};
use crate::app::App;
use crate::db::{DbError, audit, flags};

#[derive(OpenApi)]
#[openapi(paths(list, show, set))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/admin/feature-flags", get(list)).route("/admin/feature-flags/{name}", get(show).patch(set))
}

/// A feature flag.
#[derive(Debug, Serialize, ToSchema)]
struct FlagView {
    /// Its name.
    #[schema(example = "server_transfers")]
    name: String,
    /// Whether the feature is on.
    enabled: bool,
}

/// What a flag becomes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"enabled": false}))]
struct FlagChange {
    /// On or off.
    enabled: bool,
}

/// Lists feature flags.
#[utoipa::path(get, path = "/api/v1/admin/feature-flags", tag = "feature flags",
    responses((status = 200, description = "All of them, by name", body = One<Vec<FlagView>>)))]
async fn list(State(app): State<App>, admin: Admin) -> Result<Answer, ApiError> {
    admin.may("admin.feature-flags.list")?;
    let mut conn = app.db.acquire().await?;
    let flags = flags::flags_list(&mut conn).await?;
    Answer::ok(&flags.into_iter().map(|(name, enabled)| FlagView { name, enabled }).collect::<Vec<_>>())
}

/// Shows a feature flag.
#[utoipa::path(get, path = "/api/v1/admin/feature-flags/{name}", tag = "feature flags",
    params(("name" = String, Path)), responses((status = 200, description = "The flag", body = One<FlagView>)))]
async fn show(State(app): State<App>, admin: Admin, Id(name): Id<String>) -> Result<Answer, ApiError> {
    admin.may("admin.feature-flags.list")?;
    let mut conn = app.db.acquire().await?;
    let enabled = flags::flag_enabled(&mut conn, &name).await.map_err(missing)?;
    Answer::ok(&FlagView { name, enabled })
}

/// Turns a feature on or off.
#[utoipa::path(patch, path = "/api/v1/admin/feature-flags/{name}", tag = "feature flags",
    params(("name" = String, Path)), request_body = FlagChange,
    responses((status = 200, description = "The flag as it is now", body = One<FlagView>)))]
async fn set(
    State(app): State<App>,
    admin: Admin,
    Id(name): Id<String>,
    body: Body<FlagChange>,
) -> Result<Answer, ApiError> {
    admin.may("admin.feature-flags.update")?;
    let enabled = body.value.enabled;
    let mut tx = app.db.begin().await?;
    flags::flag_set(&mut tx, &name, enabled).await.map_err(missing)?;
    let details = json!({"enabled": enabled});
    audit::audit(&mut tx, app.now(), &admin.actor(), "feature_flag.update", &name, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::ok(&FlagView { name, enabled })
}

fn missing(error: DbError) -> ApiError {
    match error {
        DbError::NotFound => ApiError::not_found("feature flag"),
        error => error.into(),
    }
}
