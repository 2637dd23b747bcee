//! `precopy` and `final_copy`: all but the last changes while the game runs, the rest while it is stopped.

use async_trait::async_trait;
use model::agent_api::{Reply, TransferAction};
use model::{Mode, Options};
use saga::{Call, Cause, Failure, Pausing, Retries, Step};
use serde_json::Value;

use super::ladder::Way;
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

    fn pausing(&self) -> Pausing {
        Pausing::Inside
    }

    async fn hold(&self, it: &Move, call: &Call<'_>) {
        it.rest_copy(call, "pause_precopy").await;
    }

    async fn run(&self, it: &Move, call: &Call<'_>) -> Result<Value, Failure> {
        let prepared: Prepared = output_of(call, "prepare_target")?;
        if !it.copies_live(&prepared) {
            return Ok(Value::Null);
        }
        // Where the server is not stopped yet, there is no hurry: what the freeze would be now says nothing about then.
        let is_open = it.opening(&it.tuned.options()).is_none();
        to_output(&it.precopy(call, self.name(), self.name(), &prepared, is_open).await?)
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
        let action = |options: &Options| TransferAction::FinalCopy {
            door: it.door(&way, &prepared.goal),
            bandwidth_limit: options.bandwidth_limit,
        };
        // A cold copy takes as long as the world is big; only after a precopy is being stuck for a minute an alarm.
        let hurry = stopped.was_running && it.transfer.mode == Mode::Live;
        let asked = it.ask_copy(call, self.name(), &action, it.while_progress(hurry)).await;
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
    /// Whether there is anything to copy before the server stops: a cold copy, and one of a server that does not run,
    /// keeps nobody waiting.
    pub(super) fn copies_live(&self, prepared: &Prepared) -> bool {
        self.transfer.mode == Mode::Live && prepared.running
    }

    /// Copies in rounds while the game runs, under the key of `command`, until the predicted freeze fits the promise; or, if
    /// nothing is promised yet, until the rounds get no smaller.
    pub(super) async fn precopy(
        &self,
        call: &Call<'_>,
        step: &str,
        command: &str,
        prepared: &Prepared,
        promised: bool,
    ) -> Result<Precopied, Failure> {
        let way: Way = self.way(call, step, self.patient()).await?;
        let promise = |options: &Options| {
            if promised { options.max_freeze_s.saturating_mul(1000) } else { u64::MAX }
        };
        let action = |options: &Options| TransferAction::Precopy {
            door: self.door(&way, &prepared.goal),
            max_freeze_ms: promise(options),
            bandwidth_limit: options.bandwidth_limit,
        };
        let promise_ms = promise(&self.tuned.options());
        let asked = self.ask_copy(call, command, &action, self.while_progress(false)).await;
        match asked.map_err(|failure| self.blame_way(failure, &way))? {
            Reply::Precopied { prediction } => {
                self.following.precopied(&prediction);
                Ok(Precopied { prediction, way: Some(way), promise_ms: Some(promise_ms) })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Nothing is sent any more until somebody goes on; what has arrived stays. The way is looked for again then. A
    /// source that cannot be told is told by nobody: it comes to rest by itself when its rounds are done.
    pub(super) async fn rest_copy(&self, call: &Call<'_>, step: &str) {
        self.standing.rest();
        if let Err(failure) = self.end_copy(call, step, self.onward()).await {
            tracing::warn!(transfer = %self.transfer.id, error = %failure.cause(), "transfer: the copy was not put to rest");
        }
    }

    pub(super) async fn end_copy(&self, call: &Call<'_>, step: &str, patience: Patience) -> Result<(), Failure> {
        match self.ask(call, step, self.source(), TransferAction::EndCopy, patience).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.cause().code == "not_found" => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}
