//! Where all connections arrive, and how each is led to where it belongs.
//!
//! ```text
//! accepted ─┬─ rendezvous ─► waits for the source that expects it (we are the source's side)
//!           └─ TLS ─┐
//! dialled by us ────┴─ ticket ─┬─ hello ─► door
//!                              └─ probe ─► answered here
//! ```

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{io::AsyncBufReadExt, net::TcpStream, sync::mpsc, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    error::{Error, Result},
    identity::{Fingerprint, Identity, Ticket},
    link::{self, Frame, Meter, SOCKET_BUFFER},
    meeting::{self, Meetings},
    probe,
    stream::{Buffered, buffered},
    tls,
    wire::{Failure, MAGIC, MAX_HELLO, ToReceiver, ToSource, VERSION},
};

/// How long a connection may take until it has shown its ticket, and a probe until it is over.
const GREETING: Duration = Duration::from_secs(10);

/// A connection that has shown its ticket.
pub(super) type Connection = TlsStream<Buffered>;

/// Doors, and those who expect to be dialled.
#[derive(Clone)]
pub(super) struct Hall {
    acceptor: TlsAcceptor,
    doors: Doors,
    meetings: Meetings,
}

/// What a connection with a ticket is here for.
enum Errand {
    Deliver(mpsc::Sender<Connection>),
    Probe,
}

/// Open doors by ticket.
#[derive(Clone, Debug, Default)]
struct Doors(Arc<Mutex<HashMap<Ticket, Entrance>>>);

#[derive(Debug)]
struct Entrance {
    source: Option<Fingerprint>,
    inbox: mpsc::Sender<Connection>,
}

/// A ticket's way to its door. Dropping it closes the way, unless a newer door has the ticket by now.
#[derive(Debug)]
pub(super) struct Entry {
    doors: Doors,
    ticket: Ticket,
    inbox: mpsc::WeakSender<Connection>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut doors = self.doors.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = self.inbox.upgrade();
        if mine.is_some_and(|mine| doors.get(&self.ticket).is_some_and(|now| now.inbox.same_channel(&mine))) {
            doors.remove(&self.ticket);
        }
    }
}

impl Doors {
    /// The door for a ticket and the certificate that came with it.
    fn find(&self, ticket: &Ticket, certificate: Option<Fingerprint>) -> Option<mpsc::Sender<Connection>> {
        let doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entrance = doors.get(ticket)?;
        (entrance.source.is_none() || entrance.source == certificate).then(|| entrance.inbox.clone())
    }
}

impl fmt::Debug for Hall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hall").field("doors", &self.doors).field("meetings", &self.meetings).finish_non_exhaustive()
    }
}

pub(super) async fn in_time(greeting: impl Future<Output = Result<()>>) -> Result<()> {
    timeout(GREETING, greeting).await.map_err(|_| Error::Refused("no greeting in time".to_owned()))?
}

impl Hall {
    pub(super) fn new(me: &Identity) -> Result<Self> {
        let acceptor = TlsAcceptor::from(tls::server(me)?);
        Ok(Self { acceptor, doors: Doors::default(), meetings: Meetings::default() })
    }

    pub(super) fn meetings(&self) -> &Meetings {
        &self.meetings
    }

    /// From now on `ticket` leads to `inbox`.
    pub(super) fn open(&self, ticket: Ticket, source: Option<Fingerprint>, inbox: mpsc::Sender<Connection>) -> Entry {
        let entry = Entry { doors: self.doors.clone(), ticket: ticket.clone(), inbox: inbox.downgrade() };
        let entrance = Entrance { source, inbox };
        self.doors.0.lock().unwrap_or_else(PoisonError::into_inner).insert(ticket, entrance);
        entry
    }

    /// Tells by the first byte what somebody wants who came by TCP.
    pub(super) async fn receive(&self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true).map_err(Error::Unreachable)?;
        let mut stream = buffered(stream);
        match stream.fill_buf().await.map_err(Error::Unreachable)?.first() {
            Some(first) if *first == meeting::MAGIC[0] => self.meetings.introduce(stream).await,
            Some(_) => self.greet(stream).await,
            None => Err(link::gone()),
        }
    }

    pub(super) async fn greet(&self, stream: Buffered) -> Result<()> {
        let mut stream = self.acceptor.accept(stream).await.map_err(Error::Unreachable)?;
        stream.get_mut().1.set_buffer_limit(Some(SOCKET_BUFFER));
        let outcome = match self.errand(&mut stream).await {
            Ok(Errand::Deliver(inbox)) => return inbox.send(stream).await.map_err(|_| link::gone()),
            Ok(Errand::Probe) => probe::answer(&mut stream, GREETING).await,
            Err(e) => Err(e),
        };
        if let Err(e) = &outcome {
            let failed = Frame::new(&ToSource::Failed(Failure::from(e)), Vec::new());
            link::write_frame(&mut stream, &failed, &Meter::default()).await.map_err(Error::Unreachable)?;
        }
        outcome
    }

    async fn errand(&self, stream: &mut Connection) -> Result<Errand> {
        let first = link::read_frame(stream, GREETING, MAX_HELLO, 0).await?;
        let (version, ticket, probes) = match first.message()? {
            ToReceiver::Hello { magic: MAGIC, version, ticket } => (version, ticket, false),
            ToReceiver::Probe { magic: MAGIC, version, ticket } => (version, ticket, true),
            _ => return Err(Error::Refused("not a greeting".to_owned())),
        };
        if version != VERSION {
            let why = format!("version {version} of the protocol is not supported, only {VERSION}");
            return Err(Error::Refused(why));
        }
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(Fingerprint::of);
        let door = self.doors.find(&Ticket::from_bytes(ticket), certificate);
        let unknown = || Error::Refused("no transfer is expected with this ticket and certificate".to_owned());
        let inbox = door.ok_or_else(unknown)?;
        Ok(if probes { Errand::Probe } else { Errand::Deliver(inbox) })
    }
}
