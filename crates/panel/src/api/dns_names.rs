//! Names of a server in DNS: who may change its addresses gives it names. [`crate::dns`] keeps them where it is.

use std::net::IpAddr;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::routing::{get, post};
use jiff::Timestamp;
use model::{DnsNameId, DnsZoneId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::check;
use super::dns_zones::domain;
use super::on_server::{OnServer, Right, id_of};
use super::servers::load as load_server;
use super::views::{Many, One};
use super::{Answer, ApiError, Body, ListQuery};
use crate::app::App;
use crate::db::dns_names::{self, DnsName};
use crate::db::dns_zones::{self, DnsZone};
use crate::db::{Conn, DbError, Page, audit};
use crate::dns::{self, Records, full_name};

#[derive(OpenApi)]
#[openapi(paths(create, list, show, remove, take_over))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/servers/{id}/dns-names", get(list).post(create))
        .route("/servers/{id}/dns-names/{name_id}", get(show).delete(remove))
        .route("/servers/{id}/dns-names/{name_id}/take-over", post(take_over))
}

/// A name to give.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"zone_id": "0198c0de-0000-7000-8000-000000000001", "name": "survival", "service": "_minecraft._tcp"}))]
struct NewName {
    /// In which zone.
    #[schema(value_type = uuid::Uuid)]
    zone_id: DnsZoneId,
    /// Within the zone: `survival`, `survival.eu`; `@` for the zone itself.
    name: String,
    /// For an SRV record with the port: `_minecraft._tcp`.
    service: Option<String>,
}

/// A name.
#[derive(Debug, Serialize, ToSchema)]
struct NameView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: DnsNameId,
    /// Its zone.
    #[schema(value_type = uuid::Uuid)]
    zone_id: DnsZoneId,
    /// The whole of it.
    #[schema(example = "survival.play.example")]
    name: String,
    /// Of its SRV record; null if it has none.
    #[schema(example = "_minecraft._tcp")]
    service: Option<String>,
    /// Where it is to lead.
    #[schema(example = "203.0.113.7")]
    address: String,
    /// And at which port.
    #[schema(example = 25565)]
    port: u16,
    /// `pending`, `written`, `failed` (it is tried again) or `removing`.
    #[schema(example = "written")]
    state: &'static str,
    /// Why it is not what it should be; null if it is.
    error: Option<String>,
    /// Where it leads at the name server, as last looked at; null before the first time.
    #[schema(value_type = Option<String>, example = "203.0.113.7")]
    written_address: Option<IpAddr>,
    /// Seconds for which that may be kept; low while the server is being moved.
    #[schema(example = 300)]
    written_ttl: Option<u32>,
    /// When it was given.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl NameView {
    fn new(it: DnsName, zone: &DnsZone) -> Self {
        let state = match (&it.error, &it.written) {
            _ if it.removing => "removing",
            (Some(_), _) => "failed",
            (None, Some(written)) if leads_there(written, &it) => "written",
            (None, _) => "pending",
        };
        Self {
            id: it.id,
            zone_id: it.zone_id,
            name: full_name(zone, &it.name),
            service: it.service,
            address: it.address,
            port: it.port,
            state,
            error: it.error,
            written_address: it.written.as_ref().map(|written| written.address),
            written_ttl: it.written.map(|written| written.ttl),
            created_at: it.created_at,
        }
    }
}

fn leads_there(written: &Records, it: &DnsName) -> bool {
    let port = written.service.as_ref().map(|(_, port)| *port);
    written.address.to_string() == it.address && port.is_none_or(|port| port == it.port)
}

/// The `{name_id}` of a route.
struct Which(DnsNameId);

impl FromRequestParts<App> for Which {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        id_of(parts, app, "name_id").await.map(Self)
    }
}

/// Gives a server a name. The records are written within seconds; ask for the name again to see what came of it.
#[utoipa::path(post, path = "/api/v1/servers/{id}/dns-names", tag = "dns names", request_body = NewName,
    params(("id" = uuid::Uuid, Path)), responses(
        (status = 201, description = "The name", body = One<NameView>),
        (status = 409, description = "`dns_name_exists`: a server has it"),
        (status = 422, description = "`no_address`: the server has none"),
    ))]
