//! The copy that a source keeps of a completed transfer: freed before its time, or consumed by an undo.
//!
//! The agent destroys it by itself when its time is over; what is said here is whether it is gone, or cannot be asked for.

use model::TransferId;
use model::TransferState;
use model::agent_api::{ErrorCode, Request, StepKey, TransferAction};
use tokio::time::timeout;

use super::requests::MigrateError;
use super::{Migrations, Move};
use crate::agent::CallError;
use crate::db::transfers::{self, Transfer};
use crate::db::{DbError, nodes};

/// What destroys the copy that the source of `transfer` keeps.
fn free(transfer: &Transfer) -> Request {
    let key = StepKey { transfer_id: transfer.id, step: "free_retained".to_owned(), epoch: transfer.epoch };
    Request::Transfer { key, server_id: transfer.server_id, action: TransferAction::FreeRetained }
}

impl Migrations {
    /// Destroys the copy that the source keeps of a completed transfer. Again is the same.
    pub async fn free_retained(&self, id: TransferId) -> Result<(), MigrateError> {
        let transfer = self.get(id).await?;
        if transfer.state != TransferState::Completed || transfer.retained_until.is_none() {
            let message = "This transfer keeps no copy on its source: only a completed one does.".into();
            return Err(MigrateError::Conflict { code: "nothing_retained", message });
        }
        if transfer.retained_bytes == Some(0) {
            return Ok(());
        }
        if let Some(undo) = transfers::undone_now(&mut *self.db.acquire().await?, id).await? {
            return Err(in_use(&format!("Transfer {undo} takes this one back and builds on the copy.")));
        }
        let call = self.agents.call(transfer.source_node_id, free(&transfer));
        match timeout(self.pace.answer, call).await.unwrap_or(Err(CallError::Lost)) {
            Ok(_) => {}
            Err(CallError::Refused(error)) if error.code == ErrorCode::NotFound => {}
            Err(CallError::Refused(error)) if error.code == ErrorCode::Conflict => return Err(in_use(&error.message)),
            Err(CallError::Refused(error)) => return Err(MigrateError::Agent(error)),
            Err(CallError::Offline | CallError::Lost) => return Err(self.cannot_ask(&transfer).await),
        }
        let now = self.clock.now();
        Ok(transfers::retained_gone(&mut *self.db.acquire().await?, id, now).await?)
    }

    async fn cannot_ask(&self, transfer: &Transfer) -> MigrateError {
        let kind = transfer.source_kind;
        let node = async { nodes::node_get(&mut *self.db.acquire().await?, transfer.source_node_id).await };
        match node.await {
            Ok(node) => MigrateError::AgentOffline { kind, name: node.name },
            Err(DbError::NotFound) => MigrateError::Conflict {
                code: "source_removed",
                message: format!(
                    "The {} that keeps this copy was removed from the panel: nobody can be asked any more. Remove it \
                     there by hand (retained/{} in the daemon's data directory); its agent destroys it by itself when \
                     its time is over.",
                    kind.noun(),
                    transfer.id
                ),
            },
            Err(error) => error.into(),
        }
    }
}

fn in_use(why: &str) -> MigrateError {
    let message = format!("{} Cancel that transfer, or wait for its end.", why.trim_end_matches('.').to_owned() + ".");
    MigrateError::Conflict { code: "retained_in_use", message }
}

impl Move {
    /// An undo has completed: the copy that it was built on is a second one of what runs here, and as old as the first move.
    /// An agent that is away destroys it by itself when its time is over.
    pub(super) async fn consume_basis(&self) -> Result<(), DbError> {
        let Some(undone) = self.transfer.undo_of else { return Ok(()) };
        let undone = transfers::transfer_get(&mut *self.db.acquire().await?, undone).await?;
        let call = self.agents.call(undone.source_node_id, free(&undone));
        match timeout(self.pace.answer, call).await.unwrap_or(Err(CallError::Lost)) {
            Ok(_) => transfers::retained_gone(&mut *self.db.acquire().await?, undone.id, self.now()).await,
            Err(error) => {
                tracing::warn!(transfer = %self.transfer.id, undone = %undone.id, %error, "transfer: the basis stays until it expires");
                Ok(())
            }
        }
    }
}
