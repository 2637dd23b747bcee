//! The receiving half.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use transfer::{Door, Fingerprint, Identity, Listener, OwnerMap, Progress, ReceiverConfig, Ticket};

use super::{
    show::{Figures, Show},
    staging, url,
    url::CopyUrl,
};
use crate::output;

/// A door for one destination.
pub(super) struct Receiving {
    door: Door,
    ticket: Ticket,
    fingerprint: Fingerprint,
    destination: PathBuf,
    staging: PathBuf,
}

impl Receiving {
    /// Opens the door. What is at the destination is what the copy is built on.
    pub(super) fn open(listener: &Listener, me: &Identity, destination: &Path, owner: OwnerMap) -> Self {
        let staging = staging::of(destination);
        let ticket = Ticket::random();
        let config =
            ReceiverConfig { base: Some(destination.to_owned()), owner, ..ReceiverConfig::new(staging.clone()) };
        let door = listener.expect(ticket.clone(), None, config);
        Self { door, ticket, fingerprint: me.fingerprint(), destination: destination.to_owned(), staging }
    }

    /// For the source.
    pub(super) fn url(&self, listening: SocketAddr) -> CopyUrl {
        let address = url::reachable(listening).to_string();
        CopyUrl { address, fingerprint: self.fingerprint, ticket: self.ticket.clone() }
    }

    fn progress(&self) -> Arc<Progress> {
        Arc::clone(self.door.progress())
    }

    /// Receives one copy and puts it in place.
    pub(super) async fn one(mut self) -> Result<Figures> {
        self.next().await
    }

    async fn next(&mut self) -> Result<Figures> {
        let received = self.door.wait_once().await.context("the copy did not arrive")?;
        let (root, files, bytes_total) = (received.root, received.files, received.bytes);
        let published = received.publish_when_asked(&self.destination).await;
        let summary = published.with_context(|| format!("cannot put {} in place", self.destination.display()))?;
        staging::remove(&self.staging)?;
        Ok(Figures::new(root, files, bytes_total, &summary))
    }
}

/// `--listen`: prints the URL, receives one copy, or with `forever` one after another.
pub(super) async fn serve(
    (listener, me): (Listener, Arc<Identity>),
    dir: &Path,
    owner: OwnerMap,
    forever: bool,
    show: &Show,
) -> Result<()> {
    let destination = staging::destination(dir)?;
    let mut receiving = Receiving::open(&listener, &me, &destination, owner);
    output::line(receiving.url(listener.local_addr()).to_string());
    loop {
        let watching = show.watch("receiving", receiving.progress(), |seen| seen.bytes_written);
        let outcome = receiving.next().await;
        drop(watching);
        match outcome {
            Ok(figures) => show.receipt(&destination, &figures),
            Err(e) if forever => output::note(format!("error: {e:#}")),
            Err(e) => return Err(e),
        }
        if !forever {
            return Ok(());
        }
    }
}
