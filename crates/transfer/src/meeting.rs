//! A target that nobody can dial, dials: it connects to the source's listener and says which copy it comes for.
//!
//! ```text
//! target                              source's listener
//!   │ ─ magic, rendezvous ─────────────► │   then it is silent
//!   │ ◄─────────────── TLS ClientHello ─ │   when the source begins: from here as if the source had dialled
//! ```
//!
//! The rendezvous proves nothing: who the two are is settled in TLS, and what they may do by the ticket.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::Notify,
};

use crate::{
    error::{Error, Result},
    identity::Ticket,
    stream::{BoxedStream, Buffered},
};

/// A TLS record begins with its type, 20 to 24; this does not.
pub(crate) const MAGIC: [u8; 8] = *b"bp-meet\x01";

/// Says which copy a connection is for: 32 random bytes, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rendezvous(Ticket);

/// Connections that a target made to us for one copy. While this exists they are welcome.
pub struct Dialled {
    meetings: Meetings,
    rendezvous: Rendezvous,
    place: Arc<Place>,
}

/// Who is expected.
#[derive(Clone, Default)]
pub(crate) struct Meetings(Arc<Mutex<HashMap<Rendezvous, Arc<Place>>>>);

/// Where a connection waits. A newer one replaces an older one, which is dead more often than not.
#[derive(Default)]
struct Place {
    stream: Mutex<Option<BoxedStream>>,
    came: Notify,
}

impl Rendezvous {
    /// A fresh one.
    ///
    /// # Panics
    /// If the system has no randomness.
    #[must_use]
    pub fn random() -> Self {
        Self(Ticket::random())
    }

    /// The target's first words on a connection that it made.
    pub async fn show(&self, stream: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
        let words = [&MAGIC[..], &self.0.bytes()].concat();
        stream.write_all(&words).await.map_err(Error::Unreachable)?;
        stream.flush().await.map_err(Error::Unreachable)
    }
}

impl FromStr for Rendezvous {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Rendezvous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Meetings {
    fn all(&self) -> MutexGuard<'_, HashMap<Rendezvous, Arc<Place>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A newer expectation of the same rendezvous takes over.
    pub(crate) fn expect(&self, rendezvous: Rendezvous) -> Dialled {
        let place = Arc::new(Place::default());
        self.all().insert(rendezvous.clone(), Arc::clone(&place));
        Dialled { meetings: self.clone(), rendezvous, place }
    }

    /// Reads a target's first words and lets its connection wait for whoever expects it. An unexpected one is hung up
    /// on, and so is one that goes on talking: it is the source's turn.
    pub(crate) async fn introduce(&self, mut stream: Buffered) -> Result<()> {
        let (mut magic, mut rendezvous) = ([0; 8], [0; 32]);
        stream.read_exact(&mut magic).await.map_err(Error::Unreachable)?;
        if magic != MAGIC {
            return Err(Error::Refused("neither TLS nor a rendezvous".to_owned()));
        }
        stream.read_exact(&mut rendezvous).await.map_err(Error::Unreachable)?;
        if !stream.buffer().is_empty() {
            return Err(Error::Refused("a rendezvous with more behind it".to_owned()));
        }
        let place = self.all().get(&Rendezvous(Ticket::from_bytes(rendezvous))).cloned();
        let place = place.ok_or_else(|| Error::Refused("nobody expects this rendezvous".to_owned()))?;
        place.put(stream.into_inner());
        Ok(())
    }
}

impl Place {
    fn stream(&self) -> MutexGuard<'_, Option<BoxedStream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, stream: BoxedStream) {
        *self.stream() = Some(stream);
        self.came.notify_one();
    }
}

impl Dialled {
    /// The newest connection that nobody has taken yet; waits for one. May be dropped anywhere.
    pub async fn next(&mut self) -> BoxedStream {
        loop {
            if let Some(stream) = self.place.stream().take() {
                return stream;
            }
            self.place.came.notified().await;
        }
    }

    /// For what it is expected.
    #[must_use]
    pub fn rendezvous(&self) -> &Rendezvous {
        &self.rendezvous
    }
}

impl fmt::Debug for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialled").finish_non_exhaustive()
    }
}

impl fmt::Debug for Meetings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meetings({})", self.all().len())
    }
}

impl Drop for Dialled {
    fn drop(&mut self) {
        let mut all = self.meetings.all();
        if all.get(&self.rendezvous).is_some_and(|now| Arc::ptr_eq(now, &self.place)) {
            all.remove(&self.rendezvous);
        }
    }
}
