//! `badger allocation`: the addresses that servers can have. A cluster needs none beforehand.

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Subcommand};
use serde_json::{Value, json};

use super::Client;
use super::place::PlaceArgs;
use super::show::{Column, Named};
use crate::exit::Exit;

const LIST: &[Column] = &[
    ("ID", "id"),
    ("PLACE", "node_id|cluster_id"),
    ("IP", "ip_address"),
    ("PORT", "port"),
    ("ALIAS", "ip_alias"),
    ("SERVER", "server_id"),
];

const NAMED: &[Named] =
    &[("node_id", "/admin/nodes"), ("cluster_id", "/admin/clusters"), ("server_id", "/admin/servers")];

/// Verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum AllocationCommand {
    /// All addresses, or those of one node or cluster
    List {
        /// Whose
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Add addresses: ports and ranges of them
    #[command(group = ArgGroup::new("where").required(true).args(["node", "cluster"]))]
    Create {
        /// Whose
        #[command(flatten)]
        place: PlaceArgs,
        /// What players should be shown instead of the IP
        #[arg(long)]
        alias: Option<String>,
        /// IP of the node to bind to, and ports: `10.0.0.5 25565 25570-25580`. Of a cluster ports alone: `30000-30100`
        #[arg(required = true, value_name = "IP|PORTS")]
        addresses: Vec<String>,
    },
    /// Remove an address that no server has
    Delete {
        /// Id
        id: String,
    },
}

/// Runs one.
pub(crate) fn run(command: AllocationCommand, client: &Client) -> Result<Exit> {
    match command {
        AllocationCommand::List { place } => {
            let path = match place.resolve(client)? {
                Some((field, id)) => format!("/admin/allocations?filter[{field}]={id}"),
                None => "/admin/allocations".to_owned(),
            };
            client.show_list(&client.with_names(client.api.list(&path)?, NAMED), LIST);
        }
        AllocationCommand::Create { place, alias, addresses } => {
            let (field, id) = place.resolve(client)?.context("whose? Give --node or --cluster")?;
            let mut body = addresses_body(field, &addresses)?;
            body[field] = id.into();
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

/// The first word is the address of a node; players reach a cluster where it says.
fn addresses_body(field: &str, words: &[String]) -> Result<Value> {
    if field == "cluster_id" {
        return Ok(json!({"ports": words}));
    }
    match words {
        [ip, ports @ ..] if !ports.is_empty() => Ok(json!({"ip_address": ip, "ports": ports})),
        _ => bail!("which ports? Write an address and ports, like 10.0.0.5 25565 25570-25580"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_an_address_and_ports_and_a_cluster_ports_alone() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let node = addresses_body("node_id", &words(&["10.0.0.5", "25565", "25570-25580"])).unwrap();
        assert_eq!(node, json!({"ip_address": "10.0.0.5", "ports": ["25565", "25570-25580"]}));
        let cluster = addresses_body("cluster_id", &words(&["30000-30100"])).unwrap();
        assert_eq!(cluster, json!({"ports": ["30000-30100"]}));
        assert!(addresses_body("node_id", &words(&["25565"])).is_err());
    }
}
