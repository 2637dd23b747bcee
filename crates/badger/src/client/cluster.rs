//! `badger cluster`: Kubernetes clusters that run servers.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::show::Column;
use super::{Client, evacuate, field, node};
use crate::exit::Exit;
use crate::{output, units};

const LIST: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("STATUS", "status"),
    ("ADDRESS", "address"),
    ("KUBERNETES", "facts.kubernetes"),
    ("NODES", "facts.nodes"),
    ("SERVERS", "usage.servers"),
    ("LAST SEEN", "last_seen_at"),
];

const SHOW: &[Column] = &[
    ("id", "id"),
    ("name", "name"),
    ("status", "status"),
    ("takes no new servers", "cordoned"),
    ("address of players", "address"),
    ("orchestrator", "version"),
    ("kubernetes", "facts.kubernetes"),
    ("nodes", "facts.nodes"),
    ("first port", "facts.node_ports.first"),
    ("last port", "facts.node_ports.last"),
    ("storage class", "facts.storage_class"),
    ("last seen", "last_seen_at"),
    ("memory MB given away", "usage.memory_mb.allocated"),
    ("memory MB free", "usage.memory_mb.free"),
    ("disk MB given away", "usage.disk_mb.allocated"),
    ("disk MB free", "usage.disk_mb.free"),
    ("CPU m given away", "usage.cpu_millicores.allocated"),
    ("CPU m free", "usage.cpu_millicores.free"),
    ("servers", "usage.servers"),
];

/// Verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum ClusterCommand {
    /// All clusters
    List,
    /// One cluster
    Show {
        /// Name or id
        cluster: String,
    },
    /// Add a cluster; prints the command that installs its orchestrator
    Create(CreateArgs),
    /// Change a cluster
    Set(SetArgs),
    /// A new command that installs the orchestrator, for a cluster that has none yet or lost its identity
    #[command(alias = "token")]
    JoinCommand {
        /// Name or id
        cluster: String,
        /// The command for Helm
        #[arg(long)]
        helm: bool,
    },
    /// Keep new servers and transfers away from it; what it has runs on
    Cordon {
        /// Name or id
        cluster: String,
    },
    /// Let it take new servers again
    Uncordon {
        /// Name or id
        cluster: String,
    },
    /// What it has left, what its servers need, and what its machine measures
    Capacity {
        /// Name or id
        cluster: String,
    },
    /// Move all its servers elsewhere, a few at a time
    Evacuate(Box<evacuate::PlaceArgs>),
    /// Remove a cluster that has no servers
    Delete {
        /// Name or id
        cluster: String,
    },
}

/// What a new cluster is.
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// Name
    name: String,
    /// What servers may use of it
    #[command(flatten)]
    limits: LimitArgs,
}

/// What is to change.
#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// Name or id
    cluster: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// `yes`: it takes no new servers
    #[arg(long, value_name = "YES|NO", value_parser = yes_or_no)]
    cordoned: Option<bool>,
    /// What servers may use of it
    #[command(flatten)]
    limits: LimitArgs,
}

/// Limits of a cluster; what is not given is left to its scheduler, or as it is.
#[derive(Args, Debug)]
struct LimitArgs {
    /// Where players reach its ports [default: what its orchestrator finds]
    #[arg(long, value_name = "HOST")]
    address: Option<String>,
    /// Memory for servers; 0 leaves it to the cluster's scheduler
    #[arg(long, value_name = "SIZE", value_parser = units::parse_limit_mib)]
    memory: Option<u64>,
    /// Disk for servers; 0 leaves it to the cluster's storage
    #[arg(long, value_name = "SIZE", value_parser = units::parse_limit_mib)]
    disk: Option<u64>,
    /// CPU for servers, millicores; 0 leaves it to the cluster's scheduler
    #[arg(long, value_name = "MILLICORES")]
    cpu: Option<u64>,
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("write yes or no".to_owned()),
    }
}

impl LimitArgs {
    /// The fields of a body; only those that were given.
    fn body(self) -> Value {
        let mut body = json!({});
        let fields = [
            ("address", self.address.map(Value::from)),
            ("memory_mb", self.memory.map(Value::from)),
            ("disk_mb", self.disk.map(Value::from)),
            ("cpu_millicores", self.cpu.map(Value::from)),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        body
    }
}

/// Runs one.
pub(crate) fn run(command: ClusterCommand, client: &Client) -> Result<Exit> {
    let find = |name: &str| client.resolve("/admin/clusters", "cluster", name);
    match command {
        ClusterCommand::List => client.show_list(&client.api.list("/admin/clusters")?, LIST),
        ClusterCommand::Show { cluster } => {
            client.show_one(&client.api.get(&format!("/admin/clusters/{}", find(&cluster)?))?, SHOW);
        }
        ClusterCommand::Create(args) => {
            let mut body = args.limits.body();
            body["name"] = args.name.into();
            show_enrolment(client, &client.api.post("/admin/clusters", &body)?);
        }
        ClusterCommand::Set(args) => set(args, client)?,
        ClusterCommand::JoinCommand { cluster, helm } => {
            let path = format!("/admin/clusters/{}/enrolment-token", find(&cluster)?);
            let made = client.api.post(&path, &json!({}))?;
            let command = if helm { "enrolment.helm_command" } else { "enrolment.command" };
            client.show_done(&made, field(&made, command));
        }
        ClusterCommand::Cordon { cluster } => cordon(client, &find(&cluster)?, "cordon")?,
        ClusterCommand::Uncordon { cluster } => cordon(client, &find(&cluster)?, "uncordon")?,
        ClusterCommand::Capacity { cluster } => {
            let path = format!("/admin/clusters/{}/capacity", find(&cluster)?);
            client.show_one(&client.api.get(&path)?, node::CAPACITY);
        }
        ClusterCommand::Evacuate(args) => return evacuate::place("cluster_id", &args, client),
        ClusterCommand::Delete { cluster } => {
            let answer = client.api.delete(&format!("/admin/clusters/{}", find(&cluster)?))?;
            client.show_done(&answer, format!("Cluster {cluster} is removed"));
        }
    }
    Ok(Exit::Done)
}

fn cordon(client: &Client, id: &str, verb: &str) -> Result<()> {
    let cluster = client.api.post(&format!("/admin/clusters/{id}/{verb}"), &json!({}))?;
    client.show_done(&cluster, format!("{}: {}", field(&cluster, "name"), field(&cluster, "status")));
    Ok(())
}

fn set(args: SetArgs, client: &Client) -> Result<()> {
    let id = client.resolve("/admin/clusters", "cluster", &args.cluster)?;
    let mut body = args.limits.body();
    if let Some(name) = args.name {
        body["name"] = name.into();
    }
    if let Some(cordoned) = args.cordoned {
        body["cordoned"] = cordoned.into();
    }
    client.show_one(&client.api.patch(&format!("/admin/clusters/{id}"), &body)?, SHOW);
    Ok(())
}

fn show_enrolment(client: &Client, cluster: &Value) {
    if client.json {
        output::json(cluster);
        return;
    }
    let until = field(cluster, "enrolment.expires_at");
    output::line(format!("Run this where kubectl reaches the cluster, before {until}:"));
    output::line(format!("  {}", field(cluster, "enrolment.command")));
    output::line("or this, with the Helm chart of the release:");
    output::line(format!("  {}", field(cluster, "enrolment.helm_command")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_limits_that_were_given_are_sent() {
        let limits = LimitArgs { address: None, memory: Some(0), disk: None, cpu: Some(4000) };
        assert_eq!(limits.body(), json!({"memory_mb": 0, "cpu_millicores": 4000}));
    }
}
