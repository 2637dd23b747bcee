//! What a panel must be told before it can start. Everything else lives in its database.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::access::AccessConfig;
use crate::db::{Location, PostgresUrl};
use crate::webhook::OutboundConfig;

/// The image of this release, the same as the Helm chart's.
pub const DEFAULT_IMAGE: &str = concat!("ghcr.io/badgerpanel/badgerpanel:", env!("CARGO_PKG_VERSION"));

/// Settings of one panel.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen for the API and the agents. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The PostgreSQL database. Without it: an SQLite file in `data_dir`.
    pub database: Option<PostgresUrl>,
    /// Whether what an SQLite file in `data_dir` has is moved into `database` first. Once; then the file has another name.
    pub move_from_sqlite: bool,
    /// Directory of the SQLite database, the keys and the first admin's key and password. Made with mode 0700 if it is not there.
    pub data_dir: PathBuf,
    /// How users and agents reach the panel, for links and the enrolment command. Without it: `http://` and the bound
    /// address.
    pub public_url: Option<String>,
    /// The container image of ours that clusters run. Without it: [`DEFAULT_IMAGE`].
    pub image: Option<String>,
    /// Who may ask for others, and how often.
    pub access: AccessConfig,
    /// What webhooks may lead to.
    pub outbound: OutboundConfig,
}

impl Config {
    /// Where the database is.
    #[must_use]
    pub fn location(&self) -> Location {
        match &self.database {
            Some(url) => Location::Postgres(url.clone()),
            None => Location::Sqlite(self.data_dir.join("panel.db")),
        }
    }
}
