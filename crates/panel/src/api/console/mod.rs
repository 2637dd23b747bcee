//! A server's console as it happens: one WebSocket for lines, status, input and power.
//!
//! ```text
//!  POST …/console/ticket ──► ticket, once, 30 s        a browser cannot set headers on a WebSocket
//!        │
//!  GET …/console/stream?ticket=…&after=…               whoever can, shows an API key or a token as everywhere
//!        │
//!   follow.rs ──pulls behind a mark──► agent           lines, status ──┐
//!   talk.rs   ◄──command, power──── client             done, error ────┴──► client
//! ```
//!
//! Each message is one JSON object with a `type`. The panel says:
//!
//! - `hello` `{server_id, may}`: first of all; `may` has `console` and, if the caller may do that here, `power`
//! - `status` `{status, transfer_state, agent_online}`: at first and at each change
//! - `lines` `{memory, first, lost, lines}`: lines in their order, numbered from `first`. `lost` is how many between them
//!   and those before nobody remembers any more. Another `memory` is another console: an agent that was started anew, or
//!   the server's next place
//! - `done` `{id}` and `error` `{id, code, message}`: what came of an input, in their order
//!
//! It takes `{"type": "command", "command": "say hi", "id": "1"}` and `{"type": "power", "signal": "restart"}`; `id` is
//! the client's and may be left out. Who was cut off comes back with `after=<memory>:<number of the last line>` and
//! misses nothing that is still remembered, and sees nothing twice.
//!
//! It closes with 4401 (the caller is let in no more), 4403 (they may not see it any more), 4404 (the server is gone), 4408
//! (the client is silent or takes nothing), 1001 (the panel ends). Inputs count as requests of the caller.

mod follow;
mod talk;
mod tickets;
mod words;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Query, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{get, post};
use jiff::Timestamp;
use model::ServerId;
use model::agent_api::ConsoleMark;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::check::Nothing;
use super::on_server::{OnServer, Right, id_of};
use super::views::One;
use super::{Answer, ApiError, Body};
use crate::app::App;
pub(crate) use tickets::Consoles;

/// Bytes of one message of a client.
const LONGEST_MESSAGE: usize = 16 << 10;
/// Lines that a stream begins with.
const FIRST_LINES: u32 = 100;
/// Lines that a stream may begin with.
const MOST_LINES: u32 = 1000;

#[derive(OpenApi)]
#[openapi(paths(ticket, stream))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/servers/{id}/console/ticket", post(ticket)).route("/servers/{id}/console/stream", get(stream))
}

/// The right to open one stream.
#[derive(Debug, Serialize, ToSchema)]
struct TicketView {
    /// Works once.
    #[schema(example = "bpt_…")]
    ticket: String,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Where: a path of this panel, with the ticket in it. Put `after` or `lines` behind it if need be.
    #[schema(example = "/api/v1/servers/0198a7b2-0000-7000-8000-000000000001/console/stream?ticket=bpt_…")]
    path: String,
}

/// Gives a ticket for one stream of the console, for those who cannot set a header.
///
/// It works once and for half a minute. What the stream may do is what its caller may do at that moment.
#[utoipa::path(post, path = "/api/v1/servers/{id}/console/ticket", tag = "servers",
    params(("id" = uuid::Uuid, Path)), request_body(content = Nothing, description = "Empty"),
    responses((status = 200, description = "The ticket", body = One<TicketView>)))]
async fn ticket(State(app): State<App>, on: OnServer, _body: Body<Nothing>) -> Result<Answer, ApiError> {
    on.may(Right::Console)?;
    let id = on.id;
    let (ticket, expires_at) = app.consoles.issue(on, app.now())?;
    let path = format!("/api/v1/servers/{id}/console/stream?ticket={ticket}");
    Answer::ok(&TicketView { ticket, expires_at, path })
}

