//! The side that gets the tree.

use std::{net::SocketAddr, path::{Path, PathBuf}, sync::Arc};

use crate::{
    error::{Error, Result},
    identity::{Fingerprint, Identity, Ticket},
    options::ReceiverConfig,
    progress::Progress,
    report::TreeRoot,
};

/// Accepts TLS connections and routes them by their ticket. One per agent. Dropping it closes it.
#[derive(Debug)]
pub struct Listener {
    local: SocketAddr,
}

/// An open door: the receiver behind one ticket. Dropping it closes the door and ends what runs behind it.
#[derive(Debug)]
pub struct Door {
    progress: Arc<Progress>,
}

/// A tree that is complete, durable and equal to the source's.
#[derive(Debug)]
pub struct Received {
    /// Where it is; give it to [`crate::publish`].
    pub tree: PathBuf,
    /// From what the disk gave back.
    pub root: TreeRoot,
    /// Files, directories and links, the top not counted.
    pub files: u64,
    /// Bytes of content (apparent size, hard links once).
    pub bytes: u64,
}

/// Where the tree grows inside a staging directory.
pub fn staging_tree(staging: &Path) -> PathBuf {
    staging.join("tree")
}

impl Listener {
    /// Listens on `address`.
    pub async fn bind(address: SocketAddr, _me: Arc<Identity>) -> Result<Self> {
        Ok(Self { local: address })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Opens a door: connections that show `ticket` (and the certificate `source`, if given) deliver into `receiver`.
    pub fn expect(&self, _ticket: Ticket, _source: Option<Fingerprint>, receiver: ReceiverConfig) -> Door {
        Door { progress: receiver.progress }
    }

    /// Stops listening and ends all connections.
    pub async fn close(self) {}
}

impl Door {
    /// Waits until a source has finished and both roots were equal. A connection that breaks may be followed by
    /// another: that is waited for. Any other failure is returned; the door stays open.
    pub async fn wait(&mut self) -> Result<Received> {
        Err(Error::Protocol("not built yet".to_owned()))
    }

    /// As [`Self::wait`], but a connection that breaks is an error as well.
    pub async fn wait_once(&mut self) -> Result<Received> {
        Err(Error::Protocol("not built yet".to_owned()))
    }

    /// Counters of what runs behind it.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

impl Received {
    /// Waits until the source asks for it ([`crate::Source::publish`]), publishes to `destination` and tells it so.
    pub async fn publish_when_asked(self, _destination: &Path) -> Result<()> {
        Err(Error::Protocol("not built yet".to_owned()))
    }
}