async fn create(State(app): State<App>, on: OnServer, body: Body<NewName>) -> Result<Answer, ApiError> {
    on.may(Right::Allocations)?;
    let NewName { zone_id, name, service } = body.value;
    let mut problems = if name == "@" { Vec::new() } else { domain("name", &name) };
    problems.extend(
        service
            .iter()
            .filter(|service| !is_service(service))
            .map(|_| ("service".to_owned(), "must be like _minecraft._tcp".to_owned())),
    );
    check::none(problems)?;
    let now = app.now();
    let mut tx = app.db.begin().await?;
    let zone = dns_zones::zone_get(&mut tx, zone_id).await.map_err(|error| match error {
        DbError::NotFound => ApiError::invalid("zone_id", "there is no such zone"),
        error => error.into(),
    })?;
    let Some(primary) = load_server(&mut tx, on.id).await?.primary else {
        return Err(ApiError::unprocessable("no_address", "The server has no address. Give it an allocation first."));
    };
    let row = DnsName {
        id: DnsNameId::new(),
        zone_id,
        server_id: Some(on.id),
        name,
        service,
        address: dns_names::player_address(&primary.ip_address, primary.ip_alias.as_deref()),
        port: primary.port,
        removing: false,
        written: None,
        error: None,
        attempts: 0,
        next_attempt_at: now,
        created_at: now,
        moving: false,
    };
    dns_names::name_insert(&mut tx, &row).await.map_err(|error| match error {
        DbError::Conflict => {
            let message = "A server has this name, or had it and its records are not gone yet. Choose another one.";
            ApiError::conflict("dns_name_exists", message)
        }
        error => error.into(),
    })?;
    let details = json!({"name_id": row.id, "name": full_name(&zone, &row.name)});
    audit::audit(&mut tx, now, &on.admin.actor(), "dns_name.create", on.id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.wake.names.notify_one();
    Answer::created(format!("/api/v1/servers/{}/dns-names/{}", on.id, row.id), &NameView::new(row, &zone))
}

fn is_service(text: &str) -> bool {
    let label = |label: &str| label.len() > 1 && label.starts_with('_') && domain("service", label).is_empty();
    text.split_once('.').is_some_and(|(service, protocol)| label(service) && matches!(protocol, "_tcp" | "_udp"))
}

/// Lists the names of a server.
#[utoipa::path(get, path = "/api/v1/servers/{id}/dns-names", tag = "dns names", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "One page, by name", body = Many<NameView>)))]
async fn list(State(app): State<App>, on: OnServer, query: ListQuery) -> Result<Answer, ApiError> {
    on.may(Right::Allocations)?;
    query.only_filters(&[])?;
    query.sort(&["name"], "name")?;
    let mut conn = app.db.acquire().await?;
    let page = dns_names::names_page(&mut conn, on.id, query.paging).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for name in page.items {
        let zone = dns_zones::zone_get(&mut conn, name.zone_id).await?;
        items.push(NameView::new(name, &zone));
    }
    Answer::page(&Page { items, total: page.total }, query.paging)
}

/// Shows a name, and whether it leads where it should.
#[utoipa::path(get, path = "/api/v1/servers/{id}/dns-names/{name_id}", tag = "dns names",
    params(("id" = uuid::Uuid, Path), ("name_id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The name", body = One<NameView>)))]
async fn show(State(app): State<App>, on: OnServer, Which(id): Which) -> Result<Answer, ApiError> {
    on.may(Right::Allocations)?;
    let (name, zone) = load(&mut *app.db.acquire().await?, &on, id).await?;
    Answer::ok(&NameView::new(name, &zone))
}

/// Takes a name away. Its records go within seconds, or as soon as the name server takes that.
#[utoipa::path(delete, path = "/api/v1/servers/{id}/dns-names/{name_id}", tag = "dns names",
    params(("id" = uuid::Uuid, Path), ("name_id" = uuid::Uuid, Path)),
    responses((status = 204, description = "It goes")))]
async fn remove(State(app): State<App>, on: OnServer, Which(id): Which) -> Result<Answer, ApiError> {
    on.may(Right::Allocations)?;
    let mut tx = app.db.begin().await?;
    let (name, zone) = load(&mut tx, &on, id).await?;
    dns_names::name_remove(&mut tx, on.id, id, app.now()).await?;
    let details = json!({"name_id": id, "name": full_name(&zone, &name.name)});
    audit::audit(&mut tx, app.now(), &on.admin.actor(), "dns_name.delete", on.id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.wake.names.notify_one();
    Ok(Answer::no_content())
}

/// Writes over what somebody else has put in the place of a name.
#[utoipa::path(post, path = "/api/v1/servers/{id}/dns-names/{name_id}/take-over", tag = "dns names",
    request_body = check::Nothing, params(("id" = uuid::Uuid, Path), ("name_id" = uuid::Uuid, Path)), responses(
        (status = 200, description = "The name; what was found there is replaced within seconds", body = One<NameView>),
        (status = 503, description = "`name_server_failed`: it does not say what is there"),
    ))]
async fn take_over(
    State(app): State<App>,
    on: OnServer,
    Which(id): Which,
    _body: Body<check::Nothing>,
) -> Result<Answer, ApiError> {
    on.may(Right::Allocations)?;
    let (name, zone) = load(&mut *app.db.acquire().await?, &on, id).await?;
    let server = dns::zone(&app.access.secrets, &zone).map_err(ApiError::internal)?;
    let found = server.look(&name.name, name.service.as_deref()).await.map_err(|error| {
        let message = "The name server does not say what is there. Test the zone, then try again.";
        ApiError::unavailable("name_server_failed", message).cause(error)
    })?;
    let mut tx = app.db.begin().await?;
    dns_names::name_take_over(&mut tx, id, found.as_ref(), app.now()).await?;
    let details = json!({"name_id": id, "name": full_name(&zone, &name.name), "found": found});
    audit::audit(&mut tx, app.now(), &on.admin.actor(), "dns_name.take_over", on.id, &details).await?;
    let (name, zone) = load(&mut tx, &on, id).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.wake.names.notify_one();
    Answer::ok(&NameView::new(name, &zone))
}

async fn load(conn: &mut Conn, on: &OnServer, id: DnsNameId) -> Result<(DnsName, DnsZone), ApiError> {
    let name = dns_names::name_get(conn, on.id, id).await.map_err(|error| match error {
        DbError::NotFound => ApiError::not_found("DNS name"),
        error => error.into(),
    })?;
    let zone = dns_zones::zone_get(conn, name.zone_id).await?;
    Ok((name, zone))
}
