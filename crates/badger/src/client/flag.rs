//! `badger flag`: switches of the panel.

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::Client;
use super::show::Column;
use crate::exit::Exit;

const LIST: &[Column] = &[("NAME", "name"), ("ENABLED", "enabled")];

/// Verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum FlagCommand {
    /// All feature flags
    List,
    /// Switch one
    Set {
        /// For example `server_transfers`
        name: String,
        /// On or off
        value: Switch,
    },
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Allow it.
    On,
    /// Refuse it.
    Off,
}

/// Runs one.
pub(crate) fn run(command: FlagCommand, client: &Client) -> Result<Exit> {
    match command {
        FlagCommand::List => client.show_list(&client.api.list("/admin/feature-flags")?, LIST),
        FlagCommand::Set { name, value } => {
            let body = json!({"enabled": value == Switch::On});
            let flag = client.api.patch(&format!("/admin/feature-flags/{name}"), &body)?;
            client.show_list(&[flag], LIST);
        }
    }
    Ok(Exit::Done)
}
