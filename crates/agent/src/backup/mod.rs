//! This agent's half of backups: packs a server's files and uploads them, reads them back, and puts them in place again.
//!
//! ```text
//! turn ─┬─ there is such work ─► it gets the new addresses ─┐
//!       └─ none ─► begun                                    ├─► waits for news ─► where it stands
//!                    │ on a thread: pack → parts → storage   │
//!                    └──────────── news ─────────────────────┘
//! ```
//!
//! Work lives as long as the panel takes turns: the addresses that it brings end soon, and work that nobody asks about is
//! given up. An upload does not survive the agent, a restore does: it begins anew, or its end is on record.

mod http;
mod place;
mod restore;
mod session;
#[cfg(test)]
mod tests;
mod upload;
mod verify;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode, Outcome, Reply};
use model::{BackupAction, BackupId, BackupResult, BackupStand, ServerId};
use uuid::Uuid;

use crate::node::Node;
pub(crate) use place::{check_whole, recover};
use session::{Addresses, Session};

/// Longest that one turn waits for news.
const LONGEST_TURN: Duration = Duration::from_mins(1);

/// All work on backups that is under way here.
#[derive(Default)]
pub(crate) struct Backups {
    sessions: Mutex<HashMap<Uuid, Arc<Session>>>,
}

impl Backups {
    /// One turn of the panel.
    pub(crate) async fn turn(
        &self,
        node: &Arc<Node>,
        backup: BackupId,
        server: ServerId,
        action: BackupAction,
    ) -> Outcome {
        match self.take(node, backup, server, action).await {
            Ok(Some(stand)) => Outcome::Ok(Reply::Backup { stand }),
            Ok(None) => Outcome::Ok(Reply::Done),
            Err(error) => Outcome::Err(error),
        }
    }

    async fn take(
        &self,
        node: &Arc<Node>,
        backup: BackupId,
        server: ServerId,
        action: BackupAction,
    ) -> Result<Option<BackupStand>, AgentError> {
        let (wait_ms, known) = match &action {
            BackupAction::Upload { wait_ms, known, .. } => (*wait_ms, *known),
            BackupAction::Verify { wait_ms, .. } | BackupAction::Restore { wait_ms, .. } => (*wait_ms, 0),
            BackupAction::Cancel => {
                self.cancel(backup).await;
                return Ok(None);
            }
        };
        if let BackupAction::Restore { restore_id, .. } = &action
            && let Some(root) = place::restored(node, server, *restore_id).await?
        {
            let result = Some(BackupResult::Restored { root });
            return Ok(Some(BackupStand { result, ..BackupStand::default() }));
        }
        self.supersede(server, &action, backup).await;
        let session = self.session(node, backup, server, action)?;
        let stand = session.stand(known, Duration::from_millis(wait_ms).min(LONGEST_TURN)).await;
        if matches!(&stand, Err(_) | Ok(BackupStand { result: Some(_), .. })) && session.is_restore() {
            // Its end is on record, or it may be tried anew.
            self.sessions().remove(&session.key);
        }
        stand.map(Some)
    }

    /// The work that this turn is about, with the addresses that it brings.
    fn session(
        &self,
        node: &Arc<Node>,
        backup: BackupId,
        server: ServerId,
        action: BackupAction,
    ) -> Result<Arc<Session>, AgentError> {
        node.server(server)?;
        let mut sessions = self.sessions();
        sessions.retain(|_, session| !session.is_forgotten());
        let (key, verb) = (key_of(&action, backup), session::verb(&action));
        if let Some(there) = sessions.get(&key)
            && there.verb == verb
        {
            there.bring(Addresses::of(action));
            return Ok(Arc::clone(there));
        }
        if let BackupAction::Upload { known, .. } = &action
            && *known > 0
        {
            let message = "the agent was restarted during the upload: what it had read is gone, begin again";
            return Err(AgentError::new(ErrorCode::Cancelled, message));
        }
        tracing::info!(%backup, %server, verb, "backup: begins");
        let session = Session::begin(node, backup, key, server, action);
        sessions.insert(key, Arc::clone(&session));
        Ok(session)
    }

    /// The panel asks for one thing at a time of a server, so another one means that it has given up on the one before.
    async fn supersede(&self, server: ServerId, action: &BackupAction, backup: BackupId) {
        let this = (key_of(action, backup), session::verb(action));
        let other = |it: &&Arc<Session>| it.server == server && (it.key, it.verb) != this && it.is_at_work();
        let others: Vec<_> = self.sessions().values().filter(other).cloned().collect();
        for session in others {
            tracing::info!(backup = %session.backup, %server, "backup: another one takes its place");
            session.cancel();
            session.ended().await;
        }
    }

    /// Ends all work on a backup, and returns when it has ended.
    async fn cancel(&self, backup: BackupId) {
        let ours: Vec<_> = self.sessions().values().filter(|session| session.backup == backup).cloned().collect();
        for session in ours {
            session.cancel();
            session.ended().await;
            self.sessions().remove(&session.key);
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Session>>> {
        // A map of handles: whoever panicked while holding it left nothing half-done.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Restores are known by their attempt, all else by the backup.
fn key_of(action: &BackupAction, backup: BackupId) -> Uuid {
    match action {
        BackupAction::Restore { restore_id, .. } => restore_id.0,
        _ => backup.0,
    }
}
