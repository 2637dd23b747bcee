//! Eggs: import a document, see what it says, get it back as it was or as another panel takes it.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use model::{EggId, StopHow};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::{OpenApi, ToSchema};

use super::extract::Text;
use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Id, Idempotency, ListQuery};
use crate::app::App;
use crate::db::eggs::{self, StoredEgg};
use crate::db::{Conn, DbError, audit, specs};
use crate::egg::{self, Egg, Format, Variable};

#[derive(OpenApi)]
#[openapi(paths(import, list, show, export, remove))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/eggs", get(list))
        .route("/admin/eggs/import", post(import))
        .route("/admin/eggs/{id}", get(show).delete(remove))
        .route("/admin/eggs/{id}/export", get(export))
}

/// An egg.
#[derive(Debug, Serialize, ToSchema)]
struct EggView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: EggId,
    /// Its name.
    #[schema(example = "Vanilla Minecraft")]
    name: String,
    /// Who made it.
    #[schema(example = "support@pterodactyl.io")]
    author: String,
    /// For people.
    description: String,
    /// Who it says that it is; imported again it takes the place of itself.
    uuid: Option<String>,
    /// `PTDL_v1`, `PTDL_v2`, or `PLCN_v1` to `PLCN_v3`.
    #[schema(example = "PTDL_v2")]
    version: String,
    /// Command line with placeholders.
    #[schema(example = "java -Xmx{{SERVER_MEMORY}}M -jar server.jar")]
    startup: String,
    /// Labels and container images.
    #[schema(value_type = Object, example = json!({"Java 17": "ghcr.io/pterodactyl/yolks:java_17"}))]
    docker_images: Map<String, Value>,
    /// The image that a server gets if nobody chooses.
    default_image: String,
    /// How the game is asked to end: `{"command": "stop"}` or `{"signal": "SIGINT"}`.
    #[schema(value_type = Object, example = json!({"command": "stop"}))]
    stop: StopHow,
    /// Console lines that say that the game is up.
    done: Vec<String>,
    /// Files of the game that are written before each start.
    #[schema(example = json!(["server.properties"]))]
    config_files: Vec<String>,
    /// What users can set.
    variables: Vec<VariableView>,
    /// What is in the document and not done by this panel.
    warnings: Vec<String>,
    /// When it was imported.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was imported again.
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
}

/// A variable of an egg.
#[derive(Debug, Serialize, ToSchema)]
struct VariableView {
    /// For people.
    name: String,
    /// For people.
    description: String,
    /// Its name in the environment.
    #[schema(example = "SERVER_JARFILE")]
    env_variable: String,
    /// Its value where a server sets none.
    default_value: String,
    /// Whether users see it.
    user_viewable: bool,
    /// Whether users may change it.
    user_editable: bool,
    /// What a value must be.
    #[schema(example = "required|string|max:20")]
    rules: String,
    /// How a form shows it.
    #[schema(example = "text")]
    field_type: String,
}

impl From<Variable> for VariableView {
    fn from(variable: Variable) -> Self {
        Self {
            name: variable.name,
            description: variable.description,
            env_variable: variable.env_variable,
            default_value: variable.default_value,
            user_viewable: variable.user_viewable,
            user_editable: variable.user_editable,
            rules: variable.rules.text(),
            field_type: variable.field_type,
        }
    }
}

impl EggView {
    fn new(stored: &StoredEgg, egg: Egg) -> Self {
        Self {
            id: stored.id,
            name: stored.name.clone(),
            author: stored.author.clone(),
            default_image: egg.default_image().to_owned(),
            description: egg.description,
            uuid: egg.uuid,
            version: egg.version,
            startup: egg.startup,
            docker_images: egg.images.into_iter().map(|(label, image)| (label, Value::String(image))).collect(),
            stop: egg.stop,
            done: egg.done,
            config_files: egg.configs.into_iter().map(|config| config.path).collect(),
            variables: egg.variables.into_iter().map(VariableView::from).collect(),
            warnings: egg.warnings,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        }
    }

    fn read(stored: &StoredEgg) -> Result<Self, ApiError> {
        // It was read when it was imported.
        Ok(Self::new(stored, Egg::parse(&stored.document).map_err(ApiError::internal)?))
    }
}

/// Imports an egg.
///
/// The body is the document itself, as Pterodactyl's panel (`PTDL_v1`, `PTDL_v2`, JSON) or Pelican's (`PLCN_v1` to `PLCN_v3`,
/// YAML or JSON) exports it. One whose `uuid` is here already takes the place of that egg: its servers keep their values,
/// command lines and images, and have the rest of it from their next start on.
#[utoipa::path(post, path = "/api/v1/admin/eggs/import", tag = "eggs",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same answer for 24 h")),
    request_body(content = Object, example = json!({
        "meta": {"version": "PTDL_v2"}, "name": "Example", "author": "me@example.org", "startup": "./run {{SERVER_PORT}}",
        "docker_images": {"Debian": "docker.io/library/debian:12"},
        "config": {"startup": "{\"done\": \"ready\"}", "stop": "quit"}, "variables": [],
    })),
    responses((status = 201, description = "The egg; `warnings` names what is not done", body = One<EggView>)))]
async fn import(
    State(app): State<App>,
    admin: Admin,
    idempotency: Idempotency,
    body: Text,
) -> Result<Answer, ApiError> {
    admin.may("admin.eggs.create")?;
    let Text { text, raw } = body;
    let egg = Egg::parse(&text).map_err(|error| ApiError::invalid(&error.field, error.problem))?;
    if text.contains('\0') {
        return Err(ApiError::invalid("body", "must not have a zero byte"));
    }
    let work = async {
        let mut tx = app.db.begin().await?;
        let stored = store(&mut tx, &egg, text, app.now()).await?;
        let details = json!({"name": stored.name, "again": stored.updated_at.is_some()});
        audit::audit(&mut tx, app.now(), &admin.actor(), "egg.import", stored.id, &details).await?;
        tx.commit().await.map_err(DbError::from)?;
        Answer::created(format!("/api/v1/admin/eggs/{}", stored.id), &EggView::new(&stored, egg))
    };
    idempotency.once(&app, &admin, "POST /admin/eggs/import", &raw, work).await
}

