//! `badger audit`: who changed what, and when.

use anyhow::Result;
use clap::Args;

use super::Client;
use super::show::Column;
use crate::exit::Exit;

const LIST: &[Column] = &[("AT", "at"), ("WHO", "actor"), ("WHAT", "action"), ("TO", "subject"), ("MORE", "details")];

const EXAMPLES: &str = "\
Examples:
  badger audit                                   the last 50 things that were done
  badger audit --action transfer -n 200          starts, cancels and so on of transfers
  badger audit --subject 0198a7b2-0000-7000-8000-000000000001 --json";

/// Which entries.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AuditArgs {
    /// How to reach the panel.
    #[command(flatten)]
    pub(crate) api: super::ApiArgs,
    /// By whom: `user:<id>`, `api_key:`, or the whole of it
    #[arg(long)]
    actor: Option<String>,
    /// What: `server.create`, or `server` for everything about servers
    #[arg(long)]
    action: Option<String>,
    /// To this id
    #[arg(long)]
    subject: Option<String>,
    /// Not before, for example `2027-01-31T00:00:00Z`
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// How many, the youngest first
    #[arg(long, short = 'n', default_value_t = 50)]
    count: usize,
}

/// Shows them.
pub(crate) fn run(args: &AuditArgs, client: &Client) -> Result<Exit> {
    let filters = [
        ("actor", &args.actor),
        ("action", &args.action),
        ("subject", &args.subject),
        ("from", &args.from),
        ("until", &args.until),
    ];
    let given = filters.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let query: Vec<_> = given.map(|(name, value)| format!("filter[{name}]={}", super::encode(value))).collect();
    let entries =
        client.api.first(format!("/admin/audit?sort=-at&{}", query.join("&")).trim_end_matches('&'), args.count)?;
    client.show_list(&entries, LIST);
    Ok(Exit::Done)
}
