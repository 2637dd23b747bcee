//! Drives one migration to rest: runs its saga, shows where it stands, keeps both agents awake while it is frozen.
//!
//! Everything here may be dropped at any await: that is what a crash of the panel looks like. What is shown is written
//! after the log, and again at the next start, from the log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use model::agent_api::Request;
use model::{CopyProgress, Failure, Stage, TransferState};
use saga::{Event, Executor, Log, Rest, RunError, SagaId, Watcher};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{Move, Reins, status, tell};
use crate::db::DbError;
use crate::db::saga_log::{SagaLog, saga_close};
use crate::db::transfers::{self, Paused};
use crate::events::News;

/// How often people are told about progress at most, and how often it is written down.
const TELL_EVERY: Duration = Duration::from_millis(200);
const WRITE_EVERY: u32 = 5;

/// Between two attempts to reach a database that does not answer.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// One migration, and who drives it.
pub(super) struct Driver {
    it: Move,
    executor: Executor<Move>,
    log: SagaLog,
    reins: Reins,
    frozen: watch::Sender<bool>,
    final_copy: AtomicBool,
}

impl Driver {
    pub(super) fn new(it: Move, executor: Executor<Move>, log: SagaLog, reins: Reins) -> Self {
        Self { it, executor, log, reins, frozen: watch::Sender::new(false), final_copy: AtomicBool::new(false) }
    }

    /// Returns when the migration rests, or when somebody else drives it.
    pub(super) async fn drive(&self) {
        tokio::select! {
            () = self.run_to_rest() => {}
            () = self.ping_while_frozen() => {}
            () = self.tell_progress() => {}
        }
    }

    async fn run_to_rest(&self) {
        let id = SagaId(self.it.transfer.id.to_string());
        loop {
            let error =
                match self.executor.run(&id, &self.it, &self.log, &self.reins.cancel, &self.reins.hold, self).await {
                    Ok(rest) => match self.finish(&id, rest).await {
                        Ok(()) => return,
                        Err(error) => error.to_string(),
                    },
                    Err(RunError::Superseded(error)) => {
                        tracing::error!(transfer = %id, %error, "somebody else drives this transfer");
                        return;
                    }
                    Err(RunError::Illegal(error)) => {
                        tracing::error!(transfer = %id, %error, "the log of this transfer cannot be");
                        return;
                    }
                    Err(RunError::Store(error)) => error.to_string(),
                };
            tracing::warn!(transfer = %id, error, "the transfer waits for the database");
            sleep(PAUSE).await;
        }
    }

    /// Writes down how it ended, in one transaction with the end of the promise to drive it.
    async fn finish(&self, id: &SagaId, rest: Rest) -> Result<(), DbError> {
        let log = self.load().await?;
        let (state, cause) = match rest {
            Rest::Committed => (TransferState::Completed, None),
            Rest::RolledBack => (TransferState::RolledBack, log.failure()),
            Rest::Stuck => (TransferState::Stuck, log.stuck()),
        };
        let at = self.it.now();
        let failure = cause.map(|(step, cause)| Failure {
            code: cause.code.clone(),
            message: cause.message.clone(),
            step: step.to_owned(),
            at,
        });
        let latest = self.it.following.latest();
        let mut tx = self.it.db.begin().await?;
        if latest != CopyProgress::default() {
            transfers::progress_set(&mut tx, self.it.transfer.id, &latest).await?;
        }
        transfers::transfer_show(&mut tx, self.it.transfer.id, state).await?;
        let first = transfers::transfer_finish(&mut tx, self.it.transfer.id, state, failure.as_ref(), at).await?;
        saga_close(&mut tx, id).await?;
        let row = transfers::transfer_get(&mut tx, self.it.transfer.id).await?;
        let body = json!({
            "state": state, "stage": row.stage, "failure": row.failure, "freeze_ms": row.freeze_ms,
            "boot_ms": row.boot_ms, "receipt": row.receipt, "path": row.path,
        });
        let news = if first { Some(self.keep(&mut tx, "end", body).await?) } else { None };
        if first {
            tell::ended(&mut tx, &row, at).await?;
        }
        tx.commit().await?;
        let path = row.path.as_ref().and_then(|path| path.kind);
        tracing::info!(transfer = %id, ?state, ?failure, ?path, "transfer ended");
        if let Some(news) = news {
            self.it.events.tell(news);
        }
        Ok(())
    }

    async fn load(&self) -> Result<Log, DbError> {
        let corrupt = |why: String| DbError::Corrupt { column: "saga_log.event", why };
        let id = SagaId(self.it.transfer.id.to_string());
        let events = saga::Store::load(&self.log, &id).await.map_err(|error| corrupt(error.to_string()))?;
        self.executor.plan().fold(events).map_err(|error| corrupt(error.to_string()))
    }

    /// Both agents hear from us while the game is stopped: the source's lease is renewed, a dead target is noticed.
    async fn ping_while_frozen(&self) {
        let mut frozen = self.frozen.subscribe();
        while frozen.wait_for(|frozen| *frozen).await.is_ok() {
            let ping = async |node| timeout(self.it.pace.ping, self.it.agents.call(node, Request::Ping)).await;
            let (source, target) = tokio::join!(ping(self.it.source()), ping(self.it.target()));
            for (side, answer) in [("source", source), ("target", target)] {
                if !matches!(answer, Ok(Ok(_))) {
                    // Nothing to do about it here: the step that needs the agent finds out and decides.
                    tracing::debug!(transfer = %self.it.transfer.id, side, "no answer to a ping");
                }
            }
            sleep(self.it.pace.ping).await;
        }
    }

