//! `await_window`: nothing is stopped before it may be, and what was copied before is fresh when it is.
//!
//! ```text
//!   may it be stopped now? ──no──► the copy rests ──► wait: for the time, or until somebody changes it ─┐
//!         ▲   │ yes                                                                                     │
//!         │   ▼                                                                                         │
//!         │  is the copy fresh, and within the promise? ──no──► copy once more ──┐                      │
//!         │   │ yes                                                              │                      │
//!         │   ▼                                                                  ▼                      ▼
//!         │  settle: from here on that is decided ◄─── somebody changed something in between ───────────┘
//!         └──────────────────────────────────────────────────────────────────────┘
//! ```

use std::time::Duration;

use async_trait::async_trait;
use model::Options;
use saga::{Call, Failure, Pausing, Step};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use super::outputs::{Precopied, Prepared, output_of, to_output};
use crate::db::{DbError, transfers};
use crate::migrate::Move;
use crate::migrate::context::db_failure;

/// The clock of the machine may be set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Waits until the server may be stopped, then copies what has changed since. Nothing to do if it may be already.
pub(super) struct AwaitWindow;

#[async_trait]
impl Step<Move> for AwaitWindow {
    fn name(&self) -> &'static str {
        "await_window"
    }

    fn pausing(&self) -> Pausing {
        Pausing::Inside
    }

    async fn hold(&self, it: &Move, call: &Call<'_>) {
        it.rest_copy(call, "pause_await_window").await;
    }

    async fn run(&self, it: &Move, call: &Call<'_>) -> Result<Value, Failure> {
        let prepared: Prepared = output_of(call, "prepare_target")?;
        let live = it.copies_live(&prepared);
        it.unsettle().await.map_err(db_failure)?;
        let mut tuned = it.tuned.watch();
        // Whoever begins this again does not know for how long nobody copied.
        let mut fresh: Option<Precopied> =
            if call.attempt() == 1 && !call.is_resumed() { call.log().output("precopy") } else { None };
        let mut again = None;
        loop {
            let (options, seen) = tuned.borrow_and_update().clone();
            if it.opening(&options).is_some() {
                it.rest_copy(call, &format!("{}.rest", self.name())).await;
                it.until_open(&mut tuned).await;
                fresh = None;
            } else if live && !fresh.as_ref().is_some_and(|copied| keeps(copied, &options)) {
                let command = format!("{}.{}", self.name(), it.now().as_millisecond());
                let copied = it.precopy(call, self.name(), &command, &prepared, true).await?;
                again = Some(copied.clone());
                fresh = Some(copied);
            } else if it.settle(seen).await.map_err(db_failure)? {
                return again.as_ref().map_or(Ok(Value::Null), to_output);
            } else {
                it.hear().await.map_err(db_failure)?;
            }
        }
    }

    async fn undo(&self, _it: &Move, _call: &Call<'_>) -> Result<(), Failure> {
        Ok(()) // the copy is taken back with the precopy
    }
}

/// Whether a copy was made under a promise that is at least as strict as what is asked now.
fn keeps(copied: &Precopied, options: &Options) -> bool {
    copied.promise_ms.is_none_or(|promised| promised <= options.max_freeze_s.saturating_mul(1000))
}

impl Move {
    /// Returns when the server may be stopped, or when somebody changed when that is.
    async fn until_open(&self, tuned: &mut watch::Receiver<(Options, u64)>) {
        loop {
            let options = tuned.borrow_and_update().0.clone();
            let Some(left) = self.opening(&options) else { return };
            let left = Duration::try_from(left).unwrap_or_default().min(LOOK_EVERY);
            tokio::select! {
                () = sleep(left) => {}
                // The sender lives as long as `self`.
                changed = tuned.changed() => if changed.is_err() { return },
            }
        }
    }

    /// The row was changed already, and the news of it may still be on its way here.
    async fn hear(&self) -> Result<(), DbError> {
        let row = transfers::transfer_get(&mut *self.db.acquire().await?, self.transfer.id).await?;
        self.tuned.see(&row);
        Ok(())
    }

    async fn settle(&self, seen: u64) -> Result<bool, DbError> {
        transfers::settle(&mut *self.db.acquire().await?, self.transfer.id, seen).await
    }

    async fn unsettle(&self) -> Result<(), DbError> {
        transfers::unsettle(&mut *self.db.acquire().await?, self.transfer.id).await
    }
}
