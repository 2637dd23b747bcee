//! Several servers at once: a node that is emptied, or servers that somebody picked, moved a few at a time.
//!
//! ```text
//!   api ──rows──► evacuations, evacuation_items ◄──reads── runner ──acts──► migrate::Migrations::start_as
//!                                                            │ ▲
//!                                        decide (pure) ◄─────┘ └── news of a transfer's end, a nudge, every few seconds
//! ```
//!
//! One task looks at the rows, asks [`decide`] what comes next, and does it. It remembers nothing: a panel that dies at
//! any point goes on from the rows. The id of a transfer is written down before it is started, and starting it again
//! under that id is the same transfer, so no server is moved twice. Whether a server may move is admission's to say, at
//! its turn, as for any other transfer.

pub(crate) mod decide;
pub(crate) mod plan;

use std::sync::Arc;
use std::time::Duration;

use model::{Clock, EvacuationItemId, TransferId};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::api::chain;
use crate::db::evacuations::{self, Evacuation, Item, ItemState, Problem, State};
use crate::db::{Conn, Db, DbError, audit, outbox, servers, to_word};
use crate::events::{EvacuationNews, Hub, News};
use crate::migrate::{Addresses, MigrateError, Migrations, StartRequest};
use decide::{Act, Refused, after, decide};

/// How often the rows are looked at without a reason.
const EVERY: Duration = Duration::from_secs(2);

/// The evacuations that go on.
pub struct Evacuations {
    db: Db,
    migrations: Arc<Migrations>,
    clock: Arc<dyn Clock>,
    events: Arc<Hub>,
    nudge: Notify,
}

impl Evacuations {
    /// Nothing is done before [`Evacuations::run`].
    pub fn new(db: Db, migrations: Arc<Migrations>, clock: Arc<dyn Clock>, events: Arc<Hub>) -> Arc<Self> {
        Arc::new(Self { db, migrations, clock, events, nudge: Notify::new() })
    }

