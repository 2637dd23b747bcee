//! `badger role`: sets of permissions that users have.

use anyhow::{Result, bail};
use clap::Subcommand;
use serde_json::{Map, json};

use super::Client;
use super::show::Column;
use crate::exit::Exit;

const LIST: &[Column] =
    &[("ID", "id"), ("NAME", "name"), ("USERS", "users"), ("BUILT IN", "built_in"), ("PERMISSIONS", "permissions")];

const ALL: &str = "/admin/roles";

const EXAMPLES: &str = "\
Example:
  badger role create 'Night shift' --permission admin.servers.list --permission admin.servers.power";

/// Verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum RoleCommand {
    /// All roles
    List,
    /// Make one
    #[command(after_help = EXAMPLES)]
    Create {
        /// Name
        name: String,
        /// For example `admin.servers.transfer`, `admin.servers.*`; may be repeated
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
    },
    /// Rename one, or give it other permissions
    Set {
        /// Name or id
        role: String,
        /// Its new name
        #[arg(long)]
        name: Option<String>,
        /// Instead of those it has; may be repeated
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
    },
    /// Remove one that nobody has
    Delete {
        /// Name or id
        role: String,
    },
}

/// Runs one.
pub(crate) fn run(command: RoleCommand, client: &Client) -> Result<Exit> {
    let find = |name: &str| client.resolve(ALL, "role", name);
    match command {
        RoleCommand::List => client.show_list(&client.api.list(ALL)?, LIST),
        RoleCommand::Create { name, permissions } => {
            let role = client.api.post(ALL, &json!({"name": name, "permissions": permissions}))?;
            client.show_one(&role, LIST);
        }
        RoleCommand::Set { role, name, permissions } => {
            let mut body = Map::new();
            if let Some(name) = name {
                body.insert("name".to_owned(), name.into());
            }
            if !permissions.is_empty() {
                body.insert("permissions".to_owned(), permissions.into());
            }
            if body.is_empty() {
                bail!("what is to change? Give --name or --permission");
            }
            client.show_one(&client.api.patch(&format!("{ALL}/{}", find(&role)?), &body.into())?, LIST);
        }
        RoleCommand::Delete { role } => {
            let answer = client.api.delete(&format!("{ALL}/{}", find(&role)?))?;
            client.show_done(&answer, format!("Role {role} is removed"));
        }
    }
    Ok(Exit::Done)
}
