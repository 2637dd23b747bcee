//! `badger transfer`, and the start of one: `badger server transfer`.

use anyhow::{Context, Result};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::place::TargetArgs;
use super::preflight::{self, PreflightArgs};
use super::show::{Column, Named};
use super::watch::{self, Watched};
use super::{Client, field};
use crate::exit::Exit;
use crate::signals::Stop;
use crate::{output, units};

const LIST: &[Column] = &[
    ("ID", "id"),
    ("SERVER", "server_id"),
    ("STATE", "state"),
    ("STAGE", "stage"),
    ("FROM", "source.node_id|source.cluster_id"),
    ("TO", "target.node_id|target.cluster_id"),
    ("PATH", "path.kind"),
    ("ADDRESS", "target.allocation"),
    ("FREEZE MS", "freeze_ms"),
    ("CREATED", "created_at"),
];

const NAMED: &[Named] = &[
    ("server_id", "/admin/servers"),
    ("source.node_id", "/admin/nodes"),
    ("target.node_id", "/admin/nodes"),
    ("source.cluster_id", "/admin/clusters"),
    ("target.cluster_id", "/admin/clusters"),
];

/// Verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum TransferCommand {
    /// Move a server; the same as `badger server transfer`
    Start(Box<StartArgs>),
    /// Whether and how a server could be moved, to one place or to each; starts nothing
    Preflight(PreflightArgs),
    /// All transfers, newest first
    List,
    /// One transfer
    Show {
        /// Id
        id: String,
    },
    /// Follow one until it is over
    Watch {
        /// Id
        id: String,
    },
    /// Call one off: the server stays where it is, as it is
    Cancel {
        /// Id
        id: String,
        /// Return when everything is taken back
        #[arg(long)]
        wait: bool,
    },
    /// Destroy the copy that the source keeps of a server that has moved
    Free {
        /// Id
        id: String,
    },
}

