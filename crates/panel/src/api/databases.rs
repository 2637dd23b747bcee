//! Databases of a server: made and dropped on a database host, and shown to whoever may use them.

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::routing::{get, post};
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use jiff::Timestamp;
use model::{DatabaseHostId, DatabaseId, ServerId};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::check::{self, Problem};
use super::on_server::{OnServer, Right, id_of};
use super::servers::{load as load_server, locked};
use super::views::{Many, One};
use super::{Answer, ApiError, Body, Idempotency, ListQuery};
use crate::app::App;
use crate::databases::{MysqlError, Names, Server, purpose, server};
use crate::db::database_hosts::{self, DatabaseHost};
use crate::db::databases::{self, Database};
use crate::db::{Conn, DbError, Page, audit};

#[derive(OpenApi)]
#[openapi(paths(create, list, show, update, remove, rotate_password))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/servers/{id}/databases", get(list).post(create))
        .route("/servers/{id}/databases/{database_id}", get(show).patch(update).delete(remove))
        .route("/servers/{id}/databases/{database_id}/rotate-password", post(rotate_password))
}

/// A database to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "economy", "remote": "%"}))]
struct NewDatabase {
    /// 1 to 24 lower-case letters, digits and underscores. Becomes the end of its whole name.
    name: String,
    /// From where its user may connect: an address, or a pattern with `%` and `_`; `%` without it.
    #[serde(default = "anywhere")]
    #[schema(example = "10.0.0.%")]
    remote: String,
    /// On which host; without it on the one with the fewest databases.
    #[schema(value_type = Option<uuid::Uuid>)]
    host_id: Option<DatabaseHostId>,
}

fn anywhere() -> String {
    "%".to_owned()
}

/// What a database becomes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"remote": "203.0.113.7"}))]
struct DatabaseChange {
    /// From where its user may connect.
    remote: String,
}

/// A database.
#[derive(Debug, Serialize, ToSchema)]
struct DatabaseView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: DatabaseId,
    /// Where it is.
    #[schema(value_type = uuid::Uuid)]
    host_id: DatabaseHostId,
    /// Address or name of that.
    #[schema(example = "db.example")]
    host: String,
    /// Port of that.
    #[schema(example = 3306)]
    port: u16,
    /// Its whole name.
    #[schema(example = "s1f2e3d4c_economy")]
    name: String,
    /// Its user.
    #[schema(example = "u7k2mq9x4ab")]
    username: String,
    /// The user's password. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    /// From where that user may connect.
    #[schema(example = "%")]
    remote: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl DatabaseView {
    fn new(it: Database, host: DatabaseHost, password: Option<String>) -> Self {
        let Database { id, host_id, name, username, remote, created_at, .. } = it;
        Self { id, host_id, host: host.host, port: host.port, name, username, password, remote, created_at }
    }
}

/// The `{database_id}` of a route.
struct Which(DatabaseId);

impl FromRequestParts<App> for Which {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        id_of(parts, app, "database_id").await.map(Self)
    }
}

/// Makes a database and a user that may use it.
#[utoipa::path(post, path = "/api/v1/servers/{id}/databases", tag = "databases", request_body = NewDatabase,
    params(
        ("id" = uuid::Uuid, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same answer for 24 h"),
    ),
    responses(
        (status = 201, description = "The database, with the password", body = One<DatabaseView>),
        (status = 409, description = "`server_locked`, `database_exists`, `database_refused`"),
        (status = 422, description = "`database_limit`, `no_database_host`, `database_host_full`"),
        (status = 503, description = "`database_host_unreachable`"),
    ))]
