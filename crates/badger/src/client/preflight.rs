//! `badger transfer preflight`: what would happen if a server were moved.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::place::TargetArgs;
use super::{Client, field};
use crate::exit::Exit;
use crate::{output, units};

/// Which server, and where to.
#[derive(Args, Debug)]
pub(crate) struct PreflightArgs {
    /// Name or id of the server
    server: String,
    /// Where to [default: every node and cluster]
    #[command(flatten)]
    target: TargetArgs,
}

/// Asks, and shows what was found. It fails if there is no place where the server could go now.
pub(crate) fn run(args: &PreflightArgs, client: &Client) -> Result<Exit> {
    let server = client.resolve("/admin/servers", "server", &args.server)?;
    let mut body = json!({});
    if let Some((field, target)) = args.target.resolve(client)? {
        body[field] = target.into();
    }
    let found = client.api.post(&format!("/admin/servers/{server}/transfer/preflight"), &body)?;
    let targets = found.as_array().map(Vec::as_slice).unwrap_or_default();
    if client.json {
        output::json(&found);
    } else if targets.is_empty() {
        output::line("There is no other node and no cluster; `badger node create` or `badger cluster create` adds one");
    } else {
        targets.iter().flat_map(lines).for_each(output::line);
    }
    let possible = targets.iter().any(|target| target["ok"] == true);
    Ok(if possible { Exit::Done } else { Exit::Failed })
}

/// A target in a line, and what was found in one line each.
fn lines(target: &Value) -> Vec<String> {
    let kind = if target["cluster_id"].is_string() { "cluster" } else { "node" };
    let verdict = if target["ok"] == true { "can take it" } else { "cannot take it" };
    let mut facts = vec![format!("{kind} {} {verdict}", field(target, "name"))];
    let number = |name: &str| target[name].as_u64();
    facts.extend(number("bytes").map(units::bytes));
    facts.extend(number("files").map(|files| format!("{files} files")));
    facts.extend(number("estimated_duration_s").map(|seconds| format!("about {seconds} s")));
    facts.extend(target["estimated_freeze_s"].as_f64().map(|seconds| format!("freeze about {seconds:.1} s")));
    facts.extend(target["path"].as_str().map(|path| format!("{path} path")));
    facts.extend(number("bandwidth").map(|rate| format!("{}/s", units::bytes(rate))));
    let mut lines = vec![facts.join(", ")];
    for check in target["checks"].as_array().into_iter().flatten() {
        lines.push(format!("  {:8}{}", field(check, "level"), told(check)));
    }
    lines
}

/// Some messages are whole sentences, and some are the beginning of one.
fn told(check: &Value) -> String {
    let (message, remedy) = (field(check, "message"), check["remedy"].as_str().unwrap_or_default());
    match remedy {
        "" => message,
        remedy if message.ends_with('.') => format!("{message} {remedy}"),
        remedy => format!("{message}; {remedy}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_shown_and_what_is_not_is_left_out() {
        let shown = lines(&json!({
            "name": "eu", "cluster_id": "c", "node_id": null, "ok": false, "bytes": 1024, "files": 3,
            "estimated_duration_s": null, "estimated_freeze_s": 0.84, "path": null, "bandwidth": null,
            "checks": [
                {"code": "x", "level": "error", "message": "It is full.", "remedy": "Empty it."},
                {"code": "y", "level": "info", "message": "Good to know.", "remedy": ""},
                {"code": "z", "level": "warning", "message": "no node has its image", "remedy": "load it"},
            ],
        }));
        let first = format!("cluster eu cannot take it, {}, 3 files, freeze about 0.8 s", units::bytes(1024));
        let all = [
            first.as_str(),
            "  error   It is full. Empty it.",
            "  info    Good to know.",
            "  warning no node has its image; load it",
        ];
        assert_eq!(shown, all);
    }
}
