//! Server-sent events of a transfer, read in a thread of their own.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use anyhow::{Context, Result};
use serde_json::Value;

use super::POLL;
use crate::client::api::{Api, Refusal};

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Event {
    /// Its number, if it has one.
    pub(super) id: Option<String>,
    /// `stage`, `progress`, `log` or `end`.
    pub(super) kind: String,
    /// What it says.
    pub(super) data: Value,
}

/// Reads the events of a transfer in a thread, which ends with the process or when nobody listens any more.
pub(super) fn events(api: Api, id: &str) -> Result<Receiver<Event>> {
    let (sender, receiver) = sync_channel(256);
    let path = format!("/admin/transfers/{id}/events");
    thread::Builder::new()
        .name("events".into())
        .spawn(move || {
            let mut last = None;
            while read_events(&api, &path, &mut last, &sender) {
                thread::sleep(POLL);
            }
        })
        .context("cannot start the thread of events")?;
    Ok(receiver)
}

/// Reads one connection to its end. False when there is no use in another.
fn read_events(api: &Api, path: &str, last: &mut Option<String>, sender: &SyncSender<Event>) -> bool {
    let stream = match api.stream(path, last.as_deref()) {
        Ok(stream) => stream,
        Err(e) => {
            tracing::debug!("no events: {e:#}");
            return !e.is::<Refusal>();
        }
    };
    let mut lines = Vec::new();
    for line in stream.lines() {
        let Ok(line) = line else { return true };
        if !line.is_empty() {
            lines.push(line);
            continue;
        }
        let Some(event) = parse_event(&std::mem::take(&mut lines)) else { continue };
        last.clone_from(&event.id);
        let is_end = event.kind == "end";
        // Progress may be dropped when nobody keeps up: the next one says more.
        if matches!(sender.try_send(event), Err(TrySendError::Disconnected(_))) || is_end {
            return false;
        }
    }
    true
}

/// Reads the lines of one event. None for a comment or what is not JSON.
fn parse_event(lines: &[String]) -> Option<Event> {
    let mut event = Event { kind: "message".to_owned(), ..Event::default() };
    let mut data = String::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut event.kind),
            "id" => event.id = Some(value.to_owned()),
            "data" if data.is_empty() => value.clone_into(&mut data),
            "data" => {
                data.push('\n');
                data.push_str(value);
            }
            _ => {}
        }
    }
    event.data = serde_json::from_str(&data).ok()?;
    Some(event)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_event_is_read_with_id_kind_and_data_of_several_lines() {
        let event = parse_event(&lines("id: 7\nevent: stage\ndata: {\"a\":\ndata: 1}\nretry: 5")).unwrap();
        assert_eq!(event, Event { id: Some("7".into()), kind: "stage".into(), data: json!({"a": 1}) });
        assert_eq!(parse_event(&lines(": keep-alive")), None);
        assert_eq!(parse_event(&lines("data: nonsense")), None);
    }
}
