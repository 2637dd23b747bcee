//! `start_target` and `check_health`: the game runs on the target, and is well.

use async_trait::async_trait;
use model::StartAfter;
use model::agent_api::{Reply, TransferAction};
use saga::{Call, Cause, Failure, Log, Retries, Step};
use serde_json::Value;

use super::admit;
use super::freeze::FROZEN;
use super::outputs::{Prepared, Started, Stopped, output_of, to_output};
use crate::db::{DbError, servers, transfers};
use crate::migrate::Move;
use crate::migrate::ask::{AGENT_OFFLINE, unexpected};
use crate::migrate::context::db_failure;

/// Publishes the copied tree as the server's directory, and runs it if it ran before (or as was asked for).
pub(super) struct StartTarget;

#[async_trait]
impl Step<Move> for StartTarget {
    fn name(&self) -> &'static str {
        "start_target"
    }

    /// Players may be on the target at once, unless it holds them; what they do there is not given up for a change of mind.
    fn takes_cancel(&self, log: &Log) -> bool {
        admit::are_held(log)
    }

    fn retries(&self) -> Retries {
        FROZEN
    }

    async fn run(&self, it: &Move, call: &Call<'_>) -> Result<Value, Failure> {
        let stopped: Stopped = output_of(call, "stop_source")?;
        let start = match it.transfer.options.start_after {
            StartAfter::AsBefore => stopped.was_running,
            StartAfter::Yes => true,
            StartAfter::No => false,
        };
        it.owned_by_target().await?;
        let permit = it.permits.sign(it.transfer.server_id, it.epoch_there(), it.target());
        let action = TransferAction::StartTarget { permit, start };
        let started = it.ask(call, self.name(), it.target(), action, it.hurried()).await?;
        it.standing.end();
        match started {
            Reply::Started { ago_ms: Some(ago_ms) } => {
                let started_at = it.now().as_millisecond().saturating_sub_unsigned(ago_ms);
                if stopped.was_running {
                    it.record_freeze(started_at - stopped.at_ms).await.map_err(db_failure)?;
                }
                to_output(&Started { started: true })
            }
            Reply::Started { ago_ms: None } => to_output(&Started { started: false }),
            other => Err(unexpected(&other)),
        }
    }

    /// First the database: what the target holds is about to be removed, and the source's copy is the authoritative one
    /// from here on (I2). It does not run yet: the permit may be with the target, and until the target says that it has
    /// stopped and fenced that epoch, nobody else may (I1). Only if the permit provably never left is there nothing to
    /// wait for.
    async fn undo(&self, it: &Move, call: &Call<'_>) -> Result<(), Failure> {
        it.switch_back().await.map_err(db_failure)?;
        if call.log().failure_of(self.name()).is_some_and(|cause| cause.code == AGENT_OFFLINE) {
            return Ok(());
        }
        match it.ask(call, "undo_start_target", it.target(), TransferAction::AbortTarget, it.onward()).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.cause().code == "not_found" => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

impl Move {
    async fn owned_by_target(&self) -> Result<(), Failure> {
        let load = async || {
            let mut conn = self.db.acquire().await?;
            servers::server_get(&mut conn, self.transfer.server_id).await
        };
        let server = load().await.map_err(|error: DbError| db_failure(error))?;
        if (server.node_id, server.epoch) == (self.target(), self.epoch_there()) {
            return Ok(());
        }
        let message = format!("server {} belongs to node {} in epoch {}", server.id, server.node_id, server.epoch);
        Err(Failure::Undo(Cause::new("owner_unexpected", message)))
    }

    async fn record_freeze(&self, freeze_ms: i64) -> Result<(), DbError> {
        let mut conn = self.db.acquire().await?;
        // The panel's clock may have been set back in between; a freeze is not shorter than nothing.
        transfers::freeze_set(&mut conn, self.transfer.id, u64::try_from(freeze_ms).unwrap_or(0)).await
    }
}

/// The egg's word on the console, TCP if the server answered it before, and a minimum time up.
pub(super) struct CheckHealth;

#[async_trait]
impl Step<Move> for CheckHealth {
    fn name(&self) -> &'static str {
        "check_health"
    }

    fn takes_cancel(&self, log: &Log) -> bool {
        admit::are_held(log)
    }

    fn retries(&self) -> Retries {
        FROZEN
    }

    async fn run(&self, it: &Move, call: &Call<'_>) -> Result<Value, Failure> {
        let started: Started = output_of(call, "start_target")?;
        if !started.started {
            return Ok(Value::Null);
        }
        let prepared: Prepared = output_of(call, "prepare_target")?;
        let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let action = TransferAction::CheckHealth {
            tcp_probe: prepared.answers_tcp,
            min_uptime_ms: ms(it.pace.uptime),
            timeout_ms: ms(it.pace.boot),
        };
        let patience = it.hurried().within(it.pace.boot + it.pace.answer);
        match it.ask(call, self.name(), it.target(), action, patience).await? {
            Reply::Healthy { boot_ms } => {
                let mut conn = it.db.acquire().await.map_err(db_failure)?;
                transfers::boot_set(&mut conn, it.transfer.id, boot_ms).await.map_err(db_failure)?;
                Ok(Value::Null)
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn undo(&self, _it: &Move, _call: &Call<'_>) -> Result<(), Failure> {
        Ok(()) // it only looked
    }
}