async fn create(
    State(app): State<App>,
    on: OnServer,
    idempotency: Idempotency,
    body: Body<NewDatabase>,
) -> Result<Answer, ApiError> {
    on.may(Right::Databases)?;
    let (raw, new) = (body.raw, body.value);
    let mut problems = remote_problems(&new.remote);
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !(1..=24).contains(&new.name.len()) || !new.name.bytes().all(fits) {
        let problem = "must be 1 to 24 lower-case letters, digits or underscores";
        problems.push(("name".to_owned(), problem.to_owned()));
    }
    check::none(problems)?;
    let work = async {
        let password = random(&BASE64URL_NOPAD, 24)?;
        let (database, host) = plan(&app, &on, new, &password).await?;
        let names = Names { database: database.name.clone(), username: database.username.clone() };
        let made = match server(&app.access.secrets, &host) {
            Ok(server) => server.create(&names, &database.remote, &password).await.map_err(not_done),
            Err(error) => Err(ApiError::internal(error)),
        };
        let mut tx = app.db.begin().await?;
        if let Err(error) = made {
            // Half of it may be there.
            databases::database_owe(&mut tx, database.id).await?;
            tx.commit().await.map_err(DbError::from)?;
            app.wake.databases.notify_one();
            return Err(error);
        }
        databases::database_ready(&mut tx, database.id).await?;
        let details = json!({"database_id": database.id, "name": database.name, "host": host.name});
        audit::audit(&mut tx, app.now(), &on.admin.actor(), "database.create", on.id, &details).await?;
        tx.commit().await.map_err(DbError::from)?;
        let location = format!("/api/v1/servers/{}/databases/{}", on.id, database.id);
        Answer::created(location, &DatabaseView::new(database, host, Some(password)))
    };
    idempotency.once(&app, &on.admin, &format!("POST /servers/{}/databases", on.id), &raw, work).await
}

/// Writes down what is going to be made, if there is room for it.
async fn plan(
    app: &App,
    on: &OnServer,
    new: NewDatabase,
    password: &str,
) -> Result<(Database, DatabaseHost), ApiError> {
    let mut tx = app.db.begin().await?;
    free(&mut tx, on.id).await?;
    if let Some(limit) = databases::limit_get(&mut tx, on.id).await?
        && databases::databases_count(&mut tx, on.id).await? >= limit
    {
        let message = format!("This server may have {limit} databases, and has them. Delete one, or raise its limit.");
        return Err(ApiError::unprocessable("database_limit", message));
    }
    let host = choose(&mut tx, new.host_id).await?;
    let id = DatabaseId::new();
    // The end of the id: its beginning is the time, and the same for servers that were made together.
    let tail = on.id.0.simple().to_string().split_off(24);
    let database = Database {
        id,
        server_id: on.id,
        host_id: host.id,
        name: format!("s{tail}_{}", new.name),
        username: format!("u{}", random(&BASE32_NOPAD, 10)?.to_lowercase()),
        remote: new.remote,
        password: app.access.secrets.seal(&purpose(id), password).map_err(ApiError::internal)?,
        ready: false,
        created_at: app.now(),
    };
    databases::database_insert(&mut tx, &database).await.map_err(|error| match error {
        DbError::Conflict => ApiError::conflict("database_exists", "There is such a database. Choose another name."),
        error => error.into(),
    })?;
    tx.commit().await.map_err(DbError::from)?;
    Ok((database, host))
}

async fn choose(tx: &mut Conn, wanted: Option<DatabaseHostId>) -> Result<DatabaseHost, ApiError> {
    let all = database_hosts::hosts_by_load(tx).await?;
    let named = |host: &DatabaseHost| wanted.is_none_or(|id| host.id == id);
    let mut named = all.into_iter().filter(|(host, _)| named(host)).peekable();
    if named.peek().is_none() {
        return Err(match wanted {
            Some(_) => ApiError::invalid("host_id", "there is no such database host"),
            None => {
                ApiError::unprocessable("no_database_host", "There is no database host. Ask an administrator for one.")
            }
        });
    }
    let room = named.find(|(host, used)| host.max_databases.is_none_or(|most| *used < most));
    room.map(|(host, _)| host).ok_or_else(|| {
        let message = "No database host takes another database. Ask an administrator to raise a limit.";
        ApiError::unprocessable("database_host_full", message)
    })
}

