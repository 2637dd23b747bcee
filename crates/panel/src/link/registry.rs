//! Which agents are connected, and the calls that wait for them: [`Agents`] over sockets.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use model::agent_api::{AgentError, ErrorCode, MAX_MESSAGE_BYTES, Outcome, Reply, Request, ToAgent};
use model::{NodeId, Resources};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::agent::{Agents, CallError};

/// Messages that may wait for a slow connection.
const OUTBOX: usize = 64;
/// How long a call waits for room among them.
const OUTBOX_PATIENCE: Duration = Duration::from_secs(10);

/// All connected agents.
#[derive(Debug)]
pub struct Registry {
    peers: Mutex<HashMap<NodeId, Arc<Peer>>>,
    /// Counts changes of `peers`, so that somebody can wait for one.
    changes: watch::Sender<u64>,
    generations: AtomicU64,
}

impl Default for Registry {
    fn default() -> Self {
        Self { peers: Mutex::default(), changes: watch::Sender::new(0), generations: AtomicU64::new(0) }
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    generation: u64,
    outbox: mpsc::Sender<String>,
    /// Calls without an answer. None once the connection is over: nobody may begin to wait then.
    pending: Mutex<Option<HashMap<u64, oneshot::Sender<Outcome>>>>,
    next_id: AtomicU64,
    /// What its machine has left, as it said last.
    measured: Mutex<Resources>,
    /// Another connection took its place.
    pub(super) replaced: CancellationToken,
}

impl Registry {
    /// Makes a new connection the one of `node`. What an older one was asked ends with [`CallError::Lost`].
    pub(super) fn connected(&self, node: NodeId) -> (Arc<Peer>, mpsc::Receiver<String>) {
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let peer = Arc::new(Peer {
            node,
            generation: self.generations.fetch_add(1, Ordering::Relaxed),
            outbox,
            pending: Mutex::new(Some(HashMap::new())),
            next_id: AtomicU64::new(1),
            measured: Mutex::default(),
            replaced: CancellationToken::new(),
        });
        let old = lock(&self.peers).insert(node, Arc::clone(&peer));
        if let Some(old) = old {
            old.close();
        }
        self.changes.send_modify(|changes| *changes += 1);
        (peer, messages)
    }

    /// Ends a connection. One that was replaced meanwhile does not take its successor along.
    pub(super) fn disconnected(&self, peer: &Peer) {
        let mut peers = lock(&self.peers);
        if peers.get(&peer.node).is_some_and(|current| current.generation == peer.generation) {
            peers.remove(&peer.node);
        }
        drop(peers);
        peer.close();
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        lock(&self.peers).get(&node).map(Arc::clone)
    }
}

impl Peer {
    /// Notes what its machine has left.
    pub(super) fn measured(&self, seen: Resources) {
        *lock(&self.measured) = seen;
    }

    /// Hands an answer to the call that waits for it. One that nobody waits for was given up by its caller.
    pub(super) fn answer(&self, id: u64, outcome: Outcome) {
        let waiting = lock(&self.pending).as_mut().and_then(|pending| pending.remove(&id));
        if waiting.is_none_or(|waiting| waiting.send(outcome).is_err()) {
            tracing::debug!(node = %self.node, id, "an answer that nobody waits for");
        }
    }

    fn close(&self) {
        // Dropping the senders is what tells the callers.
        drop(lock(&self.pending).take());
        self.replaced.cancel();
    }

    async fn call(&self, request: &Request) -> Result<Reply, CallError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let text = encode(id, request)?;
        let (sender, answer) = oneshot::channel();
        match lock(&self.pending).as_mut() {
            Some(pending) => pending.insert(id, sender),
            None => return Err(CallError::Offline),
        };
        let _forget = Forget { peer: self, id };
        match tokio::time::timeout(OUTBOX_PATIENCE, self.outbox.send(text)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(CallError::Offline),
        }
        match answer.await {
            Ok(Outcome::Ok(reply)) => Ok(reply),
            Ok(Outcome::Err(error)) => Err(CallError::Refused(error)),
            Err(_) => Err(CallError::Lost),
        }
    }
}

