//! Pays what is owed to targets that could not be reached when their transfer was rolled back (I9), and asks agents what they
//! hold for transfers that are over.

use std::time::Duration;

use model::agent_api::{ErrorCode, Reply, Request, StepKey, TransferAction};
use model::{NodeId, TransferId, TransferState};
use tokio::time::{sleep, timeout};

use super::Migrations;
use crate::agent::CallError;
use crate::db::DbError;
use crate::db::nodes::{self, NodeKind};
use crate::db::transfers::{Owed, owed_insert, owed_list, owed_paid, transfer_get};

/// How often it is looked whether such a target is back.
const EVERY: Duration = Duration::from_secs(15);
/// How many looks lie between two questions to agents about what they hold: an hour.
const LOOKS: u32 = 240;

impl Migrations {
    pub(super) async fn tidy_for_ever(&self) {
        for look in 0_u32.. {
            if look % LOOKS == 1
                && let Err(error) = self.ask_what_is_held().await
            {
                tracing::warn!(%error, "what agents hold could not be looked up");
            }
            if let Err(error) = self.tidy_once().await {
                tracing::warn!(%error, "what is owed could not be looked up");
            }
            sleep(EVERY).await;
        }
    }

    async fn tidy_once(&self) -> Result<(), DbError> {
        let owed = owed_list(&mut *self.db.acquire().await?).await?;
        for debt in owed.into_iter().filter(|debt| self.agents.is_online(debt.node_id)) {
            if self.tidy_up(&debt).await {
                owed_paid(&mut *self.db.acquire().await?, debt.transfer_id).await?;
                tracing::info!(transfer = %debt.transfer_id, node = %debt.node_id, "the target was tidied up");
            }
        }
        Ok(())
    }

    /// An agent that missed the end of a transfer still holds what is its target's, as its own record says. The panel knows
    /// better.
    async fn ask_what_is_held(&self) -> Result<(), DbError> {
        let nodes = nodes::nodes_all(&mut *self.db.acquire().await?, Some(NodeKind::Node)).await?;
        for node in nodes.into_iter().filter(|node| self.agents.is_online(node.id)) {
            let call = self.agents.call(node.id, Request::ListOrphans { look: false });
            if let Ok(Ok(Reply::Orphans { held, .. })) = timeout(self.pace.answer, call).await {
                self.settle_held(node.id, &held).await?;
            }
        }
        Ok(())
    }

    /// What `node` holds for transfers that were rolled back is owed; it is paid with the next look.
    pub async fn settle_held(&self, node: NodeId, held: &[TransferId]) -> Result<(), DbError> {
        for id in held {
            let mut conn = self.db.acquire().await?;
            let transfer = match transfer_get(&mut conn, *id).await {
                Ok(transfer) => transfer,
                // Its server was deleted with all that is on record of it.
                Err(DbError::NotFound) => {
                    tracing::warn!(%node, transfer = %id, "an agent holds a target of a transfer that nobody knows");
                    continue;
                }
                Err(error) => return Err(error),
            };
            if transfer.state == TransferState::RolledBack && transfer.target_node_id == node {
                tracing::warn!(%node, transfer = %id, "an agent holds a target of a transfer that is over");
                let (server_id, epoch) = (transfer.server_id, transfer.epoch);
                owed_insert(&mut conn, &Owed { transfer_id: *id, server_id, node_id: node, epoch }).await?;
            }
        }
        Ok(())
    }

    async fn tidy_up(&self, debt: &Owed) -> bool {
        let key = StepKey { transfer_id: debt.transfer_id, step: "undo_prepare_target".to_owned(), epoch: debt.epoch };
        let request = Request::Transfer { key, server_id: debt.server_id, action: TransferAction::AbortTarget };
        match timeout(self.pace.clear, self.agents.call(debt.node_id, request)).await {
            Ok(Ok(_)) => true,
            Ok(Err(CallError::Refused(error))) => error.code == ErrorCode::NotFound,
            Ok(Err(CallError::Offline | CallError::Lost)) | Err(_) => false,
        }
    }
}
