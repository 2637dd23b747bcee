//! Giving a server the files of a backup: stop it if that was agreed to, have its agent fetch, verify and put them in place,
//! start it again if it ran.
//!
//! The rows are the promise: a panel that starts again goes on with every restore that is not over. Where it fails the
//! server is as it was, running again if it was running.

use model::agent_api::Request;
use model::{BackupAction, BackupResult, RestoreId, ServerId, ServerStatus, SignedObject};
use serde_json::json;

use super::turn::{Partner, ask, turn};
use super::{BackupError, Backups, News, missing, server};
use crate::api::chain;
use crate::app::App;
use crate::db::backups::{self, Backup, BackupFailure, BackupState};
use crate::db::restores::{self, Restore, RestoreState};
use crate::db::{DbError, audit, servers};

/// For a stop: longer than the patience that any spec has.
const STOP: std::time::Duration = std::time::Duration::from_mins(5);
/// Before the end of a restore is written down again.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(5);

/// What a caller asks for.
#[derive(Clone, Debug)]
pub struct NewRestore {
    /// Into which server: the backup's own.
    pub server_id: ServerId,
    /// Which backup.
    pub backup_id: model::BackupId,
    /// Whether a server that runs may be stopped. It is started again afterwards.
    pub stop: bool,
    /// Who asks.
    pub created_by: String,
}

/// Goes on with what an earlier run of the panel has left.
pub(crate) async fn resume(app: &App) -> Result<(), DbError> {
    let running = restores::restores_running(&mut *app.db.acquire().await?).await?;
    for id in running {
        tracing::info!(restore = %id, "restore goes on");
        begin(app, id);
    }
    Ok(())
}

/// Begins a restore, or says why not.
pub(crate) async fn start(app: &App, new: &NewRestore) -> Result<Restore, BackupError> {
    let mut tx = app.db.begin().await?;
    let backup = backups::backup_get(&mut tx, new.backup_id).await.map_err(missing("backup"))?;
    if backup.server_id != new.server_id {
        return Err(BackupError::NotFound("backup"));
    }
    if backup.state != BackupState::Completed {
        let message = "This backup is not complete, so there is nothing to restore. Choose another one.".to_owned();
        return Err(BackupError::Conflict { code: "backup_not_completed", message });
    }
    let server = server(&mut tx, new.server_id).await?;
    if server.locked_by.is_some() {
        return Err(BackupError::Locked);
    }
    if server.status == ServerStatus::Installing {
        return Err(BackupError::NotInstalled);
    }
    let was_running = server.status.is_live();
    if was_running && !new.stop {
        let message =
            "The server runs. Stop it first, or send stop: true to have it stopped and started again.".to_owned();
        return Err(BackupError::Conflict { code: "server_running", message });
    }
    if !app.agents.is_online(server.node_id) {
        return Err(BackupError::AgentOffline);
    }
    let restore = Restore {
        id: RestoreId::new(),
        backup_id: backup.id,
        server_id: server.id,
        node_id: server.node_id,
        state: RestoreState::Running,
        was_running,
        progress: model::BackupProgress::default(),
        failure: None,
        created_by: new.created_by.clone(),
        created_at: app.now(),
        finished_at: None,
    };
    servers::server_lock(&mut tx, server.id, &holder(restore.id)).await.map_err(|error| match error {
        DbError::Conflict => BackupError::Locked,
        error => error.into(),
    })?;
    if !was_running {
        restores::server_restoring(&mut tx, server.id, &holder(restore.id)).await?;
    }
    restores::restore_insert(&mut tx, &restore).await?;
    let details = json!({"server_id": server.id, "restore_id": restore.id, "stop": new.stop});
    audit::audit(&mut tx, app.now(), &new.created_by, "backup.restore", backup.id, &details).await?;
    tx.commit().await.map_err(DbError::from)?;
    begin(app, restore.id);
    Ok(restore)
}

/// Who holds a server while its files are replaced.
fn holder(id: RestoreId) -> String {
    format!("restore:{id}")
}

/// Drives a restore whose row is committed.
fn begin(app: &App, id: RestoreId) {
    let task = app.clone();
    app.tasks.spawn(async move {
        tokio::select! {
            () = drive(&task, id) => {}
            () = task.shutdown.cancelled() => {}
        }
    });
}

