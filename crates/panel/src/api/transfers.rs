//! Placeholder of the transfer routes.

use axum::Router;

use crate::app::App;

/// The routes of this module.
pub(crate) fn routes() -> Router<App> {
    Router::new()
}
