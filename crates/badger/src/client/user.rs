//! `badger user`: people who log in, and what to do when one has lost their password.
//!
//! A password is never an argument: other users of the machine see those. It comes from a file, from standard input, or
//! is made here and shown once.

use std::fs;
use std::io::{self, BufRead as _};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use data_encoding::BASE64URL_NOPAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Client;
use super::show::Column;
use crate::exit::Exit;
use crate::output;

const LIST: &[Column] = &[
    ("ID", "id"),
    ("USERNAME", "username"),
    ("E-MAIL", "email"),
    ("ROLE", "role"),
    ("DISABLED", "disabled"),
    ("LAST LOGIN", "last_login_at"),
];

/// Verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum UserCommand {
    /// All users
    List,
    /// Make a user
    Create {
        /// How they log in
        username: String,
        /// The other way to log in
        #[arg(long)]
        email: Option<String>,
        /// Name or id of their role
        #[arg(long, default_value = "User")]
        role: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Give a user another password, for when it is lost; logs them out everywhere
    SetPassword {
        /// Name or id
        user: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Give a user another role
    SetRole {
        /// Name or id
        user: String,
        /// Name or id of the role
        role: String,
    },
    /// Keep a user out, at once
    Disable {
        /// Name or id
        user: String,
    },
    /// Let a user in again
    Enable {
        /// Name or id
        user: String,
    },
    /// Remove a user, with their API keys
    Delete {
        /// Name or id
        user: String,
    },
}

/// Where a password comes from.
#[derive(Args, Debug)]
pub(crate) struct PasswordArgs {
    /// File with the password; `-` for standard input [default: one is made and shown]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// A password, and whether the user has to be told which.
struct Password {
    text: String,
    is_made: bool,
}

impl PasswordArgs {
    fn get(&self) -> Result<Password> {
        let Some(path) = &self.password_file else { return make() };
        let text = if path.as_os_str() == "-" {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line).context("cannot read the password from standard input")?;
            line
        } else {
            fs::read_to_string(path).with_context(|| format!("cannot read the password from {}", path.display()))?
        };
        let text = text.trim_end_matches(['\r', '\n']).to_owned();
        if text.is_empty() || text.contains('\n') {
            bail!("a password is one line");
        }
        Ok(Password { text, is_made: false })
    }
}

fn make() -> Result<Password> {
    let mut bytes = [0; 18];
    SystemRandom::new().fill(&mut bytes).ok().context("the system gives no random numbers")?;
    Ok(Password { text: BASE64URL_NOPAD.encode(&bytes), is_made: true })
}

/// Runs one.
pub(crate) fn run(command: UserCommand, client: &Client) -> Result<Exit> {
    match command {
        UserCommand::List => client.show_list(&client.api.list("/admin/users?sort=username")?, LIST),
        UserCommand::Create { username, email, role, password } => {
            let role_id = client.resolve("/admin/roles", "role", &role)?;
            let password = password.get()?;
            let body = json!({"username": username, "email": email, "role_id": role_id, "password": password.text});
            let user = client.api.post("/admin/users", &body)?;
            done(client, user, &password, &format!("User {username} is made"));
        }
        UserCommand::SetPassword { user, password } => {
            let id = resolve(client, &user)?;
            let password = password.get()?;
            let path = format!("/admin/users/{id}/password");
            let answer = client.api.post(&path, &json!({"password": password.text}))?;
            done(client, answer, &password, &format!("User {user} has a new password"));
        }
        UserCommand::SetRole { user, role } => {
            let role_id = client.resolve("/admin/roles", "role", &role)?;
            change(client, &user, &json!({"role_id": role_id}))?;
        }
        UserCommand::Disable { user } => change(client, &user, &json!({"disabled": true}))?,
        UserCommand::Enable { user } => change(client, &user, &json!({"disabled": false}))?,
        UserCommand::Delete { user } => {
            let answer = client.api.delete(&format!("/admin/users/{}", resolve(client, &user)?))?;
            client.show_done(&answer, format!("User {user} is removed"));
        }
    }
    Ok(Exit::Done)
}

/// Says that it is done; a password that was made here, this once.
fn done(client: &Client, mut answer: Value, password: &Password, text: &str) {
    if !password.is_made {
        client.show_done(&answer, text);
        return;
    }
    answer["password"] = password.text.clone().into();
    if !client.json {
        output::note(format!("{text}. This is the only time that the password is shown:"));
    }
    client.show_done(&answer, &password.text);
}

fn change(client: &Client, user: &str, change: &Value) -> Result<()> {
    let user = client.api.patch(&format!("/admin/users/{}", resolve(client, user)?), change)?;
    client.show_list(&[user], LIST);
    Ok(())
}

/// The id of the user with this name, in any case of letters.
pub(super) fn resolve(client: &Client, name: &str) -> Result<String> {
    if Uuid::parse_str(name).is_ok() {
        return Ok(name.to_owned());
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let found = if name.bytes().all(known) {
        client.api.list(&format!("/admin/users?filter[username]={name}"))?
    } else {
        Vec::new()
    };
    match found.first().and_then(|user| user["id"].as_str()) {
        Some(id) => Ok(id.to_owned()),
        None => bail!("there is no user named `{name}`; `badger user list` shows who there is"),
    }
}
