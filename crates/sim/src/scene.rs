//! One migration from its start to its rest, whatever happens in between, and the judgement afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{AllocationId, Clock, Epoch, NodeId, Options, ServerId, TransferId, TransferState};
use panel::access::Access;
use panel::backup::Backups;
use panel::db::servers::server_get;
use panel::db::transfers::{Transfer, owed_list, transfer_get};
use panel::db::{Db, DbError};
use panel::events::Hub;
use panel::migrate::{Addresses, Change, Connected, MigrateError, Migrations, StartRequest};
use panel::permit::PermitSigner;
use panel::relay::Relays;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, sleep, timeout};

use crate::fault::Planned;
use crate::rows::{people_stay, places_differ, write_rows};
use crate::time::{Accesses, Moment, SimClock};
use crate::tree::Tree;
use crate::way::Ways;
use crate::world::{Copy, Node, Order, World};

/// Longer than any patience in the panel.
const DEADLINE: Duration = Duration::from_hours(72);
const LOOK: Duration = Duration::from_millis(250);

/// How a scene begins.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Whether the server runs.
    pub running: bool,
    /// What the caller chooses.
    pub options: Options,
    /// The ways between the two nodes.
    pub ways: Ways,
    /// Whether the target holds players until it is told to let them in, as a cluster does.
    pub holds_players: bool,
    /// Whether it has moved before, and the transfer is the undo of that.
    pub undo: bool,
    /// What goes wrong.
    pub faults: Vec<Planned>,
    /// The panel dies while the database works, counted from the start of the transfer.
    pub crash_at: Option<Moment>,
}

impl Default for Setup {
    fn default() -> Self {
        let (options, ways) = (Options::default(), Ways::default());
        Self { running: true, options, ways, holds_players: false, undo: false, faults: vec![], crash_at: None }
    }
}

/// Two nodes, a server on the first, and a panel that moves it.
pub struct Scene {
    db: Db,
    clock: Arc<dyn Clock>,
    permits: Arc<PermitSigner>,
    access: Arc<Access>,
    world: World,
    orders: mpsc::UnboundedReceiver<Order>,
    panel: Option<Arc<Migrations>>,
    source: NodeId,
    target: NodeId,
    server: ServerId,
    allocations: [Vec<AllocationId>; 2],
    setup: Setup,
    accesses: Accesses,
    relays_left: usize,
    /// What an undo is built on: the transfer, and the root of what it left.
    basis: Option<(TransferId, Option<String>)>,
}

/// How a scene ended.
pub struct End {
    /// The transfer's row.
    pub transfer: Transfer,
    /// Faults that did not fire.
    pub unfired: Vec<Planned>,
    /// What is not as it must be.
    pub broken: Vec<String>,
    /// Everything that happened.
    pub history: Vec<String>,
    /// Stretches of work of the database.
    pub stretches: u64,
}

impl End {
    /// Panics unless the transfer ended in `state` with every invariant kept and every fault fired.
    ///
    /// # Panics
    ///
    /// That is its way to say no.
    pub fn must_be(&self, state: TransferState) {
        let story = || format!("{:?}\n  {}", self.transfer.failure, self.history.join("\n  "));
        assert!(self.unfired.is_empty(), "did not fire: {:?}\n{}", self.unfired, story());
        assert!(self.broken.is_empty(), "{:#?}\n{}", self.broken, story());
        assert_eq!(self.transfer.state, state, "{}", story());
    }
}

impl Scene {
    /// Writes two nodes and a server into `db` and the world.
    pub async fn new(
        db: &Db,
        accesses: &Accesses,
        permits: &Arc<PermitSigner>,
        access: &Arc<Access>,
        setup: Setup,
    ) -> Result<Self, DbError> {
        let (world, orders) = World::new(Arc::new(Hub::default()));
        let (source, target, server) = (NodeId::new(), NodeId::new(), ServerId::new());
        let clock: Arc<dyn Clock> = Arc::new(SimClock::new());
        let allocations = write_rows(db, &*clock, [source, target], server, setup.running).await?;
        let mut tree = Tree::default();
        (1..=20).for_each(|record| tree.write(record));
        let copy = Copy {
            tree,
            epoch: Epoch::FIRST,
            fenced: false,
            running: setup.running.then(Instant::now),
            lease: None,
            lease_lost: false,
            stopped: None,
            brought_by: None,
            admitted: true,
        };
        {
            let mut state = world.state();
            state.acknowledged.insert(server, 20);
            state.ways = setup.ways;
            state.holds_players = setup.holds_players;
            let first = Node { online: true, servers: BTreeMap::from([(server, copy)]), ..Node::default() };
            state.nodes.insert(source, first);
            state.nodes.insert(target, Node { online: true, ..Node::default() });
        }
        let (db, permits, accesses) = (db.clone(), permits.clone(), accesses.clone());
        let access = access.clone();
        Ok(Self {
            accesses,
            db,
            clock,
            permits,
            access,
            world,
            orders,
            panel: None,
            source,
            target,
            server,
            allocations,
            setup,
            relays_left: 0,
            basis: None,
        })
    }

