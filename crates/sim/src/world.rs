//! Two and more nodes, their servers, and what is written down about both.
//!
//! The world is a value behind one lock; [`World`] adds what acts on it by itself: games that write, leases that run
//! out, agents that come back. The invariants are checked after every effect and at every tick.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::agent_api::{Outcome, Route, StepKey};
use model::{Epoch, NodeId, ServerId, TransferId};
use panel::events::Hub;
use panel::relay::Relays;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::fault::Planned;
use crate::tree::Tree;
use crate::way::Ways;

/// How often games write and leases are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Everything outside of the panel.
#[derive(Clone)]
pub struct World {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) orders: mpsc::UnboundedSender<Order>,
    pub(crate) online: Arc<watch::Sender<u64>>,
}

/// What a fault asks of the scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The panel dies and is back after this long.
    Crash(Duration),
    /// Somebody cancels.
    Cancel(TransferId),
    /// Somebody pauses.
    Pause(TransferId),
    /// Somebody resumes.
    Resume(TransferId),
    /// Somebody changes limits.
    Change(TransferId),
}

/// The world as a value.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    /// The last record that a server's game acknowledged.
    pub(crate) acknowledged: HashMap<ServerId, u64>,
    pub(crate) faults: Vec<Planned>,
    pub(crate) requests: u64,
    /// How often a command took effect, to see that no repeat does.
    pub(crate) effects: HashMap<(NodeId, String), u32>,
    pub(crate) broken: Vec<String>,
    pub(crate) history: Vec<String>,
    pub(crate) stalled: bool,
    /// The ways between the nodes.
    pub(crate) ways: Ways,
    /// Those of the panel that lives now, or lived last.
    pub(crate) relays: Option<Arc<Relays>>,
    pub(crate) corrupt_next: bool,
    /// Whether players cannot be on a target before they are let in.
    pub(crate) holds_players: bool,
}

/// One node and its agent.
#[derive(Default)]
pub(crate) struct Node {
    pub(crate) online: bool,
    pub(crate) servers: BTreeMap<ServerId, Copy>,
    pub(crate) staging: BTreeMap<TransferId, Staging>,
    pub(crate) retained: BTreeMap<TransferId, Tree>,
    /// Durable: survives the agent.
    pub(crate) records: HashMap<StepKey, Outcome>,
    pub(crate) aborted: Vec<TransferId>,
    /// Where a target dials.
    pub(crate) dials: BTreeMap<TransferId, Route>,
    /// Not durable: ends with the agent.
    pub(crate) working: HashMap<StepKey, Working>,
    /// Whom a source expects, by what they will show.
    pub(crate) expected: BTreeMap<TransferId, String>,
    pub(crate) life: u64,
}

/// A command under way.
pub(crate) struct Working {
    pub(crate) task: JoinHandle<()>,
    pub(crate) done: watch::Receiver<Option<Outcome>>,
}

/// A server on a node.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) tree: Tree,
    pub(crate) epoch: Epoch,
    pub(crate) fenced: bool,
    pub(crate) running: Option<Instant>,
    pub(crate) lease: Option<Lease>,
    pub(crate) lease_lost: bool,
    pub(crate) stopped: Option<Stopped>,
    /// The transfer that brought it here.
    pub(crate) brought_by: Option<TransferId>,
    /// Whether players are on it. What a game writes by itself while it boots on a target is nobody's loss if the
    /// transfer is rolled back.
    pub(crate) admitted: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    pub(crate) length: Duration,
    pub(crate) until: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopped {
    pub(crate) was_running: bool,
    pub(crate) at: Instant,
}

/// What a target holds of a transfer before it is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Staging {
    pub(crate) tree: Tree,
    pub(crate) complete: bool,
    pub(crate) ticket: String,
    pub(crate) server: Option<ServerId>,
}

