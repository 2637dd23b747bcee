//! `badger key`: API keys.

use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

use super::Client;
use super::show::Column;
use crate::exit::Exit;
use crate::output;

const LIST: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("SCOPES", "scopes"),
    ("CREATED", "created_at"),
    ("EXPIRES", "expires_at"),
    ("NETWORKS", "allowed_networks"),
    ("LAST USED", "last_used_at"),
];

/// Verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum KeyCommand {
    /// All keys (not their secrets, which nobody has)
    List,
    /// Make a key; it is shown once
    Create {
        /// What it is for
        name: String,
        /// A permission that it has, for example `admin.servers.transfer`; may be repeated [default: all]
        #[arg(long = "scope", value_name = "PERMISSION")]
        scopes: Vec<String>,
        /// A network from which it may be used, for example `10.0.0.0/8`; may be repeated [default: everywhere]
        #[arg(long = "network", value_name = "CIDR")]
        networks: Vec<String>,
        /// When it ends, for example `2027-01-31T00:00:00Z`
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// Revoke a key
    Delete {
        /// Id
        id: String,
    },
}

/// Runs one.
pub(crate) fn run(command: KeyCommand, client: &Client) -> Result<Exit> {
    match command {
        KeyCommand::List => client.show_list(&client.api.list("/admin/api-keys")?, LIST),
        KeyCommand::Create { name, scopes, networks, expires } => {
            let scopes = if scopes.is_empty() { vec!["*".to_owned()] } else { scopes };
            let mut body = json!({"name": name, "scopes": scopes, "allowed_networks": networks});
            if let Some(expires) = expires {
                body["expires_at"] = expires.into();
            }
            let key = client.api.post("/admin/api-keys", &body)?;
            if !client.json {
                output::note("This is the only time that the key is shown.");
            }
            client.show_done(&key, super::field(&key, "key"));
        }
        KeyCommand::Delete { id } => {
            let answer = client.api.delete(&format!("/admin/api-keys/{id}"))?;
            client.show_done(&answer, format!("Key {id} is revoked"));
        }
    }
    Ok(Exit::Done)
}