/// Takes a call off the list when its caller no longer waits.
struct Forget<'a> {
    peer: &'a Peer,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(pending) = lock(&self.peer.pending).as_mut() {
            pending.remove(&self.id);
        }
    }
}

#[async_trait]
impl Agents for Registry {
    async fn call(&self, node: NodeId, request: Request) -> Result<Reply, CallError> {
        let peer = self.peer(node).ok_or(CallError::Offline)?;
        peer.call(&request).await
    }

    fn is_online(&self, node: NodeId) -> bool {
        lock(&self.peers).contains_key(&node)
    }

    fn measured(&self, node: NodeId) -> Option<Resources> {
        self.peer(node).map(|peer| *lock(&peer.measured))
    }

    async fn wait_online(&self, node: NodeId) {
        let mut changes = self.changes.subscribe();
        while !self.is_online(node) {
            if changes.changed().await.is_err() {
                // The sender is a field of `self`, which is borrowed here.
                std::future::pending::<()>().await;
            }
        }
    }
}

fn encode(id: u64, request: &Request) -> Result<String, CallError> {
    let refuse = |why: String| CallError::Refused(AgentError::new(ErrorCode::Internal, why));
    let request = serde_json::to_value(request).map_err(|error| refuse(error.to_string()))?;
    let text = serde_json::to_string(&ToAgent::Request { id, request }).map_err(|error| refuse(error.to_string()))?;
    if text.len() > MAX_MESSAGE_BYTES {
        return Err(refuse(format!("the command has {} bytes, more than an agent accepts", text.len())));
    }
    Ok(text)
}

/// A poisoned lock guards maps that are never left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_new_connection_replaces_the_old_and_its_calls_are_lost() {
        let registry = Arc::new(Registry::default());
        let node = NodeId::new();
        assert!(matches!(registry.call(node, Request::Ping).await, Err(CallError::Offline)));
        let (old, mut outbox) = registry.connected(node);
        let waiting = tokio::spawn({
            let registry = Arc::clone(&registry);
            async move { registry.call(node, Request::Ping).await }
        });
        assert!(outbox.recv().await.unwrap().contains("ping"));
        let (new, mut messages) = registry.connected(node);
        assert!(old.replaced.is_cancelled());
        assert!(matches!(waiting.await.unwrap(), Err(CallError::Lost)));
        registry.disconnected(&old);
        assert!(registry.is_online(node), "the old connection's end must not end the new one");

        let waiting = tokio::spawn({
            let registry = Arc::clone(&registry);
            async move { registry.call(node, Request::Ping).await }
        });
        messages.recv().await.unwrap();
        new.answer(1, Outcome::Ok(Reply::Done));
        assert_eq!(waiting.await.unwrap().unwrap(), Reply::Done);
        registry.disconnected(&new);
        assert!(!registry.is_online(node));
        assert!(lock(&new.pending).is_none());
    }

    #[tokio::test]
    async fn waiting_for_an_agent_ends_when_it_connects() {
        let registry = Arc::new(Registry::default());
        let node = NodeId::new();
        let waiting = tokio::spawn({
            let registry = Arc::clone(&registry);
            async move { registry.wait_online(node).await }
        });
        let (_other, _outbox) = registry.connected(NodeId::new());
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let (_peer, _outbox) = registry.connected(node);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn a_call_that_was_given_up_is_forgotten() {
        let registry = Registry::default();
        let node = NodeId::new();
        let (peer, mut outbox) = registry.connected(node);
        {
            let call = registry.call(node, Request::Ping);
            tokio::pin!(call);
            tokio::select! {
                _ = &mut call => panic!("nobody answered"),
                _ = outbox.recv() => {}
            }
        }
        assert!(lock(&peer.pending).as_ref().unwrap().is_empty());
    }
}
