//! Accepts connections, and takes those that we make ourselves. Where they lead is [`super::hall`]'s business.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::AsyncBufReadExt,
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    door::Door,
    hall::{Hall, in_time},
};
use crate::{
    error::{Error, Result},
    identity::{Fingerprint, Identity, Ticket},
    link,
    meeting::{Dialled, Rendezvous},
    options::ReceiverConfig,
    stream::{Stream, Watched, buffered},
};

/// Connections that have not shown a ticket yet; more wait in the kernel.
const STRANGERS: usize = 64;

/// How long a connection that we made may wait for the source to begin. Ways through other people's routers die of
/// silence without a word: after this it is better made anew.
const PARKED: Duration = Duration::from_mins(1);

/// Accepts TLS connections and routes them by their ticket. One per agent. Dropping it closes it; doors that are open
/// serve on the connections they have.
#[derive(Debug)]
pub struct Listener {
    local: SocketAddr,
    hall: Hall,
    accepting: JoinHandle<()>,
    end: CancellationToken,
}

impl Listener {
    /// Listens on `address`.
    pub async fn bind(address: SocketAddr, me: Arc<Identity>) -> Result<Self> {
        let failed = |e| Error::Io { path: address.to_string().into(), source: e };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        let (hall, end) = (Hall::new(&me)?, CancellationToken::new());
        let accepting = tokio::spawn(accept(listener, hall.clone(), end.clone()));
        Ok(Self { local, hall, accepting, end })
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
        let entry = self.hall.open(ticket, source, inbox);
        Door::open(receiver, arrivals, entry)
    }

    /// Lets a target dial us: connections that show `rendezvous` go to what this returns, until it is dropped.
    #[must_use]
    pub fn expect_dialled(&self, rendezvous: Rendezvous) -> Dialled {
        self.hall.meetings().expect(rendezvous)
    }

    /// Takes a connection that we have made ourselves as if it had been accepted: the source begins at its far end,
    /// and shows its ticket. Resolves when the connection has ended, or was left unused for a minute; an error if it
    /// led to no door. Dropping the future hangs up unless a door has the connection by then.
    pub fn admit(&self, stream: impl Stream) -> impl Future<Output = Result<()>> + Send + 'static {
        let hall = self.hall.clone();
        async move {
            let (stream, gone) = Watched::new(stream);
            let mut stream = buffered(stream);
            let Ok(began) = timeout(PARKED, stream.fill_buf()).await else { return Ok(()) };
            if began.map_err(Error::Unreachable)?.is_empty() {
                return Err(link::gone());
            }
            Box::pin(in_time(hall.greet(stream))).await?;
            gone.cancelled().await;
            Ok(())
        }
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

async fn accept(listener: TcpListener, hall: Hall, end: CancellationToken) {
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    loop {
        let Ok(place) = strangers.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = end.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let hall = hall.clone();
                tokio::spawn(async move {
                    if let Err(e) = in_time(hall.receive(stream)).await {
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
