//! How a transfer that goes on is shown: bars on a terminal, lines elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use model::Stage;
use serde_json::Value;

use super::TICK;
use crate::{output, units};

const BETWEEN_LINES: Duration = Duration::from_secs(1);

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
        // A panel that has just started knows nothing yet.
        "copying_while_running" if progress["bytes_total"] == 0 => String::new(),
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
mod tests {
    use super::*;
    use serde_json::json;
    use std::cell::RefCell;

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