/// Opens a WebSocket with the server's console.
///
/// Messages are JSON objects with a `type`. From the panel: `hello {server_id, may[]}`, `status {status, transfer_state,
/// agent_online}`, `lines {memory, first, lost, lines[]}`, `done {id}`, `error {id, code, message}`. To the panel:
/// `command {command, id?}` and `power {signal, id?}`. Lines are numbered: come back with `after` to go on without a gap.
/// Close codes: 4401, 4403 and 4404 as the statuses of the same last digits, 4408 silent for too long, 1001 the panel ends.
#[utoipa::path(get, path = "/api/v1/servers/{id}/console/stream", tag = "servers", params(
    ("id" = uuid::Uuid, Path),
    ("ticket" = Option<String>, Query, description = "Of `POST …/console/ticket`, instead of an Authorization header"),
    ("after" = Option<String>, Query, description = "`<memory>:<number>` of the last line that was seen"),
    ("lines" = Option<u32>, Query, description = "How many lines to begin with, 1 to 1000; 100 without it"),
), responses(
    (status = 101, description = "The WebSocket"),
    (status = 426, description = "`upgrade_required`"),
    (status = 429, description = "`too_many_requests`, `too_many_streams`"),
))]
async fn stream(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let wanted = Wanted::from_request_parts(&mut parts, &app).await?;
    // Before a ticket is used up: a request that cannot become a stream leaves it.
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await.map_err(|_| not_an_upgrade());
    let (on, upgrade) = match &wanted.ticket {
        Some(ticket) => {
            let (id, upgrade) = (id_of::<ServerId>(&mut parts, &app, "id").await?, upgrade?);
            (by_ticket(&app, id, ticket).await?, upgrade)
        }
        None => (OnServer::from_request_parts(&mut parts, &app).await?, upgrade?),
    };
    on.may(Right::Console)?;
    let place = app.consoles.enter(on.id)?;
    let upgrade = upgrade.max_message_size(LONGEST_MESSAGE).max_frame_size(LONGEST_MESSAGE);
    Ok(upgrade.on_upgrade(async move |socket| {
        let tasks = app.tasks.clone();
        tasks.track_future(talk::serve(app, on, wanted, socket)).await;
        drop(place);
    }))
}

/// The caller that a ticket was given to, as they are now.
async fn by_ticket(app: &App, id: ServerId, ticket: &str) -> Result<OnServer, ApiError> {
    let given = app.consoles.redeem(ticket, app.now()).filter(|on| on.id == id).ok_or_else(no_such_ticket)?;
    given.again(app).await?.ok_or_else(no_such_ticket)
}

fn no_such_ticket() -> ApiError {
    let message = "This ticket is not valid: it works once, for half a minute, for one server. Ask for another one.";
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}

fn not_an_upgrade() -> ApiError {
    let message = "The console is a WebSocket. Open it as one, or read the last lines at …/console.";
    ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message)
}

/// What the query asks for.
#[derive(Debug)]
struct Wanted {
    ticket: Option<String>,
    after: Option<ConsoleMark>,
    lines: u32,
}

impl FromRequestParts<App> for Wanted {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, app)
            .await
            .map_err(|_| ApiError::invalid("query", "could not be parsed"))?;
        let mut wanted = Self { ticket: None, after: None, lines: FIRST_LINES };
        for (name, value) in pairs {
            match name.as_str() {
                "ticket" => wanted.ticket = Some(value),
                "after" => wanted.after = Some(mark(&value)?),
                "lines" => wanted.lines = count(&value)?,
                other => return Err(ApiError::invalid(other, "is not a parameter of this route")),
            }
        }
        Ok(wanted)
    }
}

fn mark(text: &str) -> Result<ConsoleMark, ApiError> {
    let parsed = text.rsplit_once(':').and_then(|(memory, line)| {
        let known = !memory.is_empty() && memory.len() <= 64 && memory.bytes().all(|byte| byte.is_ascii_graphic());
        known.then(|| Some(ConsoleMark { memory: memory.to_owned(), line: line.parse().ok()? }))?
    });
    parsed.ok_or_else(|| ApiError::invalid("after", "must be <memory>:<number> as the stream gives them"))
}

fn count(text: &str) -> Result<u32, ApiError> {
    let count = text.parse().ok().filter(|count| (1..=MOST_LINES).contains(count));
    count.ok_or_else(|| ApiError::invalid("lines", format!("must be a number from 1 to {MOST_LINES}")))
}
