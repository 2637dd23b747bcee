//! Where the two sides of a relayed copy meet: the newest connection of each, piped until one of them goes.
//!
//! ```text
//!   arrives ── somebody of the other side waits? ──yes──► pipe: source ⇄ target
//!      │                                                    │ one goes, a newer one of a side comes, closed
//!      └──no──► waits (keeps one message, reads no more)    ▼
//!                  └── replaced, closed, too long ────► both are closed; whoever wants to go on dials again
//! ```
//!
//! Nothing is queued: a message is read when the one before it has been taken, so that a slow target slows its source
//! down and not the panel's memory up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use model::TransferId;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Side;

/// How long one side waits for the other before it is sent away to dial again.
const ALONE: Duration = Duration::from_mins(2);
/// How long a pair may be silent. Longer than a patient game takes to stop between the last round and the last copy.
const SILENT: Duration = Duration::from_mins(25);
/// How often a quiet connection is pinged, so that nothing on its way takes it for dead.
const PING: Duration = Duration::from_secs(25);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// The passage of one transfer.
pub(crate) struct Passage {
    transfer: TransferId,
    hashes: [String; 2],
    meeting: Mutex<Meeting>,
    /// Bytes to the target, bytes to the source.
    passed: [AtomicU64; 2],
    closed: CancellationToken,
}

#[derive(Default)]
struct Meeting {
    waiting: Option<Waiting>,
    /// Ends the newest connection of the source, of the target.
    newest: [CancellationToken; 2],
}

struct Waiting {
    side: Side,
    partner: oneshot::Sender<Arrival>,
}

/// A connection, and what it said before it had a partner.
struct Arrival {
    socket: WebSocket,
    said: Option<Message>,
    leave: CancellationToken,
}

impl Passage {
    pub(super) fn new(transfer: TransferId, hashes: [String; 2]) -> Self {
        let (meeting, passed, closed) = (Mutex::default(), Default::default(), CancellationToken::new());
        Self { transfer, hashes, meeting, passed, closed }
    }

    pub(super) fn transfer(&self) -> TransferId {
        self.transfer
    }

    pub(super) fn token_hash(&self, side: Side) -> &str {
        &self.hashes[index(side)]
    }

    /// Ends every connection; nobody meets here any more.
    pub(super) fn close(&self) {
        if self.closed.is_cancelled() {
            return;
        }
        self.closed.cancel();
        let [to_target, to_source] = self.bytes();
        tracing::info!(transfer = %self.transfer, to_target, to_source, "transfer: the relay is closed");
    }

    fn bytes(&self) -> [u64; 2] {
        [0, 1].map(|to| self.passed[to].load(Ordering::Relaxed))
    }

    /// Serves one connection until it ends, or until it is its partner's task that serves it.
    pub(crate) async fn meet(&self, side: Side, socket: WebSocket) {
        let leave = self.closed.child_token();
        let arrival = Arrival { socket, said: None, leave: leave.clone() };
        let Some((me, partner)) = self.seat(side, arrival) else { return };
        let Some((me, partner)) = wait(me, partner).await else { return };
        tracing::info!(transfer = %self.transfer, "transfer: source and target have met at the relay");
        let (source, target) = if side == Side::Source { (me, partner) } else { (partner, me) };
        let why = self.pipe(source, target).await;
        tracing::info!(transfer = %self.transfer, why, bytes = ?self.bytes(), "transfer: a relayed connection has ended");
    }

    /// Gives the arrival to whoever waits on the other side, or a place to wait to the arrival.
    fn seat(&self, side: Side, arrival: Arrival) -> Option<(Arrival, oneshot::Receiver<Arrival>)> {
        let mut meeting = self.meeting();
        // The newest counts: an older one is of an attempt that was given up, or dead without knowing it.
        std::mem::replace(&mut meeting.newest[index(side)], arrival.leave.clone()).cancel();
        let mut arrival = arrival;
        if let Some(waiting) = meeting.waiting.take_if(|waiting| waiting.side != side) {
            match waiting.partner.send(arrival) {
                Ok(()) => return None,
                // It went away meanwhile.
                Err(back) => arrival = back,
            }
        }
        let (partner, found) = oneshot::channel();
        meeting.waiting = Some(Waiting { side, partner });
        Some((arrival, found))
    }

