//! Installations, which go on behind the answer of a server's creation.
//!
//! The row is committed first, with status `installing`; that is the promise. This task keeps it: it waits for the
//! agent, asks, and asks again after a lost answer (the command is idempotent). A panel that starts again begins one
//! for every row that still says `installing`, so nothing is forgotten and nothing is made twice.

use std::collections::BTreeSet;
use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode, Request};
use model::{ServerId, ServerStatus};
use serde_json::json;

use crate::agent::CallError;
use crate::api::chain;
use crate::app::App;
use crate::db::servers::{self, Server};
use crate::db::{DbError, allocations, audit, on_demand, outbox};
use crate::egg;

/// How often an agent that says that time may help is asked again.
const ATTEMPTS: u32 = 3;
/// Between attempts; doubled each time.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one wait lasts before the row is looked at again: the server may have been deleted meanwhile.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// For the installation itself: it may fetch a game.
const PATIENCE: Duration = Duration::from_hours(2);

/// Goes on with all installations that an earlier run of the panel left.
pub(crate) async fn resume(app: &App) -> Result<(), DbError> {
    let mut conn = app.db.acquire().await?;
    for id in servers::servers_installing(&mut conn).await? {
        begin(app, id);
    }
    Ok(())
}

/// Starts the installation of a server whose row is committed.
pub(crate) fn begin(app: &App, id: ServerId) {
    let task = app.clone();
    app.tasks.spawn(async move {
        tokio::select! {
            done = install(&task, id) => if let Err(error) = done {
                tracing::error!(server = %id, error = chain(&error), "installation could not be recorded");
            },
            () = task.shutdown.cancelled() => {}
        }
    });
}

async fn install(app: &App, id: ServerId) -> Result<(), DbError> {
    let (mut failures, mut tried) = (0, BTreeSet::new());
    loop {
        let Some((server, request)) = app.insist(async || load(app, id).await).await? else { return Ok(()) };
        if tokio::time::timeout(LOOK_AGAIN, app.agents.wait_online(server.node_id)).await.is_err() {
            continue;
        }
        let asked = tokio::time::timeout(PATIENCE, app.agents.call(server.node_id, request)).await;
        match asked.unwrap_or(Err(CallError::Lost)) {
            Ok(_) => return installed(app, id).await,
            Err(CallError::Refused(error))
                if error.code == ErrorCode::PortTaken
                    && take_another_port(app, id, &error.message, &mut tried).await? => {}
            Err(CallError::Refused(error)) if !may_pass(&error) || failures + 1 == ATTEMPTS => {
                return failed(app, id, &error).await;
            }
            Err(CallError::Refused(error)) => {
                failures += 1;
                tracing::warn!(server = %id, error = error.message, "installation is tried again");
            }
            Err(error @ (CallError::Offline | CallError::Lost)) => {
                tracing::info!(server = %id, error = chain(&error), "installation is asked for again");
            }
        }
        tokio::time::sleep(PAUSE * 2_u32.pow(failures)).await;
    }
}

/// Somebody who is not ours has a port in its cluster, which is known by trying only. Answers whether there is another.
async fn take_another_port(app: &App, id: ServerId, said: &str, tried: &mut BTreeSet<u16>) -> Result<bool, DbError> {
    let mut tx = app.db.begin().await?;
    let rows = allocations::allocations_of(&mut tx, id).await?;
    let Some((had, port)) = on_demand::another_port(&mut tx, &rows, said, tried).await? else { return Ok(false) };
    tx.commit().await?;
    tracing::info!(server = %id, taken = had, port, "its port is taken in the cluster: another is tried");
    Ok(true)
}

fn may_pass(error: &AgentError) -> bool {
    matches!(error.code, ErrorCode::Internal | ErrorCode::Unreachable)
}

/// The server and what to ask for, if it still waits to be installed.
async fn load(app: &App, id: ServerId) -> Result<Option<(Server, Request)>, DbError> {
    let mut conn = app.db.acquire().await?;
    let server = match servers::server_get(&mut conn, id).await {
        Ok(server) if server.status == ServerStatus::Installing => server,
        Ok(_) | Err(DbError::NotFound) => return Ok(None),
        Err(error) => return Err(error),
    };
    let addresses = allocations::allocations_of(&mut conn, id).await?;
    let spec = egg::load_spec(&mut conn, &server, &addresses).await?;
    let request = Request::CreateServer { spec: Box::new(spec), epoch: server.epoch };
    Ok(Some((server, request)))
}

async fn installed(app: &App, id: ServerId) -> Result<(), DbError> {
    tracing::info!(server = %id, "installed");
    let start = end(app, id, None, "server.installed", &json!({})).await?;
    if start && let Err(error) = crate::api::start_server(app, id).await {
        tracing::warn!(server = %id, code = error.code(), "the start after the installation failed");
    }
    Ok(())
}

async fn failed(app: &App, id: ServerId, error: &AgentError) -> Result<(), DbError> {
    tracing::warn!(server = %id, code = ?error.code, error = error.message, "installation failed");
    let details = json!({"code": error.code, "message": error.message});
    end(app, id, Some(&error.message), "server.install_failed", &details).await.map(|_| ())
}

/// Ends the installation in the database, well or with an error. Answers whether the server is to be started now.
async fn end(
    app: &App,
    id: ServerId,
    error: Option<&str>,
    action: &'static str,
    details: &serde_json::Value,
) -> Result<bool, DbError> {
    app.insist(async || try_end(app, id, error, action, details).await).await
}

async fn try_end(
    app: &App,
    id: ServerId,
    error: Option<&str>,
    action: &'static str,
    details: &serde_json::Value,
) -> Result<bool, DbError> {
    let mut tx = app.db.begin().await?;
    match servers::server_installed(&mut tx, id, error).await {
        Ok(()) => {}
        // An attempt before this one had its effect, and its answer was lost.
        Err(DbError::Conflict) => return Ok(false),
        Err(error) => return Err(error),
    }
    let start = servers::server_take_start(&mut tx, id).await?;
    audit::audit(&mut tx, app.now(), "panel", action, id, details).await?;
    let name = servers::server_get(&mut tx, id).await?.name;
    let data = json!({"server": {"id": id, "name": name}, "failure": error});
    outbox::tell(&mut tx, app.now(), action, &data).await?;
    tx.commit().await?;
    Ok(start && error.is_none())
}
