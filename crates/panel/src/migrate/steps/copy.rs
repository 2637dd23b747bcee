//! `precopy` and `final_copy`: all but the last changes while the game runs, the rest while it is stopped.

use async_trait::async_trait;
use model::Mode;
use model::agent_api::{Reply, TransferAction};
use saga::{Call, Cause, Failure, Retries, Step};
use serde_json::Value;

use super::ladder::final_word;
use super::outputs::{Precopied, Prepared, Stopped, output_of, to_output};
use crate::db::transfers;
use crate::migrate::Move;
use crate::migrate::ask::{Patience, unexpected};
use crate::migrate::context::db_failure;

/// Copies while the game runs until the predicted freeze fits the promise. Nothing to do for a cold copy, and for a
/// server that does not run: nobody waits during its freeze.
pub(super) struct Precopy;

#[async_trait]
impl Step<Move> for Precopy {
    fn name(&self) -> &'static str {
        "precopy"
    }

    async fn run(&self, it: &Move, call: &Call<'_>) -> Result<Value, Failure> {
        let prepared: Prepared = output_of(call, "prepare_target")?;
        if it.transfer.mode == Mode::Cold || !prepared.running {
            return Ok(Value::Null);
        }
        let way = it.way(call, self.name(), it.patient()).await?;
        let action = TransferAction::Precopy {
            door: it.door(&way, &prepared.goal),
            max_freeze_ms: it.transfer.options.max_freeze_s.saturating_mul(1000),
            bandwidth_limit: it.transfer.options.bandwidth_limit,
        };
        let asked = it.ask(call, self.name(), it.source(), action, it.while_progress(false)).await;
        match asked.map_err(|failure| it.blame_way(failure, &way))? {
            Reply::Precopied { prediction } => {
                it.following.precopied(&prediction);
                to_output(&Precopied { prediction, way: Some(way) })
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn undo(&self, it: &Move, call: &Call<'_>) -> Result<(), Failure> {
        it.end_copy(call, "undo_precopy", it.onward()).await
    }
}

/// The last delta. Its answer is the proof that both sides hold the same tree (I3).
pub(super) struct FinalCopy;

#[async_trait]
impl Step<Move> for FinalCopy {
    fn name(&self) -> &'static str {
        "final_copy"
    }

    fn retries(&self) -> Retries {
        super::freeze::FROZEN
    }

    async fn run(&self, it: &Move, call: &Call<'_>) -> Result<Value, Failure> {
        let prepared: Prepared = output_of(call, "prepare_target")?;
        let stopped: Stopped = output_of(call, "stop_source")?;
        let way = it.way(call, self.name(), it.hurried()).await.map_err(final_word)?;
        let action = TransferAction::FinalCopy {
            door: it.door(&way, &prepared.goal),
            bandwidth_limit: it.transfer.options.bandwidth_limit,
        };
        // A cold copy takes as long as the world is big; only after a precopy is being stuck for a minute an alarm.
        let hurry = stopped.was_running && it.transfer.mode == Mode::Live;
        let asked = it.ask(call, self.name(), it.source(), action, it.while_progress(hurry)).await;
        let receipt = match asked.map_err(|failure| it.blame_way(failure, &way))? {
            Reply::Copied { receipt } => receipt,
            other => return Err(unexpected(&other)),
        };
        if receipt.root_source.is_empty() || receipt.root_source != receipt.root_target {
            let message = format!(
                "Source and target hold different files (roots {} and {}). Check the target's disk.",
                receipt.root_source, receipt.root_target
            );
            return Err(Failure::Undo(Cause::new("roots_differ", message)));
        }
        it.following.copied(&receipt);
        let mut conn = it.db.acquire().await.map_err(db_failure)?;
        transfers::receipt_set(&mut conn, it.transfer.id, &receipt).await.map_err(db_failure)?;
        to_output(&receipt)
    }

    async fn undo(&self, it: &Move, call: &Call<'_>) -> Result<(), Failure> {
        it.end_copy(call, "undo_final_copy", it.onward()).await
    }
}

impl Move {
    pub(super) async fn end_copy(&self, call: &Call<'_>, step: &str, patience: Patience) -> Result<(), Failure> {
        match self.ask(call, step, self.source(), TransferAction::EndCopy, patience).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.cause().code == "not_found" => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}
