//! What belongs to no transfer and no server any more: looked for when the agent starts, every hour, and when somebody asks.
//!
//! What is provably ours is removed at once and said so: staging by our layout whose transfer is over or unknown, an empty
//! place that a transfer had prepared, a container by our label that no server and no transfer has. What might be somebody's
//! data is shown and left: files in a place without a server, a retained copy without a promise, what has no name of ours.
//!
//! Everything is listed first, and only then is asked who owns it: whoever makes something claims it before. A place that is
//! mounted was there before any transfer; there nothing is looked for by the hour.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode, Orphan, OrphanKind, Reply};
use model::{ServerId, Timestamp, TransferId};

use super::Transfers;
use super::fault::conflict;
use super::place::is_mounted;
use crate::disk;
use crate::node::{Node, remove_tree};

const EVERY: Duration = Duration::from_hours(1);

/// The last look.
#[derive(Default)]
pub(super) struct Looked(Mutex<Option<(Timestamp, Vec<Orphan>)>>);

/// Something that nobody owns, and how it is removed.
struct Found {
    orphan: Orphan,
    cure: Cure,
    /// Whether it is ours without a doubt, so that nobody has to be asked.
    ours: bool,
}

enum Cure {
    Tree(PathBuf),
    Container(ServerId),
}

/// Looks every hour, for ever. The first look is somebody else's.
pub(super) async fn look_for_ever(node: &Node) {
    loop {
        tokio::time::sleep(EVERY).await;
        drop(look(node).await);
    }
}

/// Looks, removes what is provably ours, and remembers the rest.
pub(super) async fn look(node: &Node) -> Vec<Orphan> {
    let mut left = Vec::new();
    for found in find(node).await {
        if !found.ours || remove(node, &found).await.is_err() {
            left.push(found.orphan);
        }
    }
    for orphan in &left {
        tracing::warn!(id = orphan.id, path = orphan.path, why = orphan.why, "nobody owns this");
    }
    let looked = (node.around.clock.now(), left.clone());
    *node.transfers.looked.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(looked);
    left
}

impl Transfers {
    /// What nobody owns, by the last look or by one now.
    pub(crate) async fn orphans(&self, node: &Node, now: bool) -> Reply {
        let last = self.looked.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (looked_at, orphans) = match last.filter(|_| !now) {
            Some(last) => last,
            None => (node.around.clock.now(), look(node).await),
        };
        let open = self.snapshot().into_iter().filter(|transfer| transfer.record().holds_open_target());
        Reply::Orphans { looked_at, orphans, held: open.map(|transfer| transfer.id).collect() }
    }

    /// Removes one, if it still is one. What might be somebody's is a person's to remove.
    pub(crate) async fn remove_orphan(&self, node: &Node, id: &str) -> Result<(), AgentError> {
        let Some(found) = find(node).await.into_iter().find(|found| found.orphan.id == id) else {
            drop(look(node).await);
            return Err(AgentError::new(ErrorCode::NotFound, "nothing of this id is left that nobody owns"));
        };
        if !found.orphan.can_clean {
            let message = format!("{} may be somebody's: look at it, and remove it by hand", found.orphan.path);
            return Err(conflict(message));
        }
        remove(node, &found).await?;
        drop(look(node).await);
        Ok(())
    }
}

async fn remove(node: &Node, found: &Found) -> Result<(), AgentError> {
    let Orphan { path, why, .. } = &found.orphan;
    tracing::warn!(path, why, "removing what no transfer owns");
    let removed = match &found.cure {
        Cure::Tree(tree) => remove_tree(tree).await,
        Cure::Container(server) => node.around.runtime.destroy(&node.layout.place(*server)).await,
    };
    if let Err(error) = &removed {
        tracing::error!(path, %error, "cannot remove it");
    }
    removed
}

async fn find(node: &Node) -> Vec<Found> {
    // Whoever makes or removes a server waits until we have looked.
    let _still = node.stand_still().await;
    let (staging, places, retained) = (
        entries(&node.layout.staging()).await,
        entries(&node.layout.servers()).await,
        entries(&node.layout.retained()).await,
    );
    let containers = match node.around.runtime.list().await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(%error, "cannot look for containers that nobody owns");
            Vec::new()
        }
    };
    let targets: Vec<_> = node.transfers.snapshot().into_iter().filter(|it| it.record().holds_target()).collect();
    let transfers: HashSet<TransferId> = targets.iter().map(|target| target.id).collect();
    let expected: HashSet<ServerId> = targets.iter().map(|target: &Arc<super::Transfer>| target.server).collect();

    let mut found = Vec::new();
    for (name, path) in staging {
        found.extend(of_staging(&name, path, &transfers).await);
    }
    for (name, path) in places {
        found.extend(of_place(node, &name, path, &expected).await);
    }
    for (name, path) in retained {
        found.extend(of_retained(&name, path).await);
    }
    for server in containers.into_iter().filter(|server| !expected.contains(server)) {
        found.extend(of_container(node, server));
    }
    found
}

