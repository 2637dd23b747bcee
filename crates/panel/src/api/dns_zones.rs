//! DNS zones: administrators say in which zones servers may have names, and with which key those are changed.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use jiff::Timestamp;
use model::DnsZoneId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::check::{self, Problem};
use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Body, Id, ListQuery};
use crate::app::App;
use crate::db::dns_zones::{self, DnsZone};
use crate::db::{Conn, DbError, audit};
use crate::dns::{self, Zone, purpose};

/// Seconds of a TTL.
const LONGEST_TTL: u32 = 86_400;

#[derive(OpenApi)]
#[openapi(paths(create, list, show, update, remove, test))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/dns-zones", get(list).post(create))
        .route("/admin/dns-zones/{id}", get(show).patch(update).delete(remove))
        .route("/admin/dns-zones/{id}/test", post(test))
}

/// A zone to make known.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "play.example", "server": "ns1.example:53", "key_name": "badgerpanel",
    "key_algorithm": "hmac-sha256", "key_secret": "c2VjcmV0", "ttl": 300}))]
struct NewZone {
    /// Its name.
    name: String,
    /// `host:port` of its primary name server, over TCP.
    server: String,
    /// Name of the TSIG key.
    key_name: String,
    /// `hmac-sha256` (the default), `hmac-sha384` or `hmac-sha512`.
    #[serde(default = "sha256")]
    key_algorithm: String,
    /// The key in base64. Kept sealed, never shown.
    key_secret: String,
    /// Seconds for which names may be kept; 300 without it. While a server moves it is 30 at most.
    #[serde(default = "five_minutes")]
    ttl: u32,
}

fn sha256() -> String {
    "hmac-sha256".to_owned()
}

fn five_minutes() -> u32 {
    300
}

/// What a zone becomes. What is not given stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"ttl": 600}))]
struct ZoneChange {
    /// `host:port` of its primary name server.
    server: Option<String>,
    /// Name of the TSIG key.
    key_name: Option<String>,
    /// Its algorithm.
    key_algorithm: Option<String>,
    /// The key in base64.
    key_secret: Option<String>,
    /// Seconds.
    ttl: Option<u32>,
}

/// A zone.
#[derive(Debug, Serialize, ToSchema)]
struct ZoneView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: DnsZoneId,
    /// Its name.
    #[schema(example = "play.example")]
    name: String,
    /// `host:port` of its primary name server.
    #[schema(example = "ns1.example:53")]
    server: String,
    /// Name of the TSIG key.
    #[schema(example = "badgerpanel")]
    key_name: String,
    /// Its algorithm.
    #[schema(example = "hmac-sha256")]
    key_algorithm: String,
    /// Seconds.
    #[schema(example = 300)]
    ttl: u32,
    /// When it was made known.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<DnsZone> for ZoneView {
    fn from(it: DnsZone) -> Self {
        let DnsZone { id, name, server, key_name, key_algorithm, ttl, created_at, .. } = it;
        Self { id, name, server, key_name, key_algorithm, ttl, created_at }
    }
}

/// Whether the name server takes updates.
#[derive(Debug, Serialize, ToSchema)]
struct ZoneTest {
    /// Whether it does.
    ok: bool,
    /// What is wrong; null if nothing is.
    #[schema(example = "the name server refuses: the key may not change this zone or name")]
    error: Option<String>,
}

fn problems(it: &DnsZone, secret: Option<&str>) -> Vec<Problem> {
    let mut problems = domain("name", &it.name);
    problems.extend(domain("key_name", &it.key_name));
    let server = it.server.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
    match server.map(|(host, _)| host.trim_start_matches('[').trim_end_matches(']')) {
        Some(host) if check::address("server", host).is_empty() => {}
        _ => problems.push(("server".to_owned(), "must be host:port, for example ns1.example:53".to_owned())),
    }
    if !dns::ALGORITHMS.contains(&it.key_algorithm.as_str()) {
        problems.push(("key_algorithm".to_owned(), format!("must be one of {}", dns::ALGORITHMS.join(", "))));
    }
    if secret.is_some_and(|secret| Zone::new("x", "x:1", ("x", dns::ALGORITHMS[0], secret)).is_err()) {
        problems.push(("key_secret".to_owned(), "must be base64".to_owned()));
    }
    if !(1..=LONGEST_TTL).contains(&it.ttl) {
        problems.push(("ttl".to_owned(), format!("must be 1 to {LONGEST_TTL} seconds")));
    }
    problems
}

/// A name of labels of letters, digits, hyphens and underscores.
pub(super) fn domain(field: &str, value: &str) -> Vec<Problem> {
    let of_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(of_label) && !label.starts_with('-');
    if value.len() <= 200 && value.split('.').all(label) {
        return Vec::new();
    }
    let problem =
        "must be a domain name of lower-case letters, digits, hyphens and underscores, without a dot at the end";
    vec![(field.to_owned(), problem.to_owned())]
}

