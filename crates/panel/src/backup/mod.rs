//! Backups of servers in object storage, and their way back.
//!
//! ```text
//!   api ──start──► one transaction: lock, row ──► upload.rs ──turns──► agent ──parts──► storage
//!    │                                              │                                     ▲
//!    │                                              └── begin, complete, clear ── storage.rs
//!    └──restore──► one transaction: lock, row ──► restore.rs ──turns──► agent ◄──ranges──┘
//! ```
//!
//! The panel holds the keys and signs addresses for agents; it never touches a byte of a backup. A backup that is cut off,
//! by whatever, ends as failed and its storage is cleared, now or as soon as it can be reached (I9). A restore goes on.
//! The step `back_up` of a transfer calls [`Backups::make_for`]; everybody else may [listen](Backups::listen).

pub mod restore;
pub mod storage;
mod turn;
mod upload;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::agent_api::Request;
use model::{BackupAction, BackupId, BackupProgress, BackupStorageId, Clock, ServerId, ServerStatus, TransferId};
use serde_json::json;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::agent::Agents;
use crate::db::backup_storages::{self, BackupStorage};
use crate::db::backups::{self, Backup, BackupFailure, BackupState};
use crate::db::notifications::{Kind, notify_owner};
use crate::db::servers::Server;
use crate::db::{Conn, Db, DbError, audit, outbox, servers};
use storage::{Storage, StorageError};
pub use turn::Pace;
use upload::db_failure;

/// News that somebody may fall behind.
const BACKLOG: usize = 256;
/// For an agent to stop what it does for a backup that is over.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(10);

/// A backup or a restore that came to its end.
#[derive(Clone, Debug)]
pub struct News {
    /// `server.backup.completed`, `server.backup.failed`, `server.restore.completed` or `server.restore.failed`.
    pub event: &'static str,
    /// Of which server.
    pub server_id: ServerId,
    /// Which backup.
    pub backup_id: BackupId,
    /// Why it failed.
    pub failure: Option<BackupFailure>,
}

/// What a caller asks for.
#[derive(Clone, Debug)]
pub struct NewBackup {
    /// Of which server.
    pub server_id: ServerId,
    /// For people; none for one that says when it was made.
    pub name: Option<String>,
    /// Where to; none for the default.
    pub storage_id: Option<BackupStorageId>,
    /// Whether it is kept from being deleted.
    pub locked: bool,
    /// Who asks.
    pub created_by: String,
}

