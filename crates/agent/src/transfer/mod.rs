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

mod fault;
mod orphans;
mod progress;
mod record;
mod retained;
mod source;
mod target;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use model::agent_api::{AgentError, ErrorCode, Outcome, Reply, StepKey, TransferAction};
use model::{ServerId, Timestamp, TransferId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::disk;
use crate::layout::Layout;
use crate::node::Node;
use fault::cancelled;
use record::{Phase, Record, Target, name};
use source::Session;
use target::{OpenDoor, Order};

/// All transfers that this agent remembers.
pub(crate) struct Transfers {
    all: Mutex<HashMap<TransferId, Arc<Transfer>>>,
}

/// One of them.
pub(crate) struct Transfer {
    id: TransferId,
    server: ServerId,
    record: Mutex<Record>,
    /// Writes of the record, in order.
    writing: tokio::sync::Mutex<()>,
    running: Mutex<Vec<Running>>,
    /// The source's open copy.
    session: tokio::sync::Mutex<Option<Session>>,
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
        Ok(Self { all: Mutex::new(all) })
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
        orphans::remove(node).await;
        let (reaper, shutdown) = (Arc::clone(node), node.around.shutdown.clone());
        tokio::spawn(async move { shutdown.run_until_cancelled(retained::reap_for_ever(&reaper)).await });
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
        let done = transfer.join_or_begin(node, name, action);
        Box::pin(answer(done))
    }

    fn transfer(&self, key: &StepKey, server: ServerId, now: Timestamp) -> Arc<Transfer> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let transfer = all.entry(key.transfer_id);
        Arc::clone(transfer.or_insert_with(|| Arc::new(Transfer::new(Record::new(key, server, now)))))
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
            writing: tokio::sync::Mutex::new(()),
            running: Mutex::new(Vec::new()),
            session: tokio::sync::Mutex::new(None),
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

    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join_or_begin(
        self: &Arc<Self>,
        node: Arc<Node>,
        name: String,
        action: TransferAction,
    ) -> watch::Receiver<Option<Outcome>> {
        let mut running = self.running();
        running.retain(|other| other.done.borrow().is_none());
        if let Some(same) = running.iter().find(|other| other.name == name) {
            return same.done.clone();
        }
        for other in running.iter().filter(|other| !other.takes_back) {
            tracing::info!(transfer = %self.id, by = name, cancelled = other.name, "transfer: superseded");
            other.cancel.cancel();
        }
        let before = running.last().map(|other| other.done.clone());
        let cancel = CancellationToken::new();
        let (publish, done) = watch::channel(None);
        let takes_back = takes_back(&action);
        running.push(Running { name: name.clone(), takes_back, cancel: cancel.clone(), done: done.clone() });
        let transfer = Arc::clone(self);
        tokio::spawn(async move {
            let shutdown = node.around.shutdown.clone();
            let turn = transfer.take_turn(&node, before, name, action, &cancel);
            // An agent that ends answers nothing; it is asked again when it is back.
            if let Some(outcome) = shutdown.run_until_cancelled(turn).await {
                publish.send_replace(Some(outcome));
            }
        });
        done
    }

    async fn take_turn(
        self: &Arc<Self>,
        node: &Arc<Node>,
        before: Option<watch::Receiver<Option<Outcome>>>,
        name: String,
        action: TransferAction,
        cancel: &CancellationToken,
    ) -> Outcome {
        if let Some(before) = before {
            drop(answer(before).await);
        }
        tracing::info!(transfer = %self.id, server = %self.server, step = name, "transfer: begins");
        let again = may_be_repeated_after_failure(&action);
        let outcome = match self.perform(node, action, cancel).await {
            Ok(reply) => Outcome::Ok(reply),
            Err(error) => Outcome::Err(error),
        };
        tracing::info!(transfer = %self.id, step = name, ?outcome, "transfer: ends");
        if again && matches!(outcome, Outcome::Err(_)) {
            return outcome;
        }
        self.keep(node, name, outcome).await
    }

    /// An answer that cannot be recorded is not given: a repeat would find something else.
    async fn keep(&self, node: &Node, name: String, outcome: Outcome) -> Outcome {
        let now = node.around.clock.now();
        let kept = self.update(node, |record| {
            record.touched = now;
            record.keep(name, outcome.clone(), now);
        });
        match kept.await {
            Ok(()) => outcome,
            Err(error) => Outcome::Err(error),
        }
    }

    async fn perform(
        self: &Arc<Self>,
        node: &Arc<Node>,
        action: TransferAction,
        cancel: &CancellationToken,
    ) -> Result<Reply, AgentError> {
        if self.record().aborted && !matches!(action, TransferAction::AbortTarget) {
            return Err(cancelled());
        }
        if may_be_cut_short(&action) {
            let work = self.perform_whole(node, action, cancel);
            return cancel.run_until_cancelled(work).await.unwrap_or_else(|| Err(cancelled()));
        }
        self.perform_whole(node, action, cancel).await
    }

    async fn perform_whole(
        self: &Arc<Self>,
        node: &Arc<Node>,
        action: TransferAction,
        cancel: &CancellationToken,
    ) -> Result<Reply, AgentError> {
        match action {
            TransferAction::Measure => self.measure(node, cancel).await,
            TransferAction::PrepareTarget { spec, epoch, source_fingerprint, ticket, bytes, files } => {
                let target = Target { spec: *spec, epoch, source_fingerprint, ticket, phase: Phase::Preparing };
                self.prepare_target(node, Order { target, bytes, files }, cancel).await
            }
            TransferAction::Precopy { door, max_freeze_ms, bandwidth_limit } => {
                self.precopy(node, door, Duration::from_millis(max_freeze_ms), bandwidth_limit).await
            }
            TransferAction::StopSource { lease_ms } => self.stop_source(node, lease_ms).await,
            TransferAction::FinalCopy { door, bandwidth_limit } => self.final_copy(node, door, bandwidth_limit).await,
            TransferAction::FenceSource => done(node.server(self.server)?.fence(self.id).await),
            TransferAction::UnfenceSource { permit } => done(node.server(self.server)?.unfence(permit).await),
            TransferAction::ResumeSource { permit, start } => {
                self.end_copy().await?;
                done(node.server(self.server)?.resume(permit, start).await)
            }
            TransferAction::EndCopy => self.end_copy().await,
            TransferAction::StartTarget { permit, start } => self.start_target(node, permit, start).await,
            TransferAction::CheckHealth { tcp_probe, min_uptime_ms, timeout_ms } => {
                let (uptime, timeout) = (Duration::from_millis(min_uptime_ms), Duration::from_millis(timeout_ms));
                self.check_health(node, tcp_probe, uptime, timeout).await
            }
            TransferAction::AbortTarget => self.abort_target(node).await,
            TransferAction::Audit => self.audit(node, cancel).await,
            TransferAction::RetainSource { expires_at } => self.retain_source(node, expires_at).await,
            TransferAction::FreeRetained => self.free_retained(node).await,
        }
    }
}

