//! Putting restored files in the place of a server's own, so that a crash anywhere leaves the one or the other, or is
//! finished at the next start.
//!
//! ```text
//!  data is a directory of ours          data is mounted into what runs, and must stay the directory it is
//!  record: Swapping(inode)              record: Emptying
//!  rename, both at once                 what is in it moves to staging/old, one by one
//!  │                                    record: Filling
//!  │                                    what was restored moves in (`publish_into`, which has a journal of its own)
//!  └──────────► restored.json, then the record goes, then staging with the old files in it ◄──────────┘
//! ```
//!
//! From the record on there is only the way forward: the new tree is complete and was verified. A server with a record
//! is not started.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::agent_api::{AgentError, ErrorCode};
use model::{RestoreId, ServerId};
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::layout::{Layout, Place};
use crate::node::Node;

const RESTORING: &str = "restoring.json";
const RESTORED: &str = "restored.json";

/// `restoring.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    restore: RestoreId,
    root: String,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    /// The new tree has this inode.
    Swapping(u64),
    Emptying,
    Filling,
}

/// `restored.json`: the last restore that was done, for a panel that did not hear its end.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    restore: RestoreId,
    root: String,
}

pub(super) fn staging_of(node: &Node, restore: RestoreId) -> PathBuf {
    staging(&node.layout, restore)
}

fn staging(layout: &Layout, restore: RestoreId) -> PathBuf {
    layout.staging().join(restore.to_string())
}

/// The root of what `restore` has given the server, if it is the one that was done last.
pub(super) async fn restored(node: &Node, server: ServerId, restore: RestoreId) -> Result<Option<String>, AgentError> {
    let path = node.layout.place(server).beside(RESTORED);
    let read = path.clone();
    let done = disk::blocking(move || disk::read_json::<Done>(&read)).await;
    let done = done.map_err(|e| disk::failed("read", &path, &e))?;
    Ok(done.filter(|done| done.restore == restore).map(|done| done.root))
}

/// Whether files are being replaced, or were when the agent died.
pub(super) fn is_under_way(node: &Node, server: ServerId) -> bool {
    node.layout.place(server).beside(RESTORING).exists()
}

/// Refuses a start between two trees.
pub(crate) fn check_whole(node: &Node, server: ServerId) -> Result<(), AgentError> {
    if is_under_way(node, server) {
        let message = "its files are being replaced by those of a backup, and that did not come to its end: look at the \
                       log of this agent, and restart it to go on";
        return Err(AgentError::new(ErrorCode::Conflict, message));
    }
    Ok(())
}

/// Makes what is staged the server's files.
pub(super) async fn publish(
    node: &Arc<Node>,
    server: ServerId,
    restore: RestoreId,
    root: &str,
) -> Result<(), AgentError> {
    let mounted = node.around.runtime.house().data_is_mounted;
    let (place, staging, root) = (node.layout.place(server), staging_of(node, restore), root.to_owned());
    let at = place.data();
    let published = disk::blocking(move || {
        let phase = if mounted {
            Phase::Emptying
        } else {
            Phase::Swapping(fs::metadata(::transfer::staging_tree(&staging))?.ino())
        };
        let record = Record { restore, root, phase };
        disk::write_json(&place.beside(RESTORING), &record)?;
        go_on(&place, &staging, record)
    });
    published.await.map_err(|e| disk::failed("put the backup's files in", &at, &e))
}

/// Finishes what a crash has interrupted. Called before a server of this agent can be asked for anything.
pub(crate) async fn recover(node: &Node) {
    for server in node.observations().into_iter().map(|seen| seen.server_id) {
        let place = node.layout.place(server);
        let layout = node.layout.clone();
        let finished = disk::blocking(move || {
            let Some(record) = disk::read_json::<Record>(&place.beside(RESTORING))? else { return Ok(false) };
            go_on(&place, &staging(&layout, record.restore), record)?;
            Ok(true)
        });
        match finished.await {
            Ok(false) => {}
            Ok(true) => tracing::info!(%server, "backup: a restore that was interrupted is finished"),
            Err(error) => tracing::error!(%server, %error, "backup: a restore that was interrupted cannot be finished"),
        }
    }
}

