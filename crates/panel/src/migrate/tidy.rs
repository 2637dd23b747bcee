//! Pays what is owed to targets that could not be reached when their transfer was rolled back (I9).

use std::time::Duration;

use model::agent_api::{ErrorCode, Request, StepKey, TransferAction};
use tokio::time::{sleep, timeout};

use super::Migrations;
use crate::agent::CallError;
use crate::db::DbError;
use crate::db::transfers::{Owed, owed_list, owed_paid};

/// How often it is looked whether such a target is back.
const EVERY: Duration = Duration::from_secs(15);

impl Migrations {
    pub(super) async fn tidy_for_ever(&self) {
        loop {
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
