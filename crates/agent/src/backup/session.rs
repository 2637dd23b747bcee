//! Work on one backup: a thread that does it, and what the panel's turns bring it and take from it.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::transfer::Progress;
use model::agent_api::{AgentError, ErrorCode};
use model::{BackupAction, BackupId, BackupProgress, BackupResult, BackupStand, ServerId, UploadedPart};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{restore, upload, verify};
use crate::node::Node;

/// For how long work goes on, or waits for an address, without a turn of the panel.
const ABANDONED: Duration = Duration::from_mins(5);
/// For how long an end that nobody has asked about is kept.
const REMEMBERED: Duration = Duration::from_mins(30);
/// How often a thread that waits looks whether it should end.
const LOOK: Duration = Duration::from_millis(200);

/// One piece of work.
pub(super) struct Session {
    pub(super) backup: BackupId,
    pub(super) key: Uuid,
    pub(super) server: ServerId,
    pub(super) verb: &'static str,
    desk: Arc<Desk>,
}

/// Where the thread and the turns meet.
pub(super) struct Desk {
    state: Mutex<State>,
    brought: Condvar,
    news: watch::Sender<u64>,
    pub(super) progress: Progress,
    pub(super) cancel: CancellationToken,
}

#[derive(Default)]
struct State {
    parts: BTreeMap<u32, String>,
    object: Option<String>,
    /// What cannot go on for want of an address.
    wants: Option<u32>,
    uploaded: Vec<UploadedPart>,
    moved: u64,
    result: Option<Result<BackupResult, AgentError>>,
    last_turn: Option<Instant>,
}

/// What a turn brings.
pub(super) struct Addresses {
    parts: BTreeMap<u32, String>,
    object: Option<String>,
}

impl Addresses {
    pub(super) fn of(action: BackupAction) -> Self {
        match action {
            BackupAction::Upload { parts, .. } => {
                Self { parts: parts.into_iter().map(|part| (part.number, part.url)).collect(), object: None }
            }
            BackupAction::Verify { object, .. } | BackupAction::Restore { object, .. } => {
                Self { parts: BTreeMap::new(), object: Some(object.url) }
            }
            BackupAction::Cancel => Self { parts: BTreeMap::new(), object: None },
        }
    }
}

/// Which work an action is a turn of.
pub(super) fn verb(action: &BackupAction) -> &'static str {
    match action {
        BackupAction::Upload { .. } => "upload",
        BackupAction::Verify { .. } => "verify",
        BackupAction::Restore { .. } => "restore",
        BackupAction::Cancel => "cancel",
    }
}

impl Session {
    pub(super) fn begin(
        node: &Arc<Node>,
        backup: BackupId,
        key: Uuid,
        server: ServerId,
        action: BackupAction,
    ) -> Arc<Self> {
        let desk = Arc::new(Desk {
            state: Mutex::new(State { last_turn: Some(Instant::now()), ..State::default() }),
            brought: Condvar::new(),
            news: watch::Sender::new(0),
            progress: Progress::default(),
            cancel: node.around.shutdown.child_token(),
        });
        let session = Arc::new(Self { backup, key, server, verb: verb(&action), desk: Arc::clone(&desk) });
        session.bring(Addresses::of(action.clone()));
        let node = Arc::clone(node);
        tokio::spawn(async move {
            let done = match action {
                BackupAction::Upload { part_bytes, .. } => {
                    cut_short(upload::run(&node, server, part_bytes, &desk), &desk).await
                }
                BackupAction::Verify { object, .. } => cut_short(verify::run(object.bytes, &desk), &desk).await,
                BackupAction::Restore { restore_id, object, contents, .. } => {
                    restore::run(&node, server, restore_id, object.bytes, &contents, &desk).await
                }
                BackupAction::Cancel => Err(cancelled()),
            };
            match &done {
                Ok(_) => tracing::info!(%backup, %server, "backup: done"),
                Err(error) => tracing::warn!(%backup, %server, code = ?error.code, %error, "backup: failed"),
            }
            desk.end(done);
        });
        session
    }

    /// Takes what a turn brings to the desk.
    pub(super) fn bring(&self, addresses: Addresses) {
        let mut state = self.desk.state();
        state.last_turn = Some(Instant::now());
        if addresses.object.is_some() {
            state.object = addresses.object;
        }
        state.parts.extend(addresses.parts);
        let has_it = match state.wants {
            Some(0) => state.object.is_some(),
            Some(part) => state.parts.contains_key(&part),
            None => true,
        };
        if has_it {
            state.wants = None;
        }
        drop(state);
        self.desk.brought.notify_all();
    }

