//! Power and console of a server.
//!
//! The agent does it, and its notices say what came of it; the answer here is 202 with the server as it is by then. A
//! refusal that comes quickly is the answer instead. Only a start needs the server's lock, for the moments until the
//! agent has it: a start that slips into the beginning of a transfer would run the server while its files are taken
//! (the agent's fence would end that, but an error said now is better).

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use model::agent_api::{Reply, Request};
use model::{ServerId, ServerStatus};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{OpenApi, ToSchema};
use uuid::Uuid;

use super::check::{self, Problem};
use super::extract::Numbers;
use super::on_server::{OnServer, Right};
use super::servers::{ServerView, load, locked, seen_by};
use super::views::One;
use super::{Answer, ApiError, Body, Idempotency, calls, chain};
use crate::app::App;
use crate::db::nodes::NodeKind;
use crate::db::servers::{self, Server};
use crate::db::{DbError, audit};
use crate::tell::{self, TellError};

/// How long a request waits for the agent before it answers 202 without knowing.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of one console command.
const LONGEST_COMMAND: usize = 4096;
/// Lines of console that one request may ask for.
const MOST_LINES: u32 = 1000;

#[derive(OpenApi)]
#[openapi(paths(power, command, console))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/servers/{id}/power", post(power))
        .route("/servers/{id}/command", post(command))
        .route("/servers/{id}/console", get(console))
}

/// What to do with a server's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Run it.
    Start,
    /// Ask it to end.
    Stop,
    /// Stop, then start.
    Restart,
    /// End it at once; what it has not written is lost.
    Kill,
}

/// A power action.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"signal": "start"}))]
struct PowerRequest {
    /// `start`, `stop`, `restart` or `kill`.
    signal: Signal,
}

/// A line for the console.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"command": "say hello"}))]
struct CommandRequest {
    /// Without a line end.
    command: String,
}

/// What the console said last.
#[derive(Debug, Serialize, ToSchema)]
struct ConsoleView {
    /// Oldest first.
    #[schema(example = json!(["[12:00:00] Done (3.2s)!"]))]
    lines: Vec<String>,
}

/// Starts, stops, restarts or kills a server.
#[utoipa::path(post, path = "/api/v1/servers/{id}/power", tag = "servers", request_body = PowerRequest,
    params(
        ("id" = uuid::Uuid, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same answer for 24 h"),
    ),
    responses(
        (status = 202, description = "The agent has been told; the server as it is by now", body = One<ServerView>),
        (status = 409, description = "`server_locked`, `server_installing`, `server_not_installed`, or what the agent says"),
        (status = 503, description = "`agent_offline`"),
    ))]
async fn power(
    State(app): State<App>,
    on: OnServer,
    idempotency: Idempotency,
    body: Body<PowerRequest>,
) -> Result<Answer, ApiError> {
    on.may(Right::Power)?;
    let id = on.id;
    let work = async {
        give_signal(&app, &on, body.value.signal).await?;
        let mut conn = app.db.acquire().await?;
        Answer::accepted(format!("/api/v1/servers/{id}"), &seen_by(&on, load(&mut conn, id).await?))
    };
    idempotency.once(&app, &on.admin, &format!("POST /servers/{id}/power"), &body.raw, work).await
}

/// Does it on behalf of whoever may, as far as an answer waits for it.
pub(super) async fn give_signal(app: &App, on: &OnServer, signal: Signal) -> Result<(), ApiError> {
    on.may(Right::Power)?;
    let holder = begin(app, &on.admin.actor(), on.id, signal).await?;
    act_within(app, on.id, signal, holder).await
}

/// Checks whether the action may be done, and takes the lock if it is a start. Answers the lock's holder then.
async fn begin(app: &App, actor: &str, id: ServerId, signal: Signal) -> Result<Option<String>, ApiError> {
    let mut tx = app.db.begin().await?;
    let server = load(&mut tx, id).await?;
    admissible(&server, signal)?;
    if !app.agents.is_online(server.node_id) {
        return Err(calls::refusal(crate::agent::CallError::Offline));
    }
    let holder = (signal == Signal::Start).then(|| format!("power:{}", Uuid::now_v7()));
    if let Some(holder) = &holder {
        servers::server_lock(&mut tx, id, holder).await?;
    }
    audit::audit(&mut tx, app.now(), actor, "server.power", id, &json!({"signal": signal})).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(holder)
}

fn admissible(server: &Server, signal: Signal) -> Result<(), ApiError> {
    // A backup takes what it finds. A start needs the lock for itself.
    let ends = matches!(signal, Signal::Stop | Signal::Kill);
    if server.locked_by.as_deref().is_some_and(|holder| !(ends && crate::backup::lets_end(holder))) {
        return Err(locked());
    }
    match server.status {
        ServerStatus::Installing => {
            Err(ApiError::conflict("server_installing", "The server is being installed. Wait for the end of it."))
        }
        ServerStatus::InstallFailed => Err(ApiError::conflict(
            "server_not_installed",
            "The server's installation failed; the panel's log says why. Delete it and make it again.",
        )),
        _ => Ok(()),
    }
}

/// Does it in a task of its own, so that a client that hangs up does not stop it half way, and waits a little for it.
async fn act_within(app: &App, id: ServerId, signal: Signal, holder: Option<String>) -> Result<(), ApiError> {
    let task = app.tasks.spawn({
        let app = app.clone();
        async move {
            let done = act(&app, id, signal, holder).await;
            if let Err(error) = &done {
                tracing::warn!(server = %id, ?signal, code = error.code(), "power action failed");
            }
            done
        }
    });
    match tokio::time::timeout(ANSWER_WITHIN, task).await {
        Ok(Ok(done)) => done,
        Ok(Err(panicked)) => Err(ApiError::internal(panicked)),
        Err(_) => Ok(()),
    }
}