async fn drive(app: &App, id: RestoreId) {
    let made = run(app, id).await;
    loop {
        match end(app, id, made.clone()).await {
            Ok(()) | Err(DbError::Conflict) => return, // or somebody was faster
            Err(error) => tracing::warn!(restore = %id, error = chain(&error), "its end waits for the database"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn run(app: &App, id: RestoreId) -> Result<(), BackupFailure> {
    let mut conn = app.db.acquire().await.map_err(super::db_failure)?;
    let restore = restores::restore_get(&mut conn, id).await.map_err(super::db_failure)?;
    let backup = backups::backup_get(&mut conn, restore.backup_id).await.map_err(super::db_failure)?;
    drop(conn);
    let away = app.backups.pace.away_restore;
    let with = Partner { node: restore.node_id, backup: backup.id, server: restore.server_id, away };
    if restore.was_running {
        ask(&*app.agents, with, STOP, Request::StopServer { server_id: restore.server_id }).await?;
        let mut tx = app.db.begin().await.map_err(super::db_failure)?;
        restores::server_restoring(&mut tx, restore.server_id, &holder(id)).await.map_err(super::db_failure)?;
        tx.commit().await.map_err(|error| super::db_failure(error.into()))?;
    }
    app.backups.restore(&restore, &backup, with).await
}

impl Backups {
    async fn restore(&self, restore: &Restore, backup: &Backup, with: Partner) -> Result<(), BackupFailure> {
        let storage = self.storage_of(backup).await.map_err(|error| match error {
            BackupError::Storage(error) => super::storage_failure(error),
            error => BackupFailure::new("database", error.to_string()),
        })?;
        let (Some(bytes), Some(contents)) = (backup.bytes, backup.contents.clone()) else {
            return Err(BackupFailure::new("backup_not_completed", "It is not known what this backup holds."));
        };
        loop {
            let object = SignedObject { url: storage.object_url(&backup.object_key, self.pace.address), bytes };
            let wait_ms = u64::try_from(self.pace.wait.as_millis()).unwrap_or(u64::MAX);
            let action = BackupAction::Restore { restore_id: restore.id, object, contents: contents.clone(), wait_ms };
            let stand = turn(&*self.agents, with, self.pace.wait, action).await?;
            // For people: what cannot be noted now will be in the next turn.
            if let Err(error) = self.note_restore(restore, &stand.progress).await {
                tracing::warn!(restore = %restore.id, %error, "how far the restore is could not be noted");
            }
            if let Some(BackupResult::Restored { root }) = stand.result {
                if root == contents.root {
                    return Ok(());
                }
                let message = "The server has other files than were backed up. Restore another backup.";
                return Err(BackupFailure::new("roots_differ", message));
            }
        }
    }
}

impl Backups {
    async fn note_restore(&self, restore: &Restore, progress: &model::BackupProgress) -> Result<(), DbError> {
        restores::restore_progress(&mut *self.db.acquire().await?, restore.id, progress).await
    }
}

/// Writes down how it ended and lets go of the server, then starts it again if it ran.
async fn end(app: &App, id: RestoreId, made: Result<(), BackupFailure>) -> Result<(), DbError> {
    let failure = made.err();
    let mut tx = app.db.begin().await?;
    let restore = restores::restore_get(&mut tx, id).await?;
    restores::restore_end(&mut tx, id, failure.as_ref(), app.now()).await?;
    restores::server_restored(&mut tx, restore.server_id).await?;
    match servers::server_unlock(&mut tx, restore.server_id, &holder(id)).await {
        Ok(()) | Err(DbError::Conflict) => {}
        Err(error) => return Err(error),
    }
    let (action, event) = match &failure {
        None => ("backup.restored", "server.restore.completed"),
        Some(_) => ("backup.restore_failed", "server.restore.failed"),
    };
    let details = json!({"server_id": restore.server_id, "restore_id": id, "failure": failure});
    audit::audit(&mut tx, app.now(), "panel", action, restore.backup_id, &details).await?;
    tx.commit().await?;
    tracing::info!(restore = %id, server = %restore.server_id, ?failure, "restore ended");
    app.backups.tell(News { event, server_id: restore.server_id, backup_id: restore.backup_id, failure });
    if restore.was_running
        && let Err(error) = crate::api::start_server(app, restore.server_id).await
    {
        tracing::warn!(server = %restore.server_id, code = error.code(), "the start after a restore failed");
    }
    Ok(())
}
