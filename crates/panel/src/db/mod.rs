//! The database: the only module tree that knows sqlx.
//!
//! One schema and one text per query for SQLite and PostgreSQL, through `sqlx::Any`, and the same tests on both. What
//! that asks of every query (`tests` below checks the list):
//!
//! - Parameters are `$1`, `$2`, …; SQLite takes them as well. A `$1` that occurs twice is bound once.
//! - Columns are `BIGINT` and `TEXT` only. `BIGINT` decodes to `i64` (never `i32`, `u64`, `bool`), `TEXT` to `String`,
//!   nullable ones to `Option<_>`. Truth is 0 or 1; bind `i64::from(flag)`.
//! - `COUNT(*)` is an `i64` on both. `SUM(BIGINT)` is `NUMERIC` on PostgreSQL, which `Any` cannot read: write
//!   `CAST(COALESCE(SUM(x), 0) AS BIGINT)`.
//! - `RETURNING` works on both, but a statement that must have changed one row is checked with [`exactly_one`].
//! - No `INSERT OR …`, no `datetime()`, no `LIKE` on ids, no `rowid`: `INSERT … ON CONFLICT DO NOTHING/UPDATE` is portable.
//! - A list is ordered with [`direction`]: where nulls come is said, because the two disagree. How texts are ordered is
//!   the database's own affair; nothing but lists for people may depend on it.
//! - Ids are bound as `id.to_string()`, times with [`to_ms`], JSON with [`to_json`]; read with [`parse`], [`from_ms`],
//!   [`from_json`], which answer [`DbError::Corrupt`] and name the column.
//! - Row structs derive `sqlx::FromRow` and stay private; what leaves a file are `model` types and structs made of them.
//! - Functions take `&mut Conn` as their first argument, so they serve inside a transaction ([`Db::begin`], `&mut tx`)
//!   and outside ([`Db::acquire`], `&mut conn`) alike. Names: noun first (`server_lock`).
//!
//! Who may write when (ADR 7; `writer` and `tests` have the details):
//!
//! - **One transaction at a time, on both.** [`Db::begin`] is the only way into a transaction and waits until no other
//!   one is open: SQLite gives out its one write lock, on PostgreSQL the row of `writer` is locked. What a transaction
//!   has read stays true until it commits, so nothing has to be retried, and "look, decide, write" needs no more.
//! - Outside of one, a *single* statement that writes is fine if it is right whatever happens around it: its from-state
//!   is in its `WHERE`, and no transaction decides by the rows that it changes (a progress, `last_seen_at`, an entry of
//!   a log). Two statements, or a lock that somebody else looks at: [`Db::begin`].
//! - An error inside of a transaction ends it: PostgreSQL takes nothing more after the first failed statement. What may
//!   fail without harm is asked beforehand, or is an `ON CONFLICT DO NOTHING`.
//! - Nobody calls an agent while holding a transaction, and nobody takes a second connection while holding a first.

pub mod allocations;
pub mod announcements;
pub mod audit;
pub mod backup_storages;
pub mod backups;
pub mod database_hosts;
pub mod databases;
pub mod dns_names;
pub mod dns_zones;
pub mod eggs;
pub mod enrolment;
mod error;
pub mod evacuations;
pub mod flags;
pub mod idempotency;
pub mod keys;
mod lease;
pub mod metrics;
mod moving;
pub mod nodes;
pub mod notifications;
pub mod on_demand;
pub mod outbox;
mod page;
mod place;
pub mod restores;
pub mod roles;
pub mod saga_log;
pub mod schedule_runs;
pub mod schedules;
pub mod servers;
pub mod sessions;
pub mod specs;
pub mod subusers;
pub mod testing;
pub mod transfers;
pub mod users;
pub mod webhooks;
mod writer;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use model::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::{AnyPoolOptions, AnyQueryResult};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool, Transaction};

pub use error::DbError;
pub use lease::Lease;
pub use moving::{Moved, move_from_sqlite};
pub use page::{Page, Paging, direction};
pub use place::{BadUrl, Location, PostgresUrl};

use writer::Writer;

/// A connection, inside or outside of a transaction.
pub type Conn = sqlx::AnyConnection;

/// How long a writer waits for another one before it gives up, and a caller for a free connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that are kept. There is one writer at a time anyway; the others read.
const CONNECTIONS: u32 = 8;

/// How long a ping may take: whoever asks wants to know now.
const PING: Duration = Duration::from_secs(2);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    pool: AnyPool,
    writer: Writer,
}

impl Db {
    /// Opens the database for the one panel that works with it, and brings its schema up to date.
    ///
    /// A second panel is refused with [`DbError::Taken`] before it has changed anything, a database of a newer release
    /// with [`DbError::Newer`]: an old panel must not write into it. The lease lives as long as the panel does.
    ///
    /// An SQLite database has no lease of its own: it lies in the panel's data directory, which whoever starts the
    /// panel holds.
    pub async fn claim(at: &Location) -> Result<(Self, Lease), DbError> {
        sqlx::any::install_default_drivers();
        let mut lease = Lease::take(at).await?;
        let mut db = Self::connect(at).await?;
        db.migrate().await?;
        db.writer = lease.sign().await?;
        Ok((db, lease))
    }

