//! A plan and a report as people read them.

use serde_json::Value;

use crate::client::{Client, field};
use crate::{output, units};

/// A plan: each server in a line, what was found below it, then what the targets have left.
pub(super) fn plan(plan: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for server in list(&plan["servers"]) {
        let verdict = if server["ok"] == true { "can go" } else { "cannot go" };
        let mut facts = vec![format!("{:>3}  {} {verdict}", field(server, "position"), field(server, "name"))];
        facts.push(if server["running"] == true { "running" } else { "offline" }.to_owned());
        facts.extend(server["bytes"].as_u64().map(units::bytes));
        facts.extend(server["estimated_duration_s"].as_u64().map(|seconds| format!("about {seconds} s")));
        facts.extend(server["estimated_freeze_s"].as_f64().map(|seconds| format!("freeze about {seconds:.1} s")));
        lines.push(facts.join(", "));
        for check in list(&server["checks"]).filter(|check| check["level"] != "info") {
            let text = format!("       {:8}{} {}", field(check, "level"), field(check, "message"), remedy(check));
            lines.push(text.trim_end().to_owned());
        }
    }
    for target in list(&plan["targets"]) {
        let kind = if target["cluster_id"].is_string() { "cluster" } else { "node" };
        lines.push(format!("{kind} {} has", field(target, "name")));
        for (name, what) in [
            ("memory_mb", "MiB memory"),
            ("disk_mb", "MiB disk"),
            ("cpu_percent", "% CPU"),
            ("allocations", "addresses"),
        ] {
            let share = &target[name];
            let (needed, free) = (field(share, "needed"), share["free"].as_u64());
            let line = match free {
                Some(free) => format!("  {free} {what} free, {needed} needed, {} left", field(share, "left")),
                None => format!("  {what} without limit, {needed} needed"),
            };
            lines.push(line);
        }
    }
    let all = list(&plan["servers"]).count();
    let mut sum = format!("{} of {all} servers can go", field(plan, "movable"));
    if let Some(bytes) = plan["bytes"].as_u64() {
        sum.extend([format!(", {}", units::bytes(bytes))]);
    }
    if let Some(seconds) = plan["estimated_duration_s"].as_u64() {
        sum.extend([format!(", about {seconds} s with {} at once", field(plan, "concurrency"))]);
    }
    lines.push(sum);
    lines
}

/// How an evacuation stands, or what came of it.
pub(super) fn report(client: &Client, evacuation: &Value) {
    if client.json {
        output::json(evacuation);
        return;
    }
    output::line(format!("evacuation  {}", field(evacuation, "id")));
    output::line(format!("state       {}", field(evacuation, "state")));
    for item in list(&evacuation["items"]) {
        output::line(item_line(item));
    }
    output::line(sums(evacuation));
}

/// How many are where.
pub(super) fn sums(evacuation: &Value) -> String {
    let count = |name: &str| evacuation["counts"][name].as_u64().unwrap_or(0);
    let mut sums = vec![format!("{} of {} servers moved", count("completed"), count("total"))];
    for (name, words) in [
        ("running", "on their way"),
        ("waiting", "waiting"),
        ("failed", "failed"),
        ("skipped", "skipped"),
        ("cancelled", "called off"),
    ] {
        if count(name) > 0 {
            sums.push(format!("{} {words}", count(name)));
        }
    }
    sums.join(", ")
}

/// One server in a line.
pub(super) fn item_line(item: &Value) -> String {
    let mut line = format!("{:>3}  {:24}{:12}", field(item, "position"), field(item, "name"), field(item, "state"));
    if let Some(ms) = item["freeze_ms"].as_u64() {
        line.extend([format!("freeze {}  ", units::millis(ms))]);
    }
    if let Some(message) = item["failure"]["message"].as_str() {
        line.extend([format!("{message} [{}]", field(item, "failure.code"))]);
    }
    line.trim_end().to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn remedy(check: &Value) -> &str {
    check["remedy"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plan_says_what_can_go_and_why_not() {
        let share = json!({"total": 100, "free": 90, "needed": 50, "left": 40});
        let unbounded = json!({"total": null, "free": null, "needed": 5, "left": null});
        let shown = plan(&json!({
            "ok": false, "movable": 1, "concurrency": 2, "bytes": 1024, "estimated_duration_s": 7,
            "servers": [
                {"position": 1, "name": "a", "ok": true, "running": false, "bytes": 1024, "checks": []},
                {"position": 2, "name": "b", "ok": false, "running": true, "checks": [
                    {"level": "error", "message": "It is full.", "remedy": "Empty it."},
                    {"level": "info", "message": "Fine.", "remedy": ""},
                ]},
            ],
            "targets": [{"name": "beta", "cluster_id": null, "memory_mb": share, "disk_mb": unbounded,
                "cpu_percent": unbounded, "allocations": share}],
        }));
        assert_eq!(
            shown,
            [
                format!("  1  a can go, offline, {}", units::bytes(1024)).as_str(),
                "  2  b cannot go, running",
                "       error   It is full. Empty it.",
                "node beta has",
                "  90 MiB memory free, 50 needed, 40 left",
                "  MiB disk without limit, 5 needed",
                "  % CPU without limit, 5 needed",
                "  90 addresses free, 50 needed, 40 left",
                format!("1 of 2 servers can go, {}, about 7 s with 2 at once", units::bytes(1024)).as_str(),
            ]
        );
    }

    #[test]
    fn sums_leave_out_what_there_is_none_of() {
        let counts = json!({"counts": {"total": 6, "completed": 4, "failed": 1, "waiting": 1, "running": 0}});
        assert_eq!(sums(&counts), "4 of 6 servers moved, 1 waiting, 1 failed");
    }
}
