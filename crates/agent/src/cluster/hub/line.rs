//! The line to one server's mover: what it was asked and has not answered, whoever of it is connected.
//!
//! ```text
//! call ─► calls, in order ─┬─ connected ──► sent
//!                          └─ not yet ────► sent when it connects
//! lost, replaced ─► connected again: everything without an answer is sent again, in the same order
//! ```
//!
//! Asking again is safe because every command is idempotent (I7): the mover joins what still runs or answers from its
//! record. A call that its asker has dropped is not sent again.
//!
//! A ping is the panel's word (see [`super::Hub::word`]) and is never kept for later: an old word is no word.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode, MAX_MESSAGE_BYTES, Outcome, Reply, Request, ToAgent};
use model::{ServerId, ServerObservation};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Calls that may wait for one mover. A panel asks for a handful at a time.
const CALLS: usize = 256;

/// See the module.
pub(super) struct Line {
    server: ServerId,
    state: Mutex<State>,
    here: watch::Sender<bool>,
}

struct State {
    calls: BTreeMap<u64, Waiting>,
    next_id: u64,
    connected: Option<Arc<Connected>>,
    generations: u64,
    seen: Option<ServerObservation>,
    /// When it was last asked something or changed.
    stirred: Instant,
}

struct Waiting {
    text: Arc<str>,
    answer: oneshot::Sender<Outcome>,
}

/// One connection of it.
pub(super) struct Connected {
    generation: u64,
    outbox: mpsc::UnboundedSender<Arc<str>>,
    /// The panel has spoken and the mover has not heard it yet.
    pub(super) word: Notify,
    /// Another connection took its place, or the server is gone.
    pub(super) over: CancellationToken,
}

/// Takes a call off the line when nobody waits for it any more.
struct Forget {
    line: Arc<Line>,
    id: u64,
}

impl Line {
    pub(super) fn new(server: ServerId) -> Self {
        let state = State {
            calls: BTreeMap::new(),
            next_id: 1,
            connected: None,
            generations: 0,
            seen: None,
            stirred: Instant::now(),
        };
        Self { server, state: Mutex::new(state), here: watch::Sender::new(false) }
    }

    pub(super) fn server(&self) -> ServerId {
        self.server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in it is ever half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection takes the line over, with everything that has no answer yet.
    pub(super) fn connected(&self) -> (Arc<Connected>, mpsc::UnboundedReceiver<Arc<str>>) {
        let (outbox, messages) = mpsc::unbounded_channel();
        let mut state = self.state();
        state.generations += 1;
        let generation = state.generations;
        for call in state.calls.values() {
            queue(&outbox, &call.text);
        }
        let connected = Arc::new(Connected { generation, outbox, word: Notify::new(), over: CancellationToken::new() });
        if let Some(old) = state.connected.replace(Arc::clone(&connected)) {
            old.over.cancel();
        }
        self.here.send_replace(true);
        (connected, messages)
    }

    /// Ends a connection. One that was replaced meanwhile does not take its successor along.
    pub(super) fn disconnected(&self, connection: &Connected) {
        let mut state = self.state();
        if state.connected.as_ref().is_some_and(|current| current.generation == connection.generation) {
            state.connected = None;
            self.here.send_replace(false);
        }
    }

    /// Hangs up.
    pub(super) fn close(&self) {
        if let Some(connected) = &self.state().connected {
            connected.over.cancel();
        }
    }

    pub(super) fn is_here(&self) -> bool {
        *self.here.borrow()
    }

    /// Passes the panel's word on, to whoever is there now.
    pub(super) fn word(&self) {
        if let Some(connected) = &self.state().connected {
            connected.word.notify_one();
        }
    }

    /// A message of the panel's word, under an id that nobody waits for.
    pub(super) fn ping(&self) -> Option<Arc<str>> {
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        encode(id, &Request::Ping).ok()
    }

    /// Puts a request on the line before it returns; the future is its answer. The mover may be away for `patience` at
    /// a time.
    pub(super) fn call(
        self: &Arc<Self>,
        request: &Request,
        patience: Duration,
    ) -> impl Future<Output = Result<Reply, AgentError>> + Send + use<> {
        let (line, put) = (Arc::clone(self), self.put(request));
        async move {
            let (answer, _forget) = put?;
            tokio::select! {
                outcome = answer => match outcome {
                    Ok(Outcome::Ok(reply)) => Ok(reply),
                    Ok(Outcome::Err(error)) => Err(error),
                    Err(_) => Err(AgentError::new(ErrorCode::Internal, "the line to the mover was given up")),
                },
                () = away_for(line.here.subscribe(), patience) => Err(line.away(patience)),
            }
        }
    }

    fn put(self: &Arc<Self>, request: &Request) -> Result<(oneshot::Receiver<Outcome>, Forget), AgentError> {
        let mut state = self.state();
        if state.calls.len() >= CALLS {
            let message = format!("{CALLS} commands wait for the mover of server {} already", self.server);
            return Err(AgentError::new(ErrorCode::Internal, message));
        }
        let id = state.next_id;
        let text = encode(id, request)?;
        state.next_id += 1;
        state.stirred = Instant::now();
        if let Some(connected) = &state.connected {
            queue(&connected.outbox, &text);
        }
        let (answer, answered) = oneshot::channel();
        state.calls.insert(id, Waiting { text, answer });
        Ok((answered, Forget { line: Arc::clone(self), id }))
    }

    /// Hands an answer to the call that waits for it.
    pub(super) fn answer(&self, id: u64, outcome: Outcome) {
        let waiting = self.state().calls.remove(&id);
        if waiting.is_none_or(|waiting| waiting.answer.send(outcome).is_err()) {
            tracing::trace!(server = %self.server, id, "an answer that nobody waits for");
        }
    }

    pub(super) fn seen(&self) -> Option<ServerObservation> {
        self.state().seen.clone()
    }

    /// Notes what the mover sees. Answers whether that is news.
    pub(super) fn note(&self, seen: ServerObservation) -> bool {
        let mut state = self.state();
        let news = state.seen.as_ref() != Some(&seen);
        if news {
            state.stirred = Instant::now();
            state.seen = Some(seen);
        }
        news
    }

    /// For how long nothing was asked of it and nothing happened; none while an answer is awaited.
    pub(super) fn quiet_for(&self) -> Option<Duration> {
        let state = self.state();
        state.calls.is_empty().then(|| state.stirred.elapsed())
    }

    fn away(&self, patience: Duration) -> AgentError {
        let (server, patience) = (self.server, patience.as_secs());
        AgentError::new(
            ErrorCode::Unreachable,
            format!(
                "the mover of server {server} was not connected for {patience} s: look at its pod (kubectl get pods \
                 --all-namespaces -l badgerpanel.io/server={server})"
            ),
        )
    }
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.line.state().calls.remove(&self.id);
    }
}

