//! What the commands of a transfer do to a node, as changes of a value. Each happens at one instant.

use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode, Reply, Route};
use model::{Epoch, NodeId, Permit, ServerId, TransferId};
use tokio::time::Instant;

use crate::Tree;
use crate::way::Gate;
use crate::world::{Copy, Lease, Node, Staging, State, Stopped};

pub(crate) type Done = Result<Reply, AgentError>;

impl State {
    pub(crate) fn here(&self, node: NodeId) -> Result<&Node, AgentError> {
        self.nodes.get(&node).ok_or_else(|| error(ErrorCode::NotFound, "no such node"))
    }

    pub(crate) fn here_mut(&mut self, node: NodeId) -> Result<&mut Node, AgentError> {
        self.nodes.get_mut(&node).ok_or_else(|| error(ErrorCode::NotFound, "no such node"))
    }

    pub(crate) fn copy(&self, node: NodeId, server: ServerId) -> Result<&Copy, AgentError> {
        self.here(node)?.servers.get(&server).ok_or_else(|| error(ErrorCode::NotFound, "no such server"))
    }

    pub(crate) fn copy_mut(&mut self, node: NodeId, server: ServerId) -> Result<&mut Copy, AgentError> {
        self.here_mut(node)?.servers.get_mut(&server).ok_or_else(|| error(ErrorCode::NotFound, "no such server"))
    }

    pub(crate) fn tamper(&mut self, node: NodeId, server: ServerId) {
        if let Ok(copy) = self.copy_mut(node, server) {
            copy.tree.boot();
        }
    }

    pub(crate) fn measure(&mut self, node: NodeId, server: ServerId) -> Done {
        let copy = self.copy(node, server)?;
        let running = copy.running.is_some();
        Ok(Reply::Measured {
            bytes: 4096,
            files: copy.tree.len(),
            running,
            answers_tcp: running,
            fingerprint: node.to_string(),
        })
    }

    pub(crate) fn prepare(
        &mut self,
        node: NodeId,
        id: TransferId,
        server: ServerId,
        ticket: String,
        basis: Option<TransferId>,
    ) -> Done {
        let address = (self.ways.direct != Gate::Absent).then(|| node.to_string());
        let here = self.here_mut(node)?;
        if here.servers.contains_key(&server) {
            return Err(error(ErrorCode::Conflict, "the server is here already"));
        }
        if basis.is_some_and(|basis| !here.retained.contains_key(&basis)) {
            return Err(error(ErrorCode::NotFound, "the retained copy is not here any more"));
        }
        let staging = here.staging.entry(id).or_default();
        (staging.ticket, staging.server) = (ticket, Some(server));
        let (fingerprint, holds_players) = (node.to_string(), self.holds_players);
        Ok(Reply::TargetReady { fingerprint, address, owner: None, player_address: None, holds_players })
    }

    /// Puts a tree into the staging at the end of `route` and answers the root that its disk gives back.
    pub(crate) fn deliver(
        &mut self,
        from: NodeId,
        route: &Route,
        id: TransferId,
        mut tree: Tree,
        last: bool,
    ) -> Result<String, AgentError> {
        if last && std::mem::take(&mut self.corrupt_next) {
            tree.corrupt();
        }
        let target = self.reach(from, id, route)?;
        let staging = self.here_mut(target)?.staging.entry(id).or_default();
        let root = tree.root();
        *staging = Staging { tree, complete: last, ..staging.clone() };
        Ok(root)
    }

    pub(crate) fn stop(&mut self, node: NodeId, server: ServerId, length: Duration) -> Done {
        let now = Instant::now();
        let copy = self.copy_mut(node, server)?;
        let was_running = copy.running.take().is_some() || copy.stopped.is_some_and(|stopped| stopped.was_running);
        let stopped = *copy.stopped.get_or_insert(Stopped { was_running, at: now });
        copy.lease = Some(Lease { length, until: now + length });
        copy.lease_lost = false;
        let ago_ms = u64::try_from(stopped.at.elapsed().as_millis()).unwrap_or_default();
        Ok(Reply::Stopped { was_running, ago_ms })
    }

    pub(crate) fn fence(&mut self, node: NodeId, server: ServerId) -> Done {
        let copy = self.copy_mut(node, server)?;
        if copy.lease_lost || copy.running.is_some() {
            return Err(error(ErrorCode::LeaseLost, "it was started again"));
        }
        copy.fenced = true;
        copy.lease = None;
        Ok(Reply::Done)
    }

