//! The HTTP API: the only module tree that knows axum, apart from the agents' socket in [`crate::link`].
//!
//! A handler authorizes ([`Admin::may`]), loads, decides, records, answers ([`Answer`]). Requests come in through our
//! own extractors ([`Body`], [`Id`], [`ListQuery`]), so that what does not parse is answered in the API's own shape.

mod allocations;
mod answer;
pub mod auth;
mod calls;
mod check;
mod eggs;
mod error;
mod extract;
mod flags;
mod health;
mod idempotent;
mod keys;
mod nodes;
pub mod openapi;
mod power;
mod servers;
pub mod transfers;
mod views;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};

pub use answer::Answer;
pub use auth::Admin;
pub use error::ApiError;
pub(crate) use error::chain;
pub use extract::{Body, Id, ListQuery};
pub use idempotent::Idempotency;
pub(crate) use power::start as start_server;

use crate::app::App;

/// Everything under `/`, except the agents' socket.
pub fn router(app: App) -> Router {
    let v1 = Router::new()
        .merge(nodes::routes())
        .merge(allocations::routes())
        .merge(eggs::routes())
        .merge(servers::routes())
        .merge(power::routes())
        .merge(transfers::routes())
        .merge(flags::routes())
        .merge(keys::routes())
        .merge(openapi::routes());
    Router::new()
        .nest("/api/v1", v1)
        .merge(health::routes())
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .with_state(app)
}

async fn no_such_route(uri: Uri) -> ApiError {
    let message = format!("There is no route {}. See /api/v1/openapi.json.", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}. See /api/v1/openapi.json.", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
