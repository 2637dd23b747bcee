//! Webhooks: administrators say who outside is told what. Sending is in [`crate::webhook`].
//!
//! The secret is shown once; the URL is never shown whole, for most that take webhooks keep a token in it.

use std::io;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::Uri;
use axum::http::request::Parts;
use axum::routing::{get, post};
use jiff::Timestamp;
use model::{DeliveryId, WebhookId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::auth::new_secret;
use super::check::{self, Problem};
use super::on_server::id_of;
use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Body, Id, ListQuery};
use crate::app::App;
use crate::db::outbox::{self, Delivery, DeliveryState};
use crate::db::webhooks::{self, Webhook};
use crate::db::{Conn, DbError, audit};
use crate::webhook::{secret_purpose, url_purpose};

/// Characters of a URL.
const LONGEST_URL: usize = 2000;

#[derive(OpenApi)]
#[openapi(paths(create, list, show, update, remove, rotate_secret, test, deliveries, delivery, redeliver))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/webhooks", get(list).post(create))
        .route("/admin/webhooks/{id}", get(show).patch(update).delete(remove))
        .route("/admin/webhooks/{id}/rotate-secret", post(rotate_secret))
        .route("/admin/webhooks/{id}/test", post(test))
        .route("/admin/webhooks/{id}/deliveries", get(deliveries))
        .route("/admin/webhooks/{id}/deliveries/{delivery_id}", get(delivery))
        .route("/admin/webhooks/{id}/deliveries/{delivery_id}/redeliver", post(redeliver))
}

/// A webhook to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Status page", "url": "https://status.example/hooks/badger?token=t",
    "events": ["server.transfer.*", "node.offline"]}))]
struct NewWebhook {
    /// For people.
    name: String,
    /// Where to POST to, `https://…` or `http://…`. A user and a password in it are sent as Basic authentication.
    url: String,
    /// What it is told: words, or patterns like `server.transfer.*` and `*`.
    events: Vec<String>,
    /// Whether it is told anything; true without it.
    #[serde(default = "yes")]
    enabled: bool,
}

fn yes() -> bool {
    true
}

/// What a webhook becomes. What is not given stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"enabled": true}))]
struct WebhookChange {
    /// For people.
    name: Option<String>,
    /// Where to POST to.
    url: Option<String>,
    /// All of what it is told.
    events: Option<Vec<String>>,
    /// Whether it is told anything. What it was still to be told is given up with false.
    enabled: Option<bool>,
}

/// A webhook.
#[derive(Debug, Serialize, ToSchema)]
struct WebhookView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: WebhookId,
    /// For people.
    #[schema(example = "Status page")]
    name: String,
    /// Where it leads, without path, query and credentials.
    #[schema(example = "https://status.example/…")]
    url: String,
    /// What it is told.
    #[schema(example = json!(["server.transfer.*"]))]
    events: Vec<String>,
    /// Whether it is told anything.
    enabled: bool,
    /// Since when nothing has got through; null while it works.
    #[schema(value_type = Option<String>, format = DateTime)]
    failing_since: Option<Timestamp>,
    /// Why the panel disabled it; null if it did not.
    disabled_reason: Option<String>,
    /// What signs what it is told. Only in the answer that makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_…")]
    secret: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Webhook> for WebhookView {
    fn from(it: Webhook) -> Self {
        let Webhook { id, name, url_shown: url, events, enabled, failing_since, disabled_reason, created_at, .. } = it;
        Self { id, name, url, events, enabled, failing_since, disabled_reason, secret: None, created_at }
    }
}

/// One thing that a webhook is told.
#[derive(Debug, Serialize, ToSchema)]
struct DeliveryView {
    /// Its id: `X-Webhook-Id`, the same at each attempt.
    #[schema(value_type = uuid::Uuid)]
    id: DeliveryId,
    /// What happened.
    #[schema(example = "server.transfer.completed")]
    event: String,
    /// `pending`, `delivered` or `failed`.
    #[schema(value_type = String, example = "delivered")]
    state: DeliveryState,
    /// How often it was tried.
    #[schema(example = 1)]
    attempts: u64,
    /// What the last attempt was answered; null if nothing.
    #[schema(example = 204)]
    response_status: Option<u64>,
    /// Why the last attempt was for nothing.
    #[schema(example = "it answered 500")]
    error: Option<String>,
    /// When it is tried next; null once it has ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    /// What is sent, exactly as it is signed.
    #[schema(example = r#"{"id":"0198…","event":"server.created","created_at":"2026-01-01T00:00:00Z","data":{}}"#)]
    body: String,
    /// When it happened, or was asked for again.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it got through or was given up.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

impl From<Delivery> for DeliveryView {
    fn from(it: Delivery) -> Self {
        let Delivery { id, event, state, attempts, response_status, error, body, created_at, finished_at, .. } = it;
        let next_attempt_at = (state == DeliveryState::Pending).then_some(it.next_attempt_at);
        Self { id, event, state, attempts, response_status, error, next_attempt_at, body, created_at, finished_at }
    }
}

/// The `{delivery_id}` of a route.
struct Which(DeliveryId);

impl FromRequestParts<App> for Which {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        id_of(parts, app, "delivery_id").await.map(Self)
    }
}

