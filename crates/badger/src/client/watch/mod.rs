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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

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

    fn transfer(state: &str, finished_at: Option<&str>) -> String {
        json!({"success": true, "data": {"state": state, "finished_at": finished_at, "progress": {}}}).to_string()
    }

    fn answer(mut stream: TcpStream, kind: &str, body: &str) {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n");
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    }

    /// A panel that answers `transfers` in turn (an empty one: it is away), and one event of progress.
    fn panel(transfers: Vec<String>) -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = Api::new(&format!("http://{}", listener.local_addr().unwrap()), "bp_test").unwrap();
        thread::spawn(move || {
            let mut transfers = transfers.into_iter();
            for stream in listener.incoming() {
                let (mut stream, mut request, mut bytes) = (stream.unwrap(), Vec::new(), [0; 4096]);
                while !request.windows(4).any(|w| w == b"\r\n\r\n") {
                    let n = stream.read(&mut bytes).unwrap();
                    request.extend_from_slice(&bytes[..n]);
                }
                if request.windows(7).any(|w| w == b"/events") {
                    answer(stream, "text/event-stream", "event: progress\ndata: {\"bytes_read\": 77}\n\n");
                    continue;
                }
                match transfers.next() {
                    Some(body) if !body.is_empty() => answer(stream, "application/json", &body),
                    Some(_) => drop(stream),
                    None => break,
                }
            }
        });
        api
    }

    #[derive(Default)]
    struct Seen(Vec<u64>);

    impl View for Seen {
        fn show(&mut self, _transfer: &Value, progress: &Value) {
            self.0.extend(progress["bytes_read"].as_u64());
        }
    }

    #[test]
    fn a_transfer_is_followed_through_a_restart_of_the_panel_until_its_end_is_written_down() {
        let api = panel(vec![
            transfer("running", None),
            String::new(),
            transfer("completed", None),
            transfer("completed", Some("2026-01-01T00:00:00Z")),
        ]);
        let mut seen = Seen::default();
        let Watched::Over(end) = follow(&api, "t", &Stop::default(), &mut seen).unwrap() else {
            panic!("nobody interrupted it");
        };
        assert!(end["finished_at"].is_string(), "{end}");
        assert!(seen.0.contains(&77), "the event was not shown: {seen:?}", seen = seen.0);
    }

    #[test]
    fn a_watch_that_is_interrupted_leaves_the_transfer_alone() {
        let api = panel(vec![transfer("running", None)]);
        let stop = Stop::default();
        stop.request();
        assert!(matches!(follow(&api, "t", &stop, &mut Seen::default()), Ok(Watched::Interrupted)));
    }
}
