//! The ways of a copy between the two nodes: which of them are open, and what has to be set up for each.
//!
//! What the real agents do with sockets is a question of values here: a copy gets through if its way is open, if the
//! other side was told what the ladder tells it, and, on the relay, if the panel would let both sides in.

use std::sync::Arc;
use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode, Reply, Route};
use model::{NodeId, PathKind, TransferId};
use panel::relay::{Relays, Side};
use tokio::time::sleep;

use crate::effects::{Done, error};
use crate::world::{State, World};

/// What a probe takes.
const PROBE: Duration = Duration::from_millis(100);

/// How a way is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// It works.
    #[default]
    Open,
    /// Something on it says no.
    Refused,
    /// Something on it swallows everything.
    Silent,
    /// There is none: no address to dial, or an agent that does not know such a thing.
    Absent,
}

/// All three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// The target listens.
    pub direct: Gate,
    /// The source listens.
    pub reverse: Gate,
    /// The panel passes on.
    pub relay: Gate,
}

impl Ways {
    /// How the way of this kind is.
    #[must_use]
    pub fn gate(&self, kind: PathKind) -> Gate {
        match kind {
            PathKind::Direct => self.direct,
            PathKind::Reverse => self.reverse,
            PathKind::Relay => self.relay,
        }
    }

    pub(crate) fn set(&mut self, kind: PathKind, gate: Gate) {
        match kind {
            PathKind::Direct => self.direct = gate,
            PathKind::Reverse => self.reverse = gate,
            PathKind::Relay => self.relay = gate,
        }
    }
}

pub(crate) fn kind(route: &Route) -> PathKind {
    match route {
        Route::Direct { .. } => PathKind::Direct,
        Route::Reverse { .. } => PathKind::Reverse,
        Route::Relay { .. } => PathKind::Relay,
    }
}

impl World {
    pub(crate) async fn try_door(&self, node: NodeId, id: TransferId, route: &Route) -> Done {
        sleep(PROBE).await;
        if self.state().is_swallowed(route) {
            std::future::pending::<()>().await;
        }
        self.state().reach(node, id, route)?;
        Ok(Reply::Reached { rtt_us: 100, bandwidth: 1 << 30 })
    }
}

impl State {
    /// Whether nothing that is sent on this way arrives anywhere.
    pub(crate) fn is_swallowed(&self, route: &Route) -> bool {
        self.ways.gate(kind(route)) == Gate::Silent
    }

    pub(crate) fn expect_target(&mut self, node: NodeId, id: TransferId, rendezvous: String) -> Done {
        let address = (self.ways.reverse != Gate::Absent).then(|| node.to_string());
        self.here_mut(node)?.expected.insert(id, rendezvous);
        Ok(Reply::Listening { address })
    }

    pub(crate) fn dial_source(&mut self, node: NodeId, id: TransferId, route: Route) -> Done {
        if self.ways.gate(kind(&route)) == Gate::Absent {
            return Err(error(ErrorCode::Unsupported, "this way is not known here"));
        }
        self.here_mut(node)?.dials.insert(id, route);
        Ok(Reply::Done)
    }

    pub(crate) fn end_copy(&mut self, node: NodeId, id: TransferId) -> Done {
        self.here_mut(node)?.expected.remove(&id);
        Ok(Reply::Done)
    }

    /// The node at the other end of the way that `source` takes.
    pub(crate) fn reach(&self, source: NodeId, id: TransferId, route: &Route) -> Result<NodeId, AgentError> {
        let unreachable = |why: &str| error(ErrorCode::Unreachable, why);
        if self.ways.gate(kind(route)) != Gate::Open {
            return Err(unreachable("connection refused"));
        }
        let other = self.nodes.iter().find(|(other, node)| match route {
            Route::Direct { address } => other.to_string() == *address,
            Route::Reverse { .. } => node.dials.get(&id) == Some(route),
            Route::Relay { .. } => matches!(node.dials.get(&id), Some(Route::Relay { .. })),
        });
        let (other, node) = other.ok_or_else(|| unreachable("nobody dials"))?;
        if !node.online || !node.staging.contains_key(&id) {
            return Err(unreachable("nobody answers"));
        }
        match (route, node.dials.get(&id)) {
            (Route::Reverse { rendezvous, .. }, _) if self.here(source)?.expected.get(&id) != Some(rendezvous) => {
                Err(unreachable("nobody is expected"))
            }
            (Route::Relay { url }, Some(Route::Relay { url: dialled }))
                if !(self.relays_let_in(id, Side::Source, url) && self.relays_let_in(id, Side::Target, dialled)) =>
            {
                Err(unreachable("404"))
            }
            _ => Ok(*other),
        }
    }

    fn relays_let_in(&self, id: TransferId, side: Side, url: &str) -> bool {
        let token = url.rsplit_once("token=").map_or("", |(_, token)| token);
        self.relays.as_ref().is_some_and(|relays| relays.admits(id, side, token))
    }

    /// The panel that is alive now lets these in.
    pub(crate) fn relay_by(&mut self, relays: &Arc<Relays>) {
        self.relays = Some(Arc::clone(relays));
    }
}