    pub(crate) fn unfence(&mut self, node: NodeId, server: ServerId, permit: &Permit) -> Done {
        let copy = self.copy_mut(node, server)?;
        check_permit(node, copy.epoch, permit)?;
        if copy.fenced && permit.epoch == copy.epoch {
            return Err(error(ErrorCode::StaleEpoch, "the tombstone is for this epoch"));
        }
        (copy.epoch, copy.fenced) = (permit.epoch, false);
        Ok(Reply::Done)
    }

    pub(crate) fn resume(&mut self, node: NodeId, server: ServerId, permit: &Permit, start: bool) -> Done {
        let copy = self.copy_mut(node, server)?;
        check_permit(node, copy.epoch, permit)?;
        if copy.fenced {
            return Err(error(ErrorCode::StaleEpoch, "fenced"));
        }
        copy.epoch = permit.epoch;
        (copy.lease, copy.stopped, copy.lease_lost) = (None, None, false);
        if start && copy.running.is_none() {
            copy.running = Some(Instant::now());
        }
        Ok(Reply::Done)
    }

    pub(crate) fn start(
        &mut self,
        node: NodeId,
        id: TransferId,
        server: ServerId,
        permit: &Permit,
        start: bool,
    ) -> Done {
        let here = self.here_mut(node)?;
        check_permit(node, here.servers.get(&server).map_or(Epoch(0), |copy| copy.epoch), permit)?;
        if !here.servers.contains_key(&server) {
            let staging = here.staging.get(&id).filter(|staging| staging.complete);
            let staging = staging.ok_or_else(|| error(ErrorCode::Conflict, "not everything has arrived"))?;
            let copy = Copy {
                tree: staging.tree.clone(),
                epoch: permit.epoch,
                fenced: false,
                running: None,
                lease: None,
                lease_lost: false,
                stopped: None,
                brought_by: Some(id),
                admitted: false,
            };
            here.servers.insert(server, copy);
            here.staging.remove(&id);
            here.dials.remove(&id);
        }
        let copy = self.copy_mut(node, server)?;
        if start && copy.running.is_none() {
            copy.running = Some(Instant::now());
        }
        Ok(Reply::Started { ago_ms: start.then_some(0) })
    }

    /// From here on what the game on the target acknowledges counts.
    pub(crate) fn admit_players(&mut self, node: NodeId, server: ServerId) -> Done {
        if !self.holds_players {
            return Err(error(ErrorCode::Unsupported, "nobody is held here"));
        }
        self.copy_mut(node, server)?.admitted = true;
        Ok(Reply::Done)
    }

    /// The panel is past the pivot, and nobody was held.
    pub(crate) fn past_the_pivot(&mut self, id: TransferId, server: ServerId) {
        if self.holds_players {
            return;
        }
        let copies = self.nodes.values_mut().filter_map(|node| node.servers.get_mut(&server));
        copies.filter(|copy| copy.brought_by == Some(id)).for_each(|copy| copy.admitted = true);
    }

    pub(crate) fn healthy(&mut self, node: NodeId, server: ServerId) -> Done {
        match self.copy(node, server)?.running {
            Some(_) => Ok(Reply::Healthy { boot_ms: 1000 }),
            None => Err(error(ErrorCode::Unhealthy, "it does not run")),
        }
    }

    pub(crate) fn abort(&mut self, node: NodeId, id: TransferId, server: ServerId) -> Done {
        let here = self.here_mut(node)?;
        here.aborted.push(id);
        here.staging.remove(&id);
        here.dials.remove(&id);
        here.expected.remove(&id);
        if here.servers.get(&server).is_some_and(|copy| copy.brought_by == Some(id)) {
            here.servers.remove(&server);
        }
        Ok(Reply::Done)
    }

    pub(crate) fn retain(&mut self, node: NodeId, id: TransferId, server: ServerId) -> Done {
        let here = self.here_mut(node)?;
        here.expected.remove(&id);
        if let Some(copy) = here.servers.remove(&server) {
            here.retained.insert(id, copy.tree);
        }
        let kept = here.retained.get(&id).ok_or_else(|| error(ErrorCode::NotFound, "no such server"))?;
        Ok(Reply::Retained { bytes: kept.len() })
    }
}

fn check_permit(node: NodeId, epoch: Epoch, permit: &Permit) -> Result<(), AgentError> {
    if permit.agent_id != node {
        return Err(error(ErrorCode::BadPermit, "it is another agent's"));
    }
    if permit.epoch < epoch {
        return Err(error(ErrorCode::StaleEpoch, "it is older than what is on record"));
    }
    Ok(())
}

pub(crate) fn error(code: ErrorCode, message: &str) -> AgentError {
    AgentError::new(code, message)
}
