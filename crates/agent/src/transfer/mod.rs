//! This agent's half of transfers: one action at a time per transfer, each recorded, each repeatable.
//!
//! ```text
//! submit ─┬─ recorded? ──────────────────► the recorded answer
//!         ├─ runs now? ──────────────────► joins it
//!         └─ new: cancels what runs (unless that takes something back), waits for its end, runs, is recorded
//! ```
//!
//! A panel asks for one thing at a time, so a different request means that it has given up on the one before. The
//! order of requests is the order in which they came off the wire: `submit` decides before it returns.

mod dial;
mod fault;
mod health;
mod look;
mod orphans;
mod pipe;
mod place;
mod progress;
mod reach;
mod record;
mod retained;
mod room;
mod source;
mod target;
#[cfg(test)]
pub(crate) mod tests;
mod tuning;
mod turn;
pub(crate) mod way;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::transfer::Dialled;
use futures_util::future::BoxFuture;
use model::agent_api::{AgentError, ErrorCode, Outcome, StepKey, TransferAction};
use model::{ServerId, Timestamp, TransferId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::disk;
use crate::layout::Layout;
use crate::node::Node;
pub(crate) use fault::of_engine;
pub(crate) use place::clear_place;
use record::{Phase, Record, name};
pub(crate) use room::check_room;
use source::Session;
use target::OpenDoor;
use tuning::Tuning;
use turn::answer;

/// All transfers that this agent remembers.
pub(crate) struct Transfers {
    all: Mutex<HashMap<TransferId, Arc<Transfer>>>,
    /// URL of the panel that this agent knows.
    panel: Mutex<String>,
    /// What nobody owns, when it was last looked for.
    looked: orphans::Looked,
}

/// One of them.
pub(crate) struct Transfer {
    id: TransferId,
    server: ServerId,
    record: Mutex<Record>,
    /// What counts for the copy that this source makes.
    tuning: Tuning,
    /// Writes of the record, in order.
    writing: tokio::sync::Mutex<()>,
    running: Mutex<Vec<Running>>,
    /// The source's open copy.
    session: tokio::sync::Mutex<Option<Session>>,
    /// The source's wait for a target that dials.
    meeting: tokio::sync::Mutex<Option<Dialled>>,
    /// The target's open door.
    door: tokio::sync::Mutex<Option<OpenDoor>>,
}

/// An action under way or waiting for its turn; the last one is the newest.
struct Running {
    name: String,
    takes_back: bool,
    cancel: CancellationToken,
    done: watch::Receiver<Option<Outcome>>,
}

impl Transfers {
    /// Reads the records; the old ones go.
    pub(crate) fn load(layout: &Layout, now: Timestamp) -> Result<Self, (PathBuf, io::Error)> {
        let dir = layout.transfers();
        let mut all = HashMap::new();
        for entry in std::fs::read_dir(&dir).map_err(|e| (dir.clone(), e))? {
            let path = entry.map_err(|e| (dir.clone(), e))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let record = disk::read_json::<Record>(&path).map_err(|e| (path.clone(), e))?;
            match record {
                Some(record) if record.is_old(now) => disk::remove_file(&path).map_err(|e| (path.clone(), e))?,
                Some(record) => drop(all.insert(record.transfer, Arc::new(Transfer::new(record)))),
                None => {}
            }
        }
        Ok(Self { all: Mutex::new(all), panel: Mutex::default(), looked: orphans::Looked::default() })
    }

    /// A relay that the panel names by its path alone is at the panel as this agent knows it.
    pub(crate) fn set_panel(&self, url: &str) {
        url.clone_into(&mut self.panel.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn panel(&self) -> String {
        self.panel.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// After a restart: reopens doors, removes what no transfer owns, and begins to look after retained copies.
    pub(crate) async fn recover(&self, node: &Arc<Node>) {
        for transfer in self.snapshot() {
            let open = matches!(transfer.record().phase(), Some(Phase::Receiving | Phase::Received { .. }));
            if !open || transfer.record().aborted {
                continue;
            }
            tracing::info!(transfer = %transfer.id, "transfer: the door is open again");
            if let Err(error) = transfer.open_door(node).await {
                tracing::error!(transfer = %transfer.id, %error, "transfer: cannot open the door again");
            }
        }
        drop(orphans::look(node).await);
        if place::is_mounted(node) {
            return; // What is retained there is a volume, and not ours to destroy.
        }
        let (reaper, shutdown) = (Arc::clone(node), node.around.shutdown.clone());
        tokio::spawn(async move { shutdown.run_until_cancelled(retained::reap_for_ever(&reaper)).await });
        let (looker, shutdown) = (Arc::clone(node), node.around.shutdown.clone());
        tokio::spawn(async move { shutdown.run_until_cancelled(orphans::look_for_ever(&looker)).await });
    }

    /// Takes a command; the future is its answer. Dropping the future does not stop what was begun.
    pub(crate) fn submit(
        &self,
        node: Arc<Node>,
        key: &StepKey,
        server: ServerId,
        action: TransferAction,
    ) -> BoxFuture<'static, Outcome> {
        let now = node.around.clock.now();
        let transfer = self.transfer(key, server, now);
        let name = name(key, &action);
        if let Err(refused) = transfer.record().admit(key, server, &action) {
            return Box::pin(async move { Outcome::Err(refused) });
        }
        if let Some(recorded) = transfer.record().result(&name, now) {
            tracing::debug!(transfer = %transfer.id, name, "transfer: answered from the record");
            return Box::pin(async move { recorded });
        }
        transfer.tuning.follow(&action);
        let done = transfer.join_or_begin(node, name, action);
        Box::pin(answer(done))
    }

    /// Changes what counts for a copy that runs, without ending it.
    pub(crate) fn adjust(
        &self,
        transfer: TransferId,
        server: ServerId,
        bandwidth_limit: Option<u64>,
        max_freeze_ms: u64,
    ) -> Result<(), AgentError> {
        let known = self.all.lock().unwrap_or_else(PoisonError::into_inner).get(&transfer).cloned();
        let known = known.filter(|known| known.server == server);
        let known = known.ok_or_else(|| AgentError::new(ErrorCode::NotFound, "this transfer has no copy here"))?;
        tracing::info!(%transfer, bandwidth_limit, max_freeze_ms, "transfer: adjusted");
        known.tuning.set(bandwidth_limit, max_freeze_ms);
        Ok(())
    }

    fn transfer(&self, key: &StepKey, server: ServerId, now: Timestamp) -> Arc<Transfer> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let transfer = all.entry(key.transfer_id);
        Arc::clone(transfer.or_insert_with(|| Arc::new(Transfer::new(Record::new(key, server, now)))))
    }

    /// Whether some transfer builds on what is retained of `retained`.
    fn is_built_on(&self, retained: TransferId) -> bool {
        self.snapshot().iter().any(|transfer| transfer.record().basis_in_use() == Some(retained))
    }

    fn snapshot(&self) -> Vec<Arc<Transfer>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Transfer {
    fn new(record: Record) -> Self {
        Self {
            id: record.transfer,
            server: record.server,
            record: Mutex::new(record),
            tuning: Tuning::default(),
            writing: tokio::sync::Mutex::new(()),
            running: Mutex::new(Vec::new()),
            session: tokio::sync::Mutex::new(None),
            meeting: tokio::sync::Mutex::new(None),
            door: tokio::sync::Mutex::new(None),
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the record and makes that durable.
    async fn update(&self, node: &Node, change: impl FnOnce(&mut Record)) -> Result<(), AgentError> {
        self.update_at(&node.layout.record_of(self.id), change).await
    }

    async fn update_at(&self, path: &Path, change: impl FnOnce(&mut Record)) -> Result<(), AgentError> {
        let _writing = self.writing.lock().await;
        let record = {
            let mut record = self.record();
            change(&mut record);
            record.clone()
        };
        disk::record(path.to_owned(), &record).await
    }
}