impl World {
    pub(crate) fn new(hub: Arc<Hub>) -> (Self, mpsc::UnboundedReceiver<Order>) {
        let (orders, taken) = mpsc::unbounded_channel();
        let online = Arc::new(watch::Sender::new(0));
        (Self { state: Arc::default(), hub, orders, online }, taken)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Games write, leases run out. Never returns.
    pub(crate) async fn live(&self) {
        loop {
            sleep(TICK).await;
            let mut state = self.state();
            state.tick();
            state.check();
        }
    }

    /// The agent's process dies; what it was doing is forgotten, its games go on. It is back after `away`.
    pub(crate) fn agent_dies(&self, node: NodeId, away: Duration) {
        let mut state = self.state();
        state.note(format!("agent {node} dies for {} s", away.as_secs()));
        let Some(dead) = state.nodes.get_mut(&node) else { return };
        dead.online = false;
        dead.life += 1;
        dead.expected.clear();
        let working: Vec<Working> = dead.working.drain().map(|(_, working)| working).collect();
        drop(state);
        for working in &working {
            working.task.abort();
        }
        let world = self.clone();
        tokio::spawn(async move {
            sleep(away).await;
            world.agent_returns(node);
        });
    }

    fn agent_returns(&self, node: NodeId) {
        let mut state = self.state();
        state.note(format!("agent {node} is back"));
        let now = Instant::now();
        if let Some(node) = state.nodes.get_mut(&node) {
            node.online = true;
            for lease in node.servers.values_mut().filter_map(|copy| copy.lease.as_mut()) {
                lease.until = now + lease.length;
            }
        }
        drop(state);
        self.online.send_modify(|changes| *changes += 1);
    }
}

impl State {
    pub(crate) fn note(&mut self, what: String) {
        self.history.push(what);
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let mut notes = vec![];
        for (id, node) in &mut self.nodes {
            for (server, copy) in &mut node.servers {
                if copy.lease.is_some_and(|lease| lease.until <= now) && !copy.fenced && node.online {
                    notes.push(format!("lease of {server} on {id} ran out"));
                    copy.lease = None;
                    copy.lease_lost = true;
                    if copy.stopped.take().is_some_and(|stopped| stopped.was_running) {
                        copy.running = Some(now);
                    }
                }
                if copy.running.is_some() && !copy.admitted {
                    copy.tree.boot();
                } else if copy.running.is_some() {
                    let next = self.acknowledged.entry(*server).or_default();
                    *next += 1;
                    copy.tree.write(*next);
                }
            }
        }
        for what in notes {
            self.note(what);
        }
    }

    /// I1, and I4's half that can be seen from here at any instant: a game only runs on a tree with all its records.
    pub(crate) fn check(&mut self) {
        let mut running: BTreeMap<ServerId, Vec<NodeId>> = BTreeMap::new();
        let mut broken = vec![];
        for (id, node) in &self.nodes {
            for (server, copy) in node.servers.iter().filter(|(_, copy)| copy.running.is_some()) {
                running.entry(*server).or_default().push(*id);
                if copy.fenced {
                    broken.push(format!("I1: {server} runs on {id} although epoch {} is fenced there", copy.epoch));
                }
            }
        }
        for (server, nodes) in running.iter().filter(|(_, nodes)| nodes.len() > 1) {
            broken.push(format!("I1: {server} runs on {nodes:?}"));
        }
        for ((node, key), times) in self.effects.iter().filter(|(_, times)| **times > 1) {
            broken.push(format!("I7: {key} took effect {times} times on {node}"));
        }
        for what in broken {
            if !self.broken.contains(&what) {
                self.note(format!("BROKEN {what}"));
                self.broken.push(what);
            }
        }
    }

    /// I2: the node that the panel calls the owner holds a complete copy.
    pub(crate) fn check_owner(&mut self, server: ServerId, owner: NodeId, transfer: Option<TransferId>) {
        let last = self.last_record_before_now(server);
        let complete = self.nodes.get(&owner).is_some_and(|node| {
            let own = node.servers.get(&server).map(|copy| &copy.tree);
            let staged = transfer.and_then(|id| node.staging.get(&id)).filter(|staging| staging.complete);
            own.or(staged.map(|staging| &staging.tree)).is_some_and(|tree| tree.holds(last))
        });
        if !complete {
            let what = format!("I2: the owner {owner} holds no complete copy of {server} (record {last})");
            if !self.broken.contains(&what) {
                self.note(format!("BROKEN {what}"));
                self.broken.push(what);
            }
        }
    }

    fn last_record_before_now(&self, server: ServerId) -> u64 {
        self.acknowledged.get(&server).copied().unwrap_or_default()
    }
}
