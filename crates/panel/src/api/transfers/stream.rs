//! Server-sent events of one transfer.
//!
//! ```text
//! id: 7                                  numbered events are kept: `Last-Event-ID: 7` goes on behind them
//! event: stage                           stage, log, end
//! data: {"at": "…", "state": "running", …}
//!
//! event: progress                        no number: only its latest value exists
//! data: {"bytes_total": …}
//! ```
//!
//! The stream ends behind `end`. Who comes back after that gets 204, which tells a browser not to come again.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use model::{Timestamp, TransferId};
use serde_json::Value;
use tokio::sync::broadcast::{self, error::RecvError};

use super::missing;
use crate::api::{Admin, ApiError, Id};
use crate::app::App;
use crate::db::DbError;
use crate::db::transfers::{self, EventRow};
use crate::events::News;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events of a transfer, from its beginning or from `Last-Event-ID` on.
#[utoipa::path(get, path = "/api/v1/admin/transfers/{id}/events", tag = "transfers",
    params(
        ("id" = uuid::Uuid, Path),
        ("Last-Event-ID" = Option<u64>, Header, description = "Number of the last event that was seen"),
    ),
    responses(
        (status = 200, description = "Events `stage`, `progress`, `log` and `end`", content_type = "text/event-stream", body = String),
        (status = 204, description = "The transfer is over and everything was seen"),
    ))]
pub(super) async fn events(
    State(app): State<App>,
    admin: Admin,
    Id(id): Id<TransferId>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    admin.may("admin.servers.list")?;
    let seen = last_seen(&headers)?;
    // Listening begins before reading: what happens in between is heard, and recognized by its number.
    let news = app.events.listen();
    let mut conn = app.db.acquire().await?;
    let transfer = transfers::transfer_get(&mut conn, id).await.map_err(missing("transfer"))?;
    let kept = transfers::events_after(&mut conn, id, seen).await?;
    if transfer.finished_at.is_some() && kept.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let mut follower = Follower { app, id, news, seen, waiting: VecDeque::new(), ended: false };
    follower.take_kept(kept);
    if transfer.finished_at.is_none() {
        let progress = serde_json::to_value(&transfer.progress).map_err(ApiError::internal)?;
        follower.waiting.push_back(event(None, "progress", &progress, follower.app.now()));
    }
    Ok(Sse::new(follower.into_stream()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

fn last_seen(headers: &HeaderMap) -> Result<u64, ApiError> {
    let Some(value) = headers.get("last-event-id") else { return Ok(0) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| ApiError::invalid("Last-Event-ID", "must be the number of an event"))
}

/// One client, and what it has seen.
struct Follower {
    app: App,
    id: TransferId,
    news: broadcast::Receiver<News>,
    seen: u64,
    waiting: VecDeque<Event>,
    ended: bool,
}

impl Follower {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, async |mut follower| {
            let event = follower.next().await?;
            Some((Ok(event), follower))
        })
    }

    /// The next event; none when there will be no more, or when the panel shuts down.
    async fn next(&mut self) -> Option<Event> {
        let shutdown = self.app.shutdown.clone();
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            let heard = shutdown.run_until_cancelled(self.news.recv()).await?;
            match heard {
                Ok(news) if news.transfer_id != self.id => {}
                Ok(News { seq: None, kind, body, at, .. }) => self.waiting.push_back(event(None, kind, &body, at)),
                // What was read from the database already, or follows it.
                Ok(News { seq: Some(seq), .. }) if seq <= self.seen => {}
                Ok(_) | Err(RecvError::Lagged(_)) => {
                    if let Err(error) = self.read_on().await {
                        tracing::warn!(transfer = %self.id, %error, "a stream of events ends early");
                        return None;
                    }
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Numbered events always come from the database: in their order, without gaps, however far behind this is.
    async fn read_on(&mut self) -> Result<(), DbError> {
        let mut conn = self.app.db.acquire().await?;
        let kept = transfers::events_after(&mut conn, self.id, self.seen).await?;
        drop(conn);
        self.take_kept(kept);
        Ok(())
    }

    fn take_kept(&mut self, kept: Vec<EventRow>) {
        for row in kept {
            self.seen = row.seq;
            self.ended |= row.kind == "end";
            self.waiting.push_back(event(Some(row.seq), &row.kind, &row.body, row.at));
        }
    }
}

fn event(seq: Option<u64>, kind: &str, body: &Value, at: Timestamp) -> Event {
    let mut body = body.clone();
    if let Value::Object(fields) = &mut body {
        fields.insert("at".to_owned(), Value::String(at.to_string()));
    }
    let event = Event::default().event(kind).data(body.to_string());
    match seq {
        Some(seq) => event.id(seq.to_string()),
        None => event,
    }
}
