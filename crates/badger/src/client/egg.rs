//! `badger egg`: the recipes that servers are made from, in Pterodactyl's JSON.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde::de::IgnoredAny;

use super::Client;
use super::show::Column;
use crate::exit::Exit;
use crate::output;

const LIST: &[Column] = &[("ID", "id"), ("NAME", "name"), ("AUTHOR", "author")];

/// What the panel takes as the body of a request.
const LARGEST_EGG_BYTES: usize = 2 << 20;

/// Verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum EggCommand {
    /// All eggs
    List,
    /// Import an egg, as Pterodactyl and its egg collections publish them
    Import {
        /// JSON file (`PTDL_v1` or `PTDL_v2`)
        file: PathBuf,
    },
    /// Print an egg as it was imported
    Export {
        /// Name or id
        egg: String,
    },
    /// Remove an egg that no server uses
    Delete {
        /// Name or id
        egg: String,
    },
}

/// Runs one.
pub(crate) fn run(command: EggCommand, client: &Client) -> Result<Exit> {
    let find = |name: &str| client.resolve("/admin/eggs", "egg", name);
    match command {
        EggCommand::List => client.show_list(&client.api.list("/admin/eggs")?, LIST),
        EggCommand::Import { file } => {
            let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            if text.len() > LARGEST_EGG_BYTES {
                bail!("{} is no egg: it is larger than 2 MiB, and the panel takes no more", file.display());
            }
            serde_json::from_str::<IgnoredAny>(&text).with_context(|| format!("{} is not JSON", file.display()))?;
            let egg = client.api.post_text("/admin/eggs/import", &text)?;
            client.show_done(&egg, format!("{}  {}", super::field(&egg, "id"), super::field(&egg, "name")));
        }
        EggCommand::Export { egg } => {
            let document = client.api.get_text(&format!("/admin/eggs/{}/export", find(&egg)?))?;
            output::line(document.trim_end());
        }
        EggCommand::Delete { egg } => {
            let answer = client.api.delete(&format!("/admin/eggs/{}", find(&egg)?))?;
            client.show_done(&answer, format!("Egg {egg} is removed"));
        }
    }
    Ok(Exit::Done)
}
