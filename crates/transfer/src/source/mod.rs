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

use std::{fmt, io, path::Path, sync::Arc, time::Instant};

use rustls::pki_types::ServerName;
use tokio::{io::BufReader, net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use self::state::{Session, State, Sums};
use crate::{
    error::{Error, Result},
    identity::{Fingerprint, Identity, Ticket},
    link::{self, Frame, Link, Meter, SOCKET_BUFFER},
    options::{OwnerMap, SourceOptions},
    progress::Progress,
    report::{Receipt, RoundReport},
    tls,
    wire::{self, MAX_HELLO, ToReceiver, ToSource},
};

/// TLS reads records of 16 KiB; the socket is read in larger steps.
type Connection = TlsStream<BufReader<TcpStream>>;

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
        let started = Instant::now();
        let greeting = async {
            let mut stream = dial(address, me, peer).await?;
            let welcome = greet(&mut stream, ticket, &options).await?;
            Ok::<_, Error>((stream, welcome))
        };
        let greeted = timeout(options.connect_timeout, greeting).await;
        let (stream, (owner, basis)) = greeted.map_err(|_| Error::Unreachable(io::ErrorKind::TimedOut.into()))??;
        let owner = if owner == OwnerMap::Keep { options.owner } else { owner };
        let meter = Meter { limit: options.bandwidth, sent: Arc::clone(&progress.bytes_sent) };
        let link = Link::start(stream, options.idle_timeout, meter);
        let state = State::new(dir, &options.scratch, owner, basis)?;
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

async fn dial(address: &str, me: &Identity, peer: Fingerprint) -> Result<Connection> {
    let stream = TcpStream::connect(address).await.map_err(Error::Unreachable)?;
    stream.set_nodelay(true).map_err(Error::Unreachable)?;
    let name = ServerName::try_from(tls::SERVER_NAME).expect("a valid name");
    let stream = BufReader::with_capacity(SOCKET_BUFFER, stream);
    let mut stream = TlsConnector::from(tls::client(me, peer)?).connect(name, stream).await.map_err(tls_failed)?;
    stream.get_mut().1.set_buffer_limit(Some(SOCKET_BUFFER));
    Ok(stream)
}

/// A peer that is not the one we want stays so; a broken connection does not.
fn tls_failed(e: io::Error) -> Error {
    match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => Error::Refused(format!("secure connection: {tls}")),
        None => Error::Unreachable(e),
    }
}

async fn greet(stream: &mut Connection, ticket: &Ticket, options: &SourceOptions) -> Result<(OwnerMap, bool)> {
    let hello = ToReceiver::Hello { magic: wire::MAGIC, version: wire::VERSION, ticket: ticket.bytes() };
    let said = link::write_frame(stream, &Frame::new(&hello, Vec::new()), &Meter::default()).await;
    said.map_err(tls_failed)?;
    let answer = loop {
        let frame =
            link::read_frame(stream, options.connect_timeout, 16 * MAX_HELLO, 0).await.map_err(|e| match e {
                Error::Unreachable(e) => tls_failed(e),
                e => e,
            })?;
        if !frame.is_sign_of_life() {
            break frame;
        }
    };
    match answer.message()? {
        ToSource::Welcome { version: wire::VERSION, owner, basis } => Ok((owner, basis)),
        ToSource::Welcome { version, .. } => {
            Err(Error::Refused(format!("the target speaks version {version} of the protocol, not {}", wire::VERSION)))
        }
        ToSource::Failed(failure) => Err(failure.into()),
        other => Err(Error::Protocol(format!("expected a welcome, got {other:?}"))),
    }
}
