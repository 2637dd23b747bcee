//! The OpenAPI document: made from the handlers and their types, so that it cannot say anything else than they do.
//!
//! What routes have in common (the key, 400, 401, 403, 404, 503) is added by [`shared`] and not repeated at each handler.

mod shared;

use std::sync::LazyLock;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::views::{ErrorBody, ErrorInfo};
use super::{
    allocations, announcements, audit_log, backup_storages, backups, clusters, console, database_hosts, databases,
    dns_names, dns_zones, eggs, evacuations, events, flags, health, keys, metrics, nodes, notifications, orphans,
    power, roles, room, schedules, server_allocations, servers, session, startup, subusers, transfers, users, webhooks,
};
use crate::app::App;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "BadgerPanel",
        description = "Moves game servers between nodes while people play on them.\n\nAnswers are `{\"success\": true, \"data\": …}`, pages have `meta` beside it, errors are `{\"success\": false, \"error\": {code, message, details}}`. Ids are UUIDs, times RFC 3339 in UTC, sizes bytes unless the field says otherwise."
    ),
    paths(document),
    components(schemas(ErrorBody, ErrorInfo))
)]
struct Base;

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let document = document_value();
    // A value of plain strings, numbers and maps: there is nothing in it that JSON cannot say.
    document.to_pretty_json().expect("an OpenAPI document is JSON")
});

pub(super) fn routes() -> Router<App> {
    Router::new().route("/openapi.json", get(document))
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "health",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

/// The document as JSON, as it is served.
#[must_use]
pub fn json() -> &'static str {
    &DOCUMENT
}

/// Routes of the API that want no key.
const PUBLIC: [&str; 5] = [
    "/api/v1/openapi.json",
    "/api/v1/clusters/install.yaml",
    "/api/v1/auth/login",
    "/api/v1/auth/refresh",
    "/api/v1/auth/logout",
];

fn document_value() -> utoipa::openapi::OpenApi {
    let mut document = Base::openapi();
    for part in vec![
        nodes::Doc::openapi(),
        orphans::Doc::openapi(),
        clusters::Doc::openapi(),
        room::Doc::openapi(),
        evacuations::Doc::openapi(),
        events::Doc::openapi(),
        metrics::Doc::openapi(),
        allocations::Doc::openapi(),
        eggs::Doc::openapi(),
        servers::Doc::openapi(),
        power::Doc::openapi(),
        server_allocations::Doc::openapi(),
        startup::Doc::openapi(),
        console::Doc::openapi(),
        transfers::Doc::openapi(),
        flags::Doc::openapi(),
        keys::Doc::openapi(),
        session::Doc::openapi(),
        users::Doc::openapi(),
        announcements::Doc::openapi(),
        audit_log::Doc::openapi(),
        subusers::Doc::openapi(),
        backups::Doc::openapi(),
        backup_storages::Doc::openapi(),
        roles::Doc::openapi(),
        schedules::Doc::openapi(),
        webhooks::Doc::openapi(),
        database_hosts::Doc::openapi(),
        databases::Doc::openapi(),
        dns_zones::Doc::openapi(),
        dns_names::Doc::openapi(),
        notifications::Doc::openapi(),
        health::Doc::openapi(),
    ] {
        document.merge(part);
    }
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key (bp_…), or the access token of a log-in"))
        .build();
    if let Some(components) = &mut document.components {
        components.add_security_scheme("api_key", SecurityScheme::Http(scheme));
    }
    for (path, item) in &mut document.paths.paths {
        let is_api = path.starts_with("/api/v1/") || path == "/metrics";
        let public = !is_api || PUBLIC.contains(&path.as_str());
        shared::complete(path, item, public);
    }
    document
}
