//! The launcher: the first process of a game's container in a pod. It waits for the word to start, runs the game as its
//! child, and outlives it, so that a server can be stopped and started without Kubernetes noticing.
//!
//! `badger launcher` calls [`run`]. It is a static executable in an image that it knows nothing about, so it needs neither
//! a shell nor a library of that image. It speaks to the mover beside it through a Unix socket
//! ([`crate::runtime::kubernetes::protocol`]) and to nobody else.
//!
//! It trusts the records on the volume, which it sees read-only, and not the mover: before each start it checks itself
//! that the panel has signed a permit for this server, for this cluster, for the epoch on record, and that no tombstone
//! lies on it (invariant I1). And it holds the server's directory while the game runs, so that a pod that is still ending
//! and its successor never run it at once.
//!
//! Asked to end itself, by an eviction or a drained node, it asks the game to end as its egg says, waits for it, and tells
//! the mover that nobody meant the server.

mod console;
mod game;
mod right;
mod serve;
#[cfg(test)]
pub(crate) mod testing;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use model::{NodeId, ServerId, SystemClock};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::disk;
use crate::error::{Error, Result};
use crate::layout::Place;
use crate::permit::Verifier;
use crate::runtime::process::{Family, Inside, Processes};
use game::Game;
use right::Right;
use serve::Door;

/// What to do with each console line besides telling the mover. Must not block.
pub type Echo = Box<dyn Fn(&str) + Send + Sync>;

/// What a launcher is told at its start.
pub struct Config {
    /// Where to listen for the mover.
    pub socket: PathBuf,
    /// The server's directory on the volume, with its records; read only.
    pub place: PathBuf,
    /// The game's home: the data directory of the volume.
    pub data: PathBuf,
    /// A directory of the pod, for console and process records.
    pub run: PathBuf,
    /// The server.
    pub server_id: ServerId,
    /// To whom its permits are addressed.
    pub agent_id: NodeId,
    /// The panel's Ed25519 public key, base64.
    pub permit_key: String,
    /// For `kubectl logs`.
    pub echo: Echo,
}

/// Waits for calls until `shutdown`, then for the game's end.
///
/// # Errors
///
/// Only what a person must correct: paths that cannot be used, a key that is none.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<()> {
    let at = |path: &PathBuf| {
        let path = path.clone();
        move |source: io::Error| Error::Disk { path, source }
    };
    disk::private_dir(&config.run).map_err(at(&config.run))?;
    let family = Arc::new(Family::gather().map_err(at(&config.run))?);
    let _collecting = collect(Arc::clone(&family)).map_err(at(&config.run))?;
    let verifier = Verifier::new(config.agent_id, &config.permit_key).map_err(|e| Error::Config(e.message))?;
    let right = Right::new(config.place, config.server_id, verifier);
    let processes = Processes::inside(Arc::new(SystemClock), Inside::new(family, std::env::vars_os()));
    let place = Place::with_data(config.server_id, config.run, config.data);
    let game = Arc::new(Game::new(place, processes, right, config.echo));
    let door = Door::open(&config.socket).map_err(at(&config.socket))?;
    tracing::info!(server = %config.server_id, socket = %config.socket.display(), "launcher begins");
    let calls = door.answer(Arc::clone(&game));
    shutdown.cancelled().await;
    game.leave().await;
    calls.finish().await;
    Ok(())
}

/// Collects orphans for as long as the guard lives, as the first process of a container must.
fn collect(family: Arc<Family>) -> io::Result<AbortOnDropHandle<()>> {
    let mut children = signal(SignalKind::child())?;
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        while children.recv().await.is_some() {
            family.collect();
        }
    })))
}