    async fn tell_progress(&self) {
        let mut progress = self.it.following.watch();
        let mut told = 0_u32;
        while progress.changed().await.is_ok() {
            let latest = progress.borrow_and_update().clone();
            self.tell(&latest);
            if self.final_copy.swap(false, Ordering::Relaxed)
                && let Err(error) = self.enter(&[Stage::Transferring]).await
            {
                tracing::warn!(transfer = %self.it.transfer.id, %error, "the stage could not be shown");
            }
            if told.is_multiple_of(WRITE_EVERY)
                && let Err(error) = self.write_progress(&latest).await
            {
                tracing::warn!(transfer = %self.it.transfer.id, %error, "progress could not be written down");
            }
            told = told.wrapping_add(1);
            sleep(TELL_EVERY).await;
        }
        // The sender lives as long as `following`, which we hold: not reached, and nothing to end for if it were.
        std::future::pending::<()>().await;
    }

    fn tell(&self, progress: &CopyProgress) {
        // Numbers only: there is nothing in it that JSON cannot say.
        let body = serde_json::to_value(progress).unwrap_or_default();
        self.it.events.tell(self.news(None, "progress", body));
    }

    async fn write_progress(&self, progress: &CopyProgress) -> Result<(), DbError> {
        let mut conn = self.it.db.acquire().await?;
        transfers::progress_set(&mut conn, self.it.transfer.id, progress).await
    }

    /// Enters stages that were not entered before and tells about them.
    async fn enter(&self, stages: &[Stage]) -> Result<(), DbError> {
        let mut tx = self.it.db.begin().await?;
        let news = self.enter_in(&mut tx, stages, TransferState::Running).await?;
        tx.commit().await?;
        for news in news {
            self.it.events.tell(news);
        }
        Ok(())
    }

    async fn enter_in(
        &self,
        tx: &mut crate::db::Conn,
        stages: &[Stage],
        state: TransferState,
    ) -> Result<Vec<News>, DbError> {
        let mut news = vec![];
        for stage in stages {
            if transfers::stage_enter(tx, self.it.transfer.id, *stage, self.it.now()).await? {
                let body = json!({"state": state, "stage": stage, "label": stage.label()});
                news.push(self.keep(tx, "stage", body).await?);
                tell::stage(tx, &self.it.transfer, *stage, self.it.now()).await?;
            }
        }
        Ok(news)
    }

    async fn show(&self, log: &Log, event: Option<&Event>) -> Result<(), DbError> {
        let id = self.it.transfer.id;
        let state = status::state(self.executor.plan(), log, self.reins.cancel.is_requested());
        let mut tx = self.it.db.begin().await?;
        if !state.is_final() {
            // The end is shown together with all that belongs to it, by `finish`.
            transfers::transfer_show(&mut tx, id, state).await?;
        }
        let paused = status::held_at(self.executor.plan(), log).map(|step| Paused::at(step, self.it.now()));
        transfers::paused_show(&mut tx, id, paused.as_ref()).await?;
        let mut news = vec![];
        if let Some(event) = event {
            let live = self.it.transfer.mode == model::Mode::Live && ran(log);
            news = self.enter_in(&mut tx, status::stages(event, live), state).await?;
            let (level, message) = status::describe(event);
            let body = json!({"level": level, "step": event.step(), "message": message});
            news.push(self.keep(&mut tx, "log", body).await?);
        }
        tx.commit().await?;
        for news in news {
            self.it.events.tell(news);
        }
        Ok(())
    }

    async fn keep(
        &self,
        tx: &mut crate::db::Conn,
        kind: &'static str,
        body: serde_json::Value,
    ) -> Result<News, DbError> {
        let seq = transfers::event_append(tx, self.it.transfer.id, kind, &body, self.it.now()).await?;
        Ok(self.news(Some(seq), kind, body))
    }

    fn news(&self, seq: Option<u64>, kind: &'static str, body: serde_json::Value) -> News {
        News {
            transfer_id: self.it.transfer.id,
            server_id: self.it.transfer.server_id,
            seq,
            kind,
            body: body.into(),
            at: self.it.now(),
        }
    }
}

/// Whether the game ran when it was looked at; true before that is known.
fn ran(log: &Log) -> bool {
    log.output::<serde_json::Value>("prepare_target").is_none_or(|seen| seen["running"] == true)
}

#[async_trait]
impl Watcher for Driver {
    async fn recorded(&self, log: &Log, event: Option<&Event>) {
        if event.is_none() {
            self.it.reopen(log);
        }
        self.frozen.send_replace(status::is_frozen(log));
        if matches!(event, Some(Event::Done { step, .. }) if step == "precopy" || step == "final_copy") {
            // Before the stage ends, so that whoever shows it ends with its last numbers.
            self.tell(&self.it.following.latest());
        }
        let is_start = matches!(event, Some(Event::Started { .. }));
        self.final_copy.store(is_start && status::is_final_copy(log), Ordering::Relaxed);
        if let Err(error) = self.show(log, event).await {
            // What is shown catches up with the next event; the log is what counts.
            tracing::warn!(transfer = %self.it.transfer.id, %error, "where it stands could not be shown");
        }
    }
}
