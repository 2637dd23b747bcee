//! `badger subuser`: who is let in at a server beside its owner.

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::json;

use super::Client;
use super::show::Column;
use crate::exit::Exit;

const LIST: &[Column] =
    &[("USER", "username"), ("ID", "user_id"), ("PERMISSIONS", "permissions"), ("SINCE", "created_at")];

const EXAMPLES: &str = "\
Example:
  badger subuser add survival kim --permission server.power --permission server.console";

/// Verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum SubuserCommand {
    /// Who is let in
    List {
        /// Name or id of the server
        server: String,
    },
    /// Let somebody in
    #[command(after_help = EXAMPLES)]
    Add {
        /// Name or id of the server
        server: String,
        /// Name or e-mail address
        user: String,
        /// What they may, for example `server.power`; may be repeated [default: see it]
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
    },
    /// Give them other permissions instead of those they have
    Set {
        /// Name or id of the server
        server: String,
        /// Name or id
        user: String,
        /// What they may; may be repeated
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
    },
    /// Let them in no more
    Remove {
        /// Name or id of the server
        server: String,
        /// Name or id
        user: String,
    },
}

/// Runs one.
pub(crate) fn run(command: SubuserCommand, client: &Client) -> Result<Exit> {
    let all = |server: &str| Ok::<_, anyhow::Error>(format!("/servers/{}/subusers", server_id(client, server)?));
    match command {
        SubuserCommand::List { server } => client.show_list(&client.api.list(&all(&server)?)?, LIST),
        SubuserCommand::Add { server, user, permissions } => {
            let body = json!({"user": user, "permissions": permissions});
            client.show_one(&client.api.post(&all(&server)?, &body)?, LIST);
        }
        SubuserCommand::Set { server, user, permissions } => {
            let path = one(client, &all(&server)?, &user)?;
            client.show_one(&client.api.patch(&path, &json!({"permissions": permissions}))?, LIST);
        }
        SubuserCommand::Remove { server, user } => {
            let answer = client.api.delete(&one(client, &all(&server)?, &user)?)?;
            client.show_done(&answer, format!("{user} is let in no more"));
        }
    }
    Ok(Exit::Done)
}

fn server_id(client: &Client, name: &str) -> Result<String> {
    client.resolve("/admin/servers", "server", name)
}

/// Where one of them is.
fn one(client: &Client, all: &str, user: &str) -> Result<String> {
    let known = client.api.list(all)?;
    let is_them = |it: &&serde_json::Value| it["user_id"] == user || it["username"] == user;
    let found = known.iter().find(is_them).and_then(|it| it["user_id"].as_str());
    let id = found.with_context(|| format!("`{user}` is not let in there; `badger subuser list` shows who is"))?;
    Ok(format!("{all}/{id}"))
}
