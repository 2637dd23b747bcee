//! Places for backups: any object storage that speaks S3. A key's secret goes in and never comes out.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use jiff::Timestamp;
use model::BackupStorageId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::check::{self, Nothing, Problem};
use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Body, Id, ListQuery};
use crate::app::App;
use crate::backup::storage::{StorageError, bucket, purpose};
use crate::db::backup_storages::{self, BackupStorage};
use crate::db::{Conn, DbError, audit};

/// Bytes of a prefix: with a server's and a backup's id behind it a key has room.
const LONGEST_PREFIX: usize = 512;

#[derive(OpenApi)]
#[openapi(paths(create, list, show, update, remove, test))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/backup-storages", get(list).post(create))
        .route("/admin/backup-storages/{id}", get(show).patch(update).delete(remove))
        .route("/admin/backup-storages/{id}/test", post(test))
}

/// A place to add.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "minio", "endpoint": "http://10.0.0.9:9000", "bucket": "backups", "access_key": "badger",
    "secret_key": "a long secret", "is_default": true,
}))]
struct NewStorage {
    /// For people; unique.
    name: String,
    /// `https://host` or `http://host:port`. The panel, and every agent, must reach it there.
    endpoint: String,
    /// Default `us-east-1`, which is what MinIO calls itself.
    region: Option<String>,
    /// It must exist.
    bucket: String,
    /// In front of the keys of all objects, for example `panel/`. Default empty.
    #[serde(default)]
    prefix: String,
    /// Whether the bucket is in the path (the default, as MinIO has it) or in the host's name.
    path_style: Option<bool>,
    /// The key's id.
    access_key: String,
    /// The key itself. It is sealed, and never shown.
    secret_key: String,
    /// Whether backups go here that name no place. The first one is the default in any case.
    #[serde(default)]
    is_default: bool,
}

/// What a place becomes. What is not given stays. Its backups are looked for where it says: to move them is your business.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"secret_key": "another secret"}))]
struct StorageChange {
    /// For people; unique.
    name: Option<String>,
    /// `https://host` or `http://host:port`.
    endpoint: Option<String>,
    /// As its signatures say.
    region: Option<String>,
    /// It must exist.
    bucket: Option<String>,
    /// Of backups from now on; those that there are keep theirs.
    prefix: Option<String>,
    /// Whether the bucket is in the path.
    path_style: Option<bool>,
    /// The key's id.
    access_key: Option<String>,
    /// The key itself.
    secret_key: Option<String>,
    /// True makes it the default in place of another one.
    is_default: Option<bool>,
}

/// A place for backups.
#[derive(Debug, Serialize, ToSchema)]
struct StorageView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: BackupStorageId,
    /// For people.
    #[schema(example = "minio")]
    name: String,
    /// Where it is.
    #[schema(example = "http://10.0.0.9:9000")]
    endpoint: String,
    /// As its signatures say.
    #[schema(example = "us-east-1")]
    region: String,
    /// Where in it.
    #[schema(example = "backups")]
    bucket: String,
    /// In front of all keys.
    #[schema(example = "panel/")]
    prefix: String,
    /// Whether the bucket is in the path.
    path_style: bool,
    /// The key's id.
    #[schema(example = "badger")]
    access_key: String,
    /// Whether backups go here that name no place.
    is_default: bool,
    /// How many backups are in it.
    #[schema(example = 12)]
    backups: u64,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

/// What a test has found.
#[derive(Debug, Serialize, ToSchema)]
struct TestView {
    /// Whether an object was written, read and removed.
    ok: bool,
    /// What is wrong: `storage_unreachable`, `storage_denied`, `storage_no_bucket`, `storage_failed` or `storage_settings`.
    #[schema(example = "storage_no_bucket")]
    code: Option<&'static str>,
    /// What happened and what to do.
    #[schema(example = "the storage has no such bucket: NoSuchBucket. Make the bucket, or correct its name")]
    message: Option<String>,
}

async fn view(conn: &mut Conn, it: BackupStorage) -> Result<StorageView, ApiError> {
    let backups = backup_storages::storage_used(conn, it.id).await?;
    let BackupStorage {
        id,
        name,
        endpoint,
        region,
        bucket,
        prefix,
        path_style,
        access_key,
        is_default,
        created_at,
        ..
    } = it;
    Ok(StorageView {
        id,
        name,
        endpoint,
        region,
        bucket,
        prefix,
        path_style,
        access_key,
        is_default,
        backups,
        created_at,
    })
}

