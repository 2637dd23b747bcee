//! What belongs to no transfer and no server any more is removed when the agent starts, and said so.
//!
//! Nothing here touches files that a server or a retained copy might want: a place that holds data without a spec is
//! left for a person, and one that is mounted was there before any transfer.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use model::{ServerId, TransferId};

use super::Transfer;
use super::place::is_mounted;
use crate::disk;
use crate::node::{Node, remove_tree};

pub(super) async fn remove(node: &Node) {
    let targets: Vec<_> = node.transfers.snapshot().into_iter().filter(|it| it.record().holds_target()).collect();
    let transfers: HashSet<TransferId> = targets.iter().map(|target| target.id).collect();
    let expected: HashSet<ServerId> = targets.iter().map(|target: &std::sync::Arc<Transfer>| target.server).collect();
    for (name, path) in entries(&node.layout.staging()).await {
        if !name.parse().is_ok_and(|transfer| transfers.contains(&transfer)) {
            clear(&path, "staging of a transfer that is over").await;
        }
    }
    for (name, path) in entries(&node.layout.servers()).await {
        let Ok(server) = name.parse::<ServerId>() else { continue };
        let known = node.server(server).is_ok() || expected.contains(&server);
        if !known && !is_mounted(node) && !path.join("spec.json").exists() {
            remove_place(&path).await;
        }
    }
    remove_containers(node, &expected).await;
}

async fn remove_place(path: &Path) {
    let data = path.join("data");
    let empty = std::fs::read_dir(&data).map_or(true, |mut entries| entries.next().is_none());
    if empty {
        clear(path, "a place that a transfer had prepared").await;
    } else {
        tracing::error!(path = %path.display(), "there are files here and no server: look at them and remove them");
    }
}

async fn remove_containers(node: &Node, expected: &HashSet<ServerId>) {
    let listed = match node.around.runtime.list().await {
        Ok(listed) => listed,
        Err(error) => return tracing::warn!(%error, "cannot look for containers that nobody owns"),
    };
    for server in listed.into_iter().filter(|server| !expected.contains(server)) {
        let place = node.layout.place(server);
        if node.server(server).is_ok() || place.beside("spec.json").exists() {
            continue;
        }
        tracing::warn!(%server, "removing a container that no server and no transfer owns");
        if let Err(error) = node.around.runtime.destroy(&place).await {
            tracing::error!(%server, %error, "cannot remove it");
        }
    }
}

async fn clear(path: &Path, what: &str) {
    tracing::warn!(path = %path.display(), what, "removing what no transfer owns");
    if let Err(error) = remove_tree(path).await {
        tracing::error!(path = %path.display(), %error, "cannot remove it");
    }
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
