//! Schedules of a server: what is done to it at times. The clock itself is in [`crate::schedule`].
//!
//! Nobody schedules what they may not do by hand.

mod view;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::routing::{get, post};
use model::{ScheduleId, Timestamp};
use serde::Deserialize;
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use view::{RunView, ScheduleView};

use super::check::{self, Problem};
use super::on_server::{OnServer, Right, id_of};
use super::power::line_problems;
use super::servers::{load, locked};
use super::views::{Many, One};
use super::{Answer, ApiError, Body, Idempotency, ListQuery};
use crate::app::App;
use crate::db::schedule_runs::{self, RunState};
use crate::db::schedules::{self, Schedule};
use crate::db::{Conn, DbError, Page, audit};
use crate::schedule::times::{NoTimes, Times};
use crate::schedule::{Task, new_run};

/// Schedules of one server.
const MOST_SCHEDULES: u64 = 50;
/// Tasks of one schedule.
const MOST_TASKS: usize = 20;
/// Seconds between two tasks.
const LONGEST_OFFSET_S: u32 = 3600;

#[derive(OpenApi)]
#[openapi(paths(create, list, show, update, remove, run, runs))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/servers/{id}/schedules", get(list).post(create))
        .route("/servers/{id}/schedules/{schedule_id}", get(show).patch(update).delete(remove))
        .route("/servers/{id}/schedules/{schedule_id}/run", post(run))
        .route("/servers/{id}/schedules/{schedule_id}/runs", get(runs))
}

/// When: an expression, or its fields.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
enum CronBody {
    /// Minute, hour, day of the month, month, day of the week.
    #[schema(example = "0 4 * * *")]
    Expression(String),
    /// The same apart; what is not given is `*`.
    Fields(CronFields),
}

/// The fields of a cron expression.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CronFields {
    /// 0 to 59.
    #[schema(example = "0")]
    minute: Option<String>,
    /// 0 to 23.
    #[schema(example = "4")]
    hour: Option<String>,
    /// 1 to 31.
    #[schema(example = "*")]
    day_of_month: Option<String>,
    /// 1 to 12, or JAN to DEC.
    #[schema(example = "*")]
    month: Option<String>,
    /// 0 (Sunday) to 7 (Sunday), or SUN to SAT.
    #[schema(example = "*")]
    day_of_week: Option<String>,
}

impl CronBody {
    fn expression(self) -> String {
        match self {
            Self::Expression(expression) => expression.split_whitespace().collect::<Vec<_>>().join(" "),
            Self::Fields(fields) => {
                let CronFields { minute, hour, day_of_month, month, day_of_week } = fields;
                let field = |field: Option<String>| field.unwrap_or_else(|| "*".to_owned());
                [minute, hour, day_of_month, month, day_of_week].map(field).join(" ")
            }
        }
    }
}

/// A schedule to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Nightly restart", "cron": "0 4 * * *", "time_zone": "Europe/Berlin",
    "only_when_online": true, "tasks": [{"action": "command", "command": "say Restart in a minute"},
    {"action": "power", "signal": "restart", "time_offset_s": 60}]}))]
struct NewSchedule {
    /// For people.
    name: String,
    /// When: `0 4 * * *`, or an object with the five fields.
    cron: CronBody,
    /// IANA name; UTC without it.
    #[serde(default = "utc")]
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    /// Whether the clock runs it; true without it.
    #[serde(default = "yes")]
    enabled: bool,
    /// Whether it is left out while the game does not run.
    #[serde(default)]
    only_when_online: bool,
    /// What is done, 1 to 20 tasks.
    tasks: Vec<Task>,
}

fn utc() -> String {
    "UTC".to_owned()
}

fn yes() -> bool {
    true
}

/// What a schedule becomes. What is not given stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"enabled": false}))]
struct ScheduleChange {
    /// For people.
    name: Option<String>,
    /// When.
    cron: Option<CronBody>,
    /// IANA name.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// Whether the clock runs it.
    enabled: Option<bool>,
    /// Whether it is left out while the game does not run.
    only_when_online: Option<bool>,
    /// All of what is done.
    tasks: Option<Vec<Task>>,
}

/// The `{schedule_id}` of a route.
struct Which(ScheduleId);

impl FromRequestParts<App> for Which {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        id_of(parts, app, "schedule_id").await.map(Self)
    }
}

/// Makes a schedule.
#[utoipa::path(post, path = "/api/v1/servers/{id}/schedules", tag = "schedules", request_body = NewSchedule,
    params(("id" = uuid::Uuid, Path)), responses(
        (status = 201, description = "The schedule", body = One<ScheduleView>),
        (status = 409, description = "`too_many_schedules`"),
    ))]
