//! Follows a transfer to its end: server-sent events for the live counters, the resource itself for what is certain.
//!
//! ```text
//! events thread ──► channel ──► follow(): fold, ask for the transfer at each stage, show
//!      └─ reconnects with Last-Event-ID
//! ```
//!
//! Nothing depends on an event arriving: without any the transfer is asked for every half second.

mod events;
mod view;

use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use self::events::{Event, events};
pub(crate) use self::view::{View, view};
use super::api::{Api, Refusal};
use crate::signals::Stop;

const POLL: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(100);
/// How long the panel may be gone while a transfer is followed: it may be restarted in the middle.
const PANEL_GONE: Duration = Duration::from_mins(2);

/// How the watch ended.
#[derive(Debug)]
pub(crate) enum Watched {
    /// The transfer is over; this is it.
    Over(Value),
    /// Somebody wanted to stop watching.
    Interrupted,
}

/// Follows transfer `id` until it is over or `stop`.
pub(crate) fn follow(api: &Api, id: &str, stop: &Stop, view: &mut dyn View) -> Result<Watched> {
    let events = events(api.clone(), id)?;
    let path = format!("/admin/transfers/{id}");
    let mut transfer = api.get(&path)?;
    let (mut progress, mut asked) = (transfer["progress"].clone(), Instant::now());
    loop {
        view.show(&transfer, &progress);
        if is_over(&transfer) {
            return Ok(Watched::Over(transfer));
        }
        if stop.is_requested() {
            return Ok(Watched::Interrupted);
        }
        let stale = match events.recv_timeout(TICK) {
            Ok(event) => !fold(&event, &mut progress),
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                stop.wait(TICK);
                false
            }
        };
        if (stale || asked.elapsed() >= POLL)
            && let Some(newer) = ask_again(api, &path, asked)?
        {
            (transfer, asked) = (newer, Instant::now());
            if behind(&progress, &transfer["progress"]) {
                progress = transfer["progress"].clone();
            }
        }
    }
}

/// A final state may show a moment before everything about the end is written down.
fn is_over(transfer: &Value) -> bool {
    matches!(transfer["state"].as_str(), Some("completed" | "rolled_back" | "stuck"))
        && !transfer["finished_at"].is_null()
}

/// Asks for the transfer; none if the panel is away, which is bearable for a while.
fn ask_again(api: &Api, path: &str, heard: Instant) -> Result<Option<Value>> {
    match api.get(path) {
        Ok(transfer) => Ok(Some(transfer)),
        Err(e) if e.is::<Refusal>() || heard.elapsed() > PANEL_GONE => Err(e.context("cannot follow the transfer")),
        Err(e) => {
            tracing::debug!("the panel is away: {e:#}");
            thread::sleep(TICK);
            Ok(None)
        }
    }
}

/// Takes an event's progress. False if the event says something else, so that the transfer must be asked for.
fn fold(event: &Event, progress: &mut Value) -> bool {
    let newer = if event.data["progress"].is_object() { &event.data["progress"] } else { &event.data };
    if event.kind != "progress" || !newer["bytes_read"].is_u64() {
        return false;
    }
    *progress = newer.clone();
    true
}

fn behind(ours: &Value, theirs: &Value) -> bool {
    let bytes = |p: &Value| p["bytes_read"].as_u64().unwrap_or(0) + p["bytes_written"].as_u64().unwrap_or(0);
    theirs.is_object() && (!ours.is_object() || bytes(ours) < bytes(theirs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn progress_is_folded_bare_or_inside_a_transfer_and_other_events_ask_for_the_transfer() {
        let mut progress = Value::Null;
        let event = |kind: &str, data| Event { id: None, kind: kind.into(), data };
        assert!(fold(&event("progress", json!({"bytes_read": 5})), &mut progress));
        assert_eq!(progress["bytes_read"], 5);
        assert!(fold(&event("progress", json!({"id": "x", "progress": {"bytes_read": 6}})), &mut progress));
        assert_eq!(progress["bytes_read"], 6);
        assert!(!fold(&event("stage", json!({"stage": "stopping"})), &mut progress));
    }
}
