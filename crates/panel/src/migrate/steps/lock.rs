//! `lock_server` and `unlock_server`: nobody else acts on a server that moves.

use async_trait::async_trait;
use saga::{Call, Cause, Failure, Pausing, Retries, Step};
use serde_json::Value;

use crate::db::{DbError, allocations, transfers};
use crate::migrate::Move;
use crate::migrate::context::db_failure;

/// The lock is taken together with the transfer's row, so that of two starts one is refused at once. This step makes
/// sure that it is still ours and that nobody moved the server meanwhile.
pub(super) struct LockServer;

#[async_trait]
impl Step<Move> for LockServer {
    fn name(&self) -> &'static str {
        "lock_server"
    }

    fn pausing(&self) -> Pausing {
        Pausing::Around
    }

    async fn run(&self, it: &Move, _call: &Call<'_>) -> Result<Value, Failure> {
        let mut conn = it.db.acquire().await.map_err(db_failure)?;
        let owner = (it.source(), it.epoch());
        match transfers::lock_confirm(&mut conn, it.transfer.server_id, it.transfer.id, owner).await {
            Ok(()) => Ok(Value::Null),
            Err(DbError::Conflict) => {
                let message = "Server Is Currently Locked: another operation took it. Wait for it to complete.";
                Err(Failure::Undo(Cause::new("server_locked", message)))
            }
            Err(error) => Err(db_failure(error)),
        }
    }

    async fn undo(&self, it: &Move, _call: &Call<'_>) -> Result<(), Failure> {
        let mut tx = it.db.begin().await.map_err(db_failure)?;
        // The address was kept together with the lock; `reserve_target` may never have begun.
        allocations::allocations_unreserve(&mut tx, it.transfer.id).await.map_err(db_failure)?;
        transfers::lock_release(&mut tx, it.transfer.server_id, it.transfer.id).await.map_err(db_failure)?;
        tx.commit().await.map_err(|error| db_failure(error.into()))
    }
}

/// Last of all: with the lock goes the last trace of the transfer on the server.
pub(super) struct UnlockServer;

#[async_trait]
impl Step<Move> for UnlockServer {
    fn name(&self) -> &'static str {
        "unlock_server"
    }

    fn retries(&self) -> Retries {
        Retries::PERSISTENT
    }

    async fn run(&self, it: &Move, _call: &Call<'_>) -> Result<Value, Failure> {
        let mut conn = it.db.acquire().await.map_err(db_failure)?;
        transfers::lock_release(&mut conn, it.transfer.server_id, it.transfer.id).await.map_err(db_failure)?;
        Ok(Value::Null)
    }

    async fn undo(&self, _it: &Move, _call: &Call<'_>) -> Result<(), Failure> {
        Ok(()) // past the pivot
    }
}
