//! `badger server`: game servers.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Map, Value, json};

use super::place::PlaceArgs;
use super::show::{Column, Named};
use super::transfer::StartArgs;
use super::{Client, console, transfer, user};
use crate::exit::Exit;
use crate::{output, units};

const LIST: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("STATUS", "status"),
    ("TRANSFER", "transfer_state"),
    ("PLACE", "node_id|cluster_id"),
    ("ADDRESS", "allocation"),
];

const SHOW: &[Column] = &[
    ("id", "id"),
    ("name", "name"),
    ("status", "status"),
    ("because", "install_error"),
    ("transfer", "transfer_state"),
    ("locked", "locked"),
    ("node", "node_id"),
    ("cluster", "cluster_id"),
    ("owner", "owner_id"),
    ("address", "allocation"),
    ("memory MB", "memory_limit"),
    ("disk MB", "disk_limit"),
    ("CPU %", "cpu_limit"),
    ("CPU m", "cpu_limit"),
    ("image", "docker_image"),
    ("startup", "startup"),
    ("attention", "attention"),
    ("created", "created_at"),
];

const NAMED: &[Named] = &[("node_id", "/admin/nodes"), ("cluster_id", "/admin/clusters")];

/// Millicores of one percent of a core: the unit of a CPU limit on a cluster.
const MILLICORES_PER_PERCENT: u64 = 10;

const CONSOLE_EXAMPLES: &str = "\
Examples:
  badger server console survival -n 20
  badger server console survival --follow           Ctrl-C ends it, not the server
  echo save-all | badger server console survival -f
  badger server console survival -f --json          one JSON object a line";

const POLL: Duration = Duration::from_millis(300);

/// Verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum ServerCommand {
    /// All servers
    List,
    /// One server
    Show(Which),
    /// Make a server from an egg
    Create(Box<CreateArgs>),
    /// Rename it, or give it to somebody
    Set {
        /// Name or id
        server: String,
        /// Its new name
        #[arg(long)]
        name: Option<String>,
        /// Whose it becomes: name or id of a user
        #[arg(long, value_name = "USER", conflicts_with = "no_owner")]
        owner: Option<String>,
        /// Make it nobody's
        #[arg(long)]
        no_owner: bool,
    },
    /// Start it
    Start(PowerArgs),
    /// Ask it to end, in the egg's way
    Stop(PowerArgs),
    /// Stop it and start it again
    Restart(PowerArgs),
    /// End it at once: what it has not saved is lost
    Kill(PowerArgs),
    /// Type a line on its console
    Command {
        /// Name or id
        server: String,
        /// The line
        #[arg(required = true, trailing_var_arg = true)]
        words: Vec<String>,
    },
    /// Show the last lines of its console, or follow it and type on it
    #[command(after_help = CONSOLE_EXAMPLES)]
    Console {
        /// Name or id
        server: String,
        /// How many lines
        #[arg(long, short = 'n', default_value_t = 100)]
        lines: u32,
        /// Go on until interrupted; lines of standard input are typed on it
        #[arg(long, short = 'f')]
        follow: bool,
    },
    /// Move it, or several, to another node or cluster
    Transfer(Box<StartArgs>),
    /// Remove it and its files
    Delete(Which),
}

/// Which server.
#[derive(Args, Debug)]
pub(crate) struct Which {
    /// Name or id
    server: String,
}

/// Which server, and whether to wait.
#[derive(Args, Debug)]
pub(crate) struct PowerArgs {
    /// Name or id
    server: String,
    /// Return when it is up, or has ended
    #[arg(long)]
    wait: bool,
}