/// All that is wrong with a place, its key aside.
fn problems(it: &BackupStorage) -> Vec<Problem> {
    let mut problems = check::name("name", &it.name);
    for (field, text) in [("region", &it.region), ("bucket", &it.bucket), ("access_key", &it.access_key)] {
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '?' | '#' | '%' | '\\');
        if text.is_empty() || text.len() > 255 || !text.chars().all(plain) || matches!(text.as_str(), "." | "..") {
            problems.push((field.to_owned(), "must be 1 to 255 visible characters without / ? # % and \\".to_owned()));
        }
    }
    let steps = it.prefix.strip_suffix('/').unwrap_or(&it.prefix).split('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let good = |step: &str| !step.is_empty() && step != "." && step != ".." && step.chars().all(plain);
    if it.prefix.len() > LONGEST_PREFIX || !(it.prefix.is_empty() || steps.into_iter().all(good)) {
        let problem = "must be words of letters, digits, dots, hyphens and underscores, with slashes between them";
        problems.push(("prefix".to_owned(), problem.to_owned()));
    }
    if it.endpoint.len() > 1024 || it.endpoint.contains(['@', '?', '#']) {
        problems.push(("endpoint".to_owned(), "must be http://… or https://… without user and query".to_owned()));
    } else if let Err((field, problem)) = bucket(&it.endpoint, &it.region, "name", it.path_style) {
        problems.push((field.to_owned(), problem));
    }
    problems
}

fn secret_problems(secret: Option<&str>) -> Vec<Problem> {
    let bad = secret.is_some_and(|secret| secret.is_empty() || secret.len() > 1024 || secret.contains('\0'));
    if bad { vec![("secret_key".to_owned(), "must have 1 to 1024 characters".to_owned())] } else { Vec::new() }
}

/// With a slash at its end, so that it stands in front of a name.
fn as_prefix(text: &str) -> String {
    let text = text.trim_start_matches('/');
    if text.is_empty() || text.ends_with('/') { text.to_owned() } else { format!("{text}/") }
}

fn seal(app: &App, id: BackupStorageId, secret: &str) -> Result<String, ApiError> {
    app.access.secrets.seal(&purpose(id), secret).map_err(ApiError::internal)
}

/// Adds a place for backups.
#[utoipa::path(post, path = "/api/v1/admin/backup-storages", tag = "backup storages", request_body = NewStorage,
    responses(
        (status = 201, description = "The place; test it next", body = One<StorageView>),
        (status = 409, description = "`name_taken`"),
    ))]
async fn create(State(app): State<App>, admin: Admin, body: Body<NewStorage>) -> Result<Answer, ApiError> {
    admin.may("admin.backup-storages.create")?;
    let new = body.value;
    let (id, now) = (BackupStorageId::new(), app.now());
    let mut it = BackupStorage {
        id,
        name: new.name,
        endpoint: new.endpoint,
        region: new.region.unwrap_or_else(|| "us-east-1".to_owned()),
        bucket: new.bucket,
        prefix: as_prefix(&new.prefix),
        path_style: new.path_style.unwrap_or(true),
        access_key: new.access_key,
        secret: String::new(),
        is_default: new.is_default,
        created_at: now,
    };
    check::none(problems(&it).into_iter().chain(secret_problems(Some(&new.secret_key))).collect())?;
    it.secret = seal(&app, id, &new.secret_key)?;
    let mut tx = app.db.begin().await?;
    it.is_default |= backup_storages::storage_default(&mut tx).await?.is_none();
    if it.is_default {
        backup_storages::storage_only_default(&mut tx, id).await?;
    }
    backup_storages::storage_insert(&mut tx, &it).await.map_err(taken)?;
    let details = json!({"name": it.name, "endpoint": it.endpoint, "bucket": it.bucket});
    audit::audit(&mut tx, now, &admin.actor(), "backup_storage.create", id, &details).await?;
    let shown = view(&mut tx, it).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::created(format!("/api/v1/admin/backup-storages/{id}"), &shown)
}

/// Lists the places for backups.
#[utoipa::path(get, path = "/api/v1/admin/backup-storages", tag = "backup storages",
    responses((status = 200, description = "One page, by name", body = Many<StorageView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.backup-storages.list")?;
    query.only_filters(&[])?;
    query.sort(&["name"], "name")?;
    let mut conn = app.db.acquire().await?;
    let page = backup_storages::storages_page(&mut conn, query.paging).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for it in page.items {
        items.push(view(&mut conn, it).await?);
    }
    Answer::page(&crate::db::Page { items, total: page.total }, query.paging)
}

/// Shows a place for backups.
#[utoipa::path(get, path = "/api/v1/admin/backup-storages/{id}", tag = "backup storages", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The place", body = One<StorageView>)))]
async fn show(State(app): State<App>, admin: Admin, Id(id): Id<BackupStorageId>) -> Result<Answer, ApiError> {
    admin.may("admin.backup-storages.list")?;
    let mut conn = app.db.acquire().await?;
    let it = backup_storages::storage_get(&mut conn, id).await.map_err(missing)?;
    Answer::ok(&view(&mut conn, it).await?)
}

/// Changes a place for backups.
#[utoipa::path(patch, path = "/api/v1/admin/backup-storages/{id}", tag = "backup storages", request_body = StorageChange,
    params(("id" = uuid::Uuid, Path)), responses(
        (status = 200, description = "The place as it is now", body = One<StorageView>),
        (status = 409, description = "`name_taken`"),
    ))]