async fn create(State(app): State<App>, on: OnServer, body: Body<NewSchedule>) -> Result<Answer, ApiError> {
    on.may(Right::Schedules)?;
    let NewSchedule { name, cron, time_zone, enabled, only_when_online, tasks } = body.value;
    let (id, created_at) = (ScheduleId::new(), app.now());
    let (server_id, cron, next_run_at) = (on.id, cron.expression(), None);
    let new =
        Schedule { id, server_id, name, cron, time_zone, enabled, only_when_online, tasks, next_run_at, created_at };
    let schedule = with_next(&on, new, created_at)?;
    may_all(&on, &schedule.tasks)?;
    let mut tx = app.db.begin().await?;
    if schedules::schedules_count(&mut tx, on.id).await? >= MOST_SCHEDULES {
        let message = format!("A server has at most {MOST_SCHEDULES} schedules. Delete one first.");
        return Err(ApiError::conflict("too_many_schedules", message));
    }
    schedules::schedule_insert(&mut tx, &schedule).await?;
    let details = json!({"schedule_id": id, "name": schedule.name});
    audit::audit(&mut tx, app.now(), &on.admin.actor(), "schedule.create", on.id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::created(format!("/api/v1/servers/{}/schedules/{id}", on.id), &ScheduleView::new(schedule, None))
}

/// The schedule with the time at which it is due next, if everything about it is right.
fn with_next(on: &OnServer, schedule: Schedule, now: Timestamp) -> Result<Schedule, ApiError> {
    let mut problems = check::name("name", &schedule.name);
    problems.extend(task_problems(&schedule.tasks));
    let next = match Times::parse(&schedule.cron, &schedule.time_zone) {
        Ok(times) => times.after(now),
        Err(error) => {
            let field = if error == NoTimes::Zone { "time_zone" } else { "cron" };
            problems.push((field.to_owned(), error.to_string()));
            None
        }
    };
    if problems.is_empty() && next.is_none() {
        problems.push(("cron".to_owned(), "never comes".to_owned()));
    }
    check::none(problems)?;
    tracing::debug!(server = %on.id, ?next, "a schedule is due next");
    Ok(Schedule { next_run_at: next.filter(|_| schedule.enabled), ..schedule })
}

fn task_problems(tasks: &[Task]) -> Vec<Problem> {
    if tasks.is_empty() || tasks.len() > MOST_TASKS {
        return vec![("tasks".to_owned(), format!("must be 1 to {MOST_TASKS}"))];
    }
    let mut problems = Vec::new();
    for (index, task) in tasks.iter().enumerate() {
        if let Task::Command { command, .. } = task {
            problems.extend(line_problems(&format!("tasks[{index}].command"), command));
        }
        if let Task::Backup { name: Some(name), .. } = task {
            problems.extend(check::name(&format!("tasks[{index}].name"), name));
        }
        if task.time_offset_s() > LONGEST_OFFSET_S {
            let problem = format!("must be at most {LONGEST_OFFSET_S}");
            problems.push((format!("tasks[{index}].time_offset_s"), problem));
        }
    }
    problems
}

/// Passes if the caller may do all of it by hand.
fn may_all(on: &OnServer, tasks: &[Task]) -> Result<(), ApiError> {
    tasks.iter().try_for_each(|task| on.may(task.right()))
}

/// Lists the schedules of a server.
#[utoipa::path(get, path = "/api/v1/servers/{id}/schedules", tag = "schedules", params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "One page, the oldest first", body = Many<ScheduleView>)))]
async fn list(State(app): State<App>, on: OnServer, query: ListQuery) -> Result<Answer, ApiError> {
    on.may(Right::Schedules)?;
    query.only_filters(&[])?;
    query.sort(&["created_at"], "created_at")?;
    let mut conn = app.db.acquire().await?;
    let page = schedules::schedules_page(&mut conn, on.id, query.paging).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for schedule in page.items {
        items.push(seen(&mut conn, schedule).await?);
    }
    Answer::page(&Page { items, total: page.total }, query.paging)
}

async fn seen(conn: &mut Conn, schedule: Schedule) -> Result<ScheduleView, ApiError> {
    let last = schedule_runs::run_last(conn, schedule.id).await?;
    Ok(ScheduleView::new(schedule, last))
}

/// Shows a schedule.
#[utoipa::path(get, path = "/api/v1/servers/{id}/schedules/{schedule_id}", tag = "schedules",
    params(("id" = uuid::Uuid, Path), ("schedule_id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The schedule", body = One<ScheduleView>)))]
async fn show(State(app): State<App>, on: OnServer, Which(id): Which) -> Result<Answer, ApiError> {
    on.may(Right::Schedules)?;
    let mut conn = app.db.acquire().await?;
    let schedule = schedules::schedule_get(&mut conn, on.id, id).await.map_err(missing)?;
    Answer::ok(&seen(&mut conn, schedule).await?)
}

/// Changes a schedule.
#[utoipa::path(patch, path = "/api/v1/servers/{id}/schedules/{schedule_id}", tag = "schedules",
    request_body = ScheduleChange, params(("id" = uuid::Uuid, Path), ("schedule_id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The schedule as it is now", body = One<ScheduleView>)))]