/// Makes a webhook. Its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/api/v1/admin/webhooks", tag = "webhooks", request_body = NewWebhook,
    responses((status = 201, description = "The webhook, with its secret", body = One<WebhookView>)))]
async fn create(State(app): State<App>, admin: Admin, body: Body<NewWebhook>) -> Result<Answer, ApiError> {
    admin.may("admin.webhooks.create")?;
    let NewWebhook { name, url, events, enabled } = body.value;
    let mut problems = check::name("name", &name);
    problems.extend(event_problems(&events));
    let shown = url_for_people(&url).unwrap_or_else(|problem| {
        problems.push(("url".to_owned(), problem.to_owned()));
        String::new()
    });
    check::none(problems)?;
    let (id, now) = (WebhookId::new(), app.now());
    let secret = new_secret("whsec_").map_err(ApiError::internal)?;
    let webhook = Webhook {
        id,
        name,
        url: seal(&app, &url_purpose(id), &url)?,
        url_shown: shown,
        secret: seal(&app, &secret_purpose(id), &secret)?,
        events,
        enabled,
        failing_since: None,
        disabled_reason: None,
        created_at: now,
    };
    let mut tx = app.db.begin().await?;
    webhooks::webhook_insert(&mut tx, &webhook).await?;
    let details = json!({"name": webhook.name, "url": webhook.url_shown, "events": webhook.events});
    audit::audit(&mut tx, now, &admin.actor(), "webhook.create", id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    let view = WebhookView { secret: Some(secret), ..WebhookView::from(webhook) };
    Answer::created(format!("/api/v1/admin/webhooks/{id}"), &view)
}

fn seal(app: &App, purpose: &str, text: &str) -> Result<String, ApiError> {
    app.access.secrets.seal(purpose, text).map_err(|error: io::Error| ApiError::internal(error))
}

fn event_problems(events: &[String]) -> Vec<Problem> {
    if events.is_empty() || events.len() > outbox::EVENTS.len() {
        return vec![("events".to_owned(), format!("must be 1 to {} words or patterns", outbox::EVENTS.len()))];
    }
    let fits = |pattern: &String| outbox::EVENTS.iter().any(|(event, _)| outbox::matches(pattern, event));
    let unknown = events.iter().enumerate().filter(|(_, pattern)| !fits(pattern));
    unknown.map(|(index, _)| (format!("events[{index}]"), "is nothing that ever happens".to_owned())).collect()
}

/// The URL without what is nobody's business, or what is wrong with it.
fn url_for_people(url: &str) -> Result<String, &'static str> {
    const PROBLEM: &str = "must be a URL of at most 2000 characters that begins with https:// or http://";
    let uri: Uri = url.parse().map_err(|_| PROBLEM)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(PROBLEM) };
    if url.len() > LONGEST_URL || !matches!(scheme, "http" | "https") || authority.host().is_empty() {
        return Err(PROBLEM);
    }
    let port = authority.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    let rest = if matches!(uri.path(), "" | "/") && uri.query().is_none() { "/" } else { "/…" };
    Ok(format!("{scheme}://{}{port}{rest}", authority.host()))
}

