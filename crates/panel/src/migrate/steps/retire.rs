//! `audit` and `release_source`: past the pivot. The source's files are looked at once more, then kept for a while.

use async_trait::async_trait;
use jiff::SignedDuration;
use model::CopyReceipt;
use model::agent_api::{Reply, TransferAction};
use saga::{Call, Cause, Failure, Retries, Step};
use serde_json::Value;

use super::outputs::{Prepared, output_of};
use crate::db::{DbError, transfers};
use crate::migrate::Move;
use crate::migrate::ask::unexpected;
use crate::migrate::context::db_failure;

/// Hashes the frozen source again. If it is not what was started, somebody wrote to it after the copy: the target lacks
/// that, the source's files are all there is of it, and only a person can tell whether it matters.
pub(super) struct Audit;

#[async_trait]
impl Step<Move> for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn retries(&self) -> Retries {
        Retries::PERSISTENT
    }

    async fn run(&self, it: &Move, call: &Call<'_>) -> Result<Value, Failure> {
        let receipt: CopyReceipt = output_of(call, "final_copy")?;
        let owner = output_of::<Prepared>(call, "prepare_target")?.goal.owner;
        let (audit, patience) = (TransferAction::Audit { owner }, it.onward().within(it.pace.audit));
        match it.ask(call, self.name(), it.source(), audit, patience).await? {
            Reply::Audited { root } if root == receipt.root_source => Ok(Value::Null),
            Reply::Audited { root } => {
                let message = format!(
                    "The files on {} changed after they were copied (root {root}, copied {}). The server runs on \
                     {} without those changes; the source's files are kept. Compare them before they are removed.",
                    it.from, receipt.root_source, it.to
                );
                Err(Failure::Stuck(Cause::new("audit_differs", message)))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn undo(&self, _it: &Move, _call: &Call<'_>) -> Result<(), Failure> {
        Ok(()) // past the pivot
    }
}

/// The files become a retained copy with an expiry, the container goes, and then the old address is free.
pub(super) struct ReleaseSource;

#[async_trait]
impl Step<Move> for ReleaseSource {
    fn name(&self) -> &'static str {
        "release_source"
    }

    fn retries(&self) -> Retries {
        Retries::PERSISTENT
    }

    async fn run(&self, it: &Move, call: &Call<'_>) -> Result<Value, Failure> {
        let expires_at = it.settle_expiry().await.map_err(db_failure)?;
        let patience = it.onward().within(it.pace.prepare);
        let action = TransferAction::RetainSource { expires_at };
        let bytes = match it.ask(call, self.name(), it.source(), action, patience).await? {
            Reply::Retained { bytes } => bytes,
            other => return Err(unexpected(&other)),
        };
        it.record_release(bytes).await.map_err(db_failure)?;
        it.consume_basis().await.map_err(db_failure)?;
        Ok(Value::Null)
    }

    async fn undo(&self, _it: &Move, _call: &Call<'_>) -> Result<(), Failure> {
        Ok(()) // past the pivot
    }
}

impl Move {
    /// The expiry is settled before the source hears of it: asked again, it hears the same.
    async fn settle_expiry(&self) -> Result<model::Timestamp, DbError> {
        let keep =
            SignedDuration::from_secs(i64::try_from(self.transfer.options.retain_source_for_s).unwrap_or(i64::MAX));
        let wanted = self.now().checked_add(keep).unwrap_or(model::Timestamp::MAX);
        let mut tx = self.db.begin().await?;
        let settled = transfers::retained_until(&mut tx, self.transfer.id, wanted).await?;
        tx.commit().await?;
        Ok(settled)
    }

    async fn record_release(&self, bytes: u64) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        transfers::retained_bytes(&mut tx, self.transfer.id, bytes).await?;
        transfers::source_released(&mut tx, self.transfer.id, self.source()).await?;
        tx.commit().await?;
        Ok(())
    }
}
