//! Follows an evacuation to its end: bars on a terminal, a line for each change elsewhere, nothing for programs.
//!
//! The evacuation itself is asked for twice a second, and of each server on its way its transfer; a panel that is
//! restarted in the middle is waited for.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use super::show::{item_line, report, sums};
use crate::client::api::{Api, Refusal};
use crate::client::{Client, field};
use crate::exit::Exit;
use crate::signals::Stop;
use crate::{output, units};

const POLL: Duration = Duration::from_millis(500);
/// How long the panel may be gone: it may be restarted in the middle.
const PANEL_GONE: Duration = Duration::from_mins(2);

/// Follows one and shows the report; the exit code says whether all servers were moved.
pub(super) fn follow(client: &Client, id: &str) -> Result<Exit> {
    let stop = Stop::on_signals()?;
    let mut view = view(client);
    let mut heard = Instant::now();
    loop {
        match client.api.get(&super::at(id)) {
            Ok(evacuation) => {
                heard = Instant::now();
                view.show(&client.api, &evacuation);
                if !evacuation["finished_at"].is_null() {
                    drop(view);
                    report(client, &evacuation);
                    return Ok(exit_of(&evacuation));
                }
            }
            Err(error) if error.is::<Refusal>() || heard.elapsed() > PANEL_GONE => {
                return Err(error.context("cannot follow the evacuation"));
            }
            Err(error) => tracing::debug!("the panel is away: {error:#}"),
        }
        if stop.wait(POLL) {
            output::note(format!("The evacuation goes on; `badger evacuate watch {id}` follows it again"));
            return Ok(Exit::Interrupted);
        }
    }
}

fn exit_of(evacuation: &Value) -> Exit {
    if evacuation["state"] == "completed" { Exit::Done } else { Exit::NotAll }
}

trait View {
    fn show(&mut self, api: &Api, evacuation: &Value);
}

fn view(client: &Client) -> Box<dyn View> {
    match (client.json, std::io::stderr().is_terminal()) {
        (true, _) => Box::new(Silent),
        (false, true) => Box::new(Bars::default()),
        (false, false) => Box::new(Lines { out: output::line, shown: HashMap::new() }),
    }
}

struct Silent;

impl View for Silent {
    fn show(&mut self, _api: &Api, _evacuation: &Value) {}
}

/// One line for each change of a server's state, or of what it waits for.
struct Lines<F> {
    out: F,
    shown: HashMap<String, (Value, Value)>,
}

impl<F: Fn(String)> View for Lines<F> {
    fn show(&mut self, _api: &Api, evacuation: &Value) {
        for item in evacuation["items"].as_array().into_iter().flatten() {
            let now = (item["state"].clone(), item["failure"]["code"].clone());
            let before = self.shown.insert(field(item, "id"), now.clone());
            let is_dull = now == (Value::from("waiting"), Value::Null);
            if before.as_ref() != Some(&now) && !(is_dull && before.is_none()) {
                (self.out)(item_line(item));
            }
        }
    }
}

/// One bar for all, and a line for each server on its way.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    sum: Option<ProgressBar>,
    servers: HashMap<String, ProgressBar>,
}

impl View for Bars {
    fn show(&mut self, api: &Api, evacuation: &Value) {
        let total = evacuation["counts"]["total"].as_u64().unwrap_or(0);
        let sum = self.sum.get_or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(total));
            bar.set_style(style("  [{bar:30}] {msg}"));
            bar
        });
        let count = |name: &str| evacuation["counts"][name].as_u64().unwrap_or(0);
        sum.set_position(total.saturating_sub(count("waiting") + count("running")));
        sum.set_message(sums(evacuation));
        for item in evacuation["items"].as_array().into_iter().flatten() {
            let id = field(item, "id");
            if matches!(item["state"].as_str(), Some("starting" | "running")) {
                let bar = self.servers.entry(id).or_insert_with(|| {
                    let bar = self.all.add(ProgressBar::new_spinner().with_prefix(field(item, "name")));
                    bar.set_style(style("  {spinner} {prefix:24}{wide_msg}"));
                    bar.enable_steady_tick(Duration::from_millis(100));
                    bar
                });
                bar.set_message(progress(api, item));
            } else if let Some(bar) = self.servers.remove(&id) {
                let mark = if item["state"] == "completed" { "✔" } else { "✘" };
                bar.set_style(style(&format!("  {mark} {{prefix:24}}{{wide_msg}}")));
                bar.finish_with_message(field(item, "state"));
            }
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in self.servers.values().chain(&self.sum) {
            bar.abandon();
        }
    }
}

/// How far the transfer of a server is.
fn progress(api: &Api, item: &Value) -> String {
    let Some(id) = item["transfer_id"].as_str() else { return "starting".to_owned() };
    // Only to be looked at: what cannot be had now comes with the next look.
    let Ok(transfer) = api.get(&format!("/admin/transfers/{id}")) else { return String::new() };
    let bytes = |name: &str| transfer["progress"][name].as_u64().unwrap_or(0);
    let stage = field(&transfer, "stage_label");
    match bytes("bytes_total") {
        0 => stage,
        total => format!("{stage}  {} of {}", units::bytes(bytes("bytes_written").min(total)), units::bytes(total)),
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

    #[test]
    fn a_line_for_each_change_and_none_without() {
        let seen = RefCell::new(Vec::new());
        let mut view = Lines { out: |line| seen.borrow_mut().push(line), shown: HashMap::new() };
        let api = Api::new("http://127.0.0.1:1", "bp_x").unwrap();
        let item = |state: &str, failure: Value| json!({"items": [{"id": "1", "position": 1, "name": "a", "state": state, "failure": failure}]});
        let locked = json!({"code": "server_locked", "message": "Locked."});
        for evacuation in [
            item("waiting", Value::Null),
            item("waiting", locked.clone()),
            item("waiting", locked),
            item("running", Value::Null),
            item("running", Value::Null),
            item("completed", Value::Null),
        ] {
            view.show(&api, &evacuation);
        }
        let states: Vec<_> =
            seen.borrow().iter().map(|line| line.split_whitespace().nth(2).unwrap().to_owned()).collect();
        assert_eq!(states, ["waiting", "running", "completed"]);
        assert!(seen.borrow()[0].ends_with("Locked. [server_locked]"));
    }

    #[test]
    fn the_exit_code_says_whether_all_were_moved() {
        assert_eq!(exit_of(&json!({"state": "completed"})), Exit::Done);
        assert_eq!(exit_of(&json!({"state": "completed_with_failures"})), Exit::NotAll);
        assert_eq!(exit_of(&json!({"state": "cancelled"})), Exit::NotAll);
    }
}
