//! Backups of a server, for whoever may see to them; and all backups, for administrators.

mod admin;
mod view;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::{get, post};
use model::{BackupId, BackupStorageId};
use serde::Deserialize;
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::on_server::{OnServer, Right, id_of};
use super::views::{Many, One};
use super::{Answer, ApiError, Body, Idempotency, ListQuery, check};
use crate::app::App;
use crate::backup::restore::{self, NewRestore};
use crate::backup::{BackupError, NewBackup};
use crate::db::backups::{self, Backup, BackupState, Filter};
use crate::db::restores::restore_last;
use crate::db::{Conn, DbError, Page, audit};
use view::{BackupView, DownloadView, RestoreView};

/// How long the address of a download is good.
const DOWNLOAD: std::time::Duration = std::time::Duration::from_mins(15);

#[derive(OpenApi)]
#[openapi(paths(
    create,
    list,
    show,
    update,
    remove,
    give_back,
    download,
    admin::list_all,
    admin::show_any,
    admin::remove_any,
    admin::download_any
))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/servers/{id}/backups", get(list).post(create))
        .route("/servers/{id}/backups/{backup_id}", get(show).patch(update).delete(remove))
        .route("/servers/{id}/backups/{backup_id}/restore", post(give_back))
        .route("/servers/{id}/backups/{backup_id}/download", get(download))
        .route("/admin/backups", get(admin::list_all))
        .route("/admin/backups/{id}", get(admin::show_any).delete(admin::remove_any))
        .route("/admin/backups/{id}/download", get(admin::download_any))
}

/// A backup to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "before the update", "locked": true}))]
struct MakeBackup {
    /// For people; without it the time.
    name: Option<String>,
    /// Where to; without it the default.
    #[schema(value_type = Option<uuid::Uuid>)]
    storage_id: Option<BackupStorageId>,
    /// Whether it is kept from being deleted.
    #[serde(default)]
    locked: bool,
}

/// What a backup becomes. What is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"locked": false}))]
struct BackupChange {
    /// For people.
    name: Option<String>,
    /// Whether it is kept from being deleted.
    locked: Option<bool>,
}

/// How a backup is restored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"stop": true}))]
struct GiveBack {
    /// Whether a server that runs may be stopped. It is started again afterwards, whatever came of it.
    #[serde(default)]
    stop: bool,
}

/// The `{backup_id}` of a route.
struct Which(BackupId);

impl FromRequestParts<App> for Which {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        id_of(parts, app, "backup_id").await.map(Self)
    }
}

async fn shown(conn: &mut Conn, backup: Backup) -> Result<BackupView, ApiError> {
    let restore = restore_last(conn, backup.id).await?;
    Ok(BackupView::new(backup, restore))
}

async fn shown_page(conn: &mut Conn, page: Page<Backup>) -> Result<Page<BackupView>, ApiError> {
    let mut items = Vec::with_capacity(page.items.len());
    for backup in page.items {
        items.push(shown(conn, backup).await?);
    }
    Ok(Page { items, total: page.total })
}

/// The backup, if it is one of this server.
async fn of(app: &App, on: &OnServer, id: BackupId) -> Result<Backup, ApiError> {
    let backup = app.backups.get(id).await?;
    if backup.server_id == on.id { Ok(backup) } else { Err(ApiError::not_found("backup")) }
}

/// Makes a backup of a server, which may run meanwhile.
///
/// It goes on by itself: look at it until its state is `completed` or `failed`. The server is locked for other operations
/// until then. What was uploaded is read back and compared before it counts.
#[utoipa::path(post, path = "/api/v1/servers/{id}/backups", tag = "backups", request_body = MakeBackup,
    params(
        ("id" = uuid::Uuid, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same answer for 24 h"),
    ),
    responses(
        (status = 202, description = "Begun; `Location` is the backup", body = One<BackupView>),
        (status = 409, description = "`server_locked`, `server_not_installed`"),
        (status = 422, description = "`backup_limit_reached`, `no_backup_storage`"),
        (status = 503, description = "`agent_offline`"),
    ))]
