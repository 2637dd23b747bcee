//! `badger evacuate`: several servers at once, a few at a time. Also behind `badger server transfer A B C`,
//! `badger node evacuate` and `badger cluster evacuate`.

mod show;
mod watch;

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::place::TargetArgs;
use super::show::{Column, Named};
use super::transfer::OptionArgs;
use super::{Client, field};
use crate::exit::Exit;
use crate::output;

const LIST: &[Column] = &[
    ("ID", "id"),
    ("STATE", "state"),
    ("FROM", "node_id|cluster_id"),
    ("SERVERS", "counts.total"),
    ("MOVED", "counts.completed"),
    ("FAILED", "counts.failed"),
    ("ON THEIR WAY", "counts.running"),
    ("WAITING", "counts.waiting"),
    ("CREATED", "created_at"),
];

const NAMED: &[Named] = &[("node_id", "/admin/nodes"), ("cluster_id", "/admin/clusters")];

const EXAMPLES: &str = "\
Examples:
  badger evacuate plan --from alpha --to beta           what would happen: sizes, durations, what fits and what does not
  badger evacuate start --from alpha --to beta --wait   empties alpha, two servers at a time
  badger evacuate start survival lobby --to-cluster eu  these two
  badger evacuate retry 0198a7b2-0000-7000-8000-000000000001

Exit codes with --wait, and of watch: 0 all servers were moved, 5 some were not.";

/// Verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum EvacuateCommand {
    /// What would happen; starts nothing
    Plan(Box<PlanArgs>),
    /// Move servers one after the other
    Start(Box<StartArgs>),
    /// All evacuations, newest first
    List,
    /// One evacuation with its servers: the report, once it is over
    Show {
        /// Id
        id: String,
    },
    /// Follow one until it is over
    Watch {
        /// Id
        id: String,
    },
    /// Start no new ones; those on their way go on
    Pause {
        /// Id
        id: String,
    },
    /// Go on
    Resume {
        /// Id
        id: String,
    },
    /// Let those that failed have another turn
    Retry {
        /// Id
        id: String,
        /// Follow it to its end
        #[arg(long)]
        wait: bool,
    },
    /// Call it off: servers whose turn has not come stay where they are
    Cancel {
        /// Id
        id: String,
        /// What becomes of those that are on their way
        #[arg(long, value_enum, default_value_t = Running::Finish)]
        running: Running,
        /// Return when nothing is on its way any more
        #[arg(long)]
        wait: bool,
    },
}

/// What becomes of servers that are on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Running {
    /// They come to their end.
    Finish,
    /// They are cancelled as far as they still can be.
    Cancel,
}

/// Which servers go where, and how.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").required(true).args(["servers", "from"]))]
#[command(group = ArgGroup::new("where").required(true).args(["to", "to_node", "to_cluster"]))]
#[command(after_help = EXAMPLES)]
pub(crate) struct PlanArgs {
    /// Names or ids of the servers
    #[arg(value_name = "SERVER")]
    servers: Vec<String>,
    /// All servers of this node or cluster
    #[arg(long, value_name = "PLACE")]
    from: Option<String>,
    #[command(flatten)]
    how: HowArgs,
}

/// The same, and whether to wait.
#[derive(Args, Debug)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Follow it to its end
    #[arg(long)]
    wait: bool,
}

/// Where to, and how.
#[derive(Args, Debug)]
pub(crate) struct HowArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    options: OptionArgs,
    /// How many are on their way at once [default: 2]
    #[arg(long, value_name = "NUMBER")]
    at_once: Option<u64>,
    /// Let the node or cluster that is emptied take new servers meanwhile
    #[arg(long)]
    no_cordon: bool,
}

/// All servers of one place: `badger node evacuate`, `badger cluster evacuate`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("where").required(true).args(["to", "to_node", "to_cluster"]))]
#[command(after_help = EXAMPLES)]
pub(crate) struct PlaceArgs {
    /// Name or id
    place: String,
    #[command(flatten)]
    how: HowArgs,
    /// Only show what would happen
    #[arg(long, conflicts_with = "wait")]
    plan: bool,
    /// Follow it to its end
    #[arg(long)]
    wait: bool,
}

/// Which servers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    /// These.
    Servers(&'a [String]),
    /// All of a place of either kind.
    Place(&'a str),
    /// All of the node or cluster in `field` (`node_id` or `cluster_id`) with this id.
    Known(&'static str, &'a str),
}

/// Everything that an evacuation needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start<'a> {
    pub(crate) from: Which<'a>,
    pub(crate) target: &'a TargetArgs,
    pub(crate) options: &'a OptionArgs,
    pub(crate) at_once: Option<u64>,
    pub(crate) no_cordon: bool,
}