    fn meeting(&self) -> MutexGuard<'_, Meeting> {
        // Plain values: whoever panicked while holding it left nothing half-done.
        self.meeting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on until one side goes; then the other has to go, too. Answers why it ended.
    async fn pipe(&self, source: Arrival, target: Arrival) -> &'static str {
        let quiet = Quiet(Mutex::new(Instant::now()));
        let (mut to_source, mut from_source) = source.socket.split();
        let (mut to_target, mut from_target) = target.socket.split();
        let why = tokio::select! {
            why = pump(source.said, &mut from_source, &mut to_target, &quiet, &self.passed[0]) => why,
            why = pump(target.said, &mut from_target, &mut to_source, &quiet, &self.passed[1]) => why,
            () = source.leave.cancelled() => "another connection of the source, or the end of the relay",
            () = target.leave.cancelled() => "another connection of the target, or the end of the relay",
        };
        tokio::join!(part(&mut to_source, why), part(&mut to_target, why));
        why
    }
}

/// When something was last passed on, either way.
struct Quiet(Mutex<Instant>);

impl Quiet {
    fn disturb(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn is_over(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > SILENT
    }
}

/// Waits for the other side. None if that was in vain.
async fn wait(mut me: Arrival, mut partner: oneshot::Receiver<Arrival>) -> Option<(Arrival, Arrival)> {
    let deadline = tokio::time::sleep(ALONE);
    let mut deadline = std::pin::pin!(deadline);
    let why = loop {
        tokio::select! {
            biased;
            found = &mut partner => match found {
                Ok(partner) => return Some((me, partner)),
                // Its place was given to a newer connection of the same side.
                Err(_) => break "another connection took the place of this one",
            },
            () = me.leave.cancelled() => break "another connection took the place of this one, or the relay is over",
            () = &mut deadline => break "the other side did not come",
            // One message is kept; what is behind it stays in the socket until there is somebody to take it.
            said = me.socket.recv(), if me.said.is_none() => match said {
                Some(Ok(Message::Binary(bytes))) => me.said = Some(Message::Binary(bytes)),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Text(_) | Message::Close(_)) | Err(_)) | None => return None,
            },
        }
    };
    part(&mut me.socket, why).await;
    None
}

/// Carries messages one way. Answers why it ended.
async fn pump(
    said: Option<Message>,
    from: &mut SplitStream<WebSocket>,
    to: &mut SplitSink<WebSocket, Message>,
    quiet: &Quiet,
    passed: &AtomicU64,
) -> &'static str {
    let mut next = said;
    loop {
        let message = match next.take() {
            Some(said) => said,
            None => match timeout(PING, from.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(_)) | None) => return "a side was cut off",
                Err(_) if quiet.is_over() => return "both sides were silent for too long",
                Err(_) => Message::Ping(axum::body::Bytes::new()),
            },
        };
        match &message {
            Message::Binary(bytes) => {
                quiet.disturb();
                passed.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            Message::Ping(bytes) if bytes.is_empty() => {}
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return "a side is done",
            Message::Text(_) => return "a side sent text",
        }
        match timeout(SILENT, to.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return "a side was cut off",
            Err(_) => return "a side does not take what it is sent",
        }
    }
}

async fn part(sink: &mut (impl SinkExt<Message> + Unpin), why: &'static str) {
    let frame = CloseFrame { code: 1000, reason: Utf8Bytes::from_static(why) };
    if !matches!(timeout(GOODBYE, sink.send(Message::Close(Some(frame)))).await, Ok(Ok(()))) {
        tracing::trace!("the goodbye was not heard");
    }
}

fn index(side: Side) -> usize {
    match side {
        Side::Source => 0,
        Side::Target => 1,
    }
}