/// Why a backup was not begun, or not changed. Each is one documented answer of the API.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// No such server, backup or storage.
    #[error("There is no such {0}. Check the id.")]
    NotFound(&'static str),
    /// Another operation holds the server.
    #[error(
        "Server Is Currently Locked: another operation (installation, backup, previous transfer) is in progress. Wait for \
         it to complete."
    )]
    Locked,
    /// Its installation has not ended, or has failed.
    #[error("The server is not installed. Wait for the end of its installation, or make it again.")]
    NotInstalled,
    /// It has as many as it may.
    #[error("The server has {have} backups and may have {limit}. Delete one, or ask an administrator for more.")]
    LimitReached {
        /// How many it has.
        have: u64,
        /// How many it may have.
        limit: u64,
    },
    /// Nobody has said where backups go.
    #[error(
        "There is no default storage for backups. An administrator can add one in Admin > Backup Storages, or with `badger \
         backup storage add`."
    )]
    NoStorage,
    /// Its agent is away.
    #[error(
        "The agent of the server's node or cluster is not connected. Start its daemon, or look at its orchestrator, and try \
         again."
    )]
    AgentOffline,
    /// Its state does not allow it; the message is for people.
    #[error("{message}")]
    Conflict {
        /// Stable word.
        code: &'static str,
        /// What is and what to do.
        message: String,
    },
    /// The storage failed.
    #[error("storage")]
    Storage(#[from] StorageError),
    /// The database failed.
    #[error("the database failed")]
    Db(#[from] DbError),
}

/// All backups of a panel.
pub struct Backups {
    db: Db,
    agents: Arc<dyn Agents>,
    access: Arc<Access>,
    clock: Arc<dyn Clock>,
    pace: Pace,
    /// Those that this life of the panel makes.
    driven: Mutex<HashMap<BackupId, CancellationToken>>,
    news: broadcast::Sender<News>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Backups {
    /// None are made yet; see [`Backups::resume`].
    pub fn new(db: Db, agents: Arc<dyn Agents>, access: Arc<Access>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (driven, news) = (Mutex::default(), broadcast::Sender::new(BACKLOG));
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        Arc::new(Self { db, agents, access, clock, pace: Pace::default(), driven, news, tasks, shutdown })
    }

    /// Every end of a backup or a restore from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Ends what an earlier run of the panel has left in the middle: what the agents had read is not known any more. Called
    /// once, before the first request is answered.
    pub async fn resume(self: &Arc<Self>) -> Result<(), DbError> {
        let interrupted = backups::backups_interrupted(&mut *self.db.acquire().await?).await?;
        for backup in interrupted {
            let failure =
                BackupFailure::new("panel_restarted", "The panel was restarted meanwhile. Make the backup again.");
            self.end(&backup, Err(failure)).await?;
        }
        let this = Arc::clone(self);
        self.spawn(async move { this.tidy_for_ever().await });
        Ok(())
    }

    /// Stops driving; the next start ends what is cut off here.
    pub async fn shut_down(&self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The place, with its key.
    pub fn open(&self, row: &BackupStorage) -> Result<Storage, StorageError> {
        Storage::open(row, &self.access.secrets)
    }

    /// The place of a backup, with its key.
    pub async fn storage_of(&self, backup: &Backup) -> Result<Storage, BackupError> {
        let row = backup_storages::storage_get(&mut *self.db.acquire().await?, backup.storage_id).await?;
        Ok(self.open(&row)?)
    }

    /// Begins a backup, or says why not. The row and the lock are taken in one transaction.
    pub async fn start(self: &Arc<Self>, new: &NewBackup) -> Result<Backup, BackupError> {
        let mut tx = self.db.begin().await?;
        let server = server(&mut tx, new.server_id).await?;
        self.admit(&mut tx, &server).await?;
        let storage = match new.storage_id {
            Some(id) => backup_storages::storage_get(&mut tx, id).await.map_err(missing("backup storage"))?,
            None => backup_storages::storage_default(&mut tx).await?.ok_or(BackupError::NoStorage)?,
        };
        let backup = self.row(&server, &storage, new, None);
        servers::server_lock(&mut tx, server.id, &holder(backup.id)).await.map_err(|error| match error {
            DbError::Conflict => BackupError::Locked,
            error => error.into(),
        })?;
        backups::backup_insert(&mut tx, &backup).await?;
        let details = json!({"server_id": server.id, "name": backup.name});
        audit::audit(&mut tx, self.clock.now(), &new.created_by, "backup.create", backup.id, &details).await?;
        tx.commit().await.map_err(DbError::from)?;
        tracing::info!(backup = %backup.id, server = %server.id, "backup accepted");
        self.drive(backup.clone());
        Ok(backup)
    }

    async fn admit(&self, tx: &mut Conn, server: &Server) -> Result<(), BackupError> {
        if server.locked_by.is_some() {
            return Err(BackupError::Locked);
        }
        if matches!(server.status, ServerStatus::Installing | ServerStatus::InstallFailed) {
            return Err(BackupError::NotInstalled);
        }
        let have = backups::backups_of(tx, server.id).await?;
        if let Some(limit) = server.backup_limit.filter(|limit| have >= *limit) {
            return Err(BackupError::LimitReached { have, limit });
        }
        if self.agents.is_online(server.node_id) { Ok(()) } else { Err(BackupError::AgentOffline) }
    }

    fn row(&self, server: &Server, storage: &BackupStorage, new: &NewBackup, transfer: Option<TransferId>) -> Backup {
        let (id, now) = (BackupId::new(), self.clock.now());
        let minute = now.strftime("%Y-%m-%d %H:%M UTC").to_string();
        Backup {
            id,
            server_id: server.id,
            server_name: server.name.clone(),
            storage_id: storage.id,
            object_key: format!("{}{}/{id}.tar.zst", storage.prefix, server.id),
            name: new.name.clone().unwrap_or(minute),
            locked: new.locked,
            state: BackupState::Running,
            node_id: server.node_id,
            transfer_id: transfer,
            bytes: None,
            contents: None,
            progress: BackupProgress::default(),
            changed: Vec::new(),
            changed_count: 0,
            left_out: Vec::new(),
            failure: None,
            created_by: new.created_by.clone(),
            created_at: now,
            finished_at: None,
        }
    }

    fn drive(self: &Arc<Self>, backup: Backup) {
        let cancel = CancellationToken::new();
        self.driven().insert(backup.id, cancel.clone());
        let this = Arc::clone(self);
        self.spawn(async move {
            let made = cancel.run_until_cancelled(this.make(&backup)).await;
            let made = made.unwrap_or_else(|| Err(BackupFailure::new("cancelled", "It was cancelled.")));
            while let Err(error) = this.end(&backup, made.clone()).await {
                tracing::warn!(backup = %backup.id, %error, "the end of a backup waits for the database");
                tokio::time::sleep(GOODBYE).await;
            }
            this.driven().remove(&backup.id);
        });
    }

    async fn make(&self, backup: &Backup) -> Result<(), BackupFailure> {
        let storage = self.storage_of(backup).await.map_err(|error| match error {
            BackupError::Storage(error) => storage_failure(error),
            error => BackupFailure::new("database", error.to_string()),
        })?;
        self.upload(backup, &storage).await
    }

    /// Makes a backup in front of a transfer, which holds the server's lock. Dropped, it is to be taken back with
    /// [`Backups::give_up_for`]; called again, it finds the one that is there or makes another.
    pub async fn make_for(&self, transfer: TransferId, server_id: ServerId, by: &str) -> Result<Backup, BackupFailure> {
        let mut conn = self.db.acquire().await.map_err(db_failure)?;
        let earlier = backups::backups_of_transfer(&mut conn, transfer).await.map_err(db_failure)?;
        drop(conn);
        if let Some(made) = earlier.iter().find(|backup| backup.state == BackupState::Completed) {
            return Ok(made.clone());
        }
        self.give_up_for(transfer).await.map_err(db_failure)?;
        let mut tx = self.db.begin().await.map_err(db_failure)?;
        let server = servers::server_get(&mut tx, server_id).await.map_err(db_failure)?;
        let storage = backup_storages::storage_default(&mut tx).await.map_err(db_failure)?;
        let storage =
            storage.ok_or_else(|| BackupFailure::new("no_backup_storage", BackupError::NoStorage.to_string()))?;
        let name = Some(format!("Before transfer {transfer}"));
        let new = NewBackup { server_id, name, storage_id: None, locked: false, created_by: by.to_owned() };
        let backup = self.row(&server, &storage, &new, Some(transfer));
        backups::backup_insert(&mut tx, &backup).await.map_err(db_failure)?;
        tx.commit().await.map_err(|error| db_failure(error.into()))?;
        let made = self.make(&backup).await;
        self.end(&backup, made.clone()).await.map_err(db_failure)?;
        made.map(|()| backup)
    }

    /// Ends what [`Backups::make_for`] has left in the middle. What was completed stays.
    pub async fn give_up_for(&self, transfer: TransferId) -> Result<(), DbError> {
        let all = backups::backups_of_transfer(&mut *self.db.acquire().await?, transfer).await?;
        for backup in all.into_iter().filter(|backup| backup.state.is_open()) {
            self.end(&backup, Err(BackupFailure::new("cancelled", "The transfer was called off."))).await?;
        }
        Ok(())
    }

    /// Writes down how it ended and lets go of the server, then clears what is left of a failure.
    async fn end(&self, backup: &Backup, made: Result<(), BackupFailure>) -> Result<(), DbError> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let written = match &made {
            Ok(()) => backups::backup_completed(&mut tx, backup.id, now).await,
            Err(failure) => backups::backup_failed(&mut tx, backup.id, failure, now).await,
        };
        match written {
            Ok(()) => {}
            Err(DbError::Conflict) => return Ok(()), // Somebody was faster.
            Err(error) => return Err(error),
        }
        if backup.transfer_id.is_none() {
            match servers::server_unlock(&mut tx, backup.server_id, &holder(backup.id)).await {
                Ok(()) | Err(DbError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        let (action, event) = match &made {
            Ok(()) => ("backup.completed", "server.backup.completed"),
            Err(_) => ("backup.failed", "server.backup.failed"),
        };
        let failure = made.err();
        let details = json!({"server_id": backup.server_id, "failure": failure});
        audit::audit(&mut tx, now, "panel", action, backup.id, &details).await?;
        let about = json!({"id": backup.server_id, "name": backup.server_name});
        let data = json!({"server": about, "backup": {"id": backup.id, "name": backup.name}, "failure": failure});
        outbox::tell(&mut tx, now, action, &data).await?;
        if let Some(failure) = &failure {
            let server = &backup.server_name;
            let sentence = format!("The backup {} of your server {server} failed. {}", backup.name, failure.message);
            notify_owner(&mut tx, now, backup.server_id, Kind::BackupFailed, &sentence).await?;
        }
        tx.commit().await?;
        match &failure {
            None => tracing::info!(backup = %backup.id, server = %backup.server_id, "backup completed"),
            Some(BackupFailure { code, message }) => {
                tracing::warn!(backup = %backup.id, server = %backup.server_id, code, message, "backup failed");
                self.say_goodbye(backup).await;
                self.clear(backup).await;
            }
        }
        self.tell(News { event, server_id: backup.server_id, backup_id: backup.id, failure });
        Ok(())
    }

    fn tell(&self, news: News) {
        if self.news.send(news).is_err() {
            tracing::trace!("nobody listens to backups");
        }
    }

    /// So that an agent does not read on for nobody. One that is away gives up by itself.
    async fn say_goodbye(&self, backup: &Backup) {
        if !self.agents.is_online(backup.node_id) {
            return;
        }
        let action = BackupAction::Cancel;
        let request = Request::Backup { backup_id: backup.id, server_id: backup.server_id, action };
        match tokio::time::timeout(GOODBYE, self.agents.call(backup.node_id, request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(backup = %backup.id, %error, "its agent was not told that it is over"),
            Err(_) => tracing::debug!(backup = %backup.id, "its agent was not told in time that it is over"),
        }
    }

    /// Removes what the storage holds of a failed backup, if it can be reached; else that is owed.
    async fn clear(&self, backup: &Backup) {
        let cleared = async {
            self.storage_of(backup).await?.clear(&backup.object_key).await?;
            backups::backup_cleared(&mut *self.db.acquire().await?, backup.id).await?;
            Ok::<_, BackupError>(())
        };
        if let Err(error) = cleared.await {
            tracing::warn!(backup = %backup.id, %error, "its storage is cleared later");
        }
    }

    async fn tidy_for_ever(&self) {
        loop {
            match self.owing().await {
                Ok(owing) => {
                    for backup in owing {
                        self.clear(&backup).await;
                    }
                }
                Err(error) => tracing::warn!(%error, "backups to clear could not be looked up"),
            }
            tokio::time::sleep(self.pace.tidy).await;
        }
    }

    async fn owing(&self) -> Result<Vec<Backup>, DbError> {
        backups::backups_owing(&mut *self.db.acquire().await?).await
    }

    /// Deletes a backup: its object first, then what is known of it. One that is being made is cancelled.
    pub async fn remove(&self, id: BackupId, by: &str) -> Result<(), BackupError> {
        let backup = self.get(id).await?;
        if backup.locked {
            let message = "The backup is locked. Unlock it first.".to_owned();
            return Err(BackupError::Conflict { code: "backup_locked", message });
        }
        let cancel = self.driven().get(&id).cloned();
        match (backup.state.is_open(), cancel) {
            (false, _) => {}
            (true, Some(cancel)) => {
                cancel.cancel();
                self.until_ended(id).await?;
            }
            (true, None) => {
                let message = "A transfer makes this backup. Cancel the transfer.".to_owned();
                return Err(BackupError::Conflict { code: "backup_in_use", message });
            }
        }
        self.must_not_be_restored(id).await?;
        self.storage_of(&backup).await?.clear(&backup.object_key).await?;
        let mut tx = self.db.begin().await?;
        backups::backup_delete(&mut tx, id).await?;
        let details = json!({"server_id": backup.server_id, "name": backup.name});
        audit::audit(&mut tx, self.clock.now(), by, "backup.delete", id, &details).await?;
        tx.commit().await.map_err(DbError::from)?;
        Ok(())
    }

    /// Deletes what can be deleted of the backups of a server that is gone. The rest stays, and the log says why.
    pub async fn remove_all_of(&self, server: ServerId, by: &str) -> Result<(), DbError> {
        let all = backups::backups_all_of(&mut *self.db.acquire().await?, server).await?;
        for backup in all.into_iter().filter(|backup| !backup.locked) {
            if let Err(error) = self.remove(backup.id, by).await {
                tracing::warn!(backup = %backup.id, error = crate::api::chain(&error), "a backup of a deleted server stays");
            }
        }
        Ok(())
    }

    async fn must_not_be_restored(&self, id: BackupId) -> Result<(), BackupError> {
        use crate::db::restores::{RestoreState, restore_last};
        let last = restore_last(&mut *self.db.acquire().await?, id).await?;
        if last.is_some_and(|restore| restore.state == RestoreState::Running) {
            let message = "The backup is being restored. Wait for the end of that.".to_owned();
            return Err(BackupError::Conflict { code: "backup_in_use", message });
        }
        Ok(())
    }

    async fn until_ended(&self, id: BackupId) -> Result<(), BackupError> {
        while self.get(id).await?.state.is_open() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The backup, or [`BackupError::NotFound`].
    pub async fn get(&self, id: BackupId) -> Result<Backup, BackupError> {
        backups::backup_get(&mut *self.db.acquire().await?, id).await.map_err(missing("backup"))
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move { shutdown.run_until_cancelled(work).await });
    }

    fn driven(&self) -> MutexGuard<'_, HashMap<BackupId, CancellationToken>> {
        // A map of plain values: whoever panicked while holding it left nothing half-done.
        self.driven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this holder of a server does not mind if the game ends.
pub(crate) fn lets_end(holder: &str) -> bool {
    holder.starts_with("backup:")
}

/// Who holds a server while it is backed up.
fn holder(id: BackupId) -> String {
    format!("backup:{id}")
}

async fn server(conn: &mut Conn, id: ServerId) -> Result<Server, BackupError> {
    servers::server_get(conn, id).await.map_err(missing("server"))
}

fn missing(noun: &'static str) -> impl Fn(DbError) -> BackupError {
    move |error| match error {
        DbError::NotFound => BackupError::NotFound(noun),
        error => error.into(),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "made for map_err")]
fn storage_failure(error: StorageError) -> BackupFailure {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    BackupFailure::new(error.code(), format!("{first}{}.", letters.as_str()))
}
