//! The OpenAPI document: made from the handlers and their types, so that it cannot say anything else than they do.
//!
//! What every route has in common (the key, 400, 401, 403, 404) is added here and not repeated at each handler.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::Type;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, ObjectBuilder, PathItem, Ref, RefOr, Required, ResponseBuilder};

use super::views::{ErrorBody, ErrorInfo};
use super::{
    allocations, announcements, audit_log, clusters, database_hosts, databases, eggs, flags, health, keys, nodes,
    notifications, power, roles, schedules, server_allocations, servers, session, startup, subusers, transfers, users,
    webhooks,
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
        clusters::Doc::openapi(),
        allocations::Doc::openapi(),
        eggs::Doc::openapi(),
        servers::Doc::openapi(),
        power::Doc::openapi(),
        server_allocations::Doc::openapi(),
        startup::Doc::openapi(),
        transfers::Doc::openapi(),
        flags::Doc::openapi(),
        keys::Doc::openapi(),
        session::Doc::openapi(),
        users::Doc::openapi(),
        announcements::Doc::openapi(),
        audit_log::Doc::openapi(),
        subusers::Doc::openapi(),
        roles::Doc::openapi(),
        schedules::Doc::openapi(),
        webhooks::Doc::openapi(),
        database_hosts::Doc::openapi(),
        databases::Doc::openapi(),
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
        let public = !path.starts_with("/api/v1/") || PUBLIC.contains(&path.as_str());
        for operation in operations(item) {
            complete(operation, path, public);
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
}

fn add_paging(parameters: &mut Vec<RefOr<Parameter>>) {
    for (name, description) in [("page", "From 1; 1 without it"), ("per_page", "1 to 100; 25 without it")] {
        if parameters.iter().any(|known| matches!(known, RefOr::T(known) if known.name == name)) {
            continue;
        }
        let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).required(Required::False);
        parameters.push(RefOr::T(parameter.description(Some(description)).schema(Some(number)).build()));
    }
}

/// Whether it answers with a page of a list: its schema is one of `Many<…>`.
fn is_paged(operation: &Operation) -> bool {
    let Some(RefOr::T(response)) = operation.responses.responses.get("200") else { return false };
    response.content.values().any(|content| match content {
        RefOr::T(content) => {
            matches!(&content.schema, Some(RefOr::Ref(schema)) if schema.ref_location.contains("/Many_"))
        }
        RefOr::Ref(_) => false,
    })
}

/// Adds what all routes share, and the error's shape to every error that a handler names.
fn complete(operation: &mut Operation, path: &str, public: bool) {
    // Handlers have short names in their modules; clients that are generated need names that are unique in all.
    let tag = operation.tags.iter().flatten().next().map_or("", String::as_str).to_lowercase().replace(' ', "_");
    operation.operation_id = operation.operation_id.take().map(|name| format!("{tag}_{name}"));
    let mut shared = Vec::new();
    if !public {
        operation.security = Some(vec![SecurityRequirement::new("api_key", Vec::<String>::new())]);
        shared.push(("401", "`unauthorized`: no valid API key or access token"));
        shared.push((
            "403",
            "`forbidden`: the caller lacks the permission; `network_not_allowed`: the key is not for this address",
        ));
        shared.push(("400", "`validation_error`, with a list of problems for each field in the details"));
        shared.push(("429", "`too_many_requests`, with `Retry-After`"));
        if path.contains('{') {
            shared.push(("404", "`not_found`"));
        }
    }
    if is_paged(operation) {
        add_paging(operation.parameters.get_or_insert_default());
    }
    let responses = &mut operation.responses.responses;
    for (status, description) in shared {
        responses
            .entry(status.to_owned())
            .or_insert_with(|| RefOr::T(ResponseBuilder::new().description(description).build()));
    }
    for (status, response) in responses {
        if let RefOr::T(response) = response
            && status.starts_with(['4', '5'])
            && response.content.is_empty()
        {
            let schema = RefOr::Ref(Ref::from_schema_name("ErrorBody"));
            let content = ContentBuilder::new().schema(Some(schema)).build();
            response.content.insert("application/json".to_owned(), RefOr::T(content));
        }
    }
}
