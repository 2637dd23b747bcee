//! Migrations: a server moves from one node to another, durably.
//!
//! ```text
//!   api ──start──► admission (pure) ──► one transaction: transfer, lock, address, promise (saga)
//!                                          │
//!                                          ▼
//!                     driver: saga::Executor over steps/ ──ask──► agent::Agents
//!                        │ each event                              ▲
//!                        ▼                                         │ pings while frozen
//!                     transfers, transfer_events, events::Hub ─────┘
//! ```
//!
//! The log of the saga decides; everything else can be derived from it again. A panel that dies goes on where it was
//! ([`Migrations::resume`]), and a dropped driver is the same as a dead panel.

mod addresses;
pub mod admission;
mod ask;
mod context;
mod driver;
mod facts;
mod operate;
mod place;
pub mod preflight;
mod requests;
mod retained;
mod retry;
mod standing;
mod status;
mod steps;
mod tell;
mod tidy;
mod tuning;
mod undo;
mod window;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{Clock, TransferId};
use saga::{Cancel, Hold, Store, StoreError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use addresses::Addresses;
pub use admission::Refusal;
pub use context::{Move, Pace};
pub(crate) use facts::free;
pub use requests::{MigrateError, StartRequest};
pub use tuning::Change;

use crate::agent::Agents;
use crate::backup::Backups;
use crate::db::saga_log::SagaLog;
use crate::db::transfers::{self, Transfer};
use crate::db::{Db, DbError, nodes};
use crate::events::Hub;
use crate::permit::PermitSigner;
use crate::relay::Relays;
use driver::Driver;
use place::Place;
use standing::Standing;
use tuning::Tuned;

/// What migrations reach the world by.
#[derive(Clone)]
pub struct Connected {
    /// The agents.
    pub agents: Arc<dyn Agents>,
    /// Where progress goes to be seen.
    pub events: Arc<Hub>,
    /// Where agents meet that cannot dial each other.
    pub relays: Arc<Relays>,
    /// Copies of servers in object storage.
    pub backups: Arc<Backups>,
}

/// What a migration that is driven hears people by.
#[derive(Clone)]
struct Reins {
    cancel: Cancel,
    hold: Hold,
    tuned: Tuned,
}

impl Reins {
    fn of(transfer: &Transfer) -> Self {
        let cancel = if transfer.cancel_requested { Cancel::made() } else { Cancel::new() };
        let hold = if transfer.pause_requested { Hold::made() } else { Hold::new() };
        Self { cancel, hold, tuned: Tuned::new(transfer) }
    }

    /// Hears what the row says. What it says already comes too late for nothing: nobody drives yet.
    fn catch_up(&self, transfer: &Transfer) {
        let late =
            (transfer.cancel_requested && !self.cancel.request()) || (transfer.pause_requested && !self.hold.request());
        debug_assert!(!late, "nobody has closed them");
        self.tuned.see(transfer);
    }
}

/// The migrations that run.
pub struct Migrations {
    db: Db,
    agents: Arc<dyn Agents>,
    clock: Arc<dyn Clock>,
    permits: Arc<PermitSigner>,
    events: Arc<Hub>,
    relays: Arc<Relays>,
    backups: Arc<Backups>,
    pace: Pace,
    driven: Mutex<HashMap<TransferId, Reins>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Migrations {
    /// None run yet; see [`Migrations::resume`].
    pub fn new(db: Db, world: Connected, clock: Arc<dyn Clock>, permits: Arc<PermitSigner>) -> Arc<Self> {
        let Connected { agents, events, relays, backups } = world;
        let (driven, tasks, shutdown) = (Mutex::default(), TaskTracker::new(), CancellationToken::new());
        let pace = Pace::default();
        Arc::new(Self { db, agents, clock, permits, events, relays, backups, pace, driven, tasks, shutdown })
    }

    /// Where agents meet that cannot dial each other.
    #[must_use]
    pub fn relays(&self) -> &Arc<Relays> {
        &self.relays
    }

    /// Goes on with every transfer that is not over. Called once, before the first request is answered.
    pub async fn resume(self: &Arc<Self>) -> Result<(), DbError> {
        let log = SagaLog::new(self.db.clone(), self.clock.clone());
        for saga in log.unfinished().await.map_err(store_error)? {
            let Ok(id) = saga.0.parse::<TransferId>() else { continue };
            let transfer = transfers::transfer_get(&mut *self.db.acquire().await?, id).await?;
            tracing::info!(transfer = %id, "transfer goes on");
            self.drive(transfer).await?;
        }
        let this = self.clone();
        self.spawn(async move { this.tidy_for_ever().await });
        Ok(())
    }

    /// Stops driving (nothing is undone: a restart goes on).
    pub async fn shut_down(&self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Drives a transfer from wherever its log says that it stands, unless it is driven already.
    async fn drive(self: &Arc<Self>, transfer: Transfer) -> Result<(), DbError> {
        let id = transfer.id;
        let reins = Reins::of(&transfer);
        if self.driven().contains_key(&id) {
            return Ok(());
        }
        self.driven().insert(id, reins.clone());
        let it = match self.context(transfer, &reins).await {
            Ok(it) => it,
            Err(error) => {
                self.driven().remove(&id);
                return Err(error);
            }
        };
        let log = SagaLog::new(self.db.clone(), self.clock.clone());
        let this = self.clone();
        self.spawn(async move {
            Driver::new(it, steps::executor(), log, reins).drive().await;
            this.driven().remove(&id);
        });
        Ok(())
    }

    async fn context(&self, transfer: Transfer, reins: &Reins) -> Result<Move, DbError> {
        let mut conn = self.db.acquire().await?;
        // Somebody may have said something before there was anybody to hear it; from here on it is heard.
        reins.catch_up(&transfers::transfer_get(&mut conn, transfer.id).await?);
        let (source, target) = (transfer.source_node_id, transfer.target_node_id);
        Ok(Move {
            from: Place::of(&nodes::node_get(&mut conn, source).await?),
            to: Place::of(&nodes::node_get(&mut conn, target).await?),
            following: self.events.follow(transfer.id, source, target),
            db: self.db.clone(),
            agents: self.agents.clone(),
            clock: self.clock.clone(),
            permits: self.permits.clone(),
            events: self.events.clone(),
            relays: self.relays.clone(),
            backups: self.backups.clone(),
            standing: Standing::default(),
            pace: self.pace,
            tuned: reins.tuned.clone(),
            transfer,
        })
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move { shutdown.run_until_cancelled(work).await });
    }

    fn driven(&self) -> MutexGuard<'_, HashMap<TransferId, Reins>> {
        // A map of plain values: whoever panicked while holding it left nothing half-done.
        self.driven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "made for map_err")]
fn store_error(error: StoreError) -> DbError {
    DbError::Corrupt { column: "saga_log.event", why: error.to_string() }
}
