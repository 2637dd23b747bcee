//! A person holds a transfer, and lets it go on.
//!
//! | step | a pause |
//! |---|---|
//! | `lock_server`, `reserve_target`, `back_up`, `prepare_target` | holds behind it: each is short, or half of it is of no use |
//! | `precopy`, `await_window` | holds at once: the copy comes to rest, what has arrived stays, and is built on |
//! | from `stop_source` on | is refused: players wait, or play on the target already |
//!
//! What is accepted is honoured: the saga's own [`Hold`](saga::Hold) decides which comes first, it or the stop of the
//! server. It is written down, so that it survives us; lock, reservation, door and staging are kept for as long as it lasts.

use model::{TransferId, TransferState};

use super::requests::{MigrateError, word};
use super::{Migrations, steps};
use crate::db::DbError;
use crate::db::transfers::{self, Transfer};

impl Migrations {
    /// Holds a transfer. Again is the same.
    pub async fn pause(&self, id: TransferId) -> Result<Transfer, MigrateError> {
        let transfer = self.get(id).await?;
        refuse_if_over(&transfer, "paused")?;
        let hold = self.driven().get(&id).map(|reins| reins.hold.clone());
        if !self.takes_hold(id).await? || hold.as_ref().is_some_and(|hold| !hold.request()) {
            return Err(too_late(&self.get(id).await?));
        }
        let mut conn = self.db.acquire().await?;
        match transfers::pause_request(&mut conn, id).await {
            Ok(()) => {}
            Err(DbError::Conflict) => {
                return Err(conflict("transfer_finished", "The transfer came to its end meanwhile."));
            }
            Err(error) => return Err(error.into()),
        }
        drop(conn);
        self.get(id).await
    }

    /// Lets a transfer that is held, or about to be, go on.
    pub async fn go_on(&self, id: TransferId) -> Result<Transfer, MigrateError> {
        let transfer = self.get(id).await?;
        refuse_if_over(&transfer, "resumed")?;
        let mut conn = self.db.acquire().await?;
        // First what is written down: a panel that dies in between goes on by itself.
        match transfers::pause_end(&mut conn, id).await {
            Ok(()) => {}
            Err(DbError::Conflict) => {
                let message =
                    format!("The transfer is not paused ({}): there is nothing to resume.", word(transfer.state));
                return Err(MigrateError::Conflict { code: "transfer_not_paused", message });
            }
            Err(error) => return Err(error.into()),
        }
        drop(conn);
        if let Some(reins) = self.driven().get(&id) {
            reins.hold.release();
        }
        self.get(id).await
    }

    async fn takes_hold(&self, id: TransferId) -> Result<bool, DbError> {
        let executor = steps::executor();
        let log = self.log_of(id, executor.plan()).await?;
        Ok(executor.takes_hold(&log))
    }
}

fn refuse_if_over(transfer: &Transfer, verb: &str) -> Result<(), MigrateError> {
    if transfer.state.is_final() {
        let message = format!("The transfer is over ({}) and cannot be {verb}.", word(transfer.state));
        return Err(MigrateError::Conflict { code: "transfer_finished", message });
    }
    match transfer.state {
        TransferState::RollingBack | TransferState::Cancelling => {
            let message = format!("The transfer is being taken back and cannot be {verb}. Wait for its end.");
            Err(MigrateError::Conflict { code: "transfer_rolling_back", message })
        }
        _ => Ok(()),
    }
}

fn too_late(transfer: &Transfer) -> MigrateError {
    if let Err(refused) = refuse_if_over(transfer, "paused") {
        return refused;
    }
    if transfer.freeze_ms.is_some() {
        let message = "The server runs on the target already: what is left is done in a moment and holds nobody up.";
        return conflict("transfer_past_pivot", message);
    }
    let message = "The server is being stopped, or stands still already, and players wait: a pause now would keep them \
                   waiting. Cancel the transfer to have it run on its source again, or wait for the end.";
    conflict("transfer_frozen", message)
}

fn conflict(code: &'static str, message: &str) -> MigrateError {
    MigrateError::Conflict { code, message: message.to_owned() }
}
