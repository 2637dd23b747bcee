//! Evacuations: plan one, start it, see how it stands, pause it, go on, try again what failed, call it off.

mod plan;
mod start;
mod view;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use model::EvacuationId;
use serde::Deserialize;
use serde_json::json;
use utoipa::{OpenApi, ToSchema};

use super::check::Nothing;
use super::views::{Many, One};
use super::{Admin, Answer, ApiError, Body, Id, ListQuery};
use crate::app::App;
use crate::db::evacuations::{self, Evacuation, State as Stands};
use crate::db::{Conn, DbError, Page, audit};
use view::EvacuationView;

#[derive(OpenApi)]
#[openapi(paths(start::start, list, show, pause, resume, retry, cancel), components(schemas(plan::PlanView)))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/admin/evacuations", get(list).post(start::start))
        .route("/admin/evacuations/{id}", get(show))
        .route("/admin/evacuations/{id}/pause", post(pause))
        .route("/admin/evacuations/{id}/resume", post(resume))
        .route("/admin/evacuations/{id}/retry", post(retry))
        .route("/admin/evacuations/{id}/cancel", post(cancel))
}

/// Lists evacuations, the youngest first; without their items.
#[utoipa::path(get, path = "/api/v1/admin/evacuations", tag = "evacuations", params(
    ("sort" = Option<String>, Query, description = "created_at, finished_at, state; - in front for descending"),
    ("filter[state]" = Option<String>, Query, description = "In this state"),
), responses((status = 200, description = "One page", body = Many<EvacuationView>)))]
async fn list(State(app): State<App>, admin: Admin, query: ListQuery) -> Result<Answer, ApiError> {
    admin.may("admin.servers.list")?;
    query.only_filters(&["state"])?;
    let sort = query.sort(evacuations::SORTS, "-created_at")?;
    let state = query.filter_word("state")?;
    let mut conn = app.db.acquire().await?;
    let page = evacuations::evacuations_page(&mut conn, state, query.paging, sort.column, sort.descending).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for evacuation in page.items {
        let counts = evacuations::items_count(&mut conn, evacuation.id).await?;
        items.push(EvacuationView::new(&evacuation, &counts, None));
    }
    Answer::page(&Page { items, total: page.total }, query.paging)
}

/// Shows an evacuation with all its items; once it is over, that is the report.
#[utoipa::path(get, path = "/api/v1/admin/evacuations/{id}", tag = "evacuations",
    params(("id" = uuid::Uuid, Path)),
    responses((status = 200, description = "The evacuation", body = One<EvacuationView>)))]
async fn show(State(app): State<App>, admin: Admin, Id(id): Id<EvacuationId>) -> Result<Answer, ApiError> {
    admin.may("admin.servers.list")?;
    let mut conn = app.db.acquire().await?;
    let evacuation = load(&mut conn, id).await?;
    Answer::ok(&view(&mut conn, evacuation).await?)
}

/// Starts no new transfers until it is resumed; those that are on their way go on.
#[utoipa::path(post, path = "/api/v1/admin/evacuations/{id}/pause", tag = "evacuations",
    params(("id" = uuid::Uuid, Path)), request_body(content = Nothing, description = "Empty"), responses(
        (status = 200, description = "It is paused", body = One<EvacuationView>),
        (status = 409, description = "`evacuation_finished`, `evacuation_cancelling`"),
    ))]
async fn pause(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<EvacuationId>,
    _body: Body<Nothing>,
) -> Result<Answer, ApiError> {
    turn(&app, &admin, id, "evacuation.pause", &[Stands::Running], Stands::Paused).await
}

/// Lets it start new transfers again.
#[utoipa::path(post, path = "/api/v1/admin/evacuations/{id}/resume", tag = "evacuations",
    params(("id" = uuid::Uuid, Path)), request_body(content = Nothing, description = "Empty"), responses(
        (status = 200, description = "It goes on", body = One<EvacuationView>),
        (status = 409, description = "`evacuation_finished`, `evacuation_cancelling`"),
    ))]
async fn resume(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<EvacuationId>,
    _body: Body<Nothing>,
) -> Result<Answer, ApiError> {
    turn(&app, &admin, id, "evacuation.resume", &[Stands::Paused], Stands::Running).await
}

/// Goes to `to` from one of `from`; being there already is fine.
async fn turn(
    app: &App,
    admin: &Admin,
    id: EvacuationId,
    action: &'static str,
    from: &[Stands],
    to: Stands,
) -> Result<Answer, ApiError> {
    admin.may("admin.servers.transfer")?;
    let mut tx = app.db.begin().await?;
    let before = load(&mut tx, id).await?;
    if from.contains(&before.state) {
        evacuations::evacuation_turn(&mut tx, id, before.state, to).await?;
        audit::audit(&mut tx, app.now(), &admin.actor(), action, id, &json!({})).await?;
    } else if before.state != to {
        return Err(not_now(before.state));
    }
    tx.commit().await.map_err(DbError::from)?;
    changed(app, id).await
}