    /// Runs it to rest and judges. [`flow`](crate::flow) must be at work.
    ///
    /// # Panics
    ///
    /// If it does not come to rest.
    pub async fn run(mut self) -> Result<End, DbError> {
        let world = self.world.clone();
        let transfer = tokio::select! {
            rested = timeout(DEADLINE, self.run_to_rest()) => rested,
            () = world.live() => unreachable!("the world does not end"),
        };
        let Ok(transfer) = transfer else {
            panic!("no rest within {DEADLINE:?}\n  {}", self.world.state().history.join("\n  "));
        };
        let transfer = transfer?;
        let broken = self.judge(&transfer).await?;
        let state = self.world.state();
        let unfired = state.faults.iter().filter(|planned| !planned.fired).cloned().collect();
        let stretches = self.accesses.stretches();
        Ok(End { transfer, unfired, broken, history: state.history.clone(), stretches })
    }

    async fn run_to_rest(&mut self) -> Result<Transfer, DbError> {
        let mut news = self.world.hub.listen();
        let panel = self.revive().await?;
        let request = StartRequest {
            server_id: self.server,
            target_node_id: self.target,
            allocation_id: None,
            addresses: Addresses::default(),
            options: self.setup.options.clone(),
            requested_by: "sim".into(),
        };
        let mut started = panel.start(&request).await.expect("admission lets it in");
        if self.setup.undo {
            started = self.undo_of(&panel, started).await?;
        }
        self.world.state().faults.clone_from(&self.setup.faults);
        drop(panel);
        self.accesses.restart(self.setup.crash_at);
        loop {
            tokio::select! {
                () = self.accesses.reached() => self.obey(Order::Crash(Duration::from_secs(1))).await?,
                Some(order) = self.orders.recv() => self.obey(order).await?,
                heard = news.recv() => self.look_at_owner(started.id, heard).await?,
                () = sleep(LOOK) => {
                    let transfer = self.transfer(started.id).await?;
                    if transfer.finished_at.is_some() {
                        return self.settle(transfer).await;
                    }
                }
            }
        }
    }

    /// Waits for the end of the first transfer and takes it back: from here on all is about the second one.
    async fn undo_of(&mut self, panel: &Arc<Migrations>, first: Transfer) -> Result<Transfer, DbError> {
        while self.transfer(first.id).await?.finished_at.is_none() {
            sleep(LOOK).await;
        }
        std::mem::swap(&mut self.source, &mut self.target);
        self.allocations.reverse();
        let undo = panel.undo(first.id, self.setup.options.clone(), "sim").await.expect("it can be taken back");
        let kept = self.world.state().nodes[&self.target].retained.get(&first.id).map(Tree::root);
        self.basis = Some((first.id, kept));
        Ok(undo)
    }

    /// A panel begins: with what is on record, and nothing else.
    async fn revive(&mut self) -> Result<Arc<Migrations>, DbError> {
        let agents = Arc::new(self.world.clone());
        let relays = Relays::new("https://panel.example");
        self.world.state().relay_by(&relays);
        let backups = Backups::new(self.db.clone(), agents.clone(), self.access.clone(), self.clock.clone());
        let connected = Connected { agents, events: self.world.hub.clone(), relays, backups };
        let panel = Migrations::new(self.db.clone(), connected, self.clock.clone(), self.permits.clone());
        panel.resume().await?;
        self.panel = Some(panel.clone());
        Ok(panel)
    }

    async fn obey(&mut self, order: Order) -> Result<(), DbError> {
        match order {
            Order::Crash(away) => {
                self.world.state().note(format!("the panel dies for {} s", away.as_secs()));
                if let Some(panel) = self.panel.take() {
                    panel.shut_down().await;
                }
                sleep(away).await;
                self.world.state().note("the panel is back".into());
                self.revive().await?;
            }
            Order::Cancel(id) => self.operate("cancel", async |panel| panel.cancel(id).await).await,
            Order::Pause(id) => self.operate("pause", async |panel| panel.pause(id).await).await,
            Order::Resume(id) => self.operate("resume", async |panel| panel.go_on(id).await).await,
            Order::Change(id) => {
                let change =
                    Change { bandwidth_limit: Some(Some(1 << 20)), max_freeze_s: Some(30), ..Change::default() };
                self.operate("change", async |panel| panel.change(id, change).await).await;
            }
        }
        Ok(())
    }

    async fn operate(&self, what: &str, ask: impl AsyncFnOnce(Arc<Migrations>) -> Result<Transfer, MigrateError>) {
        let Some(panel) = self.panel.clone() else { return };
        let answer = ask(panel).await.map(|transfer| transfer.state);
        self.world.state().note(format!("{what}: {answer:?}"));
    }