async fn update(
    State(app): State<App>,
    on: OnServer,
    Which(id): Which,
    body: Body<ScheduleChange>,
) -> Result<Answer, ApiError> {
    on.may(Right::Schedules)?;
    let change = body.value;
    // What somebody else has put there stays, unless it is replaced.
    may_all(&on, change.tasks.as_deref().unwrap_or_default())?;
    let mut tx = app.db.begin().await?;
    let before = schedules::schedule_get(&mut tx, on.id, id).await.map_err(missing)?;
    let after = Schedule {
        name: change.name.unwrap_or(before.name),
        cron: change.cron.map_or(before.cron, CronBody::expression),
        time_zone: change.time_zone.unwrap_or(before.time_zone),
        enabled: change.enabled.unwrap_or(before.enabled),
        only_when_online: change.only_when_online.unwrap_or(before.only_when_online),
        tasks: change.tasks.unwrap_or(before.tasks),
        ..before
    };
    let after = with_next(&on, after, app.now())?;
    schedules::schedule_update(&mut tx, &after).await.map_err(missing)?;
    let details = json!({"schedule_id": id, "name": after.name, "enabled": after.enabled});
    audit::audit(&mut tx, app.now(), &on.admin.actor(), "schedule.update", on.id, &details).await?;
    let view = seen(&mut tx, after).await?;
    tx.commit().await.map_err(DbError::from)?;
    Answer::ok(&view)
}

/// Removes a schedule and its history. A run that goes on ends before its next task.
#[utoipa::path(delete, path = "/api/v1/servers/{id}/schedules/{schedule_id}", tag = "schedules",
    params(("id" = uuid::Uuid, Path), ("schedule_id" = uuid::Uuid, Path)),
    responses((status = 204, description = "Removed")))]
async fn remove(State(app): State<App>, on: OnServer, Which(id): Which) -> Result<Answer, ApiError> {
    on.may(Right::Schedules)?;
    let mut tx = app.db.begin().await?;
    schedules::schedule_delete(&mut tx, on.id, id).await.map_err(missing)?;
    let details = json!({"schedule_id": id});
    audit::audit(&mut tx, app.now(), &on.admin.actor(), "schedule.delete", on.id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    Ok(Answer::no_content())
}

/// Runs a schedule now, also one that is disabled. Its next time stays.
#[utoipa::path(post, path = "/api/v1/servers/{id}/schedules/{schedule_id}/run", tag = "schedules",
    request_body = check::Nothing, params(
        ("id" = uuid::Uuid, Path), ("schedule_id" = uuid::Uuid, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key gives the same answer for 24 h"),
    ),
    responses(
        (status = 202, description = "It begins in a moment; the run", body = One<RunView>),
        (status = 409, description = "`server_locked`, `schedule_running`"),
    ))]
async fn run(
    State(app): State<App>,
    on: OnServer,
    Which(id): Which,
    idempotency: Idempotency,
    body: Body<check::Nothing>,
) -> Result<Answer, ApiError> {
    on.may(Right::Schedules)?;
    let work = async {
        let mut tx = app.db.begin().await?;
        let schedule = schedules::schedule_get(&mut tx, on.id, id).await.map_err(missing)?;
        if load(&mut tx, on.id).await?.locked_by.is_some() {
            return Err(locked());
        }
        if schedule_runs::run_goes_on(&mut tx, id).await? {
            return Err(ApiError::conflict("schedule_running", "A run of this schedule goes on. Wait for its end."));
        }
        let run = new_run(&schedule, RunState::Due, Some(on.admin.actor()), app.now());
        schedule_runs::run_insert(&mut tx, &run).await?;
        let details = json!({"schedule_id": id, "run_id": run.id});
        audit::audit(&mut tx, app.now(), &on.admin.actor(), "schedule.run", on.id, &details).await?;
        tx.commit().await.map_err(DbError::from)?;
        app.wake.schedules.notify_one();
        Answer::accepted(format!("/api/v1/servers/{}/schedules/{id}/runs", on.id), &RunView::from(run))
    };
    let route = format!("POST /servers/{}/schedules/{id}/run", on.id);
    idempotency.once(&app, &on.admin, &route, &body.raw, work).await
}

/// Lists what came of the last 100 times that a schedule was due.
#[utoipa::path(get, path = "/api/v1/servers/{id}/schedules/{schedule_id}/runs", tag = "schedules",
    params(("id" = uuid::Uuid, Path), ("schedule_id" = uuid::Uuid, Path)),
    responses((status = 200, description = "One page, the youngest first", body = Many<RunView>)))]
async fn runs(State(app): State<App>, on: OnServer, Which(id): Which, query: ListQuery) -> Result<Answer, ApiError> {
    on.may(Right::Schedules)?;
    query.only_filters(&[])?;
    query.sort(&["due_at"], "-due_at")?;
    let mut conn = app.db.acquire().await?;
    schedules::schedule_get(&mut conn, on.id, id).await.map_err(missing)?;
    let page = schedule_runs::runs_page(&mut conn, id, query.paging).await?;
    Answer::page(&page.map(RunView::from), query.paging)
}

fn missing(error: DbError) -> ApiError {
    match error {
        DbError::NotFound => ApiError::not_found("schedule"),
        error => error.into(),
    }
}
