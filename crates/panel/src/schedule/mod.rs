//! Schedules that really run: the clock of the panel.
//!
//! ```text
//!   schedules.next_run_at <= now ──claim: one transaction──► a run is due, the schedule has its next time
//!                                                             │ decide (pure)
//!               deferred ◄── the server is held by a transfer ┤
//!               skipped  ◄── too late, not running, …  ───────┤
//!                                                             ▼
//!                                        running: task after task, each marked before it begins
//! ```
//!
//! A panel that starts again neither repeats nor loses a run. What was due while it was down is run once, if the last time
//! is at most [`GRACE`](decide::GRACE) ago, and is recorded as missed else. A run that was cut goes on with the first task
//! that had not begun. Nothing here writes to a server while a transfer holds it.

pub mod decide;
mod run;
mod task;
pub mod times;

use std::time::Duration;

use model::{ScheduleRunId, Timestamp};
use tokio::time::sleep;

pub use task::Task;

use crate::api::chain;
use crate::app::App;
use crate::db::schedule_runs::{self, Run, RunState};
use crate::db::schedules::{self, Schedule};
use crate::db::{DbError, servers};
use decide::{Decision, Facts, decide, is_late};
use times::Times;

/// How often it is looked whether something is due.
const EVERY: Duration = Duration::from_secs(1);
/// Runs that go on at the same time, of all servers.
pub(crate) const AT_ONCE: usize = 32;

/// Goes on with what an earlier run of the panel left, then looks for what is due until the shutdown.
pub(crate) async fn begin(app: &App) -> Result<(), DbError> {
    let cut = schedule_runs::runs_cut(&mut *app.db.acquire().await?).await?;
    for cut in cut {
        tracing::info!(schedule = %cut.schedule_id, run = %cut.id, "a run of a schedule goes on");
        run::spawn(app, cut, None);
    }
    let task = app.clone();
    app.tasks.spawn(async move {
        task.shutdown.clone().run_until_cancelled(keep(&task)).await;
    });
    Ok(())
}

async fn keep(app: &App) {
    loop {
        if let Err(error) = tick(app).await {
            tracing::warn!(error = chain(&error), "what is due could not be looked up");
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = app.wake.schedules.notified() => {}
        }
    }
}

/// Makes runs of what is due, then begins those that may begin.
async fn tick(app: &App) -> Result<(), DbError> {
    let now = app.now();
    let due = schedules::schedules_due(&mut *app.db.acquire().await?, now).await?;
    for schedule in due {
        match claim(app, &schedule, now).await {
            // Changed in this moment: it has another time now.
            Ok(()) | Err(DbError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    let waiting = schedule_runs::runs_waiting(&mut *app.db.acquire().await?).await?;
    for waiting in waiting {
        match admit(app, waiting).await {
            Ok(()) | Err(DbError::Conflict | DbError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Takes the time at which a schedule is due. All times that passed since are one run: the last of them.
async fn claim(app: &App, schedule: &Schedule, now: Timestamp) -> Result<(), DbError> {
    let Some(due_at) = schedule.next_run_at else { return Ok(()) };
    let times = match Times::parse(&schedule.cron, &schedule.time_zone) {
        Ok(times) => times,
        Err(error) => return Err(DbError::Corrupt { column: "schedules.cron", why: error.to_string() }),
    };
    let last = times.until(now).map_or(due_at, |last| last.max(due_at));
    let run = |due_at, state| Run { due_at, ..new_run(schedule, state, None, now) };
    let mut tx = app.db.begin().await?;
    schedules::schedule_claim(&mut tx, schedule.id, due_at, times.after(now)).await?;
    let missed = |at| Run {
        message: Some("the panel did not run when it was due".to_owned()),
        finished_at: Some(now),
        ..run(at, RunState::Missed)
    };
    if due_at != last && is_late(due_at, now) {
        schedule_runs::run_insert(&mut tx, &missed(due_at)).await?;
    }
    let run = if is_late(last, now) { missed(last) } else { run(last, RunState::Due) };
    schedule_runs::run_insert(&mut tx, &run).await?;
    tx.commit().await?;
    Ok(())
}

/// A run of `schedule` that is due now.
pub(crate) fn new_run(schedule: &Schedule, state: RunState, requested_by: Option<String>, now: Timestamp) -> Run {
    Run {
        id: ScheduleRunId::new(),
        schedule_id: schedule.id,
        server_id: schedule.server_id,
        due_at: now,
        requested_by,
        state,
        message: None,
        tasks: schedule.tasks.clone(),
        next_task: 0,
        started_at: None,
        finished_at: None,
    }
}

/// Begins a run that waits, if it may begin now and there is room.
async fn admit(app: &App, run: Run) -> Result<(), DbError> {
    let now = app.now();
    let mut conn = app.db.acquire().await?;
    let schedule = schedules::schedule_get(&mut conn, run.server_id, run.schedule_id).await?;
    let server = servers::server_get(&mut conn, run.server_id).await?;
    let facts = Facts {
        due_at: run.due_at,
        status: server.status,
        held: server.locked_by.is_some(),
        only_when_online: schedule.only_when_online,
        goes_on: schedule_runs::run_goes_on(&mut conn, run.schedule_id).await?,
    };
    match decide(&facts, now) {
        Decision::Run => {
            let Ok(room) = app.wake.schedule_room.clone().try_acquire_owned() else { return Ok(()) };
            schedule_runs::run_begin(&mut conn, run.id, now).await?;
            run::spawn(app, run, Some(room));
            Ok(())
        }
        Decision::Defer(_) if run.state == RunState::Deferred => Ok(()),
        Decision::Defer(why) => {
            tracing::info!(schedule = %run.schedule_id, server = %run.server_id, why, "a run of a schedule is deferred");
            schedule_runs::run_defer(&mut conn, run.id, why).await
        }
        Decision::Skip(why) => {
            tracing::info!(schedule = %run.schedule_id, server = %run.server_id, why, "a run of a schedule is skipped");
            schedule_runs::run_end(&mut conn, run.id, RunState::Skipped, Some(why), now).await
        }
    }
}

#[cfg(test)]
mod tests;