/// Lets the servers that failed wait for their turn again.
///
/// An evacuation that was over with failures goes on. One that was called off stays that: start another one.
#[utoipa::path(post, path = "/api/v1/admin/evacuations/{id}/retry", tag = "evacuations",
    params(("id" = uuid::Uuid, Path)), request_body(content = Nothing, description = "Empty"), responses(
        (status = 200, description = "They wait", body = One<EvacuationView>),
        (status = 409, description = "`nothing_to_retry`, `evacuation_finished`, `evacuation_cancelling`"),
    ))]
async fn retry(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<EvacuationId>,
    _body: Body<Nothing>,
) -> Result<Answer, ApiError> {
    admin.may("admin.servers.transfer")?;
    let mut tx = app.db.begin().await?;
    let before = load(&mut tx, id).await?;
    if matches!(before.state, Stands::Cancelling | Stands::Cancelled) {
        return Err(not_now(before.state));
    }
    let count = evacuations::items_retry(&mut tx, id).await?;
    if count == 0 {
        return Err(ApiError::conflict("nothing_to_retry", "No server of this evacuation has failed."));
    }
    if before.state == Stands::CompletedWithFailures {
        evacuations::evacuation_turn(&mut tx, id, before.state, Stands::Running).await?;
    }
    audit::audit(&mut tx, app.now(), &admin.actor(), "evacuation.retry", id, &json!({"servers": count})).await?;
    tx.commit().await.map_err(DbError::from)?;
    changed(&app, id).await
}

/// How to call an evacuation off.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"running": "finish"}))]
struct CancelEvacuation {
    /// What becomes of transfers that are on their way: `finish` (the default) or `cancel`, as far as they still can be.
    #[serde(default)]
    running: Rest,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Rest {
    /// They come to their end.
    #[default]
    Finish,
    /// They are cancelled.
    Cancel,
}

/// Calls an evacuation off.
///
/// Servers whose turn has not come stay where they are. Those on their way finish, or with `"running": "cancel"` are
/// cancelled. It is `cancelling` until all of them rest, then `cancelled`; who has moved already stays there.
#[utoipa::path(post, path = "/api/v1/admin/evacuations/{id}/cancel", tag = "evacuations",
    params(("id" = uuid::Uuid, Path)), request_body = CancelEvacuation, responses(
        (status = 202, description = "Accepted", body = One<EvacuationView>),
        (status = 409, description = "`evacuation_finished`"),
    ))]
async fn cancel(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<EvacuationId>,
    body: Body<CancelEvacuation>,
) -> Result<Answer, ApiError> {
    admin.may("admin.servers.transfer")?;
    let mut tx = app.db.begin().await?;
    let before = load(&mut tx, id).await?;
    if before.state.is_final() {
        return Err(not_now(before.state));
    }
    let running_too = before.cancel_running || body.value.running == Rest::Cancel;
    evacuations::evacuation_cancel(&mut tx, id, before.state, running_too, app.now()).await?;
    let details = json!({"running": if running_too { "cancel" } else { "finish" }});
    audit::audit(&mut tx, app.now(), &admin.actor(), "evacuation.cancel", id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    app.evacuations.nudge();
    let mut conn = app.db.acquire().await?;
    let evacuation = load(&mut conn, id).await?;
    app.evacuations.tell(&mut conn, &evacuation).await?;
    Answer::accepted(format!("/api/v1/admin/evacuations/{id}"), &view(&mut conn, evacuation).await?)
}

/// Lets the runner and those who watch know, and shows how it stands.
async fn changed(app: &App, id: EvacuationId) -> Result<Answer, ApiError> {
    app.evacuations.nudge();
    let mut conn = app.db.acquire().await?;
    let evacuation = load(&mut conn, id).await?;
    app.evacuations.tell(&mut conn, &evacuation).await?;
    Answer::ok(&view(&mut conn, evacuation).await?)
}

fn not_now(state: Stands) -> ApiError {
    match state {
        Stands::Cancelling => ApiError::conflict(
            "evacuation_cancelling",
            "The evacuation was called off and waits for the transfers on their way. Start another one after that.",
        ),
        Stands::Running | Stands::Paused => {
            ApiError::conflict("evacuation_running", "The evacuation is not over. Look at it again.")
        }
        _ => ApiError::conflict("evacuation_finished", "The evacuation is over. Start another one."),
    }
}

async fn load(conn: &mut Conn, id: EvacuationId) -> Result<Evacuation, ApiError> {
    evacuations::evacuation_get(conn, id).await.map_err(|error| match error {
        DbError::NotFound => ApiError::not_found("evacuation"),
        error => error.into(),
    })
}

async fn view(conn: &mut Conn, evacuation: Evacuation) -> Result<EvacuationView, DbError> {
    let counts = evacuations::items_count(conn, evacuation.id).await?;
    let items = evacuations::items_of(conn, evacuation.id).await?;
    Ok(EvacuationView::new(&evacuation, &counts, Some(items)))
}
