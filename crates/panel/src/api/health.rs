//! Is the panel alive, and is it of use? For load balancers and supervisors; no key is asked for.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::json;
use utoipa::OpenApi;

use super::{Answer, ApiError};
use crate::app::App;

#[derive(OpenApi)]
#[openapi(paths(healthz, readyz))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

/// Tells that the process answers.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, description = "It does", body = Object)))]
async fn healthz() -> Result<Answer, ApiError> {
    Answer::ok(&json!({"status": "ok"}))
}

/// Tells whether requests can be served: the database answers.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "They can", body = Object),
    (status = 503, description = "`database_unavailable`, or `shutting_down`"),
))]
async fn readyz(State(app): State<App>) -> Result<Answer, ApiError> {
    if app.shutdown.is_cancelled() {
        return Err(ApiError::unavailable("shutting_down", "The panel is shutting down."));
    }
    app.db.ping().await?;
    Answer::ok(&json!({"status": "ready"}))
}
