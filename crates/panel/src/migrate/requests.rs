//! What can be asked of migrations: start one, cancel one.

use std::sync::Arc;

use model::agent_api::AgentError;
use model::{AllocationId, CopyProgress, NodeId, Options, ServerId, Stage, TransferId, TransferState};
use saga::{SagaId, Store};

use super::addresses::Addresses;
use super::admission::{self, Refusal};
use super::driver::PAUSE;
use super::{Migrations, facts, steps, store_error, tell};
use crate::db::allocations::{self, Allocation};
use crate::db::nodes::NodeKind;
use crate::db::saga_log::{SagaLog, saga_open};
use crate::db::transfers::{self, AddressMove, End, Transfer};
use crate::db::{DbError, backup_storages, on_demand, servers};

/// What a caller asks for.
#[derive(Clone, Debug)]
pub struct StartRequest {
    /// The server that is to move.
    pub server_id: ServerId,
    /// Where to.
    pub target_node_id: NodeId,
    /// Its first address there; none to have one chosen.
    pub allocation_id: Option<AllocationId>,
    /// How its addresses there are chosen: the same port if it is free, else the lowest.
    pub addresses: Addresses,
    /// How.
    pub options: Options,
    /// Who asks.
    pub requested_by: String,
}

/// What a transfer is a consequence of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Of nothing: somebody wanted it.
    Fresh,
    /// Of one that was rolled back.
    RetryOf(TransferId),
    /// Of one that completed and is taken back.
    UndoOf(TransferId),
}

impl Origin {
    fn retry_of(self) -> Option<TransferId> {
        match self {
            Self::RetryOf(id) => Some(id),
            Self::Fresh | Self::UndoOf(_) => None,
        }
    }

    fn undo_of(self) -> Option<TransferId> {
        match self {
            Self::UndoOf(id) => Some(id),
            Self::Fresh | Self::RetryOf(_) => None,
        }
    }
}

