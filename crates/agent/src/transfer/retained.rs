//! The source's copy after a migration: kept until its time is over, then destroyed by the agent itself.
//!
//! `retained/<transfer>/expires.json` is written first: a directory without one belongs to nobody's promise.

use std::io;
use std::path::Path;
use std::time::Duration;

use model::agent_api::{AgentError, Reply};
use model::{ServerId, Timestamp, TransferId};
use serde::{Deserialize, Serialize};

use super::Transfer;
use super::fault::conflict;
use super::place::is_mounted;
use crate::disk;
use crate::layout::Place;
use crate::node::{Node, remove_tree};
use crate::server::OWNERSHIP;

const REAP_EVERY: Duration = Duration::from_mins(1);

/// `expires.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Expiry {
    server: ServerId,
    expires_at: Timestamp,
}

impl Transfer {
    pub(super) async fn retain_source(&self, node: &Node, expires_at: Timestamp) -> Result<Reply, AgentError> {
        if let Ok(server) = node.server(self.server) {
            let seen = server.observation();
            if !seen.fenced || seen.status.is_live() {
                return Err(conflict("a server that is not fenced, or runs, cannot become a retained copy"));
            }
        }
        self.end_copy().await?;
        let dir = node.layout.retained_of(self.id);
        let place = node.layout.place(self.server);
        let expiry = Expiry { server: self.server, expires_at };
        if is_mounted(node) {
            return self.retain_in_place(&dir, place, expiry).await;
        }
        let (to, from) = (dir.clone(), place.clone());
        let moved = disk::blocking(move || move_aside(&from, &to, &expiry)).await;
        let size = moved.map_err(|e| disk::failed("retain", &place.home, &e))?;
        node.let_go(self.server).await?;
        remove_tree(&place.home).await?;
        tracing::info!(transfer = %self.id, bytes = size, %expires_at, "transfer: the source's copy is retained");
        Ok(Reply::Retained { bytes: size })
    }

    /// Where the files are mounted they stay where they are, fenced: whoever made the mount takes what runs away, keeps
    /// the volume, and destroys it in the end. Here it is only written down.
    async fn retain_in_place(&self, dir: &Path, place: Place, expiry: Expiry) -> Result<Reply, AgentError> {
        let (to, data) = (dir.to_owned(), place.data());
        let noted = disk::blocking(move || {
            disk::private_dir(&to)?;
            disk::write_json(&to.join("expires.json"), &expiry)?;
            ::transfer::measure(&data).map(|size| size.bytes).map_err(io::Error::other)
        });
        let bytes = noted.await.map_err(|e| disk::failed("retain", &place.home, &e))?;
        tracing::info!(transfer = %self.id, bytes, "transfer: the source's volume is the retained copy");
        Ok(Reply::Retained { bytes })
    }

    pub(super) async fn free_retained(&self, node: &Node) -> Result<Reply, AgentError> {
        if node.transfers.is_built_on(self.id) {
            return Err(conflict("another transfer builds on this copy: cancel that, or wait for its end"));
        }
        remove_tree(&node.layout.retained_of(self.id)).await?;
        tracing::info!(transfer = %self.id, "transfer: the retained copy was freed");
        Ok(Reply::Done)
    }
}

/// Renames; a repeat finds some of it done.
fn move_aside(from: &Place, to: &Path, expiry: &Expiry) -> io::Result<u64> {
    disk::private_dir(to)?;
    disk::write_json(&to.join("expires.json"), expiry)?;
    for (old, new) in [(from.data(), to.join("data")), (from.beside(OWNERSHIP), to.join(OWNERSHIP))] {
        match std::fs::rename(old, new) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    disk::sync_dir(to)?;
    let data = to.join("data");
    if !data.exists() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there are no files to retain"));
    }
    ::transfer::measure(&data).map(|size| size.bytes).map_err(io::Error::other)
}

/// Destroys what has expired, at once and then every minute.
pub(super) async fn reap_for_ever(node: &Node) {
    let mut minutes = tokio::time::interval(REAP_EVERY);
    loop {
        minutes.tick().await;
        if let Err(error) = reap(node).await {
            tracing::error!(%error, "cannot look through the retained copies");
        }
    }
}

async fn reap(node: &Node) -> Result<(), AgentError> {
    let (dir, now) = (node.layout.retained(), node.around.clock.now());
    let looked = dir.clone();
    let expired = disk::blocking(move || expired(&looked, now)).await;
    for transfer in expired.map_err(|e| disk::failed("look through", &dir, &e))? {
        if node.transfers.is_built_on(transfer) {
            continue; // An undo is under way. It goes when that is over.
        }
        remove_tree(&node.layout.retained_of(transfer)).await?;
        tracing::info!(%transfer, "the retained copy of this transfer has expired and is gone");
    }
    Ok(())
}

fn expired(dir: &Path, now: Timestamp) -> io::Result<Vec<TransferId>> {
    let mut expired = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(transfer) = entry.file_name().to_string_lossy().parse() else { continue };
        match disk::read_json::<Expiry>(&entry.path().join("expires.json"))? {
            Some(expiry) if expiry.expires_at <= now => expired.push(transfer),
            Some(_) => {}
            None => tracing::warn!(%transfer, "a retained copy without an expiry is left alone"),
        }
    }
    Ok(expired)
}
