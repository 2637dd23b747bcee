//! Publishes a staged tree into a directory that must stay the one it is, because somebody has it mounted: entry by
//! entry, so that a crash in the middle can be finished.
//!
//! ```text
//! nothing ─► journal is durable ─► entries are renamed, one by one ─► they are durable ─► the directory's own
//!            (names, metadata)                                                            metadata ─► staging is gone
//! ```
//!
//! The journal lies beside the staged tree (`publishing`), never where the game sees it. It says which names belong to
//! the tree, so that a repeat can tell them from foreign ones, and notices if one is in neither place. It stays behind
//! as the proof of what was done, and goes with the staging directory.

use std::{
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, RenameFlags, Uid, chmodat, chownat, fchmod, fsync, renameat_with},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    lost_and_found,
    meta::{self, OWNER_RWX},
    publish::sync_parent,
    stat::Stat,
    sys, walk,
    wire::Meta,
    xattr,
};

/// What will be where, written before anything moves.
#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    /// Inode of the destination: a journal is of one directory.
    destination: u64,
    /// What the destination itself becomes.
    top: Meta,
    entries: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    name: Vec<u8>,
    /// Of a directory that does not let its owner in: it can only be moved while it does.
    closed: Option<u16>,
}

/// Both ends of the move.
struct Filling<'a> {
    /// None once it is empty and gone.
    tree: Option<OwnedFd>,
    destination: OwnedFd,
    journal: Journal,
    shown: &'a Path,
}

/// Called after each step that a crash may follow; for tests.
type Fault<'a> = &'a mut dyn FnMut() -> Result<()>;

/// Moves what is in `staging_tree` into the existing directory `destination`, which keeps its inode and gets the mode,
/// time and attributes of the tree's top, and its owner where we may give it. Both must be on one file system. Durable
/// when it returns. Interrupted anywhere, or done already, it is called again and finishes.
///
/// A destination with entries that are not of this tree is refused (but for the file system's own `lost+found`).
pub fn publish_into(staging_tree: &Path, destination: &Path) -> Result<()> {
    fill(staging_tree, destination, &mut || Ok(()))
}

fn fill(staging_tree: &Path, destination: &Path, fault: Fault<'_>) -> Result<()> {
    let path = journal_of(staging_tree);
    let into = sys::open_top(destination).map_err(|e| Error::io(destination, e))?;
    let (tree, begun) = (Staged::open(staging_tree)?, read(&path)?);
    let is_new = begun.is_none();
    let journal = match (begun, &tree) {
        (Some(journal), _) => journal,
        (None, Some(tree)) => Journal::new(tree, staging_tree, &into)?,
        (None, None) => return Err(Error::io(staging_tree, Errno::NOENT)),
    };
    let filling = Filling { tree: tree.map(|tree| tree.dir), destination: into, journal, shown: destination };
    filling.check()?;
    if is_new {
        write(&path, &filling.journal)?;
        fault()?;
    }
    filling.move_all(fault)?;
    filling.finish()?;
    fault()?;
    remove_emptied(staging_tree)?;
    fault()
}

fn journal_of(staging_tree: &Path) -> PathBuf {
    staging_tree.with_file_name("publishing")
}

/// The top of the staged tree, and what it was before we opened it.
struct Staged {
    dir: OwnedFd,
    stat: Stat,
}

impl Staged {
    fn open(path: &Path) -> Result<Option<Self>> {
        let failed = |e| Error::io(path, e);
        let stat = match meta::look(CWD, path.as_os_str().as_bytes()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.map_err(failed)?,
        };
        // A top of mode 0000 lets not even us in.
        let dir = sys::open_top(path).or_else(|e| match e {
            Errno::ACCESS => rustix::fs::chmod(path, Mode::RWXU).and_then(|()| sys::open_top(path)),
            e => Err(e),
        });
        Ok(Some(Self { dir: dir.map_err(failed)?, stat }))
    }
}