/// Why a transfer was not started, or not changed.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// Admission refused it.
    #[error("refused")]
    Refused(#[source] Refusal),
    /// There is no such transfer.
    #[error("there is no such transfer")]
    NotFound,
    /// Its state does not allow it; the message is for people.
    #[error("{message}")]
    Conflict {
        /// Stable word.
        code: &'static str,
        /// What is and what to do.
        message: String,
    },
    /// The agent that it takes is not there.
    #[error("the agent of {} {name} is not connected", kind.noun())]
    AgentOffline {
        /// What it speaks for.
        kind: NodeKind,
        /// The name of that.
        name: String,
    },
    /// The agent would not.
    #[error("the agent refused")]
    Agent(#[source] AgentError),
    /// The database failed.
    #[error("the database failed")]
    Db(#[from] DbError),
}

impl Migrations {
    /// Starts a transfer, or says why not. Two at once: one wins, the other finds the server locked.
    pub async fn start(self: &Arc<Self>, request: &StartRequest) -> Result<Transfer, MigrateError> {
        self.start_from(TransferId::new(), request, Origin::Fresh).await
    }

    /// The same under an id that the caller has chosen and written down. Again under that id is the same transfer.
    pub async fn start_as(self: &Arc<Self>, id: TransferId, request: &StartRequest) -> Result<Transfer, MigrateError> {
        match self.get(id).await {
            Ok(there) => Ok(there),
            Err(MigrateError::NotFound) => self.start_from(id, request, Origin::Fresh).await,
            Err(error) => Err(error),
        }
    }

    /// The same, as a consequence of an earlier one.
    pub(super) async fn start_from(
        self: &Arc<Self>,
        id: TransferId,
        request: &StartRequest,
        origin: Origin,
    ) -> Result<Transfer, MigrateError> {
        let transfer = self.accept(id, request, origin).await?;
        tracing::info!(transfer = %transfer.id, server = %transfer.server_id, ?origin, "transfer accepted");
        if let Err(error) = self.drive(transfer.clone()).await {
            tracing::warn!(transfer = %transfer.id, error = crate::api::chain(&error), "the transfer waits for the database");
            self.drive_if_accepted(transfer.id);
        }
        Ok(transfer)
    }

    /// Whether a commit whose answer was lost had its effect, the database tells when it is back. If it had, there is a
    /// promise to keep, and whoever asked has only heard that something failed.
    fn drive_if_accepted(self: &Arc<Self>, id: TransferId) {
        let this = Arc::clone(self);
        self.spawn(async move {
            loop {
                let error = match this.get(id).await {
                    Ok(transfer) => match this.drive(transfer).await {
                        Ok(()) => return,
                        Err(error) => MigrateError::Db(error),
                    },
                    Err(MigrateError::NotFound) => return,
                    Err(error) => error,
                };
                tracing::warn!(transfer = %id, error = crate::api::chain(&error), "whether it was accepted is not known yet");
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    /// The row, the lock, the addresses and the promise to see it through: all in one transaction, or nothing.
    async fn accept(
        self: &Arc<Self>,
        id: TransferId,
        request: &StartRequest,
        origin: Origin,
    ) -> Result<Transfer, MigrateError> {
        let mut tx = self.db.begin().await?;
        let (server, target) = (request.server_id, request.target_node_id);
        let (primary, rule) = (request.allocation_id, &request.addresses);
        let gathered = facts::gather(&mut tx, &*self.agents, server, target, primary, rule).await?;
        let gathered = gathered.map_err(MigrateError::Refused)?;
        let new = admission::admit(&gathered.facts).map_err(MigrateError::Refused)?;
        if request.options.backup_first && backup_storages::storage_default(&mut tx).await?.is_none() {
            return Err(MigrateError::Refused(Refusal::NoBackupStorage));
        }
        let Some(first) = new.first() else { return Err(MigrateError::Refused(Refusal::AllocationTaken)) };
        let transfer = self.new_transfer(id, (request, origin), &gathered, first);
        transfers::transfer_insert(&mut tx, &transfer).await?;
        servers::server_lock(&mut tx, server, &transfer.id.to_string()).await?;
        transfers::transfer_show(&mut tx, transfer.id, TransferState::Queued).await?;
        for allocation in &new {
            if gathered.new_allocations.contains(&allocation.id) {
                on_demand::allocation_insert(&mut tx, allocation).await?;
            }
            allocations::allocation_reserve(&mut tx, allocation.id, target, transfer.id).await?;
        }
        let old = gathered.facts.addresses.iter().map(|want| want.old.as_ref().map(End::from));
        let moves: Vec<_> = old.zip(&new).map(|(old, new)| AddressMove { old, new: End::from(new) }).collect();
        transfers::addresses_insert(&mut tx, transfer.id, &moves).await?;
        enter_first_stage(&mut tx, &transfer).await?;
        tell::started(&mut tx, &transfer, transfer.created_at).await?;
        saga_open(&mut tx, &SagaId(transfer.id.to_string())).await?;
        if let Err(error) = tx.commit().await {
            self.drive_if_accepted(transfer.id);
            return Err(DbError::from(error).into());
        }
        Ok(transfer)
    }

    fn new_transfer(
        &self,
        id: TransferId,
        (request, origin): (&StartRequest, Origin),
        about: &facts::Gathered,
        to: &Allocation,
    ) -> Transfer {
        let from = about.server.primary.as_ref();
        Transfer {
            id,
            server_id: about.server.id,
            mode: request.options.mode,
            state: TransferState::Queued,
            stage: Stage::Preparing,
            source_node_id: about.source.id,
            source_kind: about.source.kind,
            target_node_id: about.target.id,
            target_kind: about.target.kind,
            source_allocation_id: from.map(|primary| primary.id),
            target_allocation_id: Some(to.id),
            source_address: from.map(|primary| format!("{}:{}", primary.ip_address, primary.port)),
            target_address: Some(format!("{}:{}", to.ip_address, to.port)),
            options: request.options.clone(),
            epoch: about.server.epoch,
            reserved: about.server.limits,
            progress: CopyProgress::default(),
            path: None,
            receipt: None,
            freeze_ms: None,
            boot_ms: None,
            failure: None,
            cancel_requested: false,
            pause_requested: false,
            paused: None,
            tuned: 0,
            settled: false,
            retained_until: None,
            retained_bytes: None,
            retry_of: origin.retry_of(),
            undo_of: origin.undo_of(),
            requested_by: request.requested_by.clone(),
            created_at: self.clock.now(),
            finished_at: None,
        }
    }

    /// Accepts a cancel: while nothing is being taken back already, and before players may be on the target. That is
    /// from the pivot on where it holds them, and from its start on where it cannot: up to the pivot a start that fails is
    /// still undone, but what players did meanwhile is not given up for a change of mind.
    ///
    /// One that is stuck is given up like any other, where it stood before that could be undone; see [`retry`](super::retry).
    ///
    /// What is accepted is honoured: the saga's own [`Cancel`](saga::Cancel) decides which comes first, it or that step.
    pub async fn cancel(self: &Arc<Self>, id: TransferId) -> Result<Transfer, MigrateError> {
        let transfer = self.get(id).await?;
        let refused = |code, message: String| Err(MigrateError::Conflict { code, message });
        match transfer.state {
            TransferState::Cancelling => return Ok(transfer),
            TransferState::Stuck => return self.give_up(&transfer).await,
            TransferState::RollingBack => {
                return refused("transfer_rolling_back", "The transfer is being rolled back already.".into());
            }
            state if state.is_final() => {
                return refused("transfer_finished", format!("The transfer is over ({}).", word(state)));
            }
            _ => {}
        }
        let driven = self.driven().get(&id).map(|reins| reins.cancel.clone());
        if !self.takes_cancel(id).await? || driven.as_ref().is_some_and(|cancel| !cancel.request()) {
            let message = "The server starts on the target already, and players may be on it. If it does not come up, it \
                           goes back by itself; else wait for the end, then move it back.";
            return refused("transfer_past_pivot", message.into());
        }
        // Written down, too, so that it survives us.
        let mut conn = self.db.acquire().await?;
        match transfers::transfer_cancel(&mut conn, id).await {
            Ok(()) => {}
            Err(DbError::Conflict) if driven.is_some() => transfers::transfer_cancelled(&mut conn, id).await?,
            Err(DbError::Conflict) => {
                return refused("transfer_finished", "The transfer came to its end meanwhile.".into());
            }
            Err(error) => return Err(error.into()),
        }
        drop(conn);
        self.get(id).await
    }

    async fn takes_cancel(&self, id: TransferId) -> Result<bool, DbError> {
        let executor = steps::executor();
        let log = self.log_of(id, executor.plan()).await?;
        // What is being taken back has no need of one, and the row says so in a moment.
        Ok(executor.takes_cancel(&log) || matches!(executor.plan().next(&log), saga::Next::Undo { .. }))
    }

    /// What is on record of a transfer.
    pub(super) async fn log_of(&self, id: TransferId, plan: &saga::Plan) -> Result<saga::Log, DbError> {
        let log = SagaLog::new(self.db.clone(), self.clock.clone());
        let events = log.load(&SagaId(id.to_string())).await.map_err(store_error)?;
        let log = plan.fold(events);
        log.map_err(|error| DbError::Corrupt { column: "saga_log.event", why: error.to_string() })
    }

    pub(super) async fn get(&self, id: TransferId) -> Result<Transfer, MigrateError> {
        match transfers::transfer_get(&mut *self.db.acquire().await?, id).await {
            Ok(transfer) => Ok(transfer),
            Err(DbError::NotFound) => Err(MigrateError::NotFound),
            Err(error) => Err(error.into()),
        }
    }
}

pub(super) fn word(state: TransferState) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        _ => format!("{state:?}"),
    }
}

/// With its event: whoever follows the stream from the beginning sees every stage.
async fn enter_first_stage(tx: &mut crate::db::Conn, transfer: &Transfer) -> Result<(), DbError> {
    let (stage, at) = (transfer.stage, transfer.created_at);
    transfers::stage_enter(tx, transfer.id, stage, at).await?;
    let body = serde_json::json!({"state": transfer.state, "stage": stage, "label": stage.label()});
    transfers::event_append(tx, transfer.id, "stage", &body, at).await.map(drop)
}