    /// Where it stands when there is something to tell, or when `wait` is over.
    pub(super) async fn stand(&self, known: u32, wait: Duration) -> Result<BackupStand, AgentError> {
        let mut news = self.desk.news.subscribe();
        let told = async {
            while !self.desk.has_something_to_tell() {
                if news.changed().await.is_err() {
                    break;
                }
            }
        };
        // The time being over is news, too.
        drop(tokio::time::timeout(wait, told).await);
        self.desk.stand(known)
    }

    pub(super) fn is_restore(&self) -> bool {
        self.verb == "restore"
    }

    pub(super) fn is_at_work(&self) -> bool {
        self.desk.state().result.is_none()
    }

    /// Ended long ago.
    pub(super) fn is_forgotten(&self) -> bool {
        let state = self.desk.state();
        state.result.is_some() && state.last_turn.is_none_or(|at| at.elapsed() > REMEMBERED)
    }

    pub(super) fn cancel(&self) {
        self.desk.cancel.cancel();
        self.desk.brought.notify_all();
    }

    /// Returns when its thread has ended.
    pub(super) async fn ended(&self) {
        let mut news = self.desk.news.subscribe();
        while self.is_at_work() && news.changed().await.is_ok() {}
    }
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The address of a part (from 1) or of the object (0), as soon as there is one. Blocks the thread.
    pub(super) fn address(&self, of: u32) -> Result<String, AgentError> {
        let mut state = self.state();
        loop {
            if self.cancel.is_cancelled() {
                return Err(cancelled());
            }
            let there = if of == 0 { state.object.as_ref() } else { state.parts.get(&of) };
            if let Some(url) = there {
                return Ok(url.clone());
            }
            if state.last_turn.is_some_and(|at| at.elapsed() > ABANDONED) {
                return Err(AgentError::new(ErrorCode::Unreachable, "the panel did not ask about it any more"));
            }
            if state.wants != Some(of) {
                state.wants = Some(of);
                self.tell();
            }
            state = self.brought.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// An address that the storage takes no more.
    pub(super) fn refused(&self, of: u32) {
        let mut state = self.state();
        if of == 0 {
            state.object = None;
        } else {
            // They were signed together, so they end together.
            state.parts.clear();
        }
    }

    pub(super) fn uploaded(&self, part: UploadedPart, bytes: u64) {
        let mut state = self.state();
        state.parts.remove(&part.number);
        state.uploaded.push(part);
        state.moved += bytes;
    }

    pub(super) fn moved(&self, bytes: u64) {
        self.state().moved += bytes;
    }

    fn end(&self, result: Result<BackupResult, AgentError>) {
        self.state().result = Some(result);
        self.tell();
    }

    fn has_something_to_tell(&self) -> bool {
        let state = self.state();
        state.result.is_some() || state.wants.is_some()
    }

    fn stand(&self, known: u32) -> Result<BackupStand, AgentError> {
        let state = self.state();
        let result = match &state.result {
            Some(Err(error)) => return Err(error.clone()),
            Some(Ok(result)) => Some(result.clone()),
            None => None,
        };
        let seen = self.progress.snapshot();
        let progress = BackupProgress {
            bytes_total: seen.bytes_total,
            bytes_done: seen.bytes_read.max(seen.bytes_written),
            bytes_moved: state.moved,
            files_total: seen.files_total,
            files_done: seen.files_done,
        };
        let parts = state.uploaded.iter().skip(usize::try_from(known).unwrap_or(usize::MAX)).cloned().collect();
        Ok(BackupStand { progress, parts, wants: state.wants, result })
    }
}

/// What only reads may be left alone: its thread notices by itself that it is over, when the storage lets it.
async fn cut_short(
    work: impl Future<Output = Result<BackupResult, AgentError>>,
    desk: &Desk,
) -> Result<BackupResult, AgentError> {
    desk.cancel.run_until_cancelled(work).await.unwrap_or_else(|| Err(cancelled()))
}

/// Work on a thread of its own: it may wait for a storage for long, and an agent that ends does not wait for it.
pub(super) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AgentError> + Send + 'static,
) -> Result<T, AgentError> {
    let broken = |why: &dyn std::fmt::Display| {
        AgentError::new(ErrorCode::Internal, format!("the thread of the backup ended: {why}"))
    };
    let (tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new().name("backup".to_owned()).spawn(move || {
        if tell.send(work()).is_err() {
            tracing::debug!("backup: nobody waits for it any more");
        }
    });
    thread.map_err(|e| broken(&e))?;
    told.await.map_err(|e| broken(&e))?
}

pub(super) fn cancelled() -> AgentError {
    AgentError::new(ErrorCode::Cancelled, "it was cancelled")
}