async fn act(app: &App, id: ServerId, signal: Signal, holder: Option<String>) -> Result<(), ApiError> {
    match (signal, holder) {
        (Signal::Start, Some(holder)) => start_locked(app, id, &holder).await,
        (Signal::Start, None) => start(app, id).await,
        (Signal::Stop, _) => ask(app, id, Request::StopServer { server_id: id }, calls::STOP).await,
        (Signal::Kill, _) => ask(app, id, Request::KillServer { server_id: id }, calls::QUICK).await,
        (Signal::Restart, _) => {
            ask(app, id, Request::StopServer { server_id: id }, calls::STOP).await?;
            start(app, id).await
        }
    }
}

/// Does what a schedule says, and waits for the end of it. The same is refused as to a person.
pub(crate) async fn power_by_schedule(app: &App, id: ServerId, signal: Signal, actor: &str) -> Result<(), ApiError> {
    let holder = begin(app, actor, id, signal).await?;
    act(app, id, signal, holder).await
}

/// Starts a server that nobody holds.
pub(crate) async fn start(app: &App, id: ServerId) -> Result<(), ApiError> {
    let holder = format!("power:{}", Uuid::now_v7());
    let mut tx = app.db.begin().await?;
    servers::server_lock(&mut tx, id, &holder).await.map_err(|error| match error {
        DbError::Conflict => locked(),
        error => error.into(),
    })?;
    tx.commit().await.map_err(DbError::from)?;
    start_locked(app, id, &holder).await
}

async fn start_locked(app: &App, id: ServerId, holder: &str) -> Result<(), ApiError> {
    let started = async {
        let mut conn = app.db.acquire().await?;
        // Under the lock: owner and epoch cannot change before the agent has the permit.
        let server = load(&mut conn, id).await?;
        drop(conn);
        tell::tell(app, id, calls::WAKE).await.map_err(untold)?;
        let permit = app.permits.sign(id, server.epoch, server.node_id);
        let patience = match server.node_kind {
            NodeKind::Node => calls::START,
            NodeKind::Cluster => calls::WAKE,
        };
        ask(app, id, Request::StartServer { server_id: id, permit }, patience).await
    }
    .await;
    let unlock = async || servers::server_release(&mut *app.db.acquire().await?, id, holder).await;
    if let Err(error) = app.insist(unlock).await {
        tracing::error!(server = %id, error = chain(&error), "the lock of a start could not be given back");
    }
    started
}

/// A server is not started as what it is no longer.
fn untold(error: TellError) -> ApiError {
    match error {
        TellError::Agent(error) => calls::refusal(error),
        TellError::Db(error) => error.into(),
    }
}

/// Sends a command about a server to its owner. The link records what the agent sees then.
async fn ask(app: &App, id: ServerId, request: Request, patience: Duration) -> Result<(), ApiError> {
    let mut conn = app.db.acquire().await?;
    let node = load(&mut conn, id).await?.node_id;
    drop(conn);
    calls::call(app, node, request, patience).await.map(|_| ()).map_err(calls::refusal)
}

/// Sends a line to the console of a server that runs.
#[utoipa::path(post, path = "/api/v1/servers/{id}/command", tag = "servers", request_body = CommandRequest,
    params(("id" = uuid::Uuid, Path)), responses(
        (status = 204, description = "The game has it"),
        (status = 409, description = "What the agent says, for example that the server does not run"),
        (status = 503, description = "`agent_offline`"),
    ))]
async fn command(State(app): State<App>, on: OnServer, body: Body<CommandRequest>) -> Result<Answer, ApiError> {
    type_line(&app, &on, body.value.command).await?;
    Ok(Answer::no_content())
}

/// Types a line on behalf of whoever may.
pub(super) async fn type_line(app: &App, on: &OnServer, line: String) -> Result<(), ApiError> {
    on.may(Right::Console)?;
    check::none(line_problems("command", &line))?;
    send_command(app, on.id, line).await
}

/// What a console does not take: nothing, more than one line, too long a line.
pub(super) fn line_problems(field: &str, line: &str) -> Vec<Problem> {
    if line.is_empty() || line.len() > LONGEST_COMMAND || line.contains(['\n', '\r', '\0']) {
        return vec![(field.to_owned(), format!("must be one line of 1 to {LONGEST_COMMAND} bytes"))];
    }
    Vec::new()
}

/// Sends a line to the console of a server.
pub(crate) async fn send_command(app: &App, id: ServerId, line: String) -> Result<(), ApiError> {
    ask(app, id, Request::SendConsole { server_id: id, line }, calls::QUICK).await
}

/// Shows the last lines of the console.
#[utoipa::path(get, path = "/api/v1/servers/{id}/console", tag = "servers", params(
    ("id" = uuid::Uuid, Path),
    ("lines" = Option<u32>, Query, description = "How many at most, 1 to 1000; 100 without it"),
), responses(
    (status = 200, description = "The lines", body = One<ConsoleView>),
    (status = 503, description = "`agent_offline`"),
))]
async fn console(State(app): State<App>, on: OnServer, query: Numbers) -> Result<Answer, ApiError> {
    on.may(Right::Console)?;
    let id = on.id;
    let lines = query.only("lines", 1, MOST_LINES)?.unwrap_or(100);
    let mut conn = app.db.acquire().await?;
    let node = load(&mut conn, id).await?.node_id;
    drop(conn);
    let request = Request::ReadConsole { server_id: id, lines };
    match calls::call(&app, node, request, calls::QUICK).await.map_err(calls::refusal)? {
        Reply::Console { lines } => Answer::ok(&ConsoleView { lines }),
        other => Err(ApiError::internal(format!("an agent answered a console request with {other:?}"))),
    }
}
