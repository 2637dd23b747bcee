//! What the panel is made of, as every request handler and background task sees it.
//!
//! Built by hand in [`crate::run`] (and by tests, with another `Agents` or `Clock`). Cheap to clone.

use std::sync::Arc;
use std::time::Duration;

use model::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::agent::Agents;
use crate::api::Consoles;
use crate::api::chain;
use crate::backup::Backups;
use crate::db::{Db, DbError};
use crate::evacuate::Evacuations;
use crate::events::Hub;
use crate::migrate::Migrations;
use crate::permit::PermitSigner;
use crate::wake::Wake;
use crate::webhook::OutboundConfig;

/// Between two attempts to reach a database that does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// The parts of a running panel.
#[derive(Clone)]
pub struct App {
    /// The database.
    pub db: Db,
    /// The agents.
    pub agents: Arc<dyn Agents>,
    /// Time of day.
    pub clock: Arc<dyn Clock>,
    /// Passwords, tokens and how often one may ask.
    pub access: Arc<Access>,
    /// Signs the right to run a server.
    pub permits: Arc<PermitSigner>,
    /// Where progress of transfers goes to be seen.
    pub events: Arc<Hub>,
    /// Copies of servers in object storage.
    pub backups: Arc<Backups>,
    /// The migrations that run.
    pub migrations: Arc<Migrations>,
    /// Rouses what runs in the background.
    pub wake: Arc<Wake>,
    /// What webhooks may lead to.
    pub outbound: OutboundConfig,
    /// The evacuations that go on.
    pub(crate) evacuations: Arc<Evacuations>,
    /// Streams of consoles, and tickets for them.
    pub(crate) consoles: Arc<Consoles>,
    /// How users and agents reach this panel, without a slash at the end.
    pub public_url: Arc<str>,
    /// The container image of ours that clusters run.
    pub image: Arc<str>,
    /// Work that goes on behind an answer (an installation, for example). Waited for at shutdown.
    pub tasks: TaskTracker,
    /// Cancelled when the panel shuts down.
    pub shutdown: CancellationToken,
}

impl App {
    /// The time of day.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Writes down what must not be forgotten if the database is away for a while: again, until it is written or cannot
    /// be, or until the panel ends (its next start goes on). `write` tells "done before" from "cannot be" by itself: an
    /// attempt whose answer was lost may have had its effect.
    pub(crate) async fn insist<T, F: Future<Output = Result<T, DbError>>>(
        &self,
        write: impl Fn() -> F,
    ) -> Result<T, DbError> {
        loop {
            let error = match write().await {
                Err(error @ DbError::Unavailable(_)) => error,
                done => return done,
            };
            tracing::warn!(error = chain(&error), "what must be written down waits for the database");
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = self.shutdown.cancelled() => return Err(error),
            }
        }
    }
}
