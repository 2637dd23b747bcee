//! One panel per database. Two would both go on with its transfers; who comes second is refused.
//!
//! ```text
//! take ──lock is free──► sign: our name into the row of `writer` ──► keep: is the session alive?
//!   └──somebody has it──► Taken                                        │ no: the server was restarted, say
//!                                            Taken ◄──another name─────┴──our name──► lock again, go on
//! ```
//!
//! On PostgreSQL it is an advisory lock of one session that lives as long as the panel: the server takes it back when
//! the panel dies, however it dies. A session can also end under a panel that lives. Then the name in the row decides:
//! whoever has signed last is the owner, and [`super::writer`] asks for the name in each transaction. So a panel that was
//! away while another one took over can do nothing any more, and ends.
//!
//! On SQLite there is nothing to do here: see [`super::Db::claim`].

use std::sync::Arc;
use std::time::Duration;

use sqlx::{AnyConnection, Connection};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::writer::Writer;
use super::{DbError, Location, exactly_one};

/// Of the advisory lock: "badger" and 1. Locks are a database's own, so panels on one server do not meet.
const LOCK: i64 = 0x6261_6467_6572_0001;
/// How long a predecessor may take to end: its session outlives its process by a moment.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(200);
/// How often it is asked whether the session is alive, and how long an answer may take.
const EVERY: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(10);

/// The right to work with a database, as long as it lives.
#[derive(Debug)]
pub struct Lease {
    at: Location,
    /// The session that has the lock; none on SQLite, and while the server is away.
    session: Option<AnyConnection>,
    panel: Arc<str>,
}

impl Lease {
    /// Takes the lock. Nothing is changed in the database yet.
    pub(super) async fn take(at: &Location) -> Result<Self, DbError> {
        let panel = Uuid::now_v7().to_string().into();
        let mut lease = Self { at: at.clone(), session: None, panel };
        if matches!(at, Location::Sqlite(_)) {
            return Ok(lease);
        }
        let mut session = AnyConnection::connect(&at.url()).await?;
        let deadline = Instant::now() + PATIENCE;
        while !locked(&mut session).await? {
            if Instant::now() > deadline {
                return Err(DbError::Taken {
                    host: signed(&mut session).await.map_or_else(|_| UNKNOWN.into(), |it| it.1),
                });
            }
            sleep(POLL).await;
        }
        lease.session = Some(session);
        Ok(lease)
    }

    /// Puts our name into the row, which is there by now; from here on only our transactions go on.
    pub(super) async fn sign(&mut self) -> Result<Writer, DbError> {
        let Some(session) = &mut self.session else { return Ok(Writer::of(&self.at)) };
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = if host.trim().is_empty() { UNKNOWN } else { host.trim() };
        let update = sqlx::query("UPDATE writer SET panel = $1, host = $2 WHERE id = 1").bind(self.panel.to_string());
        exactly_one(&update.bind(host.to_owned()).execute(session).await?)?;
        Ok(Writer::Postgres(Some(Arc::clone(&self.panel))))
    }

    /// Returns when the database belongs to another panel; this one must end then. May be dropped and called again.
    pub async fn keep(&mut self) -> DbError {
        loop {
            sleep(EVERY).await;
            let alive = match &mut self.session {
                Some(session) => matches!(timeout(ANSWER, session.ping()).await, Ok(Ok(()))),
                None if matches!(self.at, Location::Sqlite(_)) => std::future::pending().await,
                None => false,
            };
            if alive {
                continue;
            }
            if self.session.take().is_some() {
                tracing::error!(database = %self.at, "the database does not answer; the panel waits for it");
            }
            match timeout(ANSWER, self.again()).await {
                Ok(Ok(true)) => tracing::info!(database = %self.at, "the database is back"),
                Ok(Err(error @ DbError::Taken { .. })) => return error,
                Ok(Err(error)) => tracing::debug!(error = crate::api::chain(&error), "the database is not back"),
                // The lock of our own dead session, as a rule, of which the server has not heard yet.
                Ok(Ok(false)) | Err(_) => tracing::debug!("the database is not ours yet"),
            }
        }
    }

    /// A new session with the lock, if the database is still ours. False while somebody has the lock who has not signed.
    async fn again(&mut self) -> Result<bool, DbError> {
        let mut session = AnyConnection::connect(&self.at.url()).await?;
        let is_locked = locked(&mut session).await?;
        let (owner, host) = signed(&mut session).await?;
        if *owner != *self.panel {
            return Err(DbError::Taken { host });
        }
        if is_locked {
            self.session = Some(session);
        }
        Ok(is_locked)
    }

    /// Gives it back.
    pub async fn release(self) {
        if let Some(session) = self.session
            && let Err(error) = session.close().await
        {
            tracing::debug!(%error, "the session of the lease did not end in good order");
        }
    }
}

const UNKNOWN: &str = "an unknown host";

async fn locked(session: &mut AnyConnection) -> Result<bool, DbError> {
    // As a number: `Any` has no word for a truth value that SQLite shares.
    let select = sqlx::query_scalar("SELECT CASE WHEN pg_try_advisory_lock($1) THEN 1 ELSE 0 END").bind(LOCK);
    let locked: i32 = select.fetch_one(session).await?;
    Ok(locked == 1)
}

async fn signed(session: &mut AnyConnection) -> Result<(String, String), DbError> {
    Ok(sqlx::query_as("SELECT panel, host FROM writer WHERE id = 1").fetch_one(session).await?)
}