/// A new egg, or another document of one that is here.
async fn store(tx: &mut Conn, egg: &Egg, document: String, now: Timestamp) -> Result<StoredEgg, ApiError> {
    let (name, author, uuid) = (egg.name.clone(), egg.author.clone(), egg.uuid.clone());
    let before = match &uuid {
        Some(uuid) => eggs::egg_by_uuid(tx, uuid).await?,
        None => None,
    };
    let Some(before) = before else {
        let stored = StoredEgg { id: EggId::new(), name, author, document, uuid, created_at: now, updated_at: None };
        eggs::egg_insert(tx, &stored).await?;
        return Ok(stored);
    };
    let stored = StoredEgg { name, author, document, updated_at: Some(now), ..before };
    eggs::egg_update(tx, &stored).await?;
    specs::spec_changed_of_egg(tx, stored.id).await?;
    Ok(stored)
}

/// Lists eggs.
#[utoipa::path(get, path = "/api/v1/admin/eggs", tag = "eggs",
    responses((status = 200, description = "One page, by name", body = Many<EggView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.eggs.list")?;
    query.only_filters(&[])?;
    query.sort(&["name"], "name")?;
    let mut conn = app.db.acquire().await?;
    let page = eggs::eggs_page(&mut conn, query.paging).await?;
    let items = page.items.iter().map(EggView::read).collect::<Result<_, _>>()?;
    Answer::page(&crate::db::Page { items, total: page.total }, query.paging)
}

/// Shows an egg.
#[utoipa::path(get, path = "/api/v1/admin/eggs/{id}", tag = "eggs", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The egg", body = One<EggView>)))]
async fn show(State(app): State<App>, admin: Admin, Id(id): Id<EggId>) -> Result<Answer, ApiError> {
    admin.may("admin.eggs.list")?;
    let mut conn = app.db.acquire().await?;
    Answer::ok(&EggView::read(&load(&mut conn, id).await?)?)
}

async fn load(conn: &mut Conn, id: EggId) -> Result<StoredEgg, ApiError> {
    eggs::egg_get(conn, id).await.map_err(|error| match error {
        DbError::NotFound => ApiError::not_found("egg"),
        error => error.into(),
    })
}

/// Exports an egg, without the envelope.
///
/// Without a format, or in its own, it is the document byte for byte as it was imported. What was YAML becomes `PTDL_v2` as
/// `json`; what that has no place for (further command lines, tags, the picture) is left out there.
#[utoipa::path(get, path = "/api/v1/admin/eggs/{id}/export", tag = "eggs", params(
    ("id" = uuid::Uuid, Path),
    ("format" = Option<String>, Query, description = "`json` or `yaml`; without it as it was imported"),
), responses(
    (status = 200, description = "The document", body = Object),
    (status = 422, description = "`format_unavailable`: an egg that was imported as JSON is not made YAML"),
))]
async fn export(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<EggId>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Response, ApiError> {
    admin.may("admin.eggs.list")?;
    let wanted = wanted_format(&query)?;
    let mut conn = app.db.acquire().await?;
    let stored = load(&mut conn, id).await?;
    let own = if egg::export(&stored.document, Format::Yaml).is_some() { Format::Yaml } else { Format::Json };
    let format = wanted.unwrap_or(own);
    let document = egg::export(&stored.document, format).ok_or_else(|| {
        let message =
            "This egg was imported as JSON, which is not made YAML. Export it as json: Pelican imports that too.";
        ApiError::unprocessable("format_unavailable", message)
    })?;
    let (end, kind) = match format {
        Format::Json => ("json", "application/json"),
        Format::Yaml => ("yaml", "application/yaml"),
    };
    let name: String = stored.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let disposition = format!("attachment; filename=\"egg-{name}.{end}\"");
    let headers = [(CONTENT_TYPE, kind.to_owned()), (CONTENT_DISPOSITION, disposition)];
    Ok((headers, document).into_response())
}

fn wanted_format(query: &BTreeMap<String, String>) -> Result<Option<Format>, ApiError> {
    if let Some(other) = query.keys().find(|name| *name != "format") {
        return Err(ApiError::invalid(other, "is not a parameter of this route"));
    }
    match query.get("format").map(String::as_str) {
        None => Ok(None),
        Some("json") => Ok(Some(Format::Json)),
        Some("yaml") => Ok(Some(Format::Yaml)),
        Some(_) => Err(ApiError::invalid("format", "must be json or yaml")),
    }
}

/// Removes an egg that no server is made from.
#[utoipa::path(delete, path = "/api/v1/admin/eggs/{id}", tag = "eggs", params(("id" = uuid::Uuid, Path)), responses(
    (status = 204, description = "Removed"),
    (status = 409, description = "`egg_in_use`"),
))]
async fn remove(State(app): State<App>, admin: Admin, Id(id): Id<EggId>) -> Result<Answer, ApiError> {
    admin.may("admin.eggs.delete")?;
    let mut tx = app.db.begin().await?;
    let stored = load(&mut tx, id).await?;
    eggs::egg_delete(&mut tx, id).await.map_err(|error| match error {
        DbError::Conflict => ApiError::conflict("egg_in_use", "Servers are made from this egg. Delete them first."),
        error => error.into(),
    })?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "egg.delete", id, &json!({"name": stored.name})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}
