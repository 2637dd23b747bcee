//! What the caller is told in the panel, and what they do not want to be told. Everybody sees their own alone.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use jiff::Timestamp;
use model::{NotificationId, ServerId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Body, Id, ListQuery, check};
use crate::app::App;
use crate::db::notifications::{self, Kind, Notification};
use crate::db::{DbError, Page};

#[derive(OpenApi)]
#[openapi(paths(list, read, read_all, preferences, set_preferences))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/notifications", get(list))
        .route("/notifications/read-all", post(read_all))
        .route("/notifications/preferences", get(preferences).put(set_preferences))
        .route("/notifications/{id}/read", post(read))
}

/// Something that the caller is told.
#[derive(Debug, Serialize, ToSchema)]
struct NotificationView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: NotificationId,
    /// `transfer_started`, `transfer_completed`, `transfer_rolled_back`, `transfer_stuck`, `schedule_failed`,
    /// `backup_failed`, `dns_failed`; administrators also `webhook_disabled`, `node_offline`.
    #[schema(value_type = String, example = "transfer_completed")]
    kind: Kind,
    /// A plain sentence.
    #[schema(example = "Your server survival has moved. Players reach it at 203.0.113.7:25565.")]
    message: String,
    /// About which server; null if about none.
    #[schema(value_type = Option<uuid::Uuid>)]
    server_id: Option<ServerId>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// When it was read; null until then.
    #[schema(value_type = Option<String>, format = DateTime)]
    read_at: Option<Timestamp>,
}

impl From<Notification> for NotificationView {
    fn from(it: Notification) -> Self {
        let Notification { id, kind, message, server_id, at, read_at } = it;
        Self { id, kind, message, server_id, at, read_at }
    }
}

/// What somebody does not want to be told.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"muted": ["transfer_started"]}))]
struct Preferences {
    /// Kinds of notifications.
    #[schema(value_type = Vec<String>)]
    muted: Vec<Kind>,
}

/// Lists what the caller is told. `meta.unread` counts all that they have not read.
#[utoipa::path(get, path = "/api/v1/notifications", tag = "notifications",
    params(("filter[unread]" = Option<bool>, Query, description = "Only those that were not read")),
    responses((status = 200, description = "One page, the youngest first", body = Many<NotificationView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    query.only_filters(&["unread"])?;
    query.sort(&["at"], "-at")?;
    let unread_only = query.filter("unread")?.unwrap_or(false);
    let Some(user) = admin.user_id() else {
        let nothing = Page::<NotificationView> { items: Vec::new(), total: 0 };
        return Ok(Answer::page(&nothing, query.paging)?.with_meta("unread", 0));
    };
    let mut conn = app.db.acquire().await?;
    let page = notifications::notifications_page(&mut conn, user, unread_only, query.paging).await?;
    let unread = notifications::notifications_unread(&mut conn, user).await?;
    Ok(Answer::page(&page.map(NotificationView::from), query.paging)?.with_meta("unread", unread))
}

/// Marks one as read.
#[utoipa::path(post, path = "/api/v1/notifications/{id}/read", tag = "notifications", request_body = check::Nothing,
    params(("id" = uuid::Uuid, Path)), responses((status = 204, description = "It is read")))]
async fn read(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<NotificationId>,
    _body: Body<check::Nothing>,
) -> Result<Answer, ApiError> {
    let missing = || ApiError::not_found("notification");
    let user = admin.user_id().ok_or_else(missing)?;
    let mut conn = app.db.acquire().await?;
    match notifications::notification_read(&mut conn, user, id, app.now()).await {
        Ok(()) => Ok(Answer::no_content()),
        Err(DbError::NotFound) => Err(missing()),
        Err(error) => Err(error.into()),
    }
}

/// Marks all as read.
#[utoipa::path(post, path = "/api/v1/notifications/read-all", tag = "notifications", request_body = check::Nothing,
    responses((status = 204, description = "All are read")))]
async fn read_all(State(app): State<App>, admin: Admin, _body: Body<check::Nothing>) -> Result<Answer, ApiError> {
    if let Some(user) = admin.user_id() {
        notifications::notifications_read(&mut *app.db.acquire().await?, user, app.now()).await?;
    }
    Ok(Answer::no_content())
}

/// Shows what the caller does not want to be told.
#[utoipa::path(get, path = "/api/v1/notifications/preferences", tag = "notifications",
    responses((status = 200, description = "The preferences", body = One<Preferences>)))]
async fn preferences(State(app): State<App>, admin: Admin) -> Result<Answer, ApiError> {
    let muted = match admin.user_id() {
        Some(user) => notifications::muted(&mut *app.db.acquire().await?, user).await?,
        None => Vec::new(),
    };
    Answer::ok(&Preferences { muted })
}

/// Settles what the caller does not want to be told. What they were told stays.
#[utoipa::path(put, path = "/api/v1/notifications/preferences", tag = "notifications", request_body = Preferences,
    responses(
        (status = 200, description = "The preferences as they are now", body = One<Preferences>),
        (status = 409, description = "`no_user`: the key belongs to nobody"),
    ))]
async fn set_preferences(State(app): State<App>, admin: Admin, body: Body<Preferences>) -> Result<Answer, ApiError> {
    let user: UserId = admin.user_id().ok_or_else(|| {
        ApiError::conflict("no_user", "This API key belongs to no user, so nobody is told anything. Log in as a user.")
    })?;
    let mut tx = app.db.begin().await?;
    notifications::mute(&mut tx, user, &body.value.muted).await?;
    let muted = notifications::muted(&mut tx, user).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::ok(&Preferences { muted })
}
