//! All backups, those of servers that are gone too: a deleted server leaves its backups unless it is deleted with them.

use axum::extract::State;
use model::BackupId;

use super::view::{BackupView, DownloadView};
use super::{download_of, shown, shown_page};
use crate::api::views::{Many, One};
use crate::api::{Admin, Answer, ApiError, Id, ListQuery};
use crate::app::App;
use crate::db::backups::{self, Filter};

/// Lists all backups.
#[utoipa::path(get, path = "/api/v1/admin/backups", tag = "backups", params(
    ("sort" = Option<String>, Query, description = "created_at, name, bytes; - in front for descending; -created_at without it"),
    ("filter[server_id]" = Option<uuid::Uuid>, Query, description = "Of this server, which may be gone"),
    ("filter[storage_id]" = Option<uuid::Uuid>, Query, description = "In this storage"),
    ("filter[state]" = Option<String>, Query, description = "running, verifying, completed or failed"),
), responses((status = 200, description = "One page", body = Many<BackupView>)))]
pub(super) async fn list_all(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.backups.list")?;
    query.only_filters(&["server_id", "storage_id", "state"])?;
    let sort = query.sort(backups::SORTS, "-created_at")?;
    let filter = Filter {
        server_id: query.filter("server_id")?,
        storage_id: query.filter("storage_id")?,
        state: query.filter_word("state")?,
    };
    let mut conn = app.db.acquire().await?;
    let page = backups::backups_page(&mut conn, &filter, query.paging, sort.column, sort.descending).await?;
    Answer::page(&shown_page(&mut conn, page).await?, query.paging)
}

/// Shows any backup.
#[utoipa::path(get, path = "/api/v1/admin/backups/{id}", tag = "backups", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The backup", body = One<BackupView>)))]
pub(super) async fn show_any(State(app): State<App>, admin: Admin, Id(id): Id<BackupId>) -> Result<Answer, ApiError> {
    admin.may("admin.backups.list")?;
    let backup = app.backups.get(id).await?;
    Answer::ok(&shown(&mut *app.db.acquire().await?, backup).await?)
}

/// Deletes any backup and its object.
#[utoipa::path(delete, path = "/api/v1/admin/backups/{id}", tag = "backups", params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 204, description = "Deleted"),
        (status = 409, description = "`backup_locked`, `backup_in_use`"),
        (status = 503, description = "What the storage says; nothing was deleted: `storage_unreachable`, `storage_denied`, …"),
    ))]
pub(super) async fn remove_any(State(app): State<App>, admin: Admin, Id(id): Id<BackupId>) -> Result<Answer, ApiError> {
    admin.may("admin.backups.delete")?;
    app.backups.remove(id, &admin.actor()).await?;
    Ok(Answer::no_content())
}

/// Gives an address where any backup can be downloaded for some minutes.
#[utoipa::path(get, path = "/api/v1/admin/backups/{id}/download", tag = "backups", params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 200, description = "The address", body = One<DownloadView>),
        (status = 409, description = "`backup_not_completed`"),
        (status = 503, description = "`storage_settings`"),
    ))]
pub(super) async fn download_any(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<BackupId>,
) -> Result<Answer, ApiError> {
    admin.may("admin.backups.download")?;
    let backup = app.backups.get(id).await?;
    download_of(&app, &backup).await
}