/// From wherever the record says that it stands to the end.
fn go_on(place: &Place, staging: &Path, mut record: Record) -> io::Result<()> {
    let (tree, data) = (::transfer::staging_tree(staging), place.data());
    if let Phase::Swapping(inode) = record.phase
        && fs::metadata(&data)?.ino() != inode
    {
        // What was there goes with it: the exchange itself is one step, and the tree that was staged is proven.
        ::transfer::publish(&tree, &data).map_err(io::Error::other)?;
    }
    if record.phase == Phase::Emptying {
        let old = staging.join("old");
        disk::private_dir(&old)?;
        disk::move_all(&data, &old)?;
        record.phase = Phase::Filling;
        disk::write_json(&place.beside(RESTORING), &record)?;
    }
    if record.phase == Phase::Filling {
        ::transfer::publish_into(&tree, &data).map_err(io::Error::other)?;
    }
    disk::write_json(&place.beside(RESTORED), &Done { restore: record.restore, root: record.root })?;
    disk::remove_file(&place.beside(RESTORING))?;
    disk::sync_dir(&place.home)?;
    disk::remove_tree(staging)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    struct Scene {
        _dir: tempfile::TempDir,
        place: Place,
        staging: PathBuf,
    }

    /// A server with old files, and new ones in staging.
    fn scene() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(ServerId::new(), dir.path().join("servers/s"));
        let staging = dir.path().join("staging/r");
        for (at, names) in [(place.data(), ["a", "old"]), (staging.join("tree"), ["a", "new"])] {
            fs::create_dir_all(&at).unwrap();
            for name in names {
                fs::write(at.join(name), at.display().to_string()).unwrap();
            }
        }
        Scene { _dir: dir, place, staging }
    }

    fn record(phase: Phase) -> Record {
        Record { restore: RestoreId::new(), root: "r".to_owned(), phase }
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn is_done(scene: &Scene) {
        assert_eq!(names(&scene.place.data()), ["a", "new"]);
        assert!(fs::read_to_string(scene.place.data().join("a")).unwrap().contains("staging"));
        assert_eq!(names(&scene.place.home), ["data", RESTORED]);
        assert!(!scene.staging.exists());
    }

    #[test]
    fn a_swap_is_finished_whether_it_was_made_or_not() {
        let scene = scene();
        let inode = fs::metadata(scene.staging.join("tree")).unwrap().ino();
        go_on(&scene.place, &scene.staging, record(Phase::Swapping(inode))).unwrap();
        is_done(&scene);
        go_on(&scene.place, &scene.staging, record(Phase::Swapping(inode))).unwrap();
        is_done(&scene);
        let scene = self::scene();
        let inode = fs::metadata(scene.staging.join("tree")).unwrap().ino();
        let (tree, data, aside) = (scene.staging.join("tree"), scene.place.data(), scene.staging.join("aside"));
        for (from, to) in [(&tree, &aside), (&data, &tree), (&aside, &data)] {
            fs::rename(from, to).unwrap();
        }
        go_on(&scene.place, &scene.staging, record(Phase::Swapping(inode))).unwrap();
        is_done(&scene);
    }

    #[test]
    fn emptying_and_filling_are_finished_from_the_middle() {
        let scene = scene();
        let inode = fs::metadata(scene.place.data()).unwrap().ino();
        fs::create_dir(scene.staging.join("old")).unwrap();
        fs::rename(scene.place.data().join("a"), scene.staging.join("old/a")).unwrap();
        go_on(&scene.place, &scene.staging, record(Phase::Emptying)).unwrap();
        is_done(&scene);
        assert_eq!(fs::metadata(scene.place.data()).unwrap().ino(), inode, "the directory is the one that it was");
        let scene = self::scene();
        for name in ["a", "old"] {
            fs::remove_file(scene.place.data().join(name)).unwrap();
        }
        go_on(&scene.place, &scene.staging, record(Phase::Filling)).unwrap();
        is_done(&scene);
    }
}