/// A new transfer.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("where").required(true).args(["to", "to_node", "to_cluster"]))]
pub(crate) struct StartArgs {
    /// Name or id of the server
    server: String,
    /// Where to
    #[command(flatten)]
    target: TargetArgs,
    /// Id of its address there [default: one that is free, the same port if possible]
    #[arg(long, value_name = "ID")]
    allocation: Option<String>,
    /// `live` copies while it runs, `cold` stops it first
    #[arg(long, value_enum)]
    mode: Option<ModeName>,
    /// Seconds that players may be expected to wait
    #[arg(long, value_name = "SECONDS")]
    max_freeze: Option<u64>,
    /// At most so many bytes per second
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    bandwidth: Option<u64>,
    /// Seconds for which the source keeps its copy afterwards
    #[arg(long, value_name = "SECONDS")]
    retain: Option<u64>,
    /// Whether to start it on the target
    #[arg(long, value_enum)]
    start: Option<StartName>,
    /// Follow it to its end
    #[arg(long)]
    wait: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeName {
    Live,
    Cold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StartName {
    AsBefore,
    Yes,
    No,
}

/// Runs one.
pub(crate) fn run(command: TransferCommand, client: &Client) -> Result<Exit> {
    match command {
        TransferCommand::Start(args) => return start(&args, client),
        TransferCommand::Preflight(args) => return preflight::run(&args, client),
        TransferCommand::List => {
            client.show_list(&client.with_names(client.api.list("/admin/transfers")?, NAMED), LIST);
        }
        TransferCommand::Show { id } => show(client, &client.api.get(&format!("/admin/transfers/{id}"))?),
        TransferCommand::Watch { id } => return follow(client, &id),
        TransferCommand::Cancel { id, wait } => {
            let transfer = client.api.post(&format!("/admin/transfers/{id}/cancel"), &json!({}))?;
            if wait {
                // It is over when all is taken back; that it was rolled back is what was asked for.
                let exit = follow(client, &id)?;
                return Ok(if exit == Exit::RolledBack { Exit::Done } else { exit });
            }
            client.show_done(&transfer, format!("Transfer {id}: {}", field(&transfer, "state")));
        }
        TransferCommand::Free { id } => {
            let answer = client.api.delete(&format!("/admin/transfers/{id}/retained"))?;
            client.show_done(&answer, format!("The retained copy of transfer {id} is destroyed"));
        }
    }
    Ok(Exit::Done)
}

/// `badger server transfer`.
pub(crate) fn start(args: &StartArgs, client: &Client) -> Result<Exit> {
    let server = client.resolve("/admin/servers", "server", &args.server)?;
    let target = args.target.resolve(client)?.context("where to? Give --to, --to-node or --to-cluster")?;
    let body = start_body(args, target);
    let transfer = client.api.post(&format!("/admin/servers/{server}/transfer"), &body)?;
    let id = transfer["id"].as_str().context("the panel's transfer has no id")?;
    if args.wait {
        return follow(client, id);
    }
    client.show_done(&transfer, format!("Transfer {id} is accepted; `badger transfer watch {id}` follows it"));
    Ok(Exit::Done)
}

fn start_body(args: &StartArgs, (field, target): (&str, String)) -> Value {
    let name = |value: &dyn ValueEnumName| Value::from(value.name());
    let options = [
        ("allocation_id", args.allocation.clone().map(Value::from)),
        ("mode", args.mode.map(|mode| name(&mode))),
        ("max_freeze_s", args.max_freeze.map(Value::from)),
        ("bandwidth_limit", args.bandwidth.map(Value::from)),
        ("retain_source_for_s", args.retain.map(Value::from)),
        ("start_after", args.start.map(|start| name(&start))),
    ];
    let mut body = json!({field: target});
    for (option, value) in options {
        if let Some(value) = value {
            body[option] = value;
        }
    }
    body
}

/// The API's word for a value of the command line.
trait ValueEnumName {
    fn name(&self) -> String;
}

impl<T: ValueEnum> ValueEnumName for T {
    fn name(&self) -> String {
        self.to_possible_value().map(|value| value.get_name().replace('-', "_")).unwrap_or_default()
    }
}

fn follow(client: &Client, id: &str) -> Result<Exit> {
    let stop = Stop::on_signals()?;
    let mut view = watch::view(client.json);
    match watch::follow(&client.api, id, &stop, &mut *view)? {
        Watched::Interrupted => {
            output::note(format!("The transfer goes on; `badger transfer watch {id}` follows it again"));
            Ok(Exit::Interrupted)
        }
        Watched::Over(transfer) => {
            show(client, &transfer);
            Ok(exit_of(&transfer))
        }
    }
}

/// What the exit code says of a transfer that is over.
pub(crate) fn exit_of(transfer: &Value) -> Exit {
    match transfer["state"].as_str() {
        Some("completed") => Exit::Done,
        Some("rolled_back") => Exit::RolledBack,
        Some("stuck") => Exit::Stuck,
        _ => Exit::Failed,
    }
}

fn show(client: &Client, transfer: &Value) {
    if client.json {
        output::json(transfer);
        return;
    }
    for (name, text) in facts(transfer) {
        output::line(format!("{name:24}{text}"));
    }
}

/// What people want to know of a transfer, one fact a line.
pub(crate) fn facts(transfer: &Value) -> Vec<(&'static str, String)> {
    let bytes = |path: &str| at(transfer, path).as_u64().map(units::bytes);
    let millis = |path: &str| at(transfer, path).as_u64().map(units::millis);
    let text = |path: &str| at(transfer, path).as_str().map(str::to_owned);
    let allocation = |side: &str| Some(field(transfer, &format!("{side}.allocation"))).filter(|a| a != "-");
    let facts = [
        ("transfer", text("id")),
        ("state", text("state")),
        ("failure", text("failure.message").map(|m| format!("{m} [{}]", field(transfer, "failure.code")))),
        ("failed step", text("failure.step")),
        ("data path", text("path.kind")),
        ("freeze", millis("freeze_ms")),
        ("boot on target", millis("boot_ms")),
        ("copied while running", bytes("receipt.bytes_live")),
        ("copied while frozen", bytes("receipt.bytes_frozen")),
        ("on the wire", bytes("receipt.bytes_wire")),
        ("tree root, source", text("roots.source").or_else(|| text("receipt.root_source"))),
        ("tree root, target", text("roots.target").or_else(|| text("receipt.root_target"))),
        ("old address", allocation("source")),
        ("new address", allocation("target")),
        ("source copy kept until", text("retained_until")),
    ];
    facts.into_iter().filter_map(|(name, fact)| fact.map(|fact| (name, fact))).collect()
}

fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, name| &value[name])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_the_ends_of_a_transfer_apart() {
        for (state, exit) in [
            ("completed", Exit::Done),
            ("rolled_back", Exit::RolledBack),
            ("stuck", Exit::Stuck),
            ("running", Exit::Failed),
        ] {
            assert_eq!(exit_of(&json!({"state": state})), exit);
        }
    }

    #[test]
    fn facts_that_are_not_known_are_not_shown() {
        let facts = facts(&json!({
            "id": "t", "state": "rolled_back", "freeze_ms": null, "roots": {"source": null, "target": null},
            "failure": {"code": "cancelled", "message": "Cancelled.", "step": "precopy"},
            "source": {"allocation": {"ip_address": "10.0.0.5", "port": 25565}}, "target": {"allocation": {}},
        }));
        let names: Vec<_> = facts.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["transfer", "state", "failure", "failed step", "old address"]);
        assert_eq!(facts[2].1, "Cancelled. [cancelled]");
    }

    #[test]
    fn only_options_that_were_given_are_sent() {
        let args = StartArgs {
            server: "s".into(),
            target: TargetArgs::default(),
            allocation: None,
            mode: Some(ModeName::Cold),
            max_freeze: None,
            bandwidth: Some(5),
            retain: None,
            start: Some(StartName::AsBefore),
            wait: false,
        };
        let body = start_body(&args, ("target_cluster_id", "id".into()));
        assert_eq!(
            body,
            json!({"target_cluster_id": "id", "mode": "cold", "bandwidth_limit": 5, "start_after": "as_before"})
        );
    }
}
