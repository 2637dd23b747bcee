//! `badger allocation`: the addresses that servers can have.

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use super::Client;
use super::show::{Column, Named};
use crate::exit::Exit;

const LIST: &[Column] = &[
    ("ID", "id"),
    ("NODE", "node_id"),
    ("IP", "ip_address"),
    ("PORT", "port"),
    ("ALIAS", "ip_alias"),
    ("SERVER", "server_id"),
];

const NAMED: &[Named] = &[("node_id", "/admin/nodes"), ("server_id", "/admin/servers")];

/// Verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum AllocationCommand {
    /// All addresses, or those of one node
    List {
        /// Name or id of a node
        #[arg(long)]
        node: Option<String>,
    },
    /// Add addresses: ports and ranges of them
    Create {
        /// Name or id of the node
        #[arg(long)]
        node: String,
        /// What players should be shown instead of the IP
        #[arg(long)]
        alias: Option<String>,
        /// IP of the node to bind to
        ip: String,
        /// For example `25565 25570-25580`
        #[arg(required = true)]
        ports: Vec<String>,
    },
    /// Remove an address that no server has
    Delete {
        /// Id
        id: String,
    },
}

/// Runs one.
pub(crate) fn run(command: AllocationCommand, client: &Client) -> Result<Exit> {
    let find = |name: &str| client.resolve("/admin/nodes", "node", name);
    match command {
        AllocationCommand::List { node } => {
            let path = match node {
                Some(node) => format!("/admin/allocations?filter[node_id]={}", find(&node)?),
                None => "/admin/allocations".to_owned(),
            };
            client.show_list(&client.with_names(client.api.list(&path)?, NAMED), LIST);
        }
        AllocationCommand::Create { node, alias, ip, ports } => {
            let mut body = json!({"node_id": find(&node)?, "ip_address": ip, "ports": ports});
            if let Some(alias) = alias {
                body["ip_alias"] = alias.into();
            }
            let made = client.api.post("/admin/allocations", &body)?;
            client.show_list(&client.with_names(made.as_array().cloned().unwrap_or_default(), NAMED), LIST);
        }
        AllocationCommand::Delete { id } => {
            let answer = client.api.delete(&format!("/admin/allocations/{id}"))?;
            client.show_done(&answer, format!("Allocation {id} is removed"));
        }
    }
    Ok(Exit::Done)
}
