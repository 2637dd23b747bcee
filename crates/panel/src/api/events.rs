//! Server-sent events of everything that an administrator may see: all transfers and all evacuations.
//!
//! ```text
//! id: 1767225600000                      when; `Last-Event-ID` goes on behind it
//! event: stage                           stage, log, end: as in the stream of one transfer, and kept
//! data: {"transfer_id": "…", "server_id": "…", "seq": 7, "at": "…", …}
//!
//! event: progress                        not kept; only its latest value exists
//! event: evacuation                      how one stands: {"evacuation_id", "state", "counts", "finished_at"}
//! event: missed                          more happened than this stream could take: read the lists again
//! ```
//!
//! The stream has no end. What is replayed after `Last-Event-ID` may repeat what was seen in that very millisecond;
//! `transfer_id` and `seq` tell.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{self, Stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};
use utoipa::OpenApi;

use super::{Admin, ApiError};
use crate::app::App;
use crate::db::transfers;
use crate::events::{EvacuationNews, News};

const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Kept events that are replayed at most: who was away for longer reads the lists again.
const MOST_REPLAYED: u64 = 5000;

#[derive(OpenApi)]
#[openapi(paths(events))]
pub(super) struct Doc;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/admin/events", get(events))
}

/// Events of all transfers and evacuations, from now or from `Last-Event-ID` on.
#[utoipa::path(get, path = "/api/v1/admin/events", tag = "events", params(
    ("Last-Event-ID" = Option<u64>, Header, description = "The id of the last event that was seen"),
), responses((
    status = 200,
    description = "Events `stage`, `progress`, `log` and `end` of transfers, `evacuation`, and `missed`",
    content_type = "text/event-stream",
    body = String,
)))]
async fn events(State(app): State<App>, admin: Admin, headers: HeaderMap) -> Result<Response, ApiError> {
    admin.may("admin.servers.list")?;
    let since = since(&headers)?;
    // Listening begins before reading: what happens in between may come twice, and is not lost.
    let mut listener = Listener {
        news: app.events.listen(),
        evacuations: app.events.listen_evacuations(),
        app: app.clone(),
        waiting: VecDeque::new(),
    };
    if let Some(since) = since {
        let mut conn = app.db.acquire().await?;
        let kept = transfers::events_since(&mut conn, since, MOST_REPLAYED + 1).await?;
        if kept.len() as u64 > MOST_REPLAYED {
            listener.waiting.push_back(missed());
        } else {
            let replay = kept.into_iter().map(|(transfer, server, row)| {
                let facts = json!({"transfer_id": transfer, "server_id": server, "seq": row.seq});
                event(&row.kind, &row.body, facts, row.at, true)
            });
            listener.waiting.extend(replay);
        }
    }
    Ok(Sse::new(listener.into_stream()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

fn since(headers: &HeaderMap) -> Result<Option<Timestamp>, ApiError> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let at = number.and_then(|number| Timestamp::from_millisecond(number).ok());
    at.map(Some).ok_or_else(|| ApiError::invalid("Last-Event-ID", "must be the id of an event"))
}

struct Listener {
    app: App,
    news: broadcast::Receiver<News>,
    evacuations: broadcast::Receiver<EvacuationNews>,
    waiting: VecDeque<Event>,
}

impl Listener {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, async |mut listener| {
            let event = listener.next().await?;
            Some((Ok(event), listener))
        })
    }

    /// The next event; none when the panel shuts down.
    async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.waiting.pop_front() {
            return Some(event);
        }
        let shutdown = self.app.shutdown.clone();
        let heard = async {
            tokio::select! {
                news = self.news.recv() => match news {
                    Ok(News { transfer_id, server_id, seq, kind, body, at }) => {
                        let facts = json!({"transfer_id": transfer_id, "server_id": server_id, "seq": seq});
                        Some(event(kind, &body, facts, at, seq.is_some()))
                    }
                    Err(RecvError::Lagged(_)) => Some(missed()),
                    Err(RecvError::Closed) => None,
                },
                news = self.evacuations.recv() => match news {
                    Ok(EvacuationNews { body, at, .. }) => Some(event("evacuation", &body, json!({}), at, false)),
                    Err(RecvError::Lagged(_)) => Some(missed()),
                    Err(RecvError::Closed) => None,
                },
            }
        };
        shutdown.run_until_cancelled(heard).await?
    }
}

fn missed() -> Event {
    Event::default().event("missed").data("{}")
}

fn event(kind: &str, body: &Value, facts: Value, at: Timestamp, is_kept: bool) -> Event {
    let mut body = body.clone();
    if let (Value::Object(fields), Value::Object(facts)) = (&mut body, facts) {
        fields.extend(facts);
        fields.insert("at".to_owned(), Value::String(at.to_string()));
    }
    let event = Event::default().event(kind).data(body.to_string());
    if is_kept { event.id(at.as_millisecond().to_string()) } else { event }
}