async fn create(
    State(app): State<App>,
    on: OnServer,
    idempotency: Idempotency,
    body: Body<MakeBackup>,
) -> Result<Answer, ApiError> {
    on.may(Right::Backups)?;
    let MakeBackup { name, storage_id, locked } = body.value;
    check::none(name.iter().flat_map(|name| check::name("name", name)).collect())?;
    let new = NewBackup { server_id: on.id, name, storage_id, locked, created_by: on.admin.actor() };
    let work = async {
        let backup = app.backups.start(&new).await?;
        Answer::accepted(place(&backup), &BackupView::new(backup, None))
    };
    idempotency.once(&app, &on.admin, &format!("POST /servers/{}/backups", on.id), &body.raw, work).await
}

fn place(backup: &Backup) -> String {
    format!("/api/v1/servers/{}/backups/{}", backup.server_id, backup.id)
}

/// Lists the backups of a server, wherever it was when they were made.
#[utoipa::path(get, path = "/api/v1/servers/{id}/backups", tag = "backups", params(
    ("id" = uuid::Uuid, Path),
    ("sort" = Option<String>, Query, description = "created_at, name, bytes; - in front for descending; -created_at without it"),
    ("filter[state]" = Option<String>, Query, description = "running, verifying, completed or failed"),
), responses((status = 200, description = "One page", body = Many<BackupView>)))]
async fn list(State(app): State<App>, on: OnServer, query: ListQuery) -> Result<Answer, ApiError> {
    on.may(Right::Backups)?;
    query.only_filters(&["state"])?;
    let sort = query.sort(backups::SORTS, "-created_at")?;
    let filter = Filter { server_id: Some(on.id), state: query.filter_word("state")?, storage_id: None };
    let mut conn = app.db.acquire().await?;
    let page = backups::backups_page(&mut conn, &filter, query.paging, sort.column, sort.descending).await?;
    Answer::page(&shown_page(&mut conn, page).await?, query.paging)
}

/// Shows a backup, and its last restore.
#[utoipa::path(get, path = "/api/v1/servers/{id}/backups/{backup_id}", tag = "backups",
    params(("id" = uuid::Uuid, Path), ("backup_id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The backup", body = One<BackupView>)))]
async fn show(State(app): State<App>, on: OnServer, Which(id): Which) -> Result<Answer, ApiError> {
    on.may(Right::Backups)?;
    let backup = of(&app, &on, id).await?;
    Answer::ok(&shown(&mut *app.db.acquire().await?, backup).await?)
}

/// Names a backup, and locks or unlocks it. A locked one is not deleted.
#[utoipa::path(patch, path = "/api/v1/servers/{id}/backups/{backup_id}", tag = "backups", request_body = BackupChange,
    params(("id" = uuid::Uuid, Path), ("backup_id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The backup as it is now", body = One<BackupView>)))]
async fn update(
    State(app): State<App>,
    on: OnServer,
    Which(id): Which,
    body: Body<BackupChange>,
) -> Result<Answer, ApiError> {
    on.may(Right::Backups)?;
    let change = body.value;
    check::none(change.name.iter().flat_map(|name| check::name("name", name)).collect())?;
    let backup = of(&app, &on, id).await?;
    let (name, locked) = (change.name.unwrap_or(backup.name), change.locked.unwrap_or(backup.locked));
    let mut tx = app.db.begin().await?;
    backups::backup_update(&mut tx, id, &name, locked).await?;
    let details = json!({"server_id": on.id, "name": name, "locked": locked});
    audit::audit(&mut tx, app.now(), &on.admin.actor(), "backup.update", id, &details).await?;
    let backup = backups::backup_get(&mut tx, id).await?;
    let answer = Answer::ok(&shown(&mut tx, backup).await?)?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(answer)
}

/// Deletes a backup and its object. One that is being made is cancelled first.
#[utoipa::path(delete, path = "/api/v1/servers/{id}/backups/{backup_id}", tag = "backups",
    params(("id" = uuid::Uuid, Path), ("backup_id" = uuid::Uuid, Path)), responses(
        (status = 204, description = "Deleted"),
        (status = 409, description = "`backup_locked`, `backup_in_use`"),
        (status = 503, description = "What the storage says; nothing was deleted: `storage_unreachable`, `storage_denied`, …"),
    ))]
