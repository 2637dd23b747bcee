//! What a person may change about a transfer while it goes on, and until when; and how a copy that runs hears of it.
//!
//! The row decides: a change and the moment from which it would come too late are both statements on it, with what was
//! seen in their `WHERE`. What is in memory only carries the news to a step that is under way.

use model::agent_api::Request;
use model::{Options, Timestamp, TransferId};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::requests::MigrateError;
use super::{Migrations, Move};
use crate::agent::CallError;
use crate::db::DbError;
use crate::db::transfers::{self, Transfer};

/// How often a change is tried that somebody else's change came before.
const TRIES: u32 = 8;
/// Between two tries to tell an agent.
const BREATH: std::time::Duration = std::time::Duration::from_millis(200);

/// What is to be changed; none: it stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// Bytes per second, or no limit.
    pub bandwidth_limit: Option<Option<u64>>,
    /// When the server may be stopped, or at once.
    pub not_before: Option<Option<Timestamp>>,
    /// Seconds that the freeze may be predicted to last.
    pub max_freeze_s: Option<u64>,
}

impl Change {
    /// What becomes of `options`.
    #[must_use]
    pub fn apply(self, options: &Options) -> Options {
        Options {
            bandwidth_limit: self.bandwidth_limit.unwrap_or(options.bandwidth_limit),
            not_before: self.not_before.unwrap_or(options.not_before),
            max_freeze_s: self.max_freeze_s.unwrap_or(options.max_freeze_s),
            ..options.clone()
        }
    }

    /// Whether it still means something once the server is about to be stopped.
    fn counts_when_settled(self) -> bool {
        self.not_before.is_none() && self.max_freeze_s.is_none()
    }

    /// Why it comes too late; none if it does not.
    fn refusal(self, transfer: &Transfer) -> Option<&'static str> {
        use model::TransferState::{Cancelling, Completed, RolledBack, RollingBack, Stuck};
        match transfer.state {
            Completed | RolledBack | Stuck => Some("The transfer is over: nothing about it can be changed any more."),
            Cancelling | RollingBack => {
                Some("The transfer is being taken back: nothing about it can be changed any more.")
            }
            _ if transfer.receipt.is_some() => {
                Some("Everything is copied already: nothing about the transfer can be changed any more.")
            }
            _ if transfer.settled && !self.counts_when_settled() => Some(
                "The server is being stopped already: not_before and max_freeze_s count until then only. Of \
                 what is left only bandwidth_limit can be changed.",
            ),
            _ => None,
        }
    }
}

/// The options of one transfer as they count now. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Tuned(watch::Sender<(Options, u64)>);

impl Tuned {
    pub(super) fn new(transfer: &Transfer) -> Self {
        Self(watch::Sender::new((transfer.options.clone(), transfer.tuned)))
    }

    /// The options.
    pub(super) fn options(&self) -> Options {
        self.0.borrow().0.clone()
    }

    /// The options, how often they were changed, and to wait for the next change.
    pub(super) fn watch(&self) -> watch::Receiver<(Options, u64)> {
        self.0.subscribe()
    }

    /// The newest row counts, whoever brings it first.
    pub(super) fn see(&self, transfer: &Transfer) {
        self.0.send_if_modified(|(options, tuned)| {
            let newer = transfer.tuned > *tuned;
            if newer {
                (*options, *tuned) = (transfer.options.clone(), transfer.tuned);
            }
            newer
        });
    }
}

impl Migrations {
    /// Changes limits of a transfer that goes on. What comes too late is refused, with the reason.
    pub async fn change(&self, id: TransferId, change: Change) -> Result<Transfer, MigrateError> {
        for _ in 0..TRIES {
            let transfer = self.get(id).await?;
            if let Some(why) = change.refusal(&transfer) {
                return Err(MigrateError::Conflict { code: "transfer_too_late", message: why.to_owned() });
            }
            let options = change.apply(&transfer.options);
            if options == transfer.options {
                return Ok(transfer);
            }
            let mut conn = self.db.acquire().await?;
            let late = change.counts_when_settled();
            match transfers::options_set(&mut conn, id, &options, transfer.tuned, late).await {
                Ok(()) => {}
                Err(DbError::Conflict) => continue,
                Err(error) => return Err(error.into()),
            }
            let changed = transfers::transfer_get(&mut conn, id).await?;
            drop(conn);
            let tuned = self.driven().get(&id).map(|reins| reins.tuned.clone());
            if let Some(tuned) = tuned {
                tuned.see(&changed);
            }
            return Ok(changed);
        }
        let message = "The transfer changes too fast to be changed by you. Try again.".to_owned();
        Err(MigrateError::Conflict { code: "transfer_busy", message })
    }
}

impl Move {
    /// Tells the source each change of its limits, for as long as it is polled.
    pub(super) async fn keep_tuned(&self, mut tuned: watch::Receiver<(Options, u64)>) -> std::convert::Infallible {
        while tuned.changed().await.is_ok() {
            loop {
                let options = tuned.borrow_and_update().0.clone();
                if self.adjust(&options).await {
                    break;
                }
                sleep(BREATH).await;
                self.agents.wait_online(self.source()).await;
            }
        }
        // The sender lives as long as `self`.
        std::future::pending().await
    }

    /// Answers whether nothing more is to be said.
    async fn adjust(&self, options: &Options) -> bool {
        let request = Request::AdjustCopy {
            transfer_id: self.transfer.id,
            server_id: self.transfer.server_id,
            bandwidth_limit: options.bandwidth_limit,
            max_freeze_ms: options.max_freeze_s.saturating_mul(1000),
        };
        let call = self.agents.call(self.source(), request);
        match timeout(self.pace.answer, call).await.unwrap_or(Err(CallError::Lost)) {
            Ok(_) => true,
            Err(CallError::Refused(error)) => {
                // An agent of an earlier release: the next command of the copy says it again.
                tracing::warn!(transfer = %self.transfer.id, %error, "transfer: new limits count from the next command on");
                true
            }
            Err(CallError::Offline | CallError::Lost) => false,
        }
    }
}