/// Passes if nobody holds the server: what the preflight said about its databases stays true for the transfer.
async fn free(tx: &mut Conn, id: ServerId) -> Result<(), ApiError> {
    if load_server(tx, id).await?.locked_by.is_some() { Err(locked()) } else { Ok(()) }
}

fn random(alphabet: &data_encoding::Encoding, length: usize) -> Result<String, ApiError> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| ApiError::internal("the system gives no random numbers"))?;
    let mut text = alphabet.encode(&bytes);
    text.truncate(length);
    Ok(text)
}

fn remote_problems(remote: &str) -> Vec<Problem> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'%' | b'_' | b'-' | b'/');
    if (1..=60).contains(&remote.len()) && remote.bytes().all(fits) {
        return Vec::new();
    }
    let problem = "must be an address, a name, or a pattern with % and _ (10.0.0.%)";
    vec![("remote".to_owned(), problem.to_owned())]
}

fn not_done(error: MysqlError) -> ApiError {
    match error {
        MysqlError::Unreachable(why) => {
            let message = "The database host cannot be reached. Try again later, or ask an administrator to test it.";
            ApiError::unavailable("database_host_unreachable", message).cause(why)
        }
        MysqlError::Refused { code, message } => {
            let text = format!("The database host refused (error {code}). Ask an administrator to test it.");
            ApiError::conflict("database_refused", text).detail("mysql_error", code).cause(message)
        }
    }
}

/// Lists the databases of a server. `meta.limit` is how many it may have; null for as many as are asked for.
#[utoipa::path(get, path = "/api/v1/servers/{id}/databases", tag = "databases", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "One page, the oldest first", body = Many<DatabaseView>)))]
async fn list(State(app): State<App>, on: OnServer, query: ListQuery) -> Result<Answer, ApiError> {
    on.may(Right::Databases)?;
    query.only_filters(&[])?;
    query.sort(&["created_at"], "created_at")?;
    let mut conn = app.db.acquire().await?;
    let page = databases::databases_page(&mut conn, on.id, query.paging).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for database in page.items {
        let host = database_hosts::host_get(&mut conn, database.host_id).await?;
        items.push(DatabaseView::new(database, host, None));
    }
    let limit = databases::limit_get(&mut conn, on.id).await?;
    Ok(Answer::page(&Page { items, total: page.total }, query.paging)?.with_meta("limit", limit))
}

/// Shows a database, with its password.
#[utoipa::path(get, path = "/api/v1/servers/{id}/databases/{database_id}", tag = "databases",
    params(("id" = uuid::Uuid, Path), ("database_id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The database", body = One<DatabaseView>)))]
async fn show(State(app): State<App>, on: OnServer, Which(id): Which) -> Result<Answer, ApiError> {
    on.may(Right::Databases)?;
    let (database, host) = load(&mut *app.db.acquire().await?, on.id, id).await?;
    let password = app.access.secrets.open(&purpose(id), &database.password).map_err(ApiError::internal)?;
    Answer::ok(&DatabaseView::new(database, host, Some(password)))
}

/// Lets a database's user connect from elsewhere, and from nowhere else: what to do when its server has moved.
#[utoipa::path(patch, path = "/api/v1/servers/{id}/databases/{database_id}", tag = "databases",
    request_body = DatabaseChange, params(("id" = uuid::Uuid, Path), ("database_id" = uuid::Uuid, Path)), responses(
        (status = 200, description = "The database as it is now", body = One<DatabaseView>),
        (status = 409, description = "`database_refused`, `database_not_ready`"),
        (status = 503, description = "`database_host_unreachable`"),
    ))]