async fn remove(State(app): State<App>, on: OnServer, Which(id): Which) -> Result<Answer, ApiError> {
    on.may(Right::Backups)?;
    of(&app, &on, id).await?;
    app.backups.remove(id, &on.admin.actor()).await?;
    Ok(Answer::no_content())
}

/// Gives the server the files of a backup, in place of its own.
///
/// They are downloaded beside its files and verified before they take their place, at once. If anything fails before, the
/// server is as it was. The backup's `restore` says how far it is.
#[utoipa::path(post, path = "/api/v1/servers/{id}/backups/{backup_id}/restore", tag = "backups",
    request_body = GiveBack,
    params(
        ("id" = uuid::Uuid, Path),
        ("backup_id" = uuid::Uuid, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same answer for 24 h"),
    ),
    responses(
        (status = 202, description = "Begun; `Location` is the backup, whose `restore` this is", body = One<RestoreView>),
        (status = 409, description = "`server_locked`, `server_running`, `server_not_installed`, `backup_not_completed`"),
        (status = 503, description = "`agent_offline`"),
    ))]
async fn give_back(
    State(app): State<App>,
    on: OnServer,
    Which(id): Which,
    idempotency: Idempotency,
    body: Body<GiveBack>,
) -> Result<Answer, ApiError> {
    on.may(Right::Backups)?;
    let new = NewRestore { server_id: on.id, backup_id: id, stop: body.value.stop, created_by: on.admin.actor() };
    let work = async {
        let restore = restore::start(&app, &new).await?;
        let place = format!("/api/v1/servers/{}/backups/{id}", on.id);
        Answer::accepted(place, &RestoreView::from(restore))
    };
    let route = format!("POST /servers/{}/backups/{id}/restore", on.id);
    idempotency.once(&app, &on.admin, &route, &body.raw, work).await
}

/// Gives an address where the backup can be downloaded for some minutes, by whoever has it: an ordinary `.tar.zst`.
#[utoipa::path(get, path = "/api/v1/servers/{id}/backups/{backup_id}/download", tag = "backups",
    params(("id" = uuid::Uuid, Path), ("backup_id" = uuid::Uuid, Path)), responses(
        (status = 200, description = "The address", body = One<DownloadView>),
        (status = 409, description = "`backup_not_completed`"),
        (status = 503, description = "`storage_settings`"),
    ))]
async fn download(State(app): State<App>, on: OnServer, Which(id): Which) -> Result<Answer, ApiError> {
    on.may(Right::Backups)?;
    let backup = of(&app, &on, id).await?;
    download_of(&app, &backup).await
}

async fn download_of(app: &App, backup: &Backup) -> Result<Answer, ApiError> {
    if backup.state != BackupState::Completed {
        let message = "This backup is not complete, so there is nothing to download.";
        return Err(ApiError::conflict("backup_not_completed", message));
    }
    let storage = app.backups.storage_of(backup).await?;
    let day = backup.created_at.strftime("%Y-%m-%d-%H%M").to_string();
    let url = storage.download_url(&backup.object_key, &format!("backup-{day}.tar.zst"), DOWNLOAD);
    let expires_at = app.now() + jiff::SignedDuration::try_from(DOWNLOAD).map_err(ApiError::internal)?;
    Answer::ok(&DownloadView { url, expires_at })
}

impl From<BackupError> for ApiError {
    fn from(error: BackupError) -> Self {
        let message = error.to_string();
        match error {
            BackupError::NotFound(noun) => Self::not_found(noun),
            BackupError::Locked => Self::conflict("server_locked", message),
            BackupError::NotInstalled => Self::conflict("server_not_installed", message),
            BackupError::LimitReached { have, limit } => {
                Self::unprocessable("backup_limit_reached", message).detail("have", have).detail("limit", limit)
            }
            BackupError::NoStorage => Self::unprocessable("no_backup_storage", message),
            BackupError::AgentOffline => Self::new(StatusCode::SERVICE_UNAVAILABLE, "agent_offline", message),
            BackupError::Conflict { code, message } => Self::conflict(code, message),
            BackupError::Storage(error) => error.into(),
            BackupError::Db(error) => error.into(),
        }
    }
}
