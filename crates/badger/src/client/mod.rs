//! The command-line client: each command is a few calls of the panel's public API, nothing else.
//!
//! What the panel answers is kept as JSON values: a client of another version shows what it knows and passes on the
//! rest with `--json`.

pub(crate) mod allocation;
pub(crate) mod announcement;
pub(crate) mod api;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod cluster;
mod console;
pub(crate) mod egg;
pub(crate) mod evacuate;
pub(crate) mod flag;
pub(crate) mod key;
pub(crate) mod node;
pub(crate) mod place;
mod preflight;
pub(crate) mod role;
pub(crate) mod server;
mod show;
pub(crate) mod subuser;
pub(crate) mod transfer;
pub(crate) mod user;
pub(crate) mod watch;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;

pub(crate) use show::{Client, field};

/// What went wrong, for programs: the panel's error as it came, or one of ours in the same shape.
pub(crate) fn error_json(error: &anyhow::Error) -> String {
    let refusal = error.chain().find_map(|cause| cause.downcast_ref::<api::Refusal>());
    let shown = match refusal {
        Some(api::Refusal { status, code, message, details }) => {
            json!({"status": status, "code": code, "message": message, "details": details})
        }
        None => json!({"status": null, "code": "client_error", "message": format!("{error:#}"), "details": {}}),
    };
    json!({"success": false, "error": shown}).to_string()
}

fn hex(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase()
}

/// A word as a query may have it.
fn encode(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    for byte in word.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            byte => text.extend(['%', hex(byte >> 4), hex(byte & 15)]),
        }
    }
    text
}

/// A noun of the command line: its verbs, and how to reach the panel.
#[derive(Args, Debug)]
pub(crate) struct Command<T: Subcommand> {
    /// How to reach the panel.
    #[command(flatten)]
    pub(crate) api: ApiArgs,
    /// The verb.
    #[command(subcommand)]
    pub(crate) command: T,
}

/// How to reach the panel, and how to answer.
#[derive(Args, Debug)]
pub(crate) struct ApiArgs {
    /// Address of the panel
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "BADGER_URL",
        default_value = "http://127.0.0.1:8080",
        help_heading = "Panel"
    )]
    url: String,
    /// API key; better in the environment or in a file, where other users cannot see it
    #[arg(
        long,
        global = true,
        value_name = "KEY",
        env = "BADGER_API_KEY",
        hide_env_values = true,
        help_heading = "Panel"
    )]
    key: Option<String>,
    /// File with the API key
    #[arg(long, global = true, value_name = "FILE", env = "BADGER_API_KEY_FILE", help_heading = "Panel")]
    key_file: Option<PathBuf>,
    /// Print what the panel answers as one line of JSON
    #[arg(long, global = true)]
    json: bool,
}

impl<T: Subcommand> Command<T> {
    /// Whether the user wants JSON, errors too.
    pub(crate) fn wants_json(&self) -> bool {
        self.api.json
    }
}

impl ApiArgs {
    /// Whether the user wants JSON, errors too.
    pub(crate) fn wants_json(&self) -> bool {
        self.json
    }

    /// A client of that panel.
    pub(crate) fn connect(&self) -> Result<Client> {
        let key = match (&self.key, &self.key_file) {
            (Some(key), _) if !key.is_empty() => key.clone(),
            (_, Some(file)) => {
                fs::read_to_string(file).with_context(|| format!("cannot read the API key from {}", file.display()))?
            }
            _ => bail!(
                "no API key: set BADGER_API_KEY or give --key-file; the panel wrote its first one to admin.key in its \
                 data directory"
            ),
        };
        Ok(Client::new(api::Api::new(&self.url, key.trim())?, self.json))
    }
}
