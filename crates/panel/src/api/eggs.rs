//! Eggs: import a document, see what it says, get it back as it was.

use axum::Router;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use model::{EggId, StopHow};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::{OpenApi, ToSchema};

use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Body, Id, Idempotency, ListQuery};
use crate::app::App;
use crate::db::eggs::{self, StoredEgg};
use crate::db::{Conn, DbError, audit};
use crate::egg::{Egg, Variable};

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
    /// `PTDL_v1` or `PTDL_v2`.
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
    /// What users can set.
    variables: Vec<VariableView>,
    /// What is in the document and not done by this panel.
    warnings: Vec<String>,
    /// When it was imported.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
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
            version: egg.version,
            startup: egg.startup,
            docker_images: egg.images.into_iter().map(|(label, image)| (label, Value::String(image))).collect(),
            stop: egg.stop,
            done: egg.done,
            variables: egg.variables.into_iter().map(VariableView::from).collect(),
            warnings: egg.warnings,
            created_at: stored.created_at,
        }
    }

    fn read(stored: &StoredEgg) -> Result<Self, ApiError> {
        // It was read when it was imported.
        Ok(Self::new(stored, Egg::parse(&stored.document).map_err(ApiError::internal)?))
    }
}

/// Imports an egg.
///
/// The body is the document itself, as Pterodactyl's panel exports it (`PTDL_v1`, `PTDL_v2`).
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
    body: Body<Value>,
) -> Result<Answer, ApiError> {
    admin.may("admin.eggs.create")?;
    let raw = body.raw;
    let document = String::from_utf8(raw.to_vec()).map_err(|_| ApiError::invalid("body", "is not UTF-8"))?;
    let egg = Egg::parse(&document).map_err(|error| ApiError::invalid(&error.field, error.problem))?;
    let work = async {
        let (name, author) = (egg.name.clone(), egg.author.clone());
        let stored = StoredEgg { id: EggId::new(), name, author, document, created_at: app.now() };
        let mut tx = app.db.begin().await?;
        eggs::egg_insert(&mut tx, &stored).await?;
        let details = json!({"name": stored.name});
        audit::audit(&mut tx, app.now(), &admin.actor(), "egg.import", stored.id, &details).await?;
        tx.commit().await.map_err(DbError::from)?;
        Answer::created(format!("/api/v1/admin/eggs/{}", stored.id), &EggView::new(&stored, egg))
    };
    idempotency.once(&app, &admin, "POST /admin/eggs/import", &raw, work).await
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

/// Exports an egg: the document, byte for byte as it was imported, without the envelope.
#[utoipa::path(get, path = "/api/v1/admin/eggs/{id}/export", tag = "eggs", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The document", body = Object)))]
async fn export(State(app): State<App>, admin: Admin, Id(id): Id<EggId>) -> Result<Response, ApiError> {
    admin.may("admin.eggs.list")?;
    let mut conn = app.db.acquire().await?;
    let stored = load(&mut conn, id).await?;
    let name: String = stored.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let disposition = format!("attachment; filename=\"egg-{name}.json\"");
    let headers = [(CONTENT_TYPE, "application/json".to_owned()), (CONTENT_DISPOSITION, disposition)];
    Ok((headers, stored.document).into_response())
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
