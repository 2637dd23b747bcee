//! Announcements: administrators write them, everybody who may come in reads those that are shown now.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use jiff::Timestamp;
use model::AnnouncementId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::check::{self, Given, Problem};
use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Body, Id, ListQuery};
use crate::app::App;
use crate::db::announcements::{self, Announcement, Level};
use crate::db::{DbError, audit};

/// Characters of the text.
const LONGEST_BODY: usize = 10_000;

#[derive(OpenApi)]
#[openapi(paths(create, list, list_shown, show, update, remove))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/announcements", get(list_shown))
        .route("/admin/announcements", get(list).post(create))
        .route("/admin/announcements/{id}", get(show).patch(update).delete(remove))
}

/// An announcement to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"title": "Maintenance tonight", "body": "Servers move; nobody is cut off.", "level": "warning"}))]
struct NewAnnouncement {
    /// One line.
    title: String,
    /// Plain text; at most 10,000 characters.
    #[serde(default)]
    body: String,
    /// `info` (the default), `warning` or `critical`.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "warning")]
    level: Level,
    /// From when on it is shown; without it from now on.
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<Timestamp>,
    /// Until when it is shown; without it until it is removed.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
}

/// What an announcement becomes. What is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"level": "critical"}))]
struct AnnouncementChange {
    /// One line.
    title: Option<String>,
    /// Plain text.
    body: Option<String>,
    /// `info`, `warning` or `critical`.
    #[schema(value_type = Option<String>, example = "critical")]
    level: Option<Level>,
    /// From when on it is shown.
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<Timestamp>,
    /// Until when it is shown; null for until it is removed.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Given<Timestamp>,
}

/// An announcement.
#[derive(Debug, Serialize, ToSchema)]
struct AnnouncementView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: AnnouncementId,
    /// One line.
    title: String,
    /// Plain text.
    body: String,
    /// `info`, `warning` or `critical`.
    #[schema(value_type = String, example = "warning")]
    level: Level,
    /// From when on it is shown.
    #[schema(value_type = String, format = DateTime)]
    starts_at: Timestamp,
    /// Until when it is shown; null for until it is removed.
    #[schema(value_type = Option<String>, format = DateTime)]
    ends_at: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Announcement> for AnnouncementView {
    fn from(it: Announcement) -> Self {
        let Announcement { id, title, body, level, starts_at, ends_at, created_at, .. } = it;
        Self { id, title, body, level, starts_at, ends_at, created_at }
    }
}

fn problems(it: &Announcement) -> Vec<Problem> {
    let mut problems = check::name("title", &it.title);
    if it.body.chars().count() > LONGEST_BODY || it.body.contains('\0') {
        problems.push(("body".to_owned(), format!("must be text of at most {LONGEST_BODY} characters")));
    }
    if it.ends_at.is_some_and(|end| end <= it.starts_at) {
        problems.push(("ends_at".to_owned(), "must be after starts_at".to_owned()));
    }
    problems
}

/// Makes an announcement.
#[utoipa::path(post, path = "/api/v1/admin/announcements", tag = "announcements", request_body = NewAnnouncement,
    responses((status = 201, description = "The announcement", body = One<AnnouncementView>)))]
async fn create(State(app): State<App>, admin: Admin, body: Body<NewAnnouncement>) -> Result<Answer, ApiError> {
    admin.may("admin.announcements.create")?;
    let NewAnnouncement { title, body, level, starts_at, ends_at } = body.value;
    let (id, now) = (AnnouncementId::new(), app.now());
    let starts_at = starts_at.unwrap_or(now);
    let created_by = admin.actor();
    let it = Announcement { id, title, body, level, starts_at, ends_at, created_by, created_at: now };
    check::none(problems(&it))?;
    let mut tx = app.db.begin().await?;
    announcements::announcement_insert(&mut tx, &it).await?;
    audit::audit(&mut tx, now, &admin.actor(), "announcement.create", id, &json!({"title": it.title})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::created(format!("/api/v1/admin/announcements/{id}"), &AnnouncementView::from(it))
}

/// Lists all announcements, those to come and those that are over too.
#[utoipa::path(get, path = "/api/v1/admin/announcements", tag = "announcements",
    responses((status = 200, description = "One page, the youngest first", body = Many<AnnouncementView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.announcements.list")?;
    page(&app, &query, None).await
}

/// Lists the announcements that are shown now, to whoever is logged in.
#[utoipa::path(get, path = "/api/v1/announcements", tag = "announcements",
    responses((status = 200, description = "One page, the youngest first", body = Many<AnnouncementView>)))]
async fn list_shown(State(app): State<App>, _admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    page(&app, &query, Some(app.now())).await
}

async fn page(app: &App, query: &ListQuery, shown_at: Option<Timestamp>) -> Result<Answer, ApiError> {
    query.only_filters(&[])?;
    query.sort(&["starts_at"], "-starts_at")?;
    let mut conn = app.db.acquire().await?;
    let page = announcements::announcements_page(&mut conn, shown_at, query.paging).await?;
    Answer::page(&page.map(AnnouncementView::from), query.paging)
}

/// Shows an announcement.
#[utoipa::path(get, path = "/api/v1/admin/announcements/{id}", tag = "announcements",
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The announcement", body = One<AnnouncementView>)))]
async fn show(State(app): State<App>, admin: Admin, Id(id): Id<AnnouncementId>) -> Result<Answer, ApiError> {
    admin.may("admin.announcements.list")?;
    let mut conn = app.db.acquire().await?;
    let it = announcements::announcement_get(&mut conn, id).await.map_err(missing)?;
    Answer::ok(&AnnouncementView::from(it))
}

/// Changes an announcement.
#[utoipa::path(patch, path = "/api/v1/admin/announcements/{id}", tag = "announcements",
    request_body = AnnouncementChange, params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The announcement as it is now", body = One<AnnouncementView>)))]
async fn update(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<AnnouncementId>,
    body: Body<AnnouncementChange>,
) -> Result<Answer, ApiError> {
    admin.may("admin.announcements.update")?;
    let change = body.value;
    let mut tx = app.db.begin().await?;
    let before = announcements::announcement_get(&mut tx, id).await.map_err(missing)?;
    let after = Announcement {
        title: change.title.unwrap_or(before.title),
        body: change.body.unwrap_or(before.body),
        level: change.level.unwrap_or(before.level),
        starts_at: change.starts_at.unwrap_or(before.starts_at),
        ends_at: change.ends_at.or(before.ends_at),
        ..before
    };
    check::none(problems(&after))?;
    announcements::announcement_update(&mut tx, &after).await.map_err(missing)?;
    let details = json!({"title": after.title});
    audit::audit(&mut tx, app.now(), &admin.actor(), "announcement.update", id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::ok(&AnnouncementView::from(after))
}

/// Removes an announcement.
#[utoipa::path(delete, path = "/api/v1/admin/announcements/{id}", tag = "announcements",
    params(("id" = uuid::Uuid, Path)), responses((status = 204, description = "Removed")))]
async fn remove(State(app): State<App>, admin: Admin, Id(id): Id<AnnouncementId>) -> Result<Answer, ApiError> {
    admin.may("admin.announcements.delete")?;
    let mut tx = app.db.begin().await?;
    announcements::announcement_delete(&mut tx, id).await.map_err(missing)?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "announcement.delete", id, &json!({})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}

fn missing(error: DbError) -> ApiError {
    match error {
        DbError::NotFound => ApiError::not_found("announcement"),
        error => error.into(),
    }
}