    /// I2 at every event: the owner on record has it all.
    async fn look_at_owner<T>(&self, id: TransferId, _: Result<T, broadcast::error::RecvError>) -> Result<(), DbError> {
        let server = server_get(&mut *self.db.acquire().await?, self.server).await?;
        self.world.state().check_owner(self.server, server.node_id, Some(id));
        Ok(())
    }

    async fn transfer(&self, id: TransferId) -> Result<Transfer, DbError> {
        transfer_get(&mut *self.db.acquire().await?, id).await
    }

    /// Agents come back, what is owed is paid, late duplicates arrive.
    async fn settle(&mut self, transfer: Transfer) -> Result<Transfer, DbError> {
        loop {
            sleep(Duration::from_secs(5)).await;
            let owed = owed_list(&mut *self.db.acquire().await?).await?;
            let all_online = self.world.state().nodes.values().all(|node| node.online);
            if all_online && owed.iter().all(|debt| debt.transfer_id != transfer.id) {
                break;
            }
        }
        if let Some(panel) = self.panel.take() {
            self.relays_left = panel.relays().count();
            panel.shut_down().await;
        }
        self.transfer(transfer.id).await
    }

    async fn judge(&self, transfer: &Transfer) -> Result<Vec<String>, DbError> {
        let mut conn = self.db.acquire().await?;
        let server = server_get(&mut conn, self.server).await?;
        let moved = transfer.state == TransferState::Completed;
        let places = places_differ(&mut conn, self.server, &self.allocations, moved, self.setup.undo).await?;
        let people_stay = people_stay(&mut conn, self.server).await?;
        drop(conn);
        let mut state = self.world.state();
        state.check_owner(self.server, server.node_id, None);
        let mut broken = state.broken.clone();
        if transfer.state == TransferState::Stuck {
            // Everything is kept for the person who looks.
            return Ok(broken);
        }
        let mut demand = |holds: bool, what: &str| {
            if !holds {
                broken.push(what.to_owned());
            }
        };
        let completed = moved;
        let (source, target) = (&state.nodes[&self.source], &state.nodes[&self.target]);
        let (owner, other) = if completed { (target, source) } else { (source, target) };
        let copy = owner.servers.get(&self.server);

        demand(server.node_id == if completed { self.target } else { self.source }, "I2: the owner is the wrong node");
        demand(people_stay, "its owner or whom they let in have changed");
        demand(copy.is_some(), "I2: the owner does not have the server");
        demand(!other.servers.contains_key(&self.server), "I9: the server is on both nodes");
        demand(copy.is_some_and(|copy| copy.epoch == server.epoch && !copy.fenced), "I1: epochs differ");
        demand(copy.is_some_and(|copy| copy.lease.is_none()), "I9: a lease is left");
        demand(copy.is_some_and(|copy| copy.admitted), "players are not let in");
        let (yes, no) = (model::StartAfter::Yes, model::StartAfter::No);
        let wish = self.setup.options.start_after;
        let runs = if completed { wish == yes || (self.setup.running && wish != no) } else { self.setup.running };
        demand(copy.is_some_and(|copy| copy.running.is_some() == runs), "I4: it does not run as it should");
        demand(server.locked_by.is_none() && server.transfer_state.is_none(), "I9: the lock is left");
        for what in &places {
            demand(false, what);
        }
        demand(state.nodes.values().all(|node| node.staging.is_empty()), "I9: staging is left");
        demand(state.nodes.values().all(|node| node.working.is_empty()), "I9: something is still at work");
        demand(state.nodes.values().all(|node| node.expected.is_empty()), "I9: a rendezvous is left");
        demand(state.nodes.values().all(|node| node.dials.is_empty()), "I9: somebody dials still");
        demand(self.relays_left == 0, "I9: a relay is open");
        if let Some((first, kept)) = &self.basis {
            let left = target.retained.get(first).map(Tree::root);
            let right = if completed { left.is_none() } else { left.is_some() && left == *kept };
            demand(right, "I5: the copy that the undo was built on is consumed too early, or not at all");
        }
        if completed {
            let kept = source.retained.get(&transfer.id).map(Tree::root);
            let copied = transfer.receipt.as_ref().map(|receipt| receipt.root_source.clone());
            demand(kept.is_some() && kept == copied, "I5: the source's copy is not kept as it was");
            demand(transfer.retained_until.is_some(), "I5: no expiry");
            demand(transfer.freeze_ms.is_some() == (self.setup.running && runs), "no freeze was measured");
            demand(transfer.failure.is_none(), "a completed transfer has a failure");
        } else {
            demand(transfer.failure.is_some(), "a transfer that was rolled back does not say why");
            demand(source.retained.is_empty(), "I5: retained after a roll-back");
        }
        Ok(broken)
    }
}