async fn update(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<BackupStorageId>,
    body: Body<StorageChange>,
) -> Result<Answer, ApiError> {
    admin.may("admin.backup-storages.update")?;
    let change = body.value;
    let mut tx = app.db.begin().await?;
    let before = backup_storages::storage_get(&mut tx, id).await.map_err(missing)?;
    let mut after = BackupStorage {
        name: change.name.unwrap_or(before.name),
        endpoint: change.endpoint.unwrap_or(before.endpoint),
        region: change.region.unwrap_or(before.region),
        bucket: change.bucket.unwrap_or(before.bucket),
        prefix: change.prefix.map_or(before.prefix, |prefix| as_prefix(&prefix)),
        path_style: change.path_style.unwrap_or(before.path_style),
        access_key: change.access_key.unwrap_or(before.access_key),
        is_default: change.is_default.unwrap_or(before.is_default),
        ..before
    };
    let secret = change.secret_key.as_deref();
    check::none(problems(&after).into_iter().chain(secret_problems(secret)).collect())?;
    if let Some(secret) = secret {
        after.secret = seal(&app, id, secret)?;
    }
    if after.is_default {
        backup_storages::storage_only_default(&mut tx, id).await?;
    }
    backup_storages::storage_update(&mut tx, &after).await.map_err(taken)?;
    let details = json!({"name": after.name, "endpoint": after.endpoint, "new_secret": secret.is_some()});
    audit::audit(&mut tx, app.now(), &admin.actor(), "backup_storage.update", id, &details).await?;
    let shown = view(&mut tx, after).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::ok(&shown)
}

/// Forgets a place that has no backups. Nothing in it is touched.
#[utoipa::path(delete, path = "/api/v1/admin/backup-storages/{id}", tag = "backup storages",
    params(("id" = uuid::Uuid, Path)), responses(
        (status = 204, description = "Forgotten"),
        (status = 409, description = "`backup_storage_in_use`"),
    ))]
async fn remove(State(app): State<App>, admin: Admin, Id(id): Id<BackupStorageId>) -> Result<Answer, ApiError> {
    admin.may("admin.backup-storages.delete")?;
    let mut tx = app.db.begin().await?;
    backup_storages::storage_delete(&mut tx, id).await.map_err(|error| match error {
        DbError::Conflict => ApiError::conflict(
            "backup_storage_in_use",
            "There are backups in this storage. Delete them first; GET /admin/backups lists them.",
        ),
        error => missing(error),
    })?;
    audit::audit(&mut tx, app.now(), &admin.actor(), "backup_storage.delete", id, &json!({})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}

/// Writes, reads and removes a small object, as the panel would. Whether agents reach the place shows with a backup.
#[utoipa::path(post, path = "/api/v1/admin/backup-storages/{id}/test", tag = "backup storages", request_body = Nothing,
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "What was found", body = One<TestView>)))]
async fn test(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<BackupStorageId>,
    _body: Body<Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.backup-storages.update")?;
    let mut conn = app.db.acquire().await?;
    let row = backup_storages::storage_get(&mut conn, id).await.map_err(missing)?;
    drop(conn);
    let tested = match app.backups.open(&row) {
        Ok(storage) => storage.test().await,
        Err(error) => Err(error),
    };
    Answer::ok(&match tested {
        Ok(()) => TestView { ok: true, code: None, message: None },
        Err(error) => TestView { ok: false, code: Some(error.code()), message: Some(error.to_string()) },
    })
}

fn missing(error: DbError) -> ApiError {
    match error {
        DbError::NotFound => ApiError::not_found("backup storage"),
        error => error.into(),
    }
}

fn taken(error: DbError) -> ApiError {
    match error {
        DbError::Conflict => ApiError::conflict("name_taken", "Another storage has this name. Choose another one."),
        error => missing(error),
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        Self::unavailable(error.code(), format!("{error}."))
    }
}
