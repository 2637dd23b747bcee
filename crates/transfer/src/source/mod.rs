//! The side that has the tree. Calls come from an agent or from `badger copy`; the work happens on threads.
//!
//! ```text
//! round:  barrier, walk ─ plan ─ ops ──────────────────────────────┐
//!                            └─ segments ─ workers: read, hash, ───┼─► link ─► receiver
//!                                          compare, pack           │
//!         intake ◄── Basis, Written, RoundDone, Failed ────────────┘
//! ```

mod finish;
mod inbox;
mod outbox;
mod plan;
mod read;
mod round;
mod state;

use std::{
    fmt, io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use self::state::{Session, State, Sums};
use crate::{
    dial::{self, Connection},
    error::{Error, Result},
    identity::{Fingerprint, Identity, Ticket},
    link::{Link, Meter},
    options::{OwnerMap, SourceOptions},
    progress::Progress,
    report::{Receipt, RoundReport},
    stream::Stream,
    wire::{self, ToReceiver, ToSource},
};

/// What a receiver says when it lets us in.
struct Welcome {
    owner: OwnerMap,
    basis: bool,
}

/// A connection to a receiver, and what it has been told so far. After any failure but [`Error::Changed`] it is of no
/// more use. Dropping the future of a call ends the copy.
pub struct Source {
    /// None after a failure.
    session: Option<Box<Session>>,
}

impl Source {
    /// Connects to the door at `address` and delivers `dir` there: TLS 1.3, both certificates pinned, `ticket` shown.
    pub async fn connect(
        address: &str,
        me: &Identity,
        peer: Fingerprint,
        ticket: &Ticket,
        dir: &Path,
        options: SourceOptions,
        progress: Arc<Progress>,
    ) -> Result<Self> {
        let patience = options.connect_timeout;
        let greeting = async { greet(dial::tcp(address).await?, me, peer, ticket, patience).await };
        Self::begin(greeting, dir, options, progress).await
    }

    /// As [`Self::connect`], over a stream that somebody has made: dialled by us, by the receiver, or a pipe through
    /// a third. We are the client of TLS all the same.
    pub async fn over(
        stream: impl Stream,
        me: &Identity,
        peer: Fingerprint,
        ticket: &Ticket,
        dir: &Path,
        options: SourceOptions,
        progress: Arc<Progress>,
    ) -> Result<Self> {
        let greeting = greet(stream, me, peer, ticket, options.connect_timeout);
        Self::begin(greeting, dir, options, progress).await
    }

    async fn begin(
        greeting: impl Future<Output = Result<(Connection, Welcome)>>,
        dir: &Path,
        options: SourceOptions,
        progress: Arc<Progress>,
    ) -> Result<Self> {
        let started = Instant::now();
        let greeted = timeout(options.connect_timeout, greeting).await;
        let (stream, welcome) = greeted.map_err(|_| Error::Unreachable(io::ErrorKind::TimedOut.into()))??;
        let owner = if welcome.owner == OwnerMap::Keep { options.owner } else { welcome.owner };
        let meter = Meter { limit: options.bandwidth, sent: Arc::clone(&progress.bytes_sent) };
        let link = Link::start(stream, options.idle_timeout, meter);
        let state = State::new(dir, &options.scratch, owner, welcome.basis)?;
        Ok(Self {
            session: Some(Box::new(Session { link, state, progress, started, totals: Sums::default(), summary: None })),
        })
    }

    /// One pass over a tree that may change meanwhile.
    pub async fn round(&mut self) -> Result<RoundReport> {
        self.on_a_thread(|session| {
            let report = session.round(round::Pass::Live)?.report;
            session.totals.add(&report);
            Ok(report)
        })
        .await
    }

    /// The last pass, over a tree that is still: the delta, durability of both sides, both roots compared. Blocks
    /// that differ are repaired, a bounded number of times. After [`Error::Changed`] it may be called again.
    pub async fn finish(&mut self) -> Result<Receipt> {
        self.on_a_thread(Session::finish).await
    }

    /// After [`Self::finish`]: asks the receiver to publish and waits until it has.
    pub async fn publish(mut self) -> Result<()> {
        let mut session = self.session.take().ok_or_else(spent)?;
        let summary = session.summary.ok_or_else(|| Error::Protocol("publish before finish".to_owned()))?;
        session.link.sender().send(&ToReceiver::Publish(summary)).await?;
        loop {
            match session.link.receive().await?.message()? {
                ToSource::Published => return Ok(()),
                ToSource::Failed(failure) => return Err(failure.into()),
                _ => {}
            }
        }
    }

    /// Ends the copy and tells the receiver so. Dropping does the same without a word.
    pub async fn abort(mut self) {
        if let Some(session) = self.session.take() {
            let Session { link, .. } = *session;
            // Where it cannot be said, the end of the connection says it.
            drop(link.sender().send(&ToReceiver::Abort("the source gave up".to_owned())).await);
            link.close().await;
        }
    }

    /// Runs `work` on a thread. If our caller loses interest, the link goes and `work` ends by itself.
    async fn on_a_thread<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Session) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut session = self.session.take().ok_or_else(spent)?;
        let abandoned = session.link.ended().clone().drop_guard();
        let task = tokio::task::spawn_blocking(move || {
            let outcome = match work(&mut session) {
                // Nobody asked for an end, or nobody would be listening: the link ended under our hands.
                Err(Error::Cancelled) => Err(session.why_ended()),
                other => other,
            };
            (session, outcome)
        });
        let (session, outcome) = task.await.map_err(|e| Error::Protocol(format!("a worker panicked: {e}")))?;
        if matches!(outcome, Ok(_) | Err(Error::Changed { .. })) {
            abandoned.disarm();
            self.session = Some(session);
        }
        outcome
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("usable", &self.session.is_some()).finish()
    }
}

fn spent() -> Error {
    Error::Protocol("this copy has failed before; connect again".to_owned())
}

async fn greet(
    stream: impl Stream,
    me: &Identity,
    peer: Fingerprint,
    ticket: &Ticket,
    patience: Duration,
) -> Result<(Connection, Welcome)> {
    let mut stream = dial::secure(stream, me, peer).await?;
    let hello = ToReceiver::Hello { magic: wire::MAGIC, version: wire::VERSION, ticket: ticket.bytes() };
    dial::say(&mut stream, &hello).await?;
    match dial::hear(&mut stream, patience).await? {
        ToSource::Welcome { version: wire::VERSION, owner, basis } => Ok((stream, Welcome { owner, basis })),
        ToSource::Welcome { version, .. } => {
            Err(Error::Refused(format!("the target speaks version {version} of the protocol, not {}", wire::VERSION)))
        }
        other => Err(Error::Protocol(format!("expected a welcome, got {other:?}"))),
    }
}
