//! `badger transfer`, and the start of one: `badger server transfer`.

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::place::TargetArgs;
use super::preflight::{self, PreflightArgs};
use super::show::{Column, Named};
use super::watch::{self, Watched};
use super::{Client, evacuate, field};
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
    /// Hold one before the server is stopped
    Pause {
        /// Id
        id: String,
    },
    /// Let one that is paused go on
    Resume {
        /// Id
        id: String,
    },
    /// Try one again that was rolled back or is stuck
    Retry {
        /// Id
        id: String,
        /// Follow it to its end
        #[arg(long)]
        wait: bool,
    },
    /// Move a server back with the copy that its source keeps: only what changed since is sent
    Undo {
        /// Id of the transfer that moved it
        id: String,
        /// Follow it to its end
        #[arg(long)]
        wait: bool,
    },
    /// Change the limits of one while it runs
    Limit(LimitArgs),
    /// Destroy the copy that the source keeps of a server that has moved
    Free {
        /// Id
        id: String,
    },
}

/// A new transfer, or one of each of several servers.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("where").required(true).args(["to", "to_node", "to_cluster"]))]
#[command(after_help = START_EXAMPLES)]
pub(crate) struct StartArgs {
    /// Name or id of the server; of several, each is moved when one before it is up and audited
    #[arg(required = true, value_name = "SERVER")]
    servers: Vec<String>,
    /// Where to
    #[command(flatten)]
    target: TargetArgs,
    /// Id of its address there [default: one that is free, the same port if possible]
    #[arg(long, value_name = "ID")]
    allocation: Option<String>,
    /// How
    #[command(flatten)]
    options: OptionArgs,
    /// Of several: how many are on their way at once [default: 2]
    #[arg(long, value_name = "NUMBER")]
    at_once: Option<u64>,
    /// Follow it to its end
    #[arg(long)]
    wait: bool,
}

const START_EXAMPLES: &str = "\
Examples:
  badger server transfer survival --to beta --wait
  badger server transfer survival creative lobby --to-cluster eu --at-once 3 --wait
  badger server transfer survival --to beta --bandwidth 50M --max-freeze 2";

/// How a server is moved.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct OptionArgs {
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
    /// Make a backup first; if that fails, nothing is moved
    #[arg(long)]
    backup_first: bool,
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
        TransferCommand::Pause { id } => operate(client, &id, "pause")?,
        TransferCommand::Resume { id } => operate(client, &id, "resume")?,
        TransferCommand::Retry { id, wait } => return begin_again(client, &id, "retry", wait),
        TransferCommand::Undo { id, wait } => return begin_again(client, &id, "undo", wait),
        TransferCommand::Limit(args) => {
            let transfer = client.api.patch(&format!("/admin/transfers/{}", args.id), &args.body()?)?;
            client.show_done(&transfer, format!("Transfer {} has new limits", args.id));
        }
        TransferCommand::Free { id } => {
            let answer = client.api.delete(&format!("/admin/transfers/{id}/retained"))?;
            client.show_done(&answer, format!("The retained copy of transfer {id} is destroyed"));
        }
    }
    Ok(Exit::Done)
}

/// What is to change.
#[derive(Args, Debug)]
pub(crate) struct LimitArgs {
    /// Id
    id: String,
    /// At most so many bytes per second; `none` for as fast as it goes
    #[arg(long, value_name = "SIZE|none", value_parser = size_or_none)]
    bandwidth: Option<Limit>,
    /// Seconds that players may be expected to wait
    #[arg(long, value_name = "SECONDS")]
    max_freeze: Option<u64>,
    /// Do not stop the server before this time, for example `2027-01-31T03:00:00Z`
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
}

/// A limit, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit(Option<u64>);

fn size_or_none(text: &str) -> Result<Limit, String> {
    if text == "none" { Ok(Limit(None)) } else { units::parse_size(text).map(|size| Limit(Some(size))) }
}

impl LimitArgs {
    fn body(&self) -> Result<Value> {
        let fields = [
            ("bandwidth_limit", self.bandwidth.map(|Limit(limit)| Value::from(limit))),
            ("max_freeze_s", self.max_freeze.map(Value::from)),
            ("not_before", self.not_before.clone().map(Value::from)),
        ];
        let given = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let body: serde_json::Map<_, _> = given.collect();
        if body.is_empty() {
            bail!("what is to change? Give --bandwidth, --max-freeze or --not-before");
        }
        Ok(body.into())
    }
}

fn operate(client: &Client, id: &str, verb: &str) -> Result<()> {
    let transfer = client.api.post(&format!("/admin/transfers/{id}/{verb}"), &json!({}))?;
    client.show_done(&transfer, format!("Transfer {id}: {}", field(&transfer, "state")));
    Ok(())
}

/// Something that is, or may be, a transfer of its own.
fn begin_again(client: &Client, id: &str, verb: &str, wait: bool) -> Result<Exit> {
    let transfer = client.api.post(&format!("/admin/transfers/{id}/{verb}"), &json!({}))?;
    let new = transfer["id"].as_str().unwrap_or(id);
    if wait {
        return follow(client, new);
    }
    client.show_done(&transfer, format!("Transfer {new} is accepted; `badger transfer watch {new}` follows it"));
    Ok(Exit::Done)
}

/// `badger server transfer`.
pub(crate) fn start(args: &StartArgs, client: &Client) -> Result<Exit> {
    let [server] = &args.servers[..] else { return start_several(args, client) };
    if args.at_once.is_some() {
        bail!("--at-once is for several servers");
    }
    let server = client.resolve("/admin/servers", "server", server)?;
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

fn start_several(args: &StartArgs, client: &Client) -> Result<Exit> {
    if args.allocation.is_some() {
        bail!("--allocation is for one server: of several, each gets one that is free");
    }
    let start = evacuate::Start {
        from: evacuate::Which::Servers(&args.servers),
        target: &args.target,
        options: &args.options,
        at_once: args.at_once,
        no_cordon: false,
    };
    evacuate::start(&start, args.wait, client)
}

fn start_body(args: &StartArgs, (field, target): (&str, String)) -> Value {
    let mut body = args.options.body();
    body[field] = target.into();
    if let Some(allocation) = &args.allocation {
        body["allocation_id"] = allocation.as_str().into();
    }
    body
}

impl OptionArgs {
    /// Only what was given.
    pub(crate) fn body(&self) -> Value {
        let name = |value: &dyn ValueEnumName| Value::from(value.name());
        let options = [
            ("mode", self.mode.map(|mode| name(&mode))),
            ("max_freeze_s", self.max_freeze.map(Value::from)),
            ("bandwidth_limit", self.bandwidth.map(Value::from)),
            ("retain_source_for_s", self.retain.map(Value::from)),
            ("start_after", self.start.map(|start| name(&start))),
            ("backup_first", self.backup_first.then_some(Value::from(true))),
        ];
        let given = options.into_iter().filter_map(|(option, value)| Some((option.to_owned(), value?)));
        Value::Object(given.collect())
    }
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
        let options = OptionArgs {
            mode: Some(ModeName::Cold),
            bandwidth: Some(5),
            start: Some(StartName::AsBefore),
            ..OptionArgs::default()
        };
        let (servers, target) = (vec!["s".into()], TargetArgs::default());
        let args = StartArgs { servers, target, allocation: None, options, at_once: None, wait: false };
        let body = start_body(&args, ("target_cluster_id", "id".into()));
        assert_eq!(
            body,
            json!({"target_cluster_id": "id", "mode": "cold", "bandwidth_limit": 5, "start_after": "as_before"})
        );
    }
}
