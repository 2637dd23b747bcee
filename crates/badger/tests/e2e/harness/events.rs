//! Server-sent events as a client of the API reads them.

use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::api::Api;

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// `id:`, where it has one.
    pub(crate) id: Option<String>,
    /// `event:`.
    pub(crate) name: String,
    /// `data:`, parsed.
    pub(crate) data: Value,
}

/// Reads a transfer's events to the end of the stream. Fails if the stream does not end within `limit`.
pub(crate) fn read_all(api: &Api, transfer_id: &str, last_event_id: Option<&str>, limit: Duration) -> Vec<Event> {
    let mut events = Vec::new();
    parse(open(api, transfer_id, last_event_id, limit).unwrap(), |event| events.push(event)).unwrap();
    events
}

/// A transfer's events from its beginning on, as they come, until it is over or its panel is.
pub(crate) fn follow(api: &Api, transfer_id: &str, limit: Duration) -> Receiver<Event> {
    let (sender, receiver) = channel();
    let stream = open(api, transfer_id, None, limit).unwrap();
    thread::spawn(move || {
        // Who listens may have heard enough; a panel that is killed ends in the middle.
        drop(parse(stream, |event| drop(sender.send(event))));
    });
    receiver
}

fn open(
    api: &Api,
    transfer_id: &str,
    last_event_id: Option<&str>,
    limit: Duration,
) -> Result<impl BufRead + use<>, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(limit)).build().into();
    let mut request = agent
        .get(format!("{}/api/v1/admin/transfers/{transfer_id}/events", api.url))
        .header("Authorization", format!("Bearer {}", api.key))
        .header("Accept", "text/event-stream");
    if let Some(id) = last_event_id {
        request = request.header("Last-Event-ID", id);
    }
    let response = request.call()?;
    assert_eq!(response.headers()["Content-Type"].to_str().unwrap().split(';').next(), Some("text/event-stream"));
    Ok(BufReader::new(response.into_body().into_reader()))
}

fn parse(lines: impl BufRead, mut heard: impl FnMut(Event)) -> std::io::Result<()> {
    let (mut id, mut name, mut data) = (None, String::new(), String::new());
    for line in lines.lines() {
        let line = line?;
        match line.split_once(':') {
            _ if line.is_empty() => {
                if !data.is_empty() {
                    let data = serde_json::from_str(&data).unwrap_or_else(|e| panic!("{e}: {data}"));
                    heard(Event { id: id.take(), name: std::mem::take(&mut name), data });
                }
                data = String::new();
            }
            Some(("id", value)) => id = Some(value.trim().to_owned()),
            Some(("event", value)) => value.trim().clone_into(&mut name),
            Some(("data", value)) => data.push_str(value.trim_start()),
            // A comment keeps the connection alive; other fields are not ours.
            _ => {}
        }
    }
    Ok(())
}
