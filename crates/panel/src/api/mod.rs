//! The HTTP API: the only module tree that knows axum, apart from the agents' socket in [`crate::link`].
//!
//! A handler authorizes ([`Admin::may`]), loads, decides, records, answers ([`Answer`]). Requests come in through our
//! own extractors ([`Body`], [`Id`], [`ListQuery`]), so that what does not parse is answered in the API's own shape.

mod allocations;
mod announcements;
mod answer;
mod audit_log;
pub mod auth;
mod backup_storages;
mod backups;
mod calls;
mod check;
mod client;
mod clusters;
mod console;
mod database_hosts;
mod databases;
mod dns_names;
mod dns_zones;
mod eggs;
mod error;
mod evacuations;
mod events;
mod extract;
mod flags;
mod health;
mod idempotent;
mod keys;
mod metrics;
mod nodes;
mod notifications;
pub mod on_server;
pub mod openapi;
mod orphans;
mod power;
mod relay;
mod roles;
mod room;
mod schedules;
mod server_allocations;
mod servers;
mod session;
mod startup;
mod subusers;
pub mod transfers;
mod users;
mod views;
mod web;
mod webhooks;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

pub use answer::Answer;
pub use auth::Admin;
pub(crate) use calls::QUICK;
pub(crate) use console::Consoles;
pub use error::ApiError;
pub(crate) use error::chain;
pub use extract::{Body, Id, ListQuery};
pub use idempotent::Idempotency;
pub use power::Signal;
pub(crate) use power::{power_by_schedule, send_command, start as start_server};

use crate::app::App;

/// Everything under `/`, except the agents' socket.
pub fn router(app: App) -> Router {
    let v1 = Router::new()
        .merge(nodes::routes())
        .merge(orphans::routes())
        .merge(clusters::routes())
        .merge(room::routes())
        .merge(evacuations::routes())
        .merge(events::routes())
        .merge(allocations::routes())
        .merge(eggs::routes())
        .merge(servers::routes())
        .merge(power::routes())
        .merge(server_allocations::routes())
        .merge(startup::routes())
        .merge(console::routes())
        .merge(transfers::routes())
        .merge(relay::routes())
        .merge(flags::routes())
        .merge(keys::routes())
        .merge(session::routes())
        .merge(announcements::routes())
        .merge(audit_log::routes())
        .merge(subusers::routes())
        .merge(backups::routes())
        .merge(backup_storages::routes())
        .merge(users::routes())
        .merge(roles::routes())
        .merge(schedules::routes())
        .merge(webhooks::routes())
        .merge(database_hosts::routes())
        .merge(databases::routes())
        .merge(dns_zones::routes())
        .merge(dns_names::routes())
        .merge(notifications::routes())
        .merge(openapi::routes());
    Router::new()
        .nest("/api/v1", v1)
        .merge(health::routes())
        .merge(web::routes())
        .merge(metrics::routes())
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn_with_state(app.clone(), see_it_through))
        .with_state(app)
}

/// A client that hangs up does not stop half way what it has begun: requests that change something run in a task of
/// their own. (Without it the future is dropped wherever it waits, for example between a commit and what follows it.)
async fn see_it_through(State(app): State<App>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    match app.tasks.spawn(next.run(request)).await {
        Ok(response) => response,
        Err(panicked) => ApiError::internal(panicked).into_response(),
    }
}

/// What no route of the API has may be of the web interface.
async fn no_such_route(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let reads = matches!(method, Method::GET | Method::HEAD);
    let page = reads.then(|| web::answer(uri.path(), &headers)).flatten();
    page.unwrap_or_else(|| {
        let message = format!("There is no route {}. See /api/v1/openapi.json.", uri.path());
        ApiError::new(StatusCode::NOT_FOUND, "not_found", message).into_response()
    })
}

async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}. See /api/v1/openapi.json.", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
