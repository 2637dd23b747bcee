//! Restoring: the object becomes a tree beside the server's files, is seen to be what was backed up, and takes their place.
//! Until then nothing of the server is touched.

use std::path::Path;
use std::sync::Arc;

use ::transfer::{OwnerMap, UnpackLimits, Unpacked, unpack};
use model::agent_api::{AgentError, ErrorCode};
use model::{BackupContents, BackupResult, RestoreId, ServerId};

use super::place;
use super::session::{Desk, on_thread};
use super::verify::Object;
use crate::disk;
use crate::node::{Node, remove_tree};
use crate::transfer::{check_room, of_engine};

pub(super) async fn run(
    node: &Arc<Node>,
    server: ServerId,
    restore: RestoreId,
    bytes: u64,
    contents: &BackupContents,
    desk: &Arc<Desk>,
) -> Result<BackupResult, AgentError> {
    let staging = place::staging_of(node, restore);
    let restored = fetch_and_publish(node, server, restore, &staging, (bytes, contents), desk).await;
    if restored.is_err() && !place::is_under_way(node, server) {
        remove_tree(&staging).await?;
    }
    restored
}

async fn fetch_and_publish(
    node: &Arc<Node>,
    server: ServerId,
    restore: RestoreId,
    staging: &Path,
    (bytes, contents): (u64, &BackupContents),
    desk: &Arc<Desk>,
) -> Result<BackupResult, AgentError> {
    must_not_run(node, server)?;
    remove_tree(staging).await?;
    check_room(staging, &node.layout.staging(), contents.tree_bytes, contents.files).await?;
    let tree = ::transfer::staging_tree(staging);
    let (made, within) = (tree.clone(), staging.to_owned());
    let prepared = disk::blocking(move || disk::private_dir(&within).and_then(|()| disk::private_dir(&made)));
    prepared.await.map_err(|e| disk::failed("make", staging, &e))?;
    let owner = match node.around.runtime.house().owner {
        Some(owner) => OwnerMap::To { uid: owner.uid, gid: owner.gid },
        None => OwnerMap::Keep,
    };
    let (wanted, there, at) = (contents.clone(), tree.clone(), Arc::clone(desk));
    let unpacked = on_thread(move || fetch(&there, bytes, owner, &wanted, &at)).await?;
    // A server cannot be started meanwhile, the panel sees to that; what runs all the same is worth more than this.
    must_not_run(node, server)?;
    let root = unpacked.root.to_string();
    place::publish(node, server, restore, &root).await?;
    Ok(BackupResult::Restored { root })
}

fn must_not_run(node: &Node, server: ServerId) -> Result<(), AgentError> {
    if node.server(server)?.observation().status.is_live() {
        return Err(AgentError::new(ErrorCode::Conflict, "the server runs: stop it before its files are replaced"));
    }
    Ok(())
}

/// Downloads, unpacks, and compares with what the upload found.
fn fetch(
    tree: &Path,
    bytes: u64,
    owner: OwnerMap,
    wanted: &BackupContents,
    desk: &Desk,
) -> Result<Unpacked, AgentError> {
    let mut object = Object::new(desk, bytes);
    let limits = UnpackLimits { files: wanted.files, bytes: wanted.tree_bytes };
    let unpacked = unpack(&mut object, tree, owner, limits, &desk.progress, &desk.cancel);
    let (unpacked, made) = match unpacked {
        Ok(unpacked) => (Some(unpacked), Ok(())),
        Err(error) => (None, Err(of_engine(&error))),
    };
    let sha256 = object.sha256(made)?;
    let differ = |what: &str| {
        let message = format!("what came from the storage is not what was backed up: {what} differs");
        AgentError::new(ErrorCode::RootsDiffer, message)
    };
    if sha256 != wanted.sha256 {
        return Err(differ("its hash"));
    }
    let unpacked = unpacked.ok_or_else(|| differ("its tree"))?;
    if unpacked.root.to_string() != wanted.root || unpacked.files != wanted.files {
        return Err(differ("the tree on this disk"));
    }
    Ok(unpacked)
}
