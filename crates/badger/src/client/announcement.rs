//! `badger announcement`: what everybody who uses the panel should read, for a time.

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value};

use super::Client;
use super::show::Column;
use crate::exit::Exit;

const LIST: &[Column] =
    &[("ID", "id"), ("LEVEL", "level"), ("TITLE", "title"), ("FROM", "starts_at"), ("UNTIL", "ends_at")];

const ALL: &str = "/admin/announcements";

const EXAMPLES: &str = "\
Examples:
  badger announcement create 'Maintenance tonight' --body 'Servers move; nobody is cut off.' --level warning
  badger announcement create 'Eviction of alpha' --until 2027-01-31T00:00:00Z";

/// Verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum AnnouncementCommand {
    /// All announcements, those to come and those that are over too
    List,
    /// Make one
    #[command(after_help = EXAMPLES)]
    Create {
        /// One line
        title: String,
        #[command(flatten)]
        facts: FactArgs,
    },
    /// Change one; what is not given stays
    Set {
        /// Id
        id: String,
        /// One line
        #[arg(long)]
        title: Option<String>,
        #[command(flatten)]
        facts: FactArgs,
    },
    /// Remove one
    Delete {
        /// Id
        id: String,
    },
}

/// What it says.
#[derive(Args, Debug)]
pub(crate) struct FactArgs {
    /// The rest of it, plain text
    #[arg(long)]
    body: Option<String>,
    /// How much it matters
    #[arg(long, value_enum)]
    level: Option<Level>,
    /// From when on it is shown, for example `2027-01-31T00:00:00Z` [default: now]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Until when [default: until it is removed]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    Info,
    Warning,
    Critical,
}

/// Runs one.
pub(crate) fn run(command: AnnouncementCommand, client: &Client) -> Result<Exit> {
    match command {
        AnnouncementCommand::List => client.show_list(&client.api.list(ALL)?, LIST),
        AnnouncementCommand::Create { title, facts } => {
            client.show_one(&client.api.post(ALL, &facts.body(Some(title)).into())?, LIST);
        }
        AnnouncementCommand::Set { id, title, facts } => {
            let body = facts.body(title);
            if body.is_empty() {
                bail!("what is to change? Give --title, --body, --level, --from or --until");
            }
            client.show_one(&client.api.patch(&format!("{ALL}/{id}"), &body.into())?, LIST);
        }
        AnnouncementCommand::Delete { id } => {
            let answer = client.api.delete(&format!("{ALL}/{id}"))?;
            client.show_done(&answer, format!("Announcement {id} is removed"));
        }
    }
    Ok(Exit::Done)
}

impl FactArgs {
    /// Only what was given.
    fn body(self, title: Option<String>) -> Map<String, Value> {
        let level = self.level.and_then(|level| level.to_possible_value());
        let level = level.map(|level| level.get_name().to_owned());
        let fields = [
            ("title", title),
            ("body", self.body),
            ("level", level),
            ("starts_at", self.from),
            ("ends_at", self.until),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect()
    }
}
