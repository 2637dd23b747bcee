//! `stop_source` and `fence_source`: the game ends, then the right to start it here ends.
//!
//! ```text
//!   running ──StopSource──► stopped, lease ──FenceSource──► stopped, tombstone for epoch N
//!      ▲                       │ nothing heard for 20 s          │ UnfenceSource with N+2
//!      └───────────────────────┴── ResumeSource ◄────────────────┘
//! ```

use std::time::Duration;

use async_trait::async_trait;
use model::Permit;
use model::agent_api::{Reply, TransferAction};
use saga::{Call, Cause, Failure, Retries, Step};
use serde_json::Value;

use super::outputs::{Prepared, Stopped, output_of, to_output};
use crate::db::{DbError, servers, transfers};
use crate::migrate::Move;
use crate::migrate::ask::unexpected;
use crate::migrate::context::db_failure;

/// While players wait: a few attempts, close together, then the source runs again.
pub(super) const FROZEN: Retries =
    Retries { attempts: 4, first_pause: Duration::from_millis(200), longest_pause: Duration::from_secs(1) };

/// What the agent needs on top of the game's own patience.
const MARGIN: Duration = Duration::from_mins(1);

/// Stops the game the way its egg says. A game that will not stop is not killed: the migration is given up.
pub(super) struct StopSource;

#[async_trait]
impl Step<Move> for StopSource {
    fn name(&self) -> &'static str {
        "stop_source"
    }

    async fn run(&self, it: &Move, call: &Call<'_>) -> Result<Value, Failure> {
        let prepared: Prepared = output_of(call, "prepare_target")?;
        let lease_ms = u64::try_from(it.pace.lease.as_millis()).unwrap_or(u64::MAX);
        let patience = it.hurried().within(Duration::from_secs(prepared.stop_patience_s.into()) + MARGIN);
        match it.ask(call, self.name(), it.source(), TransferAction::StopSource { lease_ms }, patience).await? {
            Reply::Stopped { was_running, ago_ms } => {
                let at_ms = it.now().as_millisecond().saturating_sub_unsigned(ago_ms);
                to_output(&Stopped { was_running, at_ms })
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn undo(&self, it: &Move, call: &Call<'_>) -> Result<(), Failure> {
        // The stop's own word, or (it may have had its effect without an answer) what was seen before it.
        let stopped: Option<Stopped> = call.log().output("stop_source");
        let prepared: Option<Prepared> = call.log().output("prepare_target");
        let start = stopped.map_or_else(|| prepared.is_some_and(|seen| seen.running), |stopped| stopped.was_running);
        let permit = it.source_permit().await?;
        let action = TransferAction::ResumeSource { permit, start };
        it.ask(call, "undo_stop_source", it.source(), action, it.onward()).await?;
        Ok(())
    }
}

/// A durable tombstone beside the data: the source never starts epoch N again, whatever happens to the panel.
pub(super) struct FenceSource;

#[async_trait]
impl Step<Move> for FenceSource {
    fn name(&self) -> &'static str {
        "fence_source"
    }

    fn retries(&self) -> Retries {
        FROZEN
    }

    async fn run(&self, it: &Move, call: &Call<'_>) -> Result<Value, Failure> {
        it.ask(call, self.name(), it.source(), TransferAction::FenceSource, it.hurried()).await?;
        Ok(Value::Null)
    }

    /// A tombstone for N is lifted by a newer epoch only. It is N+2 in any case: N+1 may have been promised to the
    /// target, and a number is given once.
    async fn undo(&self, it: &Move, call: &Call<'_>) -> Result<(), Failure> {
        let mut tx = it.db.begin().await.map_err(db_failure)?;
        let raise = (it.epoch(), it.epoch_back());
        transfers::epoch_raise(&mut tx, it.transfer.server_id, it.source(), raise).await.map_err(db_failure)?;
        tx.commit().await.map_err(|error| db_failure(error.into()))?;
        let permit = it.source_permit().await?;
        it.ask(call, "undo_fence_source", it.source(), TransferAction::UnfenceSource { permit }, it.onward()).await?;
        Ok(())
    }
}

impl Move {
    /// A permit for the source in the epoch on record, which must be the source's.
    async fn source_permit(&self) -> Result<Permit, Failure> {
        let load = async || {
            let mut conn = self.db.acquire().await?;
            servers::server_get(&mut conn, self.transfer.server_id).await
        };
        let server = load().await.map_err(|error: DbError| db_failure(error))?;
        if server.node_id != self.source() {
            let message =
                format!("server {} belongs to node {} and cannot run on the source", server.id, server.node_id);
            return Err(Failure::Stuck(Cause::new("owner_unexpected", message)));
        }
        Ok(self.permits.sign(server.id, server.epoch, self.source()))
    }
}