async fn update(
    State(app): State<App>,
    on: OnServer,
    Which(id): Which,
    body: Body<DatabaseChange>,
) -> Result<Answer, ApiError> {
    on.may(Right::Databases)?;
    let remote = body.value.remote;
    check::none(remote_problems(&remote))?;
    let (database, host) = load(&mut *app.db.acquire().await?, on.id, id).await?;
    let password = app.access.secrets.open(&purpose(id), &database.password).map_err(ApiError::internal)?;
    if remote != database.remote {
        let server = reach(&app, &database, &host)?;
        server.set_remote(&database.username, &database.remote, &remote).await.map_err(not_done)?;
    }
    let database = Database { remote, ..database };
    record(&app, &on, &database, "database.update", &json!({"database_id": id, "remote": database.remote})).await?;
    Answer::ok(&DatabaseView::new(database, host, Some(password)))
}

/// Gives a database's user another password. The old one is worth nothing at once.
#[utoipa::path(post, path = "/api/v1/servers/{id}/databases/{database_id}/rotate-password", tag = "databases",
    request_body = check::Nothing, params(("id" = uuid::Uuid, Path), ("database_id" = uuid::Uuid, Path)), responses(
        (status = 200, description = "The database, with the new password", body = One<DatabaseView>),
        (status = 409, description = "`database_refused`, `database_not_ready`"),
        (status = 503, description = "`database_host_unreachable`"),
    ))]
async fn rotate_password(
    State(app): State<App>,
    on: OnServer,
    Which(id): Which,
    _body: Body<check::Nothing>,
) -> Result<Answer, ApiError> {
    on.may(Right::Databases)?;
    let (database, host) = load(&mut *app.db.acquire().await?, on.id, id).await?;
    let password = random(&BASE64URL_NOPAD, 24)?;
    let sealed = app.access.secrets.seal(&purpose(id), &password).map_err(ApiError::internal)?;
    let server = reach(&app, &database, &host)?;
    server.set_password(&database.username, &database.remote, &password).await.map_err(not_done)?;
    let database = Database { password: sealed, ..database };
    record(&app, &on, &database, "database.rotate_password", &json!({"database_id": id})).await?;
    Answer::ok(&DatabaseView::new(database, host, Some(password)))
}

async fn record(
    app: &App,
    on: &OnServer,
    database: &Database,
    action: &'static str,
    details: &serde_json::Value,
) -> Result<(), ApiError> {
    let mut tx = app.db.begin().await?;
    databases::database_update(&mut tx, database).await?;
    audit::audit(&mut tx, app.now(), &on.admin.actor(), action, on.id, details).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(())
}

/// The host of a database that is there.
fn reach(app: &App, database: &Database, host: &DatabaseHost) -> Result<Server, ApiError> {
    if !database.ready {
        let message = "The database is still being made. Wait a moment.";
        return Err(ApiError::conflict("database_not_ready", message));
    }
    server(&app.access.secrets, host).map_err(ApiError::internal)
}

/// Drops a database with all that is in it, and its user. A host that cannot be reached does it when it can be.
#[utoipa::path(delete, path = "/api/v1/servers/{id}/databases/{database_id}", tag = "databases",
    params(("id" = uuid::Uuid, Path), ("database_id" = uuid::Uuid, Path)), responses(
        (status = 204, description = "Dropped, or to be dropped as soon as its host can be reached"),
        (status = 409, description = "`database_not_ready`"),
    ))]
async fn remove(State(app): State<App>, on: OnServer, Which(id): Which) -> Result<Answer, ApiError> {
    on.may(Right::Databases)?;
    let mut tx = app.db.begin().await?;
    let (database, host) = load(&mut tx, on.id, id).await?;
    reach(&app, &database, &host)?;
    databases::database_owe(&mut tx, id).await?;
    let details = json!({"database_id": id, "name": database.name});
    audit::audit(&mut tx, app.now(), &on.admin.actor(), "database.delete", on.id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.wake.databases.notify_one();
    Ok(Answer::no_content())
}

async fn load(conn: &mut Conn, server: ServerId, id: DatabaseId) -> Result<(Database, DatabaseHost), ApiError> {
    let database = databases::database_get(conn, server, id).await.map_err(|error| match error {
        DbError::NotFound => ApiError::not_found("database"),
        error => error.into(),
    })?;
    let host = database_hosts::host_get(conn, database.host_id).await?;
    Ok((database, host))
}