/// Lists the webhooks.
#[utoipa::path(get, path = "/api/v1/admin/webhooks", tag = "webhooks",
    responses((status = 200, description = "One page, the oldest first", body = Many<WebhookView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.webhooks.list")?;
    query.only_filters(&[])?;
    query.sort(&["created_at"], "created_at")?;
    let mut conn = app.db.acquire().await?;
    let page = webhooks::webhooks_page(&mut conn, query.paging).await?;
    Answer::page(&page.map(WebhookView::from), query.paging)
}

/// Shows a webhook.
#[utoipa::path(get, path = "/api/v1/admin/webhooks/{id}", tag = "webhooks", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The webhook", body = One<WebhookView>)))]
async fn show(State(app): State<App>, admin: Admin, Id(id): Id<WebhookId>) -> Result<Answer, ApiError> {
    admin.may("admin.webhooks.list")?;
    Answer::ok(&WebhookView::from(load(&mut *app.db.acquire().await?, id).await?))
}

/// Changes a webhook. Enabling one that the panel has disabled begins anew.
#[utoipa::path(patch, path = "/api/v1/admin/webhooks/{id}", tag = "webhooks", request_body = WebhookChange,
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The webhook as it is now", body = One<WebhookView>)))]
async fn update(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<WebhookId>,
    body: Body<WebhookChange>,
) -> Result<Answer, ApiError> {
    admin.may("admin.webhooks.update")?;
    let change = body.value;
    let now = app.now();
    let mut tx = app.db.begin().await?;
    let before = load(&mut tx, id).await?;
    let (url, url_shown) = match &change.url {
        Some(url) => {
            let shown = url_for_people(url).map_err(|problem| ApiError::invalid("url", problem))?;
            (seal(&app, &url_purpose(id), url)?, shown)
        }
        None => (before.url, before.url_shown),
    };
    let enabled = change.enabled.unwrap_or(before.enabled);
    let anew = enabled && !before.enabled;
    let after = Webhook {
        name: change.name.unwrap_or(before.name),
        url,
        url_shown,
        events: change.events.unwrap_or(before.events),
        enabled,
        failing_since: before.failing_since.filter(|_| !anew),
        disabled_reason: before.disabled_reason.filter(|_| !anew),
        ..before
    };
    let mut problems = check::name("name", &after.name);
    problems.extend(event_problems(&after.events));
    check::none(problems)?;
    webhooks::webhook_update(&mut tx, &after).await.map_err(missing)?;
    if !enabled {
        outbox::deliveries_drop(&mut tx, id, "the webhook was disabled", now).await?;
    }
    let details = json!({"name": after.name, "url": after.url_shown, "events": after.events, "enabled": enabled});
    audit::audit(&mut tx, now, &admin.actor(), "webhook.update", id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::ok(&WebhookView::from(after))
}

/// Gives a webhook another secret; the old one signs nothing any more.
#[utoipa::path(post, path = "/api/v1/admin/webhooks/{id}/rotate-secret", tag = "webhooks",
    request_body = check::Nothing, params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The webhook, with its new secret", body = One<WebhookView>)))]
async fn rotate_secret(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<WebhookId>,
    _body: Body<check::Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.webhooks.update")?;
    let secret = new_secret("whsec_").map_err(ApiError::internal)?;
    let mut tx = app.db.begin().await?;
    let before = load(&mut tx, id).await?;
    let after = Webhook { secret: seal(&app, &secret_purpose(id), &secret)?, ..before };
    webhooks::webhook_update(&mut tx, &after).await.map_err(missing)?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "webhook.rotate_secret", id, &json!({})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::ok(&WebhookView { secret: Some(secret), ..WebhookView::from(after) })
}

/// Removes a webhook and what it was still to be told.
#[utoipa::path(delete, path = "/api/v1/admin/webhooks/{id}", tag = "webhooks", params(("id" = uuid::Uuid, Path)),
    responses((status = 204, description = "Removed")))]
async fn remove(State(app): State<App>, admin: Admin, Id(id): Id<WebhookId>) -> Result<Answer, ApiError> {
    admin.may("admin.webhooks.delete")?;
    let mut tx = app.db.begin().await?;
    webhooks::webhook_delete(&mut tx, id).await.map_err(missing)?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "webhook.delete", id, &json!({})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}

/// Tells a webhook `webhook.test`, also one that is disabled.
#[utoipa::path(post, path = "/api/v1/admin/webhooks/{id}/test", tag = "webhooks", request_body = check::Nothing,
    params(("id" = uuid::Uuid, Path)),
    responses((status = 202, description = "The delivery; ask for it again to see what came of it", body = One<DeliveryView>)))]