/// Runs one.
pub(crate) fn run(command: EvacuateCommand, client: &Client) -> Result<Exit> {
    match command {
        EvacuateCommand::Plan(args) => return plan(&args.start(), client),
        EvacuateCommand::Start(args) => return start(&args.plan.start(), args.wait, client),
        EvacuateCommand::List => {
            client.show_list(&client.with_names(client.api.list("/admin/evacuations")?, NAMED), LIST);
        }
        EvacuateCommand::Show { id } => show::report(client, &client.api.get(&at(&id))?),
        EvacuateCommand::Watch { id } => return watch::follow(client, &id),
        EvacuateCommand::Pause { id } => turn(client, &id, "pause")?,
        EvacuateCommand::Resume { id } => turn(client, &id, "resume")?,
        EvacuateCommand::Retry { id, wait } if wait => {
            client.api.post(&format!("{}/retry", at(&id)), &json!({}))?;
            return watch::follow(client, &id);
        }
        EvacuateCommand::Retry { id, .. } => turn(client, &id, "retry")?,
        EvacuateCommand::Cancel { id, running, wait } => {
            let word = if running == Running::Cancel { "cancel" } else { "finish" };
            let evacuation = client.api.post(&format!("{}/cancel", at(&id)), &json!({"running": word}))?;
            if wait {
                // Called off is what was asked for.
                let exit = watch::follow(client, &id)?;
                return Ok(if exit == Exit::NotAll { Exit::Done } else { exit });
            }
            told(client, &id, &evacuation);
        }
    }
    Ok(Exit::Done)
}

/// `badger node evacuate` (`field` is `node_id`) and `badger cluster evacuate`.
pub(crate) fn place(field: &'static str, args: &PlaceArgs, client: &Client) -> Result<Exit> {
    let (list, noun) = if field == "node_id" { ("/admin/nodes", "node") } else { ("/admin/clusters", "cluster") };
    let id = client.resolve(list, noun, &args.place)?;
    let start = args.how.start(Which::Known(field, &id));
    if args.plan { plan(&start, client) } else { self::start(&start, args.wait, client) }
}

impl PlanArgs {
    fn start(&self) -> Start<'_> {
        self.how.start(self.from.as_deref().map_or(Which::Servers(&self.servers), Which::Place))
    }
}

impl HowArgs {
    fn start<'a>(&'a self, from: Which<'a>) -> Start<'a> {
        let Self { target, options, at_once, no_cordon } = self;
        Start { from, target, options, at_once: *at_once, no_cordon: *no_cordon }
    }
}

fn at(id: &str) -> String {
    format!("/admin/evacuations/{id}")
}

fn turn(client: &Client, id: &str, verb: &str) -> Result<()> {
    let evacuation = client.api.post(&format!("{}/{verb}", at(id)), &json!({}))?;
    told(client, id, &evacuation);
    Ok(())
}

fn told(client: &Client, id: &str, evacuation: &Value) {
    client.show_done(evacuation, format!("Evacuation {id}: {}", field(evacuation, "state")));
}

/// Shows what would happen. It fails if some server could not be moved.
fn plan(start: &Start<'_>, client: &Client) -> Result<Exit> {
    let mut body = start.body(client)?;
    body["dry_run"] = true.into();
    let plan = client.api.post("/admin/evacuations", &body)?;
    if client.json {
        output::json(&plan);
    } else {
        show::plan(&plan).iter().for_each(output::line);
    }
    Ok(if plan["ok"] == true { Exit::Done } else { Exit::NotAll })
}

/// Starts it, and follows it if `wait`.
pub(crate) fn start(start: &Start<'_>, wait: bool, client: &Client) -> Result<Exit> {
    let evacuation = client.api.post("/admin/evacuations", &start.body(client)?)?;
    let id = evacuation["id"].as_str().context("the panel's evacuation has no id")?;
    if wait {
        return watch::follow(client, id);
    }
    let servers = field(&evacuation, "counts.total");
    let text = format!("Evacuation {id} of {servers} servers is accepted; `badger evacuate watch {id}` follows it");
    client.show_done(&evacuation, text);
    Ok(Exit::Done)
}

impl Start<'_> {
    fn body(&self, client: &Client) -> Result<Value> {
        let (target_field, target) =
            self.target.resolve(client)?.context("where to? Give --to, --to-node or --to-cluster")?;
        let mut body = json!({target_field: target});
        match self.from {
            Which::Servers(names) => {
                let id = |name: &String| client.resolve("/admin/servers", "server", name);
                body["server_ids"] = names.iter().map(id).collect::<Result<Vec<_>>>()?.into();
            }
            Which::Place(name) => {
                let (field, id) = TargetArgs::named(name).resolve(client)?.context("which place?")?;
                body[field.trim_start_matches("target_")] = id.into();
            }
            Which::Known(field, id) => body[field] = id.into(),
        }
        if let Some(at_once) = self.at_once {
            body["concurrency"] = at_once.into();
        }
        if self.no_cordon {
            if matches!(self.from, Which::Servers(_)) {
                bail!("--no-cordon is for a node or a cluster that is emptied");
            }
            body["cordon"] = false.into();
        }
        let options = self.options.body();
        if options.as_object().is_some_and(|options| !options.is_empty()) {
            body["options"] = options;
        }
        Ok(body)
    }
}