fn read(path: &Path) -> Result<Option<Journal>> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let damaged = |e| Error::io(path, io::Error::new(io::ErrorKind::InvalidData, e));
            postcard::from_bytes(&bytes).map(Some).map_err(damaged)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path, e)),
    }
}

/// Whole or not at all.
fn write(path: &Path, journal: &Journal) -> Result<()> {
    let new = path.with_extension("new");
    let bytes = postcard::to_stdvec(journal).expect("plain data");
    let written = || {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    written().map_err(|e| Error::io(path, e))?;
    sync_parent(path)
}

fn remove_emptied(staging_tree: &Path) -> Result<()> {
    match std::fs::remove_dir(staging_tree) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(staging_tree, e)),
        _ => sync_parent(staging_tree),
    }
}

impl Journal {
    fn new(tree: &Staged, path: &Path, into: &OwnedFd) -> Result<Self> {
        let failed = |e| Error::io(path, e);
        let (dir, stat) = (tree.dir.as_fd(), &tree.stat);
        let mut entries = Vec::new();
        for name in walk::names_in(&tree.dir).map_err(failed)? {
            let found = meta::look(dir, &name).map_err(failed)?;
            let closed = Some(mode(&found)).filter(|mode| found.is_dir() && mode & OWNER_RWX != OWNER_RWX);
            entries.push(Entry { name, closed });
        }
        let xattrs = xattr::read(&sys::via_proc(dir, b".")).map_err(failed)?;
        let top = Meta { mode: mode(stat), uid: stat.uid, gid: stat.gid, mtime: stat.mtime, xattrs };
        let destination = Stat::of_file(into.as_fd()).map_err(failed)?.ino;
        Ok(Self { destination, top, entries })
    }
}

fn mode(stat: &Stat) -> u16 {
    u16::try_from(stat.mode & 0o7777).expect("twelve bits")
}

impl Filling<'_> {
    fn failed(&self, name: &[u8], e: Errno) -> Error {
        Error::io(self.shown.join(sys::shown(name)), e)
    }

    /// Is it the directory of the journal, and is nothing in it but what we brought?
    fn check(&self) -> Result<()> {
        let stat = Stat::of_file(self.destination.as_fd()).map_err(|e| self.failed(b"", e))?;
        if stat.ino != self.journal.destination {
            let why = format!("{} is not the directory into which this tree was being published", self.shown.display());
            return Err(Error::Refused(why));
        }
        for name in walk::names_in(&self.destination).map_err(|e| self.failed(b"", e))? {
            let ours = self.journal.entries.iter().any(|entry| entry.name == name) && !self.is_staged(&name)?;
            let nobodys = lost_and_found::is_it(self.destination.as_fd(), &name).map_err(|e| self.failed(&name, e))?;
            if !ours && !nobodys {
                let path = self.shown.join(sys::shown(&name));
                let why = format!("{} is there already; move it away and try again", path.display());
                return Err(Error::Refused(why));
            }
        }
        Ok(())
    }

    fn is_staged(&self, name: &[u8]) -> Result<bool> {
        let Some(tree) = &self.tree else { return Ok(false) };
        there(tree.as_fd(), name).map_err(|e| self.failed(name, e))
    }

    fn move_all(&self, fault: Fault<'_>) -> Result<()> {
        if let Some(tree) = &self.tree {
            // The top's own mode may keep us from taking anything out of it.
            fchmod(tree, Mode::RWXU).map_err(|e| self.failed(b"", e))?;
            fault()?;
        }
        self.journal.entries.iter().try_for_each(|entry| self.move_one(entry, fault))
    }

    fn move_one(&self, entry: &Entry, fault: Fault<'_>) -> Result<()> {
        let (into, name) = (self.destination.as_fd(), entry.name.as_slice());
        let failed = |e| self.failed(name, e);
        let set_mode = |dir: BorrowedFd<'_>, mode: u16| {
            chmodat(dir, name, Mode::from_raw_mode(mode.into()), AtFlags::empty()).map_err(failed)
        };
        if let Some(tree) = self.tree.as_ref().filter(|_| self.is_staged(name).unwrap_or(true)) {
            if let Some(mode) = entry.closed {
                set_mode(tree.as_fd(), mode | OWNER_RWX)?;
                fault()?;
            }
            renameat_with(tree, name, into, name, RenameFlags::NOREPLACE).map_err(failed)?;
            fault()?;
        } else if !there(into, name).map_err(failed)? {
            return Err(failed(Errno::NOENT));
        }
        if let Some(mode) = entry.closed {
            set_mode(into, mode)?;
            fault()?;
        }
        Ok(())
    }

    /// The names first, then what they would disturb: each of them moves the time.
    fn finish(&self) -> Result<()> {
        let into = self.destination.as_fd();
        fsync(into).map_err(|e| self.failed(b"", e))?;
        let stat = Stat::of_file(into).map_err(|e| self.failed(b"", e))?;
        let mut top = self.journal.top.clone();
        let (uid, gid) = (Uid::from_raw(top.uid), Gid::from_raw(top.gid));
        if (stat.uid, stat.gid) != (top.uid, top.gid)
            && let Err(Errno::PERM) = chownat(into, ".", Some(uid), Some(gid), AtFlags::empty())
        {
            (top.uid, top.gid) = (stat.uid, stat.gid);
        }
        meta::apply(into, b".", &top, false, b"").map_err(|e| match e {
            Error::CannotCarry { why, .. } => Error::CannotCarry { path: self.shown.to_owned(), why },
            Error::Io { source, .. } => Error::Io { path: self.shown.to_owned(), source },
            e => e,
        })?;
        // Also what was renamed: modes of directories are inodes' business, not that of the directory above.
        rustix::fs::syncfs(into).map_err(|e| self.failed(b"", e))
    }
}