/// A connection that has just ended takes nothing: the next one finds it in `calls`.
fn queue(outbox: &mpsc::UnboundedSender<Arc<str>>, text: &Arc<str>) {
    if outbox.send(Arc::clone(text)).is_err() {
        tracing::trace!("the connection has ended");
    }
}

/// Returns when nobody was there for `patience`.
async fn away_for(mut here: watch::Receiver<bool>, patience: Duration) {
    loop {
        if here.wait_for(|here| !*here).await.is_err() {
            return;
        }
        if tokio::time::timeout(patience, here.wait_for(|here| *here)).await.is_err() {
            return;
        }
    }
}

fn encode(id: u64, request: &Request) -> Result<Arc<str>, AgentError> {
    let refuse = |why: String| AgentError::new(ErrorCode::Internal, why);
    let request = serde_json::to_value(request).map_err(|error| refuse(error.to_string()))?;
    let text = serde_json::to_string(&ToAgent::Request { id, request }).map_err(|error| refuse(error.to_string()))?;
    if text.len() > MAX_MESSAGE_BYTES {
        return Err(refuse(format!("the command has {} bytes, more than a mover accepts", text.len())));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn observe(line: &Arc<Line>) -> impl Future<Output = Result<Reply, AgentError>> + use<> {
        line.call(&Request::ObserveServer { server_id: line.server }, PATIENCE)
    }

    #[tokio::test]
    async fn what_has_no_answer_is_asked_again_in_order() {
        let line = Arc::new(Line::new(ServerId::new()));
        let (first, second) = (tokio::spawn(observe(&line)), tokio::spawn(observe(&line)));
        let dropped = observe(&line);
        let (old, mut messages) = line.connected();
        assert!(messages.recv().await.unwrap().contains("\"id\":1"));
        line.answer(1, Outcome::Ok(Reply::Done));
        assert_eq!(first.await.unwrap().unwrap(), Reply::Done);
        drop(dropped);
        let (_new, mut messages) = line.connected();
        assert!(old.over.is_cancelled());
        assert!(messages.recv().await.unwrap().contains("\"id\":2"));
        assert!(messages.try_recv().is_err(), "nobody waits for the third any more");
        line.disconnected(&old);
        assert!(line.is_here(), "the old connection's end must not end the new one");
        line.answer(2, Outcome::Ok(Reply::Done));
        assert_eq!(second.await.unwrap().unwrap(), Reply::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn a_mover_that_stays_away_is_given_up_and_one_that_comes_and_goes_is_not() {
        let line = Arc::new(Line::new(ServerId::new()));
        let mut call = Box::pin(observe(&line));
        for _ in 0..3 {
            assert!(tokio::time::timeout(PATIENCE / 2, &mut call).await.is_err());
            let (connected, _messages) = line.connected();
            assert!(tokio::time::timeout(PATIENCE * 2, &mut call).await.is_err(), "it is there and works");
            line.disconnected(&connected);
        }
        assert_eq!(call.await.unwrap_err().code, ErrorCode::Unreachable);
        assert!(line.quiet_for().is_some());
    }
}