/// Makes a zone known. Nothing is changed in it; test it.
#[utoipa::path(post, path = "/api/v1/admin/dns-zones", tag = "dns zones", request_body = NewZone, responses(
    (status = 201, description = "The zone", body = One<ZoneView>),
    (status = 409, description = "`dns_zone_exists`"),
))]
async fn create(State(app): State<App>, admin: Admin, body: Body<NewZone>) -> Result<Answer, ApiError> {
    admin.may("admin.dns-zones.create")?;
    let NewZone { name, server, key_name, key_algorithm, key_secret, ttl } = body.value;
    let (id, created_at) = (DnsZoneId::new(), app.now());
    let sealed = app.access.secrets.seal(&purpose(id), &key_secret).map_err(ApiError::internal)?;
    let it = DnsZone { id, name, server, key_name, key_algorithm, key_secret: sealed, ttl, created_at };
    check::none(problems(&it, Some(&key_secret)))?;
    let mut tx = app.db.begin().await?;
    dns_zones::zone_insert(&mut tx, &it).await.map_err(|error| match error {
        DbError::Conflict => ApiError::conflict("dns_zone_exists", "This zone is known. Change it instead."),
        error => error.into(),
    })?;
    let details = json!({"name": it.name, "server": it.server});
    audit::audit(&mut tx, created_at, &admin.actor(), "dns_zone.create", id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::created(format!("/api/v1/admin/dns-zones/{id}"), &ZoneView::from(it))
}

/// Lists the zones.
#[utoipa::path(get, path = "/api/v1/admin/dns-zones", tag = "dns zones",
    responses((status = 200, description = "One page, by name", body = Many<ZoneView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.dns-zones.list")?;
    query.only_filters(&[])?;
    query.sort(&["name"], "name")?;
    let page = dns_zones::zones_page(&mut *app.db.acquire().await?, query.paging).await?;
    Answer::page(&page.map(ZoneView::from), query.paging)
}

/// Shows a zone.
#[utoipa::path(get, path = "/api/v1/admin/dns-zones/{id}", tag = "dns zones", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The zone", body = One<ZoneView>)))]
async fn show(State(app): State<App>, admin: Admin, Id(id): Id<DnsZoneId>) -> Result<Answer, ApiError> {
    admin.may("admin.dns-zones.list")?;
    Answer::ok(&ZoneView::from(load(&mut *app.db.acquire().await?, id).await?))
}

/// Changes how a zone is changed. Its names get a new TTL within seconds.
#[utoipa::path(patch, path = "/api/v1/admin/dns-zones/{id}", tag = "dns zones", request_body = ZoneChange,
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The zone as it is now", body = One<ZoneView>)))]
async fn update(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<DnsZoneId>,
    body: Body<ZoneChange>,
) -> Result<Answer, ApiError> {
    admin.may("admin.dns-zones.update")?;
    let change = body.value;
    let mut tx = app.db.begin().await?;
    let before = load(&mut tx, id).await?;
    let key_secret = match &change.key_secret {
        Some(secret) => app.access.secrets.seal(&purpose(id), secret).map_err(ApiError::internal)?,
        None => before.key_secret,
    };
    let after = DnsZone {
        server: change.server.unwrap_or(before.server),
        key_name: change.key_name.unwrap_or(before.key_name),
        key_algorithm: change.key_algorithm.unwrap_or(before.key_algorithm),
        key_secret,
        ttl: change.ttl.unwrap_or(before.ttl),
        ..before
    };
    check::none(problems(&after, change.key_secret.as_deref()))?;
    dns_zones::zone_update(&mut tx, &after).await?;
    let details = json!({"name": after.name, "server": after.server, "ttl": after.ttl});
    audit::audit(&mut tx, app.now(), &admin.actor(), "dns_zone.update", id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.wake.names.notify_one();
    Answer::ok(&ZoneView::from(after))
}

/// Forgets a zone. Not while a server has a name in it.
#[utoipa::path(delete, path = "/api/v1/admin/dns-zones/{id}", tag = "dns zones", params(("id" = uuid::Uuid, Path)), responses(
    (status = 204, description = "Forgotten"),
    (status = 409, description = "`dns_zone_in_use`"),
))]
async fn remove(State(app): State<App>, admin: Admin, Id(id): Id<DnsZoneId>) -> Result<Answer, ApiError> {
    admin.may("admin.dns-zones.delete")?;
    let mut tx = app.db.begin().await?;
    let zone = load(&mut tx, id).await?;
    dns_zones::zone_delete(&mut tx, id).await.map_err(|error| match error {
        DbError::Conflict => {
            let message =
                "Servers have names in this zone, or had and the records are not gone yet. Delete those first.";
            ApiError::conflict("dns_zone_in_use", message)
        }
        error => error.into(),
    })?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "dns_zone.delete", id, &json!({"name": zone.name})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}

/// Writes and removes a record of no importance in a zone.
#[utoipa::path(post, path = "/api/v1/admin/dns-zones/{id}/test", tag = "dns zones", request_body = check::Nothing,
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "What came of it", body = One<ZoneTest>)))]
async fn test(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<DnsZoneId>,
    _body: Body<check::Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.dns-zones.update")?;
    let row = load(&mut *app.db.acquire().await?, id).await?;
    let tested = match dns::zone(&app.access.secrets, &row) {
        Ok(zone) => zone.test(app.now()).await.map_err(|error| error.to_string()),
        Err(why) => Err(why),
    };
    Answer::ok(&ZoneTest { ok: tested.is_ok(), error: tested.err() })
}

async fn load(conn: &mut Conn, id: DnsZoneId) -> Result<DnsZone, ApiError> {
    dns_zones::zone_get(conn, id).await.map_err(|error| match error {
        DbError::NotFound => ApiError::not_found("DNS zone"),
        error => error.into(),
    })
}