/// What a new server is.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("where").required(true).args(["node", "cluster"]))]
pub(crate) struct CreateArgs {
    /// Name
    name: String,
    /// Name or id of the egg
    #[arg(long)]
    egg: String,
    /// Where it is made
    #[command(flatten)]
    place: PlaceArgs,
    /// Id of its address [default: one that is free]
    #[arg(long, value_name = "ID")]
    allocation: Option<String>,
    /// Memory; 0 does not limit
    #[arg(long, value_name = "SIZE", value_parser = units::parse_limit_mib, default_value = "1G")]
    memory: u64,
    /// Disk; 0 does not limit
    #[arg(long, value_name = "SIZE", value_parser = units::parse_limit_mib, default_value = "5G")]
    disk: u64,
    /// CPU, percent of one core; 0 does not limit
    #[arg(long, value_name = "PERCENT", default_value_t = 100)]
    cpu: u64,
    /// A variable of the egg; may be repeated
    #[arg(long = "env", short = 'e', value_name = "NAME=VALUE", value_parser = variable)]
    environment: Vec<(String, String)>,
    /// Container image [default: the egg's first]
    #[arg(long)]
    image: Option<String>,
    /// Whose it is: name or id of a user [default: nobody's]
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// Start it when it is installed
    #[arg(long)]
    start: bool,
    /// Return when it is installed, and up if it is started
    #[arg(long)]
    wait: bool,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it like NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs one.
pub(crate) fn run(command: ServerCommand, client: &Client) -> Result<Exit> {
    let find = |name: &str| client.resolve("/admin/servers", "server", name);
    match command {
        ServerCommand::List => client.show_list(&client.with_names(client.api.list("/admin/servers")?, NAMED), LIST),
        ServerCommand::Show(it) => {
            show(client, client.api.get(&format!("/admin/servers/{}", find(&it.server)?))?);
        }
        ServerCommand::Create(args) => create(*args, client)?,
        ServerCommand::Set { server, name, owner, no_owner } => {
            let mut body = Map::new();
            if let Some(name) = name {
                body.insert("name".to_owned(), name.into());
            }
            if let Some(owner) = owner {
                body.insert("owner_id".to_owned(), user::resolve(client, &owner)?.into());
            } else if no_owner {
                body.insert("owner_id".to_owned(), Value::Null);
            }
            show(client, client.api.patch(&format!("/admin/servers/{}", find(&server)?), &body.into())?);
        }
        ServerCommand::Start(args) => power(client, &args, "start", &["running"])?,
        ServerCommand::Stop(args) => power(client, &args, "stop", &["offline"])?,
        ServerCommand::Restart(args) => power(client, &args, "restart", &["running"])?,
        ServerCommand::Kill(args) => power(client, &args, "kill", &["offline", "crashed"])?,
        ServerCommand::Command { server, words } => {
            let path = format!("/servers/{}/command", find(&server)?);
            let answer = client.api.post(&path, &json!({"command": words.join(" ")}))?;
            if client.json {
                output::json(&answer);
            }
        }
        ServerCommand::Console { server, lines, follow: true } => {
            return console::follow(client, &find(&server)?, lines);
        }
        ServerCommand::Console { server, lines, .. } => console(client, &find(&server)?, lines)?,
        ServerCommand::Transfer(args) => return transfer::start(&args, client),
        ServerCommand::Delete(it) => {
            let answer = client.api.delete(&format!("/admin/servers/{}", find(&it.server)?))?;
            client.show_done(&answer, format!("Server {} is removed", it.server));
        }
    }
    Ok(Exit::Done)
}

fn create(args: CreateArgs, client: &Client) -> Result<()> {
    let environment: Map<String, Value> = args.environment.into_iter().map(|(k, v)| (k, v.into())).collect();
    let (field, place) = args.place.resolve(client)?.context("where is it to be made? Give --node or --cluster")?;
    let unit = if field == "cluster_id" { MILLICORES_PER_PERCENT } else { 1 };
    let mut body = json!({
        "name": args.name,
        "egg_id": client.resolve("/admin/eggs", "egg", &args.egg)?,
        field: place,
        "memory_limit": args.memory,
        "disk_limit": args.disk,
        "cpu_limit": args.cpu.saturating_mul(unit),
        "environment": environment,
        "start_on_completion": args.start,
    });
    for (field, value) in [("allocation_id", args.allocation), ("docker_image", args.image)] {
        if let Some(value) = value {
            body[field] = value.into();
        }
    }
    if let Some(owner) = args.owner {
        body["owner_id"] = user::resolve(client, &owner)?.into();
    }
    let mut server = client.api.post("/admin/servers", &body)?;
    if args.wait {
        let wanted: &[&str] = if args.start { &["running"] } else { &["offline"] };
        server = wait_for_status(client, &super::field(&server, "id"), wanted, Duration::from_mins(30))?;
    }
    show(client, server);
    Ok(())
}

fn show(client: &Client, server: Value) {
    let on_cluster = server["cluster_id"].is_string();
    let applies = |(name, path): &Column| match (*name, *path) {
        (_, "install_error") => server["install_error"].is_string(),
        (_, "node_id") | ("CPU %", _) => !on_cluster,
        (_, "cluster_id") | ("CPU m", _) => on_cluster,
        (_, "attention") => server["attention"].as_array().is_some_and(|list| !list.is_empty()),
        _ => true,
    };
    let fields: Vec<Column> = SHOW.iter().copied().filter(applies).collect();
    for server in client.with_names(vec![server], NAMED) {
        client.show_one(&server, &fields);
    }
}

fn power(client: &Client, args: &PowerArgs, signal: &str, wanted: &[&str]) -> Result<()> {
    let id = client.resolve("/admin/servers", "server", &args.server)?;
    let mut server = client.api.post(&format!("/servers/{id}/power"), &json!({"signal": signal}))?;
    if args.wait {
        server = wait_for_status(client, &id, wanted, Duration::from_mins(10))?;
    }
    client.show_done(&server, format!("{}: {}", args.server, super::field(&server, "status")));
    Ok(())
}

/// Polls a server until its status is one of `wanted`.
pub(crate) fn wait_for_status(client: &Client, id: &str, wanted: &[&str], patience: Duration) -> Result<Value> {
    let deadline = Instant::now() + patience;
    loop {
        let server = client.api.get(&format!("/admin/servers/{id}"))?;
        let status = server["status"].as_str().context("the panel's server has no status")?;
        if wanted.contains(&status) {
            return Ok(server);
        }
        if let Some(error) = server["install_error"].as_str().filter(|_| status == "install_failed") {
            bail!("the server could not be installed: {error}; `badger server delete {id}` clears it away");
        }
        if matches!(status, "install_failed" | "crashed") {
            bail!("the server is `{status}`; `badger server console {id}` shows its last lines");
        }
        if Instant::now() >= deadline {
            bail!("the server is still `{status}` after {}", units::duration(patience));
        }
        std::thread::sleep(POLL);
    }
}

fn console(client: &Client, id: &str, lines: u32) -> Result<()> {
    let answer = client.api.get(&format!("/servers/{id}/console?lines={lines}"))?;
    if client.json {
        output::json(&answer);
        return Ok(());
    }
    for line in answer["lines"].as_array().into_iter().flatten() {
        output::line(line.as_str().unwrap_or_default());
    }
    Ok(())
}
