//! Follows a transfer to its end: server-sent events for the live counters, the resource itself for what is certain.
//!
//! ```text
//! events thread ──► channel ──► follow(): fold, ask for the transfer at each stage, show
//!      └─ reconnects with Last-Event-ID
//! ```
//!
//! Nothing depends on an event arriving: without any the transfer is asked for every half second.

use std::collections::HashMap;
use std::io::{BufRead, IsTerminal};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use model::Stage;
use serde_json::Value;

use super::api::{Api, Refusal};
use crate::signals::Stop;
use crate::{output, units};

const POLL: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(100);
const BETWEEN_LINES: Duration = Duration::from_secs(1);
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

/// What shows a transfer.
pub(crate) trait View {
    /// Shows how it stands. `progress` is at least as new as the transfer's own.
    fn show(&mut self, transfer: &Value, progress: &Value);
}

/// The view for this terminal: bars where there is one, lines elsewhere, nothing for programs.
pub(crate) fn view(json: bool) -> Box<dyn View> {
    match (json, std::io::stderr().is_terminal()) {
        (true, _) => Box::new(Silent),
        (false, true) => Box::new(Bars::default()),
        (false, false) => Box::new(Lines::new(output::line)),
    }
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

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq)]
struct Event {
    id: Option<String>,
    kind: String,
    data: Value,
}

/// Reads the events of a transfer in a thread, which ends with the process or when nobody listens any more.
fn events(api: Api, id: &str) -> Result<Receiver<Event>> {
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

/// The label of the product's page for a stage of the API.
fn label(stage: &str) -> String {
    match serde_json::from_value::<Stage>(Value::from(stage)) {
        Ok(stage) => stage.label().to_owned(),
        // A stage of a newer panel: its word is better than none.
        Err(_) => stage.replace('_', " "),
    }
}

/// What a stage's line says while it goes on.
fn counters(stage: &str, progress: &Value) -> String {
    let bytes = |name: &str| units::bytes(progress[name].as_u64().unwrap_or(0));
    match stage {
        "copying_while_running" => {
            let rate = progress["rate_bytes_per_s"].as_u64().filter(|&rate| rate > 0);
            let freeze = progress["predicted_freeze_ms"].as_u64();
            format!(
                "round {}  read {}  sent {}  written {} of {}{}{}",
                progress["round"].as_u64().unwrap_or(1),
                bytes("bytes_read"),
                bytes("bytes_sent"),
                bytes("bytes_written"),
                bytes("bytes_total"),
                rate.map(|rate| format!("  {}/s", units::bytes(rate))).unwrap_or_default(),
                freeze.map(|ms| format!("  freeze would be {}", units::millis(ms))).unwrap_or_default(),
            )
        }
        "compressing" => format!("{} read", bytes("bytes_read")),
        "transferring" => format!("{} sent", bytes("bytes_sent")),
        "extracting" => format!("{} written", bytes("bytes_written")),
        _ => String::new(),
    }
}

/// The stages that have begun, each with its name, how long it took if it is over.
fn stages(transfer: &Value) -> impl Iterator<Item = (&str, Option<Duration>)> {
    transfer["stages"].as_array().into_iter().flatten().filter_map(|stage| {
        let time = |name: &str| stage[name].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
        let began = time("started_at")?;
        let took = time("finished_at").map(|end| Duration::try_from(end.duration_since(began)).unwrap_or_default());
        Some((stage["name"].as_str()?, took))
    })
}

struct Silent;

impl View for Silent {
    fn show(&mut self, _transfer: &Value, _progress: &Value) {}
}

/// One line for each begin and end of a stage, and one a second for its counters.
pub(crate) struct Lines<F> {
    out: F,
    /// Stages that were shown: whether as over.
    shown: HashMap<String, bool>,
    last_counters: (Instant, String),
}

impl<F: Fn(String)> Lines<F> {
    /// Lines through `out`.
    pub(crate) fn new(out: F) -> Self {
        Self { out, shown: HashMap::new(), last_counters: (Instant::now(), String::new()) }
    }
}

impl<F: Fn(String)> View for Lines<F> {
    fn show(&mut self, transfer: &Value, progress: &Value) {
        for (stage, took) in stages(transfer) {
            let known = self.shown.insert(stage.to_owned(), took.is_some());
            match (known, took) {
                (Some(true), _) => {}
                (_, Some(took)) => {
                    let text =
                        format!("  {:24}{:>8}  {}", label(stage), units::duration(took), counters(stage, progress));
                    (self.out)(text.trim_end().to_owned());
                }
                (None, None) => (self.out)(format!("  {} …", label(stage))),
                (Some(false), None) => self.show_counters(stage, progress),
            }
        }
    }
}

impl<F: Fn(String)> Lines<F> {
    fn show_counters(&mut self, stage: &str, progress: &Value) {
        let text = counters(stage, progress);
        if !text.is_empty() && text != self.last_counters.1 && self.last_counters.0.elapsed() >= BETWEEN_LINES {
            (self.out)(format!("    {text}"));
            self.last_counters = (Instant::now(), text);
        }
    }
}

/// One bar for each stage on a terminal.
#[derive(Default)]
pub(crate) struct Bars {
    all: MultiProgress,
    stages: HashMap<String, ProgressBar>,
}

impl View for Bars {
    fn show(&mut self, transfer: &Value, progress: &Value) {
        for (stage, took) in stages(transfer) {
            let bar = self.stages.entry(stage.to_owned()).or_insert_with(|| {
                let bar = self.all.add(ProgressBar::new_spinner().with_prefix(label(stage)));
                bar.set_style(style("  {spinner} {prefix:24}{wide_msg}"));
                bar.enable_steady_tick(TICK);
                bar
            });
            if bar.is_finished() {
                continue;
            }
            let text = counters(stage, progress);
            match took {
                Some(took) => {
                    bar.set_style(style("  ✔ {prefix:24}{wide_msg}"));
                    bar.finish_with_message(format!("{:>8}  {text}", units::duration(took)));
                }
                None => bar.set_message(text),
            }
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in self.stages.values().filter(|bar| !bar.is_finished()) {
            bar.abandon();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are constants that parse")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::cell::RefCell;

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

    #[test]
    fn lines_show_each_stage_begin_and_end_once() {
        let seen = RefCell::new(Vec::new());
        let mut view = Lines::new(|line| seen.borrow_mut().push(line));
        let at = |s: u32| format!("2026-01-01T00:00:{s:02}Z");
        let begun = json!({"stages": [{"name": "preparing", "started_at": at(1), "finished_at": null}]});
        let ended = json!({"stages": [
            {"name": "preparing", "started_at": at(1), "finished_at": at(3)},
            {"name": "extracting", "started_at": at(3), "finished_at": at(4)},
        ]});
        let progress = json!({"bytes_written": 2048});
        for transfer in [&begun, &begun, &ended, &ended] {
            view.show(transfer, &progress);
        }
        assert_eq!(
            *seen.borrow(),
            [
                "  Preparing transfer …",
                "  Preparing transfer         2.0 s",
                "  Extracting files           1.0 s  2.0 KiB written"
            ]
        );
    }
}
