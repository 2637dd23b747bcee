//! For tests of this crate and of those above: the same tests on SQLite and on PostgreSQL.
//!
//! `BADGER_TEST_POSTGRES=postgres://…` names a server on which databases may be made, and all tests that ask here run
//! on it; `scripts/test-postgres.sh` starts one. What they make is left to whoever started the server.

use std::path::Path;
use std::str::FromStr;

use sqlx::{AnyConnection, AssertSqlSafe, Connection};
use uuid::Uuid;

use super::{Db, DbError, Location, PostgresUrl};

/// Names the server.
pub const SERVER: &str = "BADGER_TEST_POSTGRES";

/// Where the database of a test is that works in `dir`: the same answer for the same directory.
///
/// # Panics
///
/// If the server cannot be used, or what was noted in `dir` cannot be read.
pub async fn location(dir: &Path) -> Location {
    let Some(server) = std::env::var(SERVER).ok().filter(|server| !server.is_empty()) else {
        return Location::Sqlite(dir.join("panel/panel.db"));
    };
    let note = dir.join("database-url");
    if !note.exists() {
        std::fs::write(&note, database(&server).await).expect("a test can write into its directory");
    }
    let url = std::fs::read_to_string(&note).expect("a test can read what it wrote");
    Location::Postgres(PostgresUrl::from_str(&url).expect("it was made below"))
}

/// The URL of a new database on `server`.
async fn database(server: &str) -> String {
    sqlx::any::install_default_drivers();
    let name = format!("badger_test_{}", Uuid::now_v7().simple());
    let mut session = AnyConnection::connect(server).await.expect("the server of BADGER_TEST_POSTGRES answers");
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(create).execute(&mut session).await.expect("BADGER_TEST_POSTGRES may make databases");
    let (server, parameters) = server.split_once('?').map_or((server, ""), |(server, rest)| (server, rest));
    let (scheme, authority) = server.split_once("://").expect("a URL");
    let authority = authority.split('/').next().unwrap_or_default();
    format!("{scheme}://{authority}/{name}?{parameters}")
}

/// A database for a test that works in `dir`, with the current schema.
pub async fn open(dir: &Path) -> Result<Db, DbError> {
    let at = location(dir).await;
    if let Location::Sqlite(path) = &at {
        let parent = path.parent().expect("it is in a directory");
        std::fs::create_dir_all(parent).expect("a test can write into its directory");
    }
    Db::open(&at).await
}