/// Actions that take something back are never cancelled by what comes after them.
fn takes_back(action: &TransferAction) -> bool {
    matches!(
        action,
        TransferAction::EndCopy
            | TransferAction::AbortTarget
            | TransferAction::ResumeSource { .. }
            | TransferAction::UnfenceSource { .. }
    )
}

/// What takes something back is tried until it is done, also under the key that failed.
fn may_be_repeated_after_failure(action: &TransferAction) -> bool {
    takes_back(action) || matches!(action, TransferAction::FreeRetained)
}

/// Actions whose work may stop anywhere. The others are short, and half of them is worse than all.
fn may_be_cut_short(action: &TransferAction) -> bool {
    matches!(
        action,
        TransferAction::Measure
            | TransferAction::Precopy { .. }
            | TransferAction::StopSource { .. }
            | TransferAction::FinalCopy { .. }
            | TransferAction::CheckHealth { .. }
            | TransferAction::Audit
    )
}

fn done(outcome: Result<(), AgentError>) -> Result<Reply, AgentError> {
    outcome.map(|()| Reply::Done)
}

async fn answer(mut done: watch::Receiver<Option<Outcome>>) -> Outcome {
    match done.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) {
        Ok(Some(outcome)) => outcome,
        _ => Outcome::Err(AgentError::new(ErrorCode::Internal, "the agent is ending")),
    }
}
