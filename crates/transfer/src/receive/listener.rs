//! Accepts connections and leads each to the door that its ticket opens.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::BufReader,
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::door::Door;
use crate::{
    error::{Error, Result},
    identity::{Fingerprint, Identity, Ticket},
    link::{self, Frame, Meter, SOCKET_BUFFER},
    options::ReceiverConfig,
    tls,
    wire::{Failure, MAGIC, MAX_HELLO, ToReceiver, ToSource, VERSION},
};

/// How long a connection may take until it has shown its ticket.
const GREETING: Duration = Duration::from_secs(10);

/// Connections that have not shown a ticket yet; more wait in the kernel.
const STRANGERS: usize = 64;

/// A connection that has shown its ticket.
pub(super) type Connection = TlsStream<BufReader<TcpStream>>;

/// Accepts TLS connections and routes them by their ticket. One per agent. Dropping it closes it; doors that are open
/// serve on the connections they have.
#[derive(Debug)]
pub struct Listener {
    local: SocketAddr,
    doors: Doors,
    accepting: JoinHandle<()>,
    end: CancellationToken,
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

impl Listener {
    /// Listens on `address`.
    pub async fn bind(address: SocketAddr, me: Arc<Identity>) -> Result<Self> {
        let failed = |e| Error::Io { path: address.to_string().into(), source: e };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        let acceptor = TlsAcceptor::from(tls::server(&me)?);
        let (doors, end) = (Doors::default(), CancellationToken::new());
        let accepting = tokio::spawn(accept(listener, acceptor, doors.clone(), end.clone()));
        Ok(Self { local, doors, accepting, end })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Opens a door: connections that show `ticket` (and the certificate `source`, if given) deliver into `receiver`.
    #[must_use]
    pub fn expect(&self, ticket: Ticket, source: Option<Fingerprint>, receiver: ReceiverConfig) -> Door {
        let (inbox, arrivals) = mpsc::channel(4);
        let entry = Entry { doors: self.doors.clone(), ticket: ticket.clone(), inbox: inbox.downgrade() };
        let entrance = Entrance { source, inbox };
        self.doors.0.lock().unwrap_or_else(PoisonError::into_inner).insert(ticket, entrance);
        Door::open(receiver, arrivals, entry)
    }

    /// Stops listening. Doors that are open serve on the connections they have.
    pub async fn close(mut self) {
        self.end.cancel();
        if let Err(e) = (&mut self.accepting).await {
            tracing::warn!(error = %e, "the listener's task failed");
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, doors: Doors, end: CancellationToken) {
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    loop {
        let Ok(place) = strangers.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = end.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (acceptor, doors) = (acceptor.clone(), doors.clone());
                tokio::spawn(async move {
                    if let Err(e) = greet(stream, acceptor, &doors).await {
                        tracing::info!(%peer, error = %e, "a data connection was turned away");
                    }
                    drop(place);
                });
            }
            Err(e) => {
                // Out of descriptors, mostly: somebody must close one first.
                tracing::warn!(error = %e, "accepting a data connection failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn greet(stream: TcpStream, acceptor: TlsAcceptor, doors: &Doors) -> Result<()> {
    timeout(GREETING, async {
        stream.set_nodelay(true).map_err(Error::Unreachable)?;
        let stream = BufReader::with_capacity(SOCKET_BUFFER, stream);
        let mut stream = acceptor.accept(stream).await.map_err(Error::Unreachable)?;
        stream.get_mut().1.set_buffer_limit(Some(SOCKET_BUFFER));
        match find_door(&mut stream, doors).await {
            Ok(inbox) => inbox.send(stream).await.map_err(|_| link::gone()),
            Err(e) => {
                let failed = Frame::new(&ToSource::Failed(Failure::from(&e)), Vec::new());
                link::write_frame(&mut stream, &failed, &Meter::default()).await.map_err(Error::Unreachable)?;
                Err(e)
            }
        }
    })
    .await
    .map_err(|_| Error::Refused("no greeting in time".to_owned()))?
}

async fn find_door(stream: &mut Connection, doors: &Doors) -> Result<mpsc::Sender<Connection>> {
    let hello = link::read_frame(stream, GREETING, MAX_HELLO, 0).await?;
    let ToReceiver::Hello { magic: MAGIC, version, ticket } = hello.message()? else {
        return Err(Error::Refused("not a greeting".to_owned()));
    };
    if version != VERSION {
        return Err(Error::Refused(format!("version {version} of the protocol is not supported, only {VERSION}")));
    }
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(Fingerprint::of);
    let door = doors.find(&Ticket::from_bytes(ticket), certificate);
    door.ok_or_else(|| Error::Refused("no transfer is expected with this ticket and certificate".to_owned()))
}
