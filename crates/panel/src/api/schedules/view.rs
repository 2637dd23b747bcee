//! Schedules and their runs as the API shows them.

use jiff::Timestamp;
use model::{ScheduleId, ScheduleRunId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db::schedule_runs::{Run, RunState};
use crate::db::schedules::Schedule;
use crate::schedule::Task;

/// A schedule.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ScheduleView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: ScheduleId,
    /// For people.
    #[schema(example = "Nightly restart")]
    name: String,
    /// Minute, hour, day of the month, month, day of the week.
    #[schema(example = "0 4 * * *")]
    cron: String,
    /// IANA name.
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    /// Whether the clock runs it.
    enabled: bool,
    /// Whether it is left out while the game does not run.
    only_when_online: bool,
    /// What is done, in this order.
    tasks: Vec<Task>,
    /// When it is due next; null while it is disabled.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_run_at: Option<Timestamp>,
    /// What came of the last time; null if there was none.
    last_run: Option<RunView>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl ScheduleView {
    pub(super) fn new(it: Schedule, last: Option<Run>) -> Self {
        let Schedule { id, name, cron, time_zone, enabled, only_when_online, tasks, next_run_at, created_at, .. } = it;
        let last_run = last.map(RunView::from);
        Self { id, name, cron, time_zone, enabled, only_when_online, tasks, next_run_at, last_run, created_at }
    }
}

/// One time that a schedule was due, or was run by hand.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunView {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    id: ScheduleRunId,
    /// `due`, `deferred` (until the end of a transfer), `running`, then `completed`, `failed`, `skipped` (nothing was
    /// tried) or `missed` (the panel was down).
    #[schema(value_type = String, example = "completed")]
    state: RunState,
    /// Why, for people.
    #[schema(example = "Task 1: The agent of the server's node or cluster is not connected.")]
    message: Option<String>,
    /// When it was due.
    #[schema(value_type = String, format = DateTime)]
    due_at: Timestamp,
    /// Who asked for it; null if it was the clock.
    #[schema(example = "user:0198c0de-0000-7000-8000-000000000001:kim")]
    requested_by: Option<String>,
    /// When it began.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        let Run { id, state, message, due_at, requested_by, started_at, finished_at, .. } = run;
        Self { id, state, message, due_at, requested_by, started_at, finished_at }
    }
}
