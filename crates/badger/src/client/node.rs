//! `badger node`: machines that run servers.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::show::Column;
use super::{Client, evacuate};
use crate::exit::Exit;
use crate::{output, units};

const LIST: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("STATUS", "status"),
    ("RUNTIME", "runtime"),
    ("MEMORY MB", "memory_mb"),
    ("DISK MB", "disk_mb"),
    ("CPU %", "cpu_percent"),
    ("LAST SEEN", "last_seen_at"),
];

const SHOW: &[Column] = &[
    ("id", "id"),
    ("name", "name"),
    ("status", "status"),
    ("runtime", "runtime"),
    ("data address", "data_address"),
    ("last seen", "last_seen_at"),
    ("memory total", "capacity.memory_mb.total"),
    ("memory free", "capacity.memory_mb.free"),
    ("disk total", "capacity.disk_mb.total"),
    ("disk free", "capacity.disk_mb.free"),
    ("CPU total", "capacity.cpu_percent.total"),
    ("CPU free", "capacity.cpu_percent.free"),
    ("servers", "capacity.servers"),
];

/// Of what a node or a cluster has.
pub(super) const CAPACITY: &[Column] = &[
    ("servers", "servers"),
    ("transfers on their way here", "coming"),
    ("memory MB needed", "needed.memory_mb"),
    ("memory MB given away", "memory_mb.allocated"),
    ("memory MB free", "memory_mb.free"),
    ("disk MB needed", "needed.disk_mb"),
    ("disk MB given away", "disk_mb.allocated"),
    ("disk MB free", "disk_mb.free"),
    ("CPU % needed", "needed.cpu_percent"),
    ("CPU % given away", "cpu_percent.allocated"),
    ("CPU % free", "cpu_percent.free"),
    ("addresses needed", "needed.allocations"),
    ("addresses free", "allocations.free"),
    ("memory MB of the machine", "measured.memory_total_mb"),
    ("memory MB available there", "measured.memory_available_mb"),
    ("disk bytes free there", "measured.disk_free_bytes"),
    ("load there, times 100", "measured.load_1m_percent"),
];

/// Verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum NodeCommand {
    /// All nodes
    List,
    /// One node, with what it has left
    Show {
        /// Name or id
        node: String,
    },
    /// Add a node; prints the command to run on that machine
    Create(CreateArgs),
    /// A new enrolment token, for a machine that is not enrolled yet or lost its identity
    #[command(alias = "enrol")]
    Token {
        /// Name or id
        node: String,
    },
    /// Keep new servers and transfers away from it; what it has runs on
    Cordon {
        /// Name or id
        node: String,
    },
    /// Let it take new servers again
    Uncordon {
        /// Name or id
        node: String,
    },
    /// What it has left, what its servers need, and what its machine measures
    Capacity {
        /// Name or id
        node: String,
    },
    /// Move all its servers elsewhere, a few at a time
    Evacuate(Box<evacuate::PlaceArgs>),
    /// Remove a node that has no servers
    Delete {
        /// Name or id
        node: String,
    },
}

/// What a new node may give to servers.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Name
    name: String,
    /// Memory for servers; 0 does not limit
    #[arg(long, value_name = "SIZE", value_parser = units::parse_limit_mib)]
    memory: u64,
    /// Disk for servers; 0 does not limit
    #[arg(long, value_name = "SIZE", value_parser = units::parse_limit_mib)]
    disk: u64,
    /// CPU for servers, percent of one core; 0 does not limit
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    cpu: u64,
}

/// Runs one.
pub(crate) fn run(command: NodeCommand, client: &Client) -> Result<Exit> {
    let find = |name: &str| client.resolve("/admin/nodes", "node", name);
    match command {
        NodeCommand::List => client.show_list(&client.api.list("/admin/nodes")?, LIST),
        NodeCommand::Show { node } => {
            let id = find(&node)?;
            let mut shown = client.api.get(&format!("/admin/nodes/{id}"))?;
            shown["capacity"] = client.api.get(&format!("/admin/nodes/{id}/capacity"))?;
            client.show_one(&shown, SHOW);
        }
        NodeCommand::Create(args) => {
            let body = json!({
                "name": args.name, "memory_mb": args.memory, "disk_mb": args.disk, "cpu_percent": args.cpu,
            });
            show_enrolment(client, &client.api.post("/admin/nodes", &body)?);
        }
        NodeCommand::Token { node } => {
            let path = format!("/admin/nodes/{}/enrolment-token", find(&node)?);
            show_enrolment(client, &client.api.post(&path, &json!({}))?);
        }
        NodeCommand::Cordon { node } => cordon(client, &find(&node)?, "cordon")?,
        NodeCommand::Uncordon { node } => cordon(client, &find(&node)?, "uncordon")?,
        NodeCommand::Capacity { node } => {
            client.show_one(&client.api.get(&format!("/admin/nodes/{}/capacity", find(&node)?))?, CAPACITY);
        }
        NodeCommand::Evacuate(args) => return evacuate::place("node_id", &args, client),
        NodeCommand::Delete { node } => {
            let answer = client.api.delete(&format!("/admin/nodes/{}", find(&node)?))?;
            client.show_done(&answer, format!("Node {node} is removed"));
        }
    }
    Ok(Exit::Done)
}

fn cordon(client: &Client, id: &str, verb: &str) -> Result<()> {
    let node = client.api.post(&format!("/admin/nodes/{id}/{verb}"), &json!({}))?;
    client.show_done(&node, format!("{}: {}", super::field(&node, "name"), super::field(&node, "status")));
    Ok(())
}

fn show_enrolment(client: &Client, node: &Value) {
    if client.json {
        output::json(node);
        return;
    }
    // The answer is the node with its enrolment, or the enrolment alone.
    let enrolment = if node["enrolment"].is_object() { &node["enrolment"] } else { node };
    output::line(format!("Run this on the machine before {}:", super::field(enrolment, "expires_at")));
    output::line(format!("  {}", super::field(enrolment, "command")));
}