async fn test(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<WebhookId>,
    _body: Body<check::Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.webhooks.update")?;
    let mut tx = app.db.begin().await?;
    let webhook = load(&mut tx, id).await?;
    let data = json!({"webhook": {"id": id, "name": webhook.name}});
    let told = outbox::tell_one(&mut tx, id, app.now(), "webhook.test", &data).await?;
    let delivery = outbox::delivery_get(&mut tx, id, told).await?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "webhook.test", id, &json!({})).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.wake.webhooks.notify_one();
    Answer::accepted(format!("/api/v1/admin/webhooks/{id}/deliveries/{told}"), &DeliveryView::from(delivery))
}

/// Lists what a webhook was told last and is still to be told.
#[utoipa::path(get, path = "/api/v1/admin/webhooks/{id}/deliveries", tag = "webhooks",
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "One page, the youngest first", body = Many<DeliveryView>)))]
async fn deliveries(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<WebhookId>,
    query: ListQuery,
) -> Result<Answer, ApiError> {
    admin.may("admin.webhooks.list")?;
    query.only_filters(&[])?;
    query.sort(&["created_at"], "-created_at")?;
    let mut conn = app.db.acquire().await?;
    load(&mut conn, id).await?;
    let page = outbox::deliveries_page(&mut conn, id, query.paging).await?;
    Answer::page(&page.map(DeliveryView::from), query.paging)
}

/// Shows one thing that a webhook was told, or is still to be told.
#[utoipa::path(get, path = "/api/v1/admin/webhooks/{id}/deliveries/{delivery_id}", tag = "webhooks",
    params(("id" = uuid::Uuid, Path), ("delivery_id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The delivery", body = One<DeliveryView>)))]
async fn delivery(
    State(app): State<App>,
    admin: Admin,
    Whose(id): Whose,
    Which(which): Which,
) -> Result<Answer, ApiError> {
    admin.may("admin.webhooks.list")?;
    let mut conn = app.db.acquire().await?;
    let found = outbox::delivery_get(&mut conn, id, which).await.map_err(|_| ApiError::not_found("delivery"))?;
    Answer::ok(&DeliveryView::from(found))
}

/// Tells a webhook once more what it was told, with the same id.
#[utoipa::path(post, path = "/api/v1/admin/webhooks/{id}/deliveries/{delivery_id}/redeliver", tag = "webhooks",
    request_body = check::Nothing, params(("id" = uuid::Uuid, Path), ("delivery_id" = uuid::Uuid, Path)), responses(
        (status = 202, description = "The delivery", body = One<DeliveryView>),
        (status = 409, description = "`delivery_pending`: it has not come to its end"),
    ))]
async fn redeliver(
    State(app): State<App>,
    admin: Admin,
    Whose(id): Whose,
    Which(which): Which,
    _body: Body<check::Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.webhooks.update")?;
    let mut tx = app.db.begin().await?;
    outbox::delivery_get(&mut tx, id, which).await.map_err(|_| ApiError::not_found("delivery"))?;
    outbox::delivery_again(&mut tx, id, which, app.now()).await.map_err(|error| match error {
        DbError::Conflict => {
            ApiError::conflict("delivery_pending", "This is still to be delivered. Wait for what comes of it.")
        }
        error => error.into(),
    })?;
    let found = outbox::delivery_get(&mut tx, id, which).await?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "webhook.redeliver", id, &json!({"delivery_id": which})).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.wake.webhooks.notify_one();
    Answer::accepted(format!("/api/v1/admin/webhooks/{id}/deliveries/{which}"), &DeliveryView::from(found))
}

/// The `{id}` of a route with two.
struct Whose(WebhookId);

impl FromRequestParts<App> for Whose {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        id_of(parts, app, "id").await.map(Self)
    }
}

async fn load(conn: &mut Conn, id: WebhookId) -> Result<Webhook, ApiError> {
    webhooks::webhook_get(conn, id).await.map_err(missing)
}

fn missing(error: DbError) -> ApiError {
    match error {
        DbError::NotFound => ApiError::not_found("webhook"),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_url_is_nothing_secret() {
        for (url, shown) in [
            ("https://example.com", "https://example.com/"),
            ("http://kim:secret@example.com:81/", "http://example.com:81/"),
            ("https://discord.example/api/webhooks/1/token", "https://discord.example/…"),
            ("https://example.com/?token=t", "https://example.com/…"),
            ("http://[::1]:8080/x", "http://[::1]:8080/…"),
        ] {
            assert_eq!(url_for_people(url).as_deref(), Ok(shown));
        }
        for bad in ["", "example.com", "ftp://example.com/", "/x", "http://", "http:// a", "file:///etc/passwd"] {
            assert!(url_for_people(bad).is_err(), "{bad}");
        }
    }
}