    /// Opens the database beside the panel that may work with it, and brings its schema up to date.
    pub async fn open(at: &Location) -> Result<Self, DbError> {
        sqlx::any::install_default_drivers();
        let db = Self::connect(at).await?;
        db.migrate().await?;
        Ok(db)
    }

    /// Opens (and makes, if need be) the SQLite database at `path`; see [`Db::open`].
    pub async fn open_sqlite(path: &Path) -> Result<Self, DbError> {
        Self::open(&Location::Sqlite(path.to_owned())).await
    }

    async fn connect(at: &Location) -> Result<Self, DbError> {
        let settings = at.settings();
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(BUSY_TIMEOUT)
            .after_connect(move |conn, _| {
                Box::pin(async move {
                    sqlx::raw_sql(settings).execute(conn).await?;
                    Ok(())
                })
            })
            .connect(&at.url())
            .await?;
        Ok(Self { pool, writer: Writer::of(at) })
    }

    async fn migrate(&self) -> Result<(), DbError> {
        let mut conn = self.acquire().await?;
        // Not `run`: its future is `Send` for one lifetime only, and whoever awaits it cannot be spawned.
        match MIGRATIONS.run_direct(None, &mut *conn, false).await {
            Ok(()) => Ok(()),
            Err(sqlx::migrate::MigrateError::VersionMissing(found)) => {
                let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
                Err(DbError::Newer { found, known })
            }
            Err(error) => Err(DbError::Schema(error)),
        }
    }

    /// A connection for reading, or for one single statement that writes.
    pub async fn acquire(&self) -> Result<PoolConnection<Any>, DbError> {
        Ok(self.pool.acquire().await?)
    }

    /// A transaction that may write, the only one while it is open. Dropping it rolls back; `commit` keeps.
    pub async fn begin(&self) -> Result<Transaction<'static, Any>, DbError> {
        self.writer.begin(&self.pool).await
    }

    /// Whether it answers, and soon.
    pub async fn ping(&self) -> Result<(), DbError> {
        let ping = async {
            let mut conn = self.acquire().await?;
            sqlx::query("SELECT 1").fetch_one(&mut *conn).await?;
            Ok(())
        };
        tokio::time::timeout(PING, ping).await.unwrap_or(Err(DbError::Unavailable(sqlx::Error::PoolTimedOut)))
    }

    /// Ends all connections; what was committed is on disk.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// The from-state of a transition is in its `WHERE`: no row means that it was not in that state.
pub fn exactly_one(done: &AnyQueryResult) -> Result<(), DbError> {
    if done.rows_affected() == 1 { Ok(()) } else { Err(DbError::Conflict) }
}

/// A time as the schema keeps it.
#[must_use]
pub fn to_ms(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// A time out of `column`.
pub fn from_ms(column: &'static str, ms: i64) -> Result<Timestamp, DbError> {
    Timestamp::from_millisecond(ms).map_err(|error| DbError::Corrupt { column, why: error.to_string() })
}

/// A value that has a text form (an id, an enum's word) out of `column`.
pub fn parse<T: FromStr<Err: std::fmt::Display>>(column: &'static str, text: &str) -> Result<T, DbError> {
    text.parse().map_err(|error: T::Err| DbError::Corrupt { column, why: error.to_string() })
}

/// A size or count out of `column`.
pub fn from_i64(column: &'static str, value: i64) -> Result<u64, DbError> {
    u64::try_from(value).map_err(|error| DbError::Corrupt { column, why: error.to_string() })
}

/// A size or count as the schema keeps it. What does not fit is not a size that exists.
#[must_use]
pub fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// JSON for a text column.
pub fn to_json<T: Serialize + ?Sized>(column: &'static str, value: &T) -> Result<String, DbError> {
    serde_json::to_string(value).map_err(|error| DbError::Corrupt { column, why: error.to_string() })
}

/// JSON out of `column`.
pub fn from_json<T: DeserializeOwned>(column: &'static str, text: &str) -> Result<T, DbError> {
    serde_json::from_str(text).map_err(|error| DbError::Corrupt { column, why: error.to_string() })
}

/// The word of a serde enum (`running`), for columns that keep it bare.
pub fn to_word<T: Serialize>(column: &'static str, value: &T) -> Result<String, DbError> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        other => Err(DbError::Corrupt { column, why: format!("not a word: {other:?}") }),
    }
}

/// The serde enum that a bare word in `column` stands for.
pub fn from_word<T: DeserializeOwned>(column: &'static str, word: &str) -> Result<T, DbError> {
    serde_json::from_value(serde_json::Value::String(word.to_owned()))
        .map_err(|error| DbError::Corrupt { column, why: error.to_string() })
}

/// Any statement, for tests that want a row as no function makes it.
#[cfg(test)]
pub(crate) async fn execute(conn: &mut Conn, sql: &str) -> Result<(), DbError> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(conn).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