fn there(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<bool> {
    match meta::look(dir, name) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt, os::unix::fs::PermissionsExt};

    use tempfile::TempDir;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{OwnerMap, TreeRoot, tree_root};

    struct Scene {
        _dir: TempDir,
        tree: PathBuf,
        into: PathBuf,
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn root_of(dir: &Path) -> TreeRoot {
        tree_root(dir, OwnerMap::Keep, &CancellationToken::new()).unwrap().root
    }

    /// A staged tree of a few entries, and an empty directory of another mode and time.
    fn scene() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let (tree, into) = (dir.path().join("staging/tree"), dir.path().join("data"));
        fs::create_dir_all(tree.join("world/deep")).unwrap();
        fs::create_dir(tree.join("shut")).unwrap();
        fs::create_dir(&into).unwrap();
        for (name, content) in [("world/deep/region", "r"), ("shut/file", "f"), ("a", "1"), ("b", "2")] {
            fs::write(tree.join(name), content).unwrap();
        }
        fs::hard_link(tree.join("a"), tree.join("world/a")).unwrap();
        std::os::unix::fs::symlink("world", tree.join("link")).unwrap();
        rustix::fs::setxattr(&tree, "user.note", b"kept", rustix::fs::XattrFlags::empty()).unwrap();
        chmod(&tree.join("shut"), 0o555);
        chmod(&tree, 0o751);
        let old = rustix::fs::Timespec { tv_sec: 1_000_000, tv_nsec: 7 };
        let times = rustix::fs::Timestamps { last_access: old, last_modification: old };
        rustix::fs::utimensat(CWD, &tree, &times, AtFlags::empty()).unwrap();
        Scene { _dir: dir, tree, into }
    }

    fn crash() -> Error {
        Error::Cancelled
    }

    #[test]
    fn a_tree_is_published_whole_into_the_directory_that_is_there() {
        let Scene { _dir, tree, into } = scene();
        let (root, inode) = (root_of(&tree), fs::metadata(&into).unwrap().ino());
        publish_into(&tree, &into).unwrap();
        assert_eq!(root_of(&into), root, "mode, time and attributes of the top among it");
        assert_eq!(fs::metadata(&into).unwrap().ino(), inode);
        assert!(!tree.exists());
        publish_into(&tree, &into).unwrap();
        assert_eq!(root_of(&into), root, "a repeat changes nothing");
    }

    #[test]
    fn interrupted_anywhere_it_is_finished_by_calling_it_again() {
        let mut steps = 0;
        let whole = scene();
        fill(&whole.tree, &whole.into, &mut || {
            steps += 1;
            Ok(())
        })
        .unwrap();
        // A journal, the top, six entries, the metadata and the removal at least.
        assert!(steps >= 9, "{steps}");
        for at in 0..steps {
            let Scene { _dir, tree, into } = scene();
            let root = root_of(&tree);
            let mut passed = 0;
            let interrupted = fill(&tree, &into, &mut || {
                passed += 1;
                if passed > at { Err(crash()) } else { Ok(()) }
            });
            assert!(matches!(interrupted, Err(Error::Cancelled)) && passed == at + 1, "the fault at {at} fired");
            publish_into(&tree, &into).unwrap();
            assert_eq!(root_of(&into), root, "after an interruption at {at}");
            assert!(!tree.exists());
        }
    }

    #[test]
    fn foreign_entries_are_refused_and_named() {
        let Scene { _dir, tree, into } = scene();
        let root = root_of(&tree);
        fs::write(into.join("somebodys"), "x").unwrap();
        let refused = publish_into(&tree, &into).unwrap_err();
        assert!(matches!(&refused, Error::Refused(why) if why.contains("data/somebodys")), "{refused:?}");
        assert_eq!(root_of(&tree), root, "nothing was moved");
        // Also one of the same name as an entry that is still to come.
        fs::remove_file(into.join("somebodys")).unwrap();
        fs::write(into.join("a"), "x").unwrap();
        assert!(matches!(publish_into(&tree, &into), Err(Error::Refused(_))));
        assert_eq!(fs::read(into.join("a")).unwrap(), b"x");
        fs::remove_file(into.join("a")).unwrap();
        publish_into(&tree, &into).unwrap();
    }

    #[test]
    fn what_comes_in_between_two_attempts_is_noticed() {
        let interrupted = || {
            let scene = scene();
            let mut passed = 0;
            let outcome = fill(&scene.tree, &scene.into, &mut || {
                passed += 1;
                if passed > 4 { Err(crash()) } else { Ok(()) }
            });
            assert!(matches!(outcome, Err(Error::Cancelled)));
            scene
        };
        let foreign = interrupted();
        fs::write(foreign.into.join("somebodys"), "x").unwrap();
        assert!(matches!(publish_into(&foreign.tree, &foreign.into), Err(Error::Refused(_))));
        let lost = interrupted();
        let moved = fs::read_dir(&lost.into).unwrap().next().unwrap().unwrap().path();
        fs::rename(moved, lost.tree.with_file_name("elsewhere")).unwrap();
        assert!(matches!(publish_into(&lost.tree, &lost.into), Err(Error::Io { .. })));
        let other = interrupted();
        fs::rename(&other.into, other.into.with_file_name("old")).unwrap();
        fs::create_dir(&other.into).unwrap();
        assert!(matches!(publish_into(&other.tree, &other.into), Err(Error::Refused(_))));
    }

    #[test]
    fn without_a_tree_and_a_journal_there_is_nothing_to_publish() {
        let Scene { _dir, tree, into } = scene();
        fs::remove_dir_all(&tree).unwrap();
        assert!(matches!(publish_into(&tree, &into), Err(Error::Io { .. })));
        assert_eq!(fs::read_dir(&into).unwrap().count(), 0);
    }
}
