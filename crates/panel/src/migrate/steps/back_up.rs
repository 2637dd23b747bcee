//! `back_up`: a copy in object storage before anything else is touched, if that was asked for.

use std::time::Duration;

use async_trait::async_trait;
use saga::{Call, Cause, Failure, Pausing, Retries, Step};
use serde_json::{Value, json};

use crate::db::backups::BackupFailure;
use crate::migrate::Move;
use crate::migrate::context::db_failure;

/// Makes a backup while the transfer holds the server's lock. What was completed is kept, whatever becomes of the transfer.
pub(super) struct BackUp;

#[async_trait]
impl Step<Move> for BackUp {
    fn name(&self) -> &'static str {
        "back_up"
    }

    /// Half a backup is of no use.
    fn pausing(&self) -> Pausing {
        Pausing::Around
    }

    /// Few: each attempt reads the whole server.
    fn retries(&self) -> Retries {
        Retries { attempts: 3, first_pause: Duration::from_secs(5), longest_pause: Duration::from_mins(1) }
    }

    async fn run(&self, it: &Move, _call: &Call<'_>) -> Result<Value, Failure> {
        if !it.transfer.options.backup_first {
            return Ok(Value::Null);
        }
        let made = it.backups.make_for(it.transfer.id, it.transfer.server_id, &it.transfer.requested_by).await;
        made.map(|backup| json!({"backup_id": backup.id})).map_err(judge)
    }

    async fn undo(&self, it: &Move, _call: &Call<'_>) -> Result<(), Failure> {
        it.backups.give_up_for(it.transfer.id).await.map_err(db_failure)
    }
}

/// A storage or an agent that is away may come back; whatever else is wrong stays wrong.
fn judge(failure: BackupFailure) -> Failure {
    let may_pass = matches!(
        failure.code.as_str(),
        "storage_unreachable" | "storage_failed" | "agent_lost" | "agent_failed" | "cancelled" | "database"
    );
    let cause = Cause::new(failure.code, format!("The backup before the transfer failed. {}", failure.message));
    if may_pass { Failure::Retry(cause) } else { Failure::Undo(cause) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_come_back_is_tried_again() {
        for code in ["storage_unreachable", "agent_lost", "cancelled"] {
            assert!(matches!(judge(BackupFailure::new(code, "")), Failure::Retry(_)), "{code}");
        }
        for code in ["no_backup_storage", "storage_denied", "cannot_carry", "roots_differ"] {
            assert!(matches!(judge(BackupFailure::new(code, "")), Failure::Undo(_)), "{code}");
        }
    }
}