    /// Something has changed: look at once.
    pub fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Does what is to be done until `shutdown`. Called once, after the transfers of an earlier run go on.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut news = self.events.listen();
        // Dropped anywhere it is the same as a panel that dies there.
        let work = async {
            loop {
                if !self.look().await {
                    self.wait(&mut news).await;
                }
            }
        };
        shutdown.run_until_cancelled(Box::pin(work)).await;
    }

    async fn wait(&self, news: &mut broadcast::Receiver<News>) {
        let ended = async {
            loop {
                match news.recv().await {
                    Ok(news) if news.kind != "end" => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => return,
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = self.nudge.notified() => {}
            () = ended => {}
            () = sleep(EVERY) => {}
        }
    }

    /// Looks at all that are not over. Answers whether something was done, so that there may be more to do.
    async fn look(&self) -> bool {
        let unfinished = async { evacuations::evacuations_unfinished(&mut *self.db.acquire().await?).await };
        let all = match unfinished.await {
            Ok(all) => all,
            Err(error) => {
                tracing::warn!(error = chain(&error), "evacuations wait for the database");
                return false;
            }
        };
        let mut acted = false;
        for evacuation in all {
            match self.advance(&evacuation).await {
                Ok(did) => acted |= did,
                // Somebody else changed it between the look and the act: the next look sees it as it is.
                Err(DbError::Conflict) => tracing::debug!(evacuation = %evacuation.id, "changed meanwhile"),
                Err(error) => {
                    tracing::warn!(evacuation = %evacuation.id, error = chain(&error), "cannot go on yet");
                }
            }
        }
        acted
    }

    async fn advance(&self, evacuation: &Evacuation) -> Result<bool, DbError> {
        let items = evacuations::items_of(&mut *self.db.acquire().await?, evacuation.id).await?;
        let mut acted = false;
        for act in decide(evacuation, &items, self.clock.now()) {
            acted |= !matches!(act, Act::Cancel(..));
            let of = |id: EvacuationItemId| items.iter().find(|item| item.id == id);
            match act {
                Act::Start(id) => {
                    if let Some(item) = of(id) {
                        self.choose_and_start(evacuation, item).await?;
                    }
                }
                Act::StartAgain(id, transfer) => {
                    if let Some(item) = of(id) {
                        self.start(evacuation, item, transfer).await?;
                    }
                }
                Act::Started(id) => evacuations::item_started(&mut *self.db.acquire().await?, id).await?,
                Act::PutBack(id) => evacuations::item_wait(&mut *self.db.acquire().await?, id, None).await?,
                Act::Cancel(_, transfer) => self.cancel(transfer).await?,
                Act::End(id, state, problem) => {
                    if let Some(item) = of(id) {
                        self.end(item, item.state, state, problem.as_ref()).await?;
                    }
                }
                Act::Finish(state) => self.finish(evacuation, state).await?,
            }
        }
        if acted {
            let mut conn = self.db.acquire().await?;
            let now = evacuations::evacuation_get(&mut conn, evacuation.id).await?;
            self.tell(&mut conn, &now).await?;
        }
        Ok(acted)
    }

    /// The id first, so that a panel that starts again knows which transfer this was going to be.
    async fn choose_and_start(&self, evacuation: &Evacuation, item: &Item) -> Result<(), DbError> {
        let transfer = TransferId::new();
        let now = self.clock.now();
        evacuations::item_choose(&mut *self.db.acquire().await?, item.id, transfer, now).await?;
        self.start(evacuation, item, transfer).await
    }

    async fn start(&self, evacuation: &Evacuation, item: &Item, transfer: TransferId) -> Result<(), DbError> {
        if let Some(gone) = self.nothing_to_do(item).await? {
            return self.end(item, ItemState::Starting, ItemState::Skipped, Some(&gone)).await;
        }
        let request = StartRequest {
            server_id: item.server_id,
            target_node_id: item.target_node_id,
            allocation_id: None,
            addresses: Addresses::default(),
            options: evacuation.options.clone(),
            requested_by: evacuation.requested_by.clone(),
        };
        match self.migrations.start_as(transfer, &request).await {
            Ok(_) => {
                let mut tx = self.db.begin().await?;
                let details = json!({"server_id": item.server_id, "evacuation_id": evacuation.id});
                let (now, by) = (self.clock.now(), &evacuation.requested_by);
                audit::audit(&mut tx, now, by, "transfer.start", transfer, &details).await?;
                evacuations::item_started(&mut tx, item.id).await?;
                tx.commit().await.map_err(DbError::from)
            }
            Err(MigrateError::Db(error @ DbError::Conflict)) => self.wait_again(item, &error).await,
            Err(MigrateError::Db(error)) => Err(error),
            Err(MigrateError::Refused(refusal)) => {
                let problem = Problem::new(refusal.code(), refusal.to_string());
                match after(&refusal, item.blocked_since, self.clock.now()) {
                    Refused::Wait { since, retry_at } => {
                        let mut conn = self.db.acquire().await?;
                        evacuations::item_wait(&mut conn, item.id, Some((&problem, since, retry_at))).await
                    }
                    Refused::Skip => self.end(item, ItemState::Starting, ItemState::Skipped, Some(&problem)).await,
                    Refused::Fail => self.end(item, ItemState::Starting, ItemState::Failed, Some(&problem)).await,
                }
            }
            Err(error) => {
                let problem = Problem::new("cannot_start", chain(&error));
                self.end(item, ItemState::Starting, ItemState::Failed, Some(&problem)).await
            }
        }
    }

    /// Why there is nothing to do any more for a server whose turn has come.
    async fn nothing_to_do(&self, item: &Item) -> Result<Option<Problem>, DbError> {
        match servers::server_get(&mut *self.db.acquire().await?, item.server_id).await {
            Ok(server) if server.node_id == item.source_node_id => Ok(None),
            Ok(_) => Ok(Some(Problem::new("moved", "The server was moved by something else meanwhile."))),
            Err(DbError::NotFound) => Ok(Some(Problem::new("not_found", "The server was removed meanwhile."))),
            Err(error) => Err(error),
        }
    }

    /// Two were after the same address: the next try finds another one.
    async fn wait_again(&self, item: &Item, error: &DbError) -> Result<(), DbError> {
        let now = self.clock.now();
        let problem = Problem::new("conflict", chain(error));
        let since = item.blocked_since.unwrap_or(now);
        let waits = Some((&problem, since, now + decide::RETRY_EVERY));
        evacuations::item_wait(&mut *self.db.acquire().await?, item.id, waits).await
    }

    async fn end(&self, item: &Item, from: ItemState, to: ItemState, problem: Option<&Problem>) -> Result<(), DbError> {
        let mut conn = self.db.acquire().await?;
        tracing::info!(evacuation = %item.evacuation_id, server = %item.server_id, ?to, ?problem, "its turn is over");
        evacuations::item_end(&mut conn, item.id, (from, to), problem, self.clock.now()).await
    }

    /// One that cannot be cancelled any more comes to its end, and so does the evacuation.
    async fn cancel(&self, transfer: TransferId) -> Result<(), DbError> {
        match self.migrations.cancel(transfer).await {
            Ok(_) => Ok(()),
            Err(MigrateError::Db(error)) => Err(error),
            Err(error) => {
                tracing::debug!(%transfer, %error, "cannot be cancelled any more");
                Ok(())
            }
        }
    }

    async fn finish(&self, evacuation: &Evacuation, state: State) -> Result<(), DbError> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        evacuations::evacuation_finish(&mut tx, evacuation.id, evacuation.state, state, now).await?;
        let details = json!({"state": state, "counts": counts(&mut tx, evacuation).await?});
        audit::audit(&mut tx, now, &evacuation.requested_by, "evacuation.end", evacuation.id, &details).await?;
        let data = json!({"evacuation_id": evacuation.id, "about": details});
        outbox::tell(&mut tx, now, "node.evacuation.completed", &data).await?;
        tx.commit().await.map_err(DbError::from)?;
        tracing::info!(evacuation = %evacuation.id, ?state, "evacuation ended");
        Ok(())
    }

    /// Tells everybody how an evacuation stands.
    pub(crate) async fn tell(&self, conn: &mut Conn, it: &Evacuation) -> Result<(), DbError> {
        let counts = counts(conn, it).await?;
        let body = json!({
            "evacuation_id": it.id, "state": it.state, "counts": counts, "finished_at": it.finished_at,
        });
        self.events.tell_evacuation(EvacuationNews { id: it.id, body: body.into(), at: self.clock.now() });
        Ok(())
    }
}

async fn counts(conn: &mut Conn, of: &Evacuation) -> Result<Value, DbError> {
    let mut counts = Map::new();
    for (state, count) in evacuations::items_count(conn, of.id).await? {
        counts.insert(to_word("evacuation_items.state", &state)?, count.into());
    }
    Ok(counts.into())
}
