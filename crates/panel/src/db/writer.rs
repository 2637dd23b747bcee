//! One transaction at a time: how [`super::Db::begin`] waits for its turn.
//!
//! ```text
//! SQLite      BEGIN IMMEDIATE            the file's write lock, at once: a reader that becomes a writer in the middle
//!                                        is refused and does not wait
//! PostgreSQL  BEGIN                      READ COMMITTED: each statement sees what was committed before it
//!             SELECT … FROM writer       the one row, locked until the end of the transaction; whoever is next waits
//!               FOR UPDATE               here, and sees all that the last one has done
//! ```
//!
//! The row also says which panel the database belongs to (see [`super::lease`]). A transaction of any other one goes no
//! further: so a panel that lost the database without having noticed does no harm.
//!
//! Not SERIALIZABLE with retries: then every caller must be a closure that can run twice, and the busiest moment is the
//! one in which most work is thrown away. A panel writes some dozens of times a second; a turn takes a millisecond.

use std::sync::Arc;

use sqlx::{Any, AnyPool, Transaction};

use super::{DbError, Location};

/// How a transaction begins.
#[derive(Clone, Debug)]
pub(super) enum Writer {
    /// With the file's lock.
    Sqlite,
    /// With the row's lock, if the database is this panel's; whoever is beside it takes it as it is.
    Postgres(Option<Arc<str>>),
}

impl Writer {
    /// Of somebody who has not claimed the database.
    pub(super) fn of(at: &Location) -> Self {
        match at {
            Location::Sqlite(_) => Self::Sqlite,
            Location::Postgres(_) => Self::Postgres(None),
        }
    }

    pub(super) async fn begin(&self, pool: &AnyPool) -> Result<Transaction<'static, Any>, DbError> {
        match self {
            Self::Sqlite => Ok(pool.begin_with("BEGIN IMMEDIATE").await?),
            Self::Postgres(panel) => {
                // In a task of its own: a caller that is dropped in the middle of BEGIN would leave a connection in the
                // pool that is in a transaction without knowing it.
                let turn = tokio::spawn(turn(pool.clone(), panel.clone()));
                turn.await.unwrap_or(Err(DbError::Unavailable(sqlx::Error::WorkerCrashed)))
            }
        }
    }
}

async fn turn(pool: AnyPool, panel: Option<Arc<str>>) -> Result<Transaction<'static, Any>, DbError> {
    let mut tx = pool.begin().await?;
    let select = sqlx::query_as("SELECT panel, host FROM writer WHERE id = 1 FOR UPDATE");
    let (owner, host): (String, String) = select.fetch_one(&mut *tx).await?;
    match panel {
        Some(panel) if *panel != *owner => Err(DbError::Taken { host }),
        _ => Ok(tx),
    }
}