async fn of_staging(name: &str, path: PathBuf, owned: &HashSet<TransferId>) -> Option<Found> {
    match name.parse::<TransferId>() {
        Ok(transfer) if owned.contains(&transfer) => None,
        Ok(_) => {
            Some(tree(OrphanKind::Staging, name, path, "a delivery of a transfer that is over", Owner::Ours).await)
        }
        Err(_) => Some(tree(OrphanKind::Staging, name, path, "it has no name that we give", Owner::Somebody).await),
    }
}

async fn of_place(node: &Node, name: &str, path: PathBuf, expected: &HashSet<ServerId>) -> Option<Found> {
    if is_mounted(node) {
        return None;
    }
    let Ok(server) = name.parse::<ServerId>() else {
        return Some(tree(OrphanKind::Place, name, path, "it has no name that we give", Owner::Somebody).await);
    };
    if node.server(server).is_ok() || expected.contains(&server) {
        return None;
    }
    let data = path.join("data");
    let is_empty = std::fs::read_dir(&data).map_or(true, |mut entries| entries.next().is_none());
    let (why, owner) = if path.join("spec.json").exists() {
        ("the records of this server cannot be read: look at the daemon's log", Owner::Somebody)
    } else if is_empty {
        ("a place that a transfer had prepared", Owner::Ours)
    } else {
        ("there are files here and no server", Owner::Somebody)
    };
    Some(tree(OrphanKind::Place, name, path, why, owner).await)
}

async fn of_retained(name: &str, path: PathBuf) -> Option<Found> {
    let promised = path.join("expires.json").exists();
    match name.parse::<TransferId>() {
        Ok(_) if promised => None,
        Ok(_) => {
            let why = "a retained copy that nobody has promised to keep, and that does not expire";
            Some(tree(OrphanKind::Retained, name, path, why, Owner::Nobody).await)
        }
        Err(_) => Some(tree(OrphanKind::Retained, name, path, "it has no name that we give", Owner::Somebody).await),
    }
}

fn of_container(node: &Node, server: ServerId) -> Option<Found> {
    if node.server(server).is_ok() || node.layout.place(server).beside("spec.json").exists() {
        return None;
    }
    let orphan = Orphan {
        id: id(OrphanKind::Container, &server.to_string()),
        kind: OrphanKind::Container,
        path: format!("the container of server {server}"),
        bytes: None,
        since: None,
        why: "no server and no transfer owns it".to_owned(),
        can_clean: true,
    };
    Some(Found { orphan, cure: Cure::Container(server), ours: true })
}

/// Whose it can be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Ours without a doubt.
    Ours,
    /// Nobody's any more, but a person should say so.
    Nobody,
    /// Perhaps somebody's.
    Somebody,
}

async fn tree(kind: OrphanKind, name: &str, path: PathBuf, why: &str, owner: Owner) -> Found {
    let measured = path.clone();
    let (bytes, since) = disk::blocking(move || Ok(measure(&measured))).await.unwrap_or_default();
    let orphan = Orphan {
        id: id(kind, name),
        kind,
        path: path.display().to_string(),
        bytes,
        since,
        why: why.to_owned(),
        can_clean: owner != Owner::Somebody,
    };
    Found { orphan, cure: Cure::Tree(path), ours: owner == Owner::Ours }
}

/// How big it is and when it was changed, as far as it can be read.
fn measure(path: &Path) -> (Option<u64>, Option<Timestamp>) {
    let Ok(seen) = std::fs::symlink_metadata(path) else { return (None, None) };
    let since = seen.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
    let bytes = if seen.is_dir() { ::transfer::measure(path).ok().map(|size| size.bytes) } else { Some(seen.len()) };
    (bytes, since)
}

/// The kind and the name; a name that would not fit into a URL is spelled in hex.
fn id(kind: OrphanKind, name: &str) -> String {
    let kind = match kind {
        OrphanKind::Staging => "staging",
        OrphanKind::Place => "place",
        OrphanKind::Container => "container",
        OrphanKind::Retained => "retained",
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if name.bytes().all(plain) {
        return format!("{kind}.{name}");
    }
    let hex = data_encoding::HEXLOWER.encode(name.as_bytes());
    format!("{kind}.hex.{hex}")
}

async fn entries(dir: &Path) -> Vec<(String, PathBuf)> {
    let (listed, shown) = (dir.to_owned(), dir.display().to_string());
    let found = disk::blocking(move || {
        std::fs::read_dir(listed)?
            .map(|entry| entry.map(|it| (it.file_name().to_string_lossy().into_owned(), it.path())))
            .collect()
    });
    found.await.unwrap_or_else(|error| {
        tracing::error!(dir = shown, %error, "cannot look for what nobody owns");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_fits_into_a_url_whatever_somebody_has_called_it() {
        assert_eq!(id(OrphanKind::Staging, "0198-ab"), "staging.0198-ab");
        assert_eq!(id(OrphanKind::Place, "a/b \u{e9}"), "place.hex.612f6220c3a9");
    }
}
