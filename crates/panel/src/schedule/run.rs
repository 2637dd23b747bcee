//! One run, task after task. Each is marked in the database before it begins, so that none is done twice.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};

use super::Task;
use super::decide::GRACE;
use crate::api::{ApiError, chain, power_by_schedule, send_command};
use crate::app::App;
use crate::backup::NewBackup;
use crate::db::notifications::{Kind, notify_owner};
use crate::db::schedule_runs::{self, Run, RunState};
use crate::db::{Conn, DbError, schedules, servers};

/// How often it is looked whether a server that is held has been let go.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// For an agent to come back.
const AGENT_PATIENCE: Duration = Duration::from_secs(30);

/// Does the tasks of a run that has begun, in a task of its own. A shutdown cuts it; the next start goes on with it.
pub(super) fn spawn(app: &App, run: Run, room: Option<OwnedSemaphorePermit>) {
    let task = app.clone();
    app.tasks.spawn(async move {
        let _room = room;
        let Some((state, message)) = task.shutdown.clone().run_until_cancelled(perform(&task, &run)).await else {
            return;
        };
        if let Err(error) = task.insist(async || end(&task, &run, state, message.as_deref()).await).await {
            tracing::error!(run = %run.id, error = chain(&error), "the end of a run could not be recorded");
        }
    });
}

async fn end(app: &App, run: &Run, state: RunState, message: Option<&str>) -> Result<(), DbError> {
    tracing::info!(schedule = %run.schedule_id, server = %run.server_id, ?state, message, "a run of a schedule ended");
    let mut tx = app.db.begin().await?;
    match schedule_runs::run_end(&mut tx, run.id, state, message, app.now()).await {
        // The schedule was deleted meanwhile, and the run with it.
        Err(DbError::Conflict) => return Ok(()),
        ended => ended?,
    }
    if state == RunState::Failed {
        tell(app, &mut tx, run, message.unwrap_or_default()).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn tell(app: &App, tx: &mut Conn, run: &Run, why: &str) -> Result<(), DbError> {
    let schedule = schedules::schedule_get(tx, run.server_id, run.schedule_id).await?;
    let server = servers::server_get(tx, run.server_id).await?;
    let sentence = format!("The schedule {} of your server {} failed. {why}", schedule.name, server.name);
    notify_owner(tx, app.now(), run.server_id, Kind::ScheduleFailed, &sentence).await
}

async fn perform(app: &App, run: &Run) -> (RunState, Option<String>) {
    let mut failed = Vec::new();
    for (index, task) in run.tasks.iter().enumerate().skip(run.next_task) {
        sleep(Duration::from_secs(u64::from(task.time_offset_s()))).await;
        let Err(why) = one(app, run, index, task).await else { continue };
        failed.push(format!("Task {}: {why}", index + 1));
        if !task.continue_on_failure() {
            break;
        }
    }
    if !failed.is_empty() {
        return (RunState::Failed, Some(failed.join(" ")));
    }
    let cut = (run.next_task > 0)
        .then(|| format!("The panel was restarted during or after task {}, which was not repeated.", run.next_task));
    (RunState::Completed, cut)
}

/// Does one task as soon as nobody holds the server; else says why not.
async fn one(app: &App, run: &Run, index: usize, task: &Task) -> Result<(), String> {
    let begun = async {
        until_free(app, run).await?;
        until_online(app, run).await?;
        let mut conn = app.db.acquire().await?;
        schedule_runs::run_task_begin(&mut conn, run.id, index).await
    };
    match begun.await {
        Ok(()) => {}
        Err(DbError::NotFound | DbError::Conflict) => return Err("The schedule or its server was removed.".to_owned()),
        Err(error) => return Err(format!("The database failed: {}.", chain(&error))),
    }
    act(app, run, task).await.map_err(|error| error.message().to_owned())
}

/// Waits while somebody holds the server, but not for longer than the grace: then the task itself says that it is held.
async fn until_free(app: &App, run: &Run) -> Result<(), DbError> {
    let begun = Instant::now();
    while begun.elapsed() < GRACE {
        let server = servers::server_get(&mut *app.db.acquire().await?, run.server_id).await?;
        if server.locked_by.is_none() {
            break;
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Waits a little for an agent that is away: when the panel has just started, all of them are on their way back. Who runs a
/// schedule by hand hears at once.
async fn until_online(app: &App, run: &Run) -> Result<(), DbError> {
    if run.requested_by.is_some() {
        return Ok(());
    }
    let node = servers::server_get(&mut *app.db.acquire().await?, run.server_id).await?.node_id;
    if timeout(AGENT_PATIENCE, app.agents.wait_online(node)).await.is_err() {
        tracing::debug!(run = %run.id, %node, "the agent stays away; the task says so");
    }
    Ok(())
}

async fn act(app: &App, run: &Run, task: &Task) -> Result<(), ApiError> {
    let actor = format!("schedule:{}", run.schedule_id);
    match task {
        Task::Command { command, .. } => send_command(app, run.server_id, command.clone()).await,
        Task::Power { signal, .. } => power_by_schedule(app, run.server_id, *signal, &actor).await,
        Task::Backup { name, locked, .. } => {
            let (server_id, name, locked) = (run.server_id, name.clone(), *locked);
            back_up(app, &NewBackup { server_id, name, storage_id: None, locked, created_by: actor }).await
        }
    }
}

/// Makes a backup and waits until it is complete, however long that takes: the tasks behind it may rely on it.
async fn back_up(app: &App, new: &NewBackup) -> Result<(), ApiError> {
    let id = app.backups.start(new).await?.id;
    loop {
        let backup = app.backups.get(id).await?;
        if !backup.state.is_open() {
            let failure = backup.failure.map(|failure| ApiError::conflict(failure.code, failure.message));
            return failure.map_or(Ok(()), Err);
        }
        sleep(LOOK_AGAIN).await;
    }
}
