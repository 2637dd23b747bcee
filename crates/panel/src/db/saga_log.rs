//! The logs of sagas in SQL: [`saga::Store`] for the panel.

use async_trait::async_trait;
use model::{Clock, Timestamp};
use saga::{Event, SagaId, Store, StoreError};
use std::sync::Arc;

use super::{Conn, Db, DbError, to_i64, to_json, to_ms};

/// [`saga::Store`] over the panel's database.
pub struct SagaLog {
    db: Db,
    clock: Arc<dyn Clock>,
}

impl SagaLog {
    /// The logs in `db`.
    #[must_use]
    pub fn new(db: Db, clock: Arc<dyn Clock>) -> Self {
        Self { db, clock }
    }

    async fn try_append(&self, saga: &SagaId, seq: u64, event: String) -> Result<bool, DbError> {
        let mut conn = self.db.acquire().await?;
        insert(&mut conn, saga, seq, event, self.clock.now()).await
    }
}

#[async_trait]
impl Store for SagaLog {
    async fn open(&self, saga: &SagaId) -> Result<(), StoreError> {
        let mut conn = self.db.acquire().await.map_err(unavailable)?;
        saga_open(&mut conn, saga).await.map_err(unavailable)
    }

    async fn append(&self, saga: &SagaId, seq: u64, event: &Event) -> Result<(), StoreError> {
        let event = serde_json::to_string(event).map_err(unavailable)?;
        match self.try_append(saga, seq, event).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::Conflict { saga: saga.clone(), seq }),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn load(&self, saga: &SagaId) -> Result<Vec<Event>, StoreError> {
        let mut conn = self.db.acquire().await.map_err(unavailable)?;
        let select = sqlx::query_scalar("SELECT event FROM saga_log WHERE saga_id = $1 ORDER BY seq");
        let events: Vec<String> = select.bind(saga.0.clone()).fetch_all(&mut *conn).await.map_err(unavailable)?;
        let read = |(seq, text): (u64, &String)| {
            serde_json::from_str(text).map_err(|source| StoreError::Corrupt { saga: saga.clone(), seq, source })
        };
        (0..).zip(&events).map(read).collect()
    }

    async fn unfinished(&self) -> Result<Vec<SagaId>, StoreError> {
        let mut conn = self.db.acquire().await.map_err(unavailable)?;
        // Ids are UUIDs of version 7: their order is that of their creation.
        let select = sqlx::query_scalar("SELECT id FROM sagas WHERE finished = 0 ORDER BY id");
        let ids: Vec<String> = select.fetch_all(&mut *conn).await.map_err(unavailable)?;
        Ok(ids.into_iter().map(SagaId).collect())
    }

    async fn close(&self, saga: &SagaId) -> Result<(), StoreError> {
        let mut conn = self.db.acquire().await.map_err(unavailable)?;
        saga_close(&mut conn, saga).await.map_err(unavailable)
    }
}

/// The gap is checked in the same statement; that the number is not taken is the primary key's business.
async fn insert(conn: &mut Conn, saga: &SagaId, seq: u64, event: String, now: Timestamp) -> Result<bool, DbError> {
    let sql = "INSERT INTO saga_log (saga_id, seq, event, at)
               SELECT $1, $2, $3, $4 WHERE (SELECT COUNT(*) FROM saga_log WHERE saga_id = $1) = $2";
    let insert = sqlx::query(sql).bind(saga.0.clone()).bind(to_i64(seq)).bind(event).bind(to_ms(now));
    match insert.execute(conn).await.map_err(DbError::from) {
        Ok(done) => Ok(done.rows_affected() == 1),
        Err(DbError::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes the event number `seq`, in the transaction of what it is about. Answers false if that number is not the next.
pub async fn saga_append(
    tx: &mut Conn,
    saga: &SagaId,
    seq: u64,
    event: &Event,
    now: Timestamp,
) -> Result<bool, DbError> {
    insert(tx, saga, seq, to_json("saga_log.event", event)?, now).await
}

/// Promises to finish `saga`, in the transaction of what it is about. Again is the same.
pub async fn saga_open(conn: &mut Conn, saga: &SagaId) -> Result<(), DbError> {
    let sql = "INSERT INTO sagas (id, finished) VALUES ($1, 0) ON CONFLICT (id) DO UPDATE SET finished = 0";
    sqlx::query(sql).bind(saga.0.clone()).execute(conn).await?;
    Ok(())
}

/// The promise is kept; in the transaction that says what came of it.
pub async fn saga_close(conn: &mut Conn, saga: &SagaId) -> Result<(), DbError> {
    sqlx::query("UPDATE sagas SET finished = 1 WHERE id = $1").bind(saga.0.clone()).execute(conn).await?;
    Ok(())
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

impl Db {
    /// Connections that are at work now. A test that owns the time lets none pass while a query runs.
    #[must_use]
    pub fn connections_in_use(&self) -> usize {
        (self.pool.size() as usize).saturating_sub(self.pool.num_idle())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_keeps_the_contract_of_saga_stores() {
        let dir = tempfile::tempdir().expect("a directory");
        let db = crate::db::testing::open(dir.path()).await.expect("a database");
        saga::testing::store_contract(&SagaLog::new(db.clone(), Arc::new(model::SystemClock))).await;
        db.close().await;
    }
}
