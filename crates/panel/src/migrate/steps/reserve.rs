//! `reserve_target`: room and addresses on the target, kept for this transfer.

use async_trait::async_trait;
use saga::{Call, Cause, Failure, Pausing, Step};
use serde_json::Value;

use crate::db::{DbError, allocations, transfers};
use crate::migrate::Move;
use crate::migrate::context::db_failure;

/// Memory, CPU and disk are kept by the transfer's row itself (whoever adds up a node's use counts it), the addresses by
/// a mark on each allocation. All were made with the lock, in one transaction; this step makes sure of the marks.
pub(super) struct ReserveTarget;

#[async_trait]
impl Step<Move> for ReserveTarget {
    fn name(&self) -> &'static str {
        "reserve_target"
    }

    fn pausing(&self) -> Pausing {
        Pausing::Around
    }

    async fn run(&self, it: &Move, _call: &Call<'_>) -> Result<Value, Failure> {
        let mut tx = it.db.begin().await.map_err(db_failure)?;
        for (_, found) in transfers::targets_of(&mut tx, it.transfer.id).await.map_err(db_failure)? {
            if found.reserved_by == Some(it.transfer.id) {
                continue;
            }
            let reserved = allocations::allocation_reserve(&mut tx, found.id, it.target(), it.transfer.id).await;
            reserved.map_err(|error| match error {
                DbError::Conflict => Failure::Undo(Cause::new("allocation_taken", "The allocation is in use.")),
                error => db_failure(error),
            })?;
        }
        tx.commit().await.map_err(|error| db_failure(error.into()))?;
        Ok(Value::Null)
    }

    async fn undo(&self, it: &Move, _call: &Call<'_>) -> Result<(), Failure> {
        let mut tx = it.db.begin().await.map_err(db_failure)?;
        allocations::allocations_unreserve(&mut tx, it.transfer.id).await.map_err(db_failure)?;
        tx.commit().await.map_err(|error| db_failure(error.into()))
    }
}
