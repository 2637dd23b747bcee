//! The private directory in which a tree grows.
//!
//! ```text
//! staging/tree/    what the source has, as far as it is here
//! staging/old/     what an earlier session left; taken over file by file
//! staging/limbo/   inodes between two names, and files in the making
//! staging/trash/   what still earlier sessions left; removed at the end, because somebody waits at the beginning
//! ```

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::{
    error::{Error, Result},
    identity::Ticket,
    publish::{let_move, remove_tree},
    sys,
};

/// Where the tree grows inside a staging directory.
#[must_use]
pub fn staging_tree(staging: &Path) -> PathBuf {
    staging.join("tree")
}

/// Descriptors of the parts.
#[derive(Debug)]
pub(super) struct Staging {
    pub(super) path: PathBuf,
    pub(super) tree: OwnedFd,
    pub(super) limbo: OwnedFd,
    /// A tree to build on, which may be taken apart.
    pub(super) old: Option<OwnedFd>,
    /// A tree to build on, which is never modified.
    pub(super) base: Option<OwnedFd>,
    /// The directory itself, locked: one session at a time works in it.
    lock: OwnedFd,
}

/// How long the session before us may take to let go.
const PATIENCE: Duration = Duration::from_secs(10);

impl Staging {
    /// Makes the parts. A tree that is there already becomes the old one.
    pub(super) fn open(path: &Path, base: Option<&Path>) -> Result<Self> {
        let failed = |e| Error::io(path, e);
        sys::make_private_dir(path).map_err(failed)?;
        let lock = lock(path)?;
        let (tree, old, limbo) = (staging_tree(path), path.join("old"), path.join("limbo"));
        throw_away(path, &limbo)?;
        sys::make_private_dir(&limbo).map_err(failed)?;
        if tree.exists() {
            throw_away(path, &old)?;
            rustix::fs::rename(&tree, &old).map_err(failed)?;
        }
        sys::make_private_dir(&tree).map_err(failed)?;
        let open = |path: &Path| sys::open_top(path).map_err(|e| Error::io(path, e));
        Ok(Self {
            path: path.to_owned(),
            tree: open(&tree)?,
            limbo: open(&limbo)?,
            old: if old.exists() { Some(open(&old)?) } else { None },
            base: base.map(open_base).transpose()?.flatten(),
            lock,
        })
    }

    pub(super) fn tree(&self) -> BorrowedFd<'_> {
        self.tree.as_fd()
    }

    /// Is there something to build on?
    pub(super) fn has_basis(&self) -> bool {
        self.old.is_some() || self.base.is_some()
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.tree).map_err(|e| Error::io(&self.path, e))
    }

    /// What keeps other sessions out.
    pub(super) fn into_lock(self) -> OwnedFd {
        self.lock
    }

    /// Removes all but the tree.
    pub(super) fn clean_up(&self) -> Result<()> {
        remove_tree(&self.path.join("old"))?;
        remove_tree(&self.path.join("limbo"))?;
        remove_tree(&self.path.join("trash"))
    }
}

/// Moves a part out of the way, if it is there.
fn throw_away(staging: &Path, part: &Path) -> Result<()> {
    if !part.exists() {
        return Ok(());
    }
    let trash = staging.join("trash");
    let_move(part)?;
    let moved =
        sys::make_private_dir(&trash).and_then(|()| rustix::fs::rename(part, trash.join(Ticket::random().to_string())));
    moved.map_err(|e| Error::io(part, e))
}

/// Locks the directory. A session that was cut off holds it until its threads have noticed.
fn lock(path: &Path) -> Result<OwnedFd> {
    let dir = sys::open_top(path).map_err(|e| Error::io(path, e))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(dir),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::Refused(format!("another copy works in {}", path.display())));
            }
            Err(e) => return Err(Error::io(path, e)),
        }
    }
}

/// A base that does not exist is no base.
fn open_base(path: &Path) -> Result<Option<OwnedFd>> {
    match sys::open_top(path) {
        Ok(base) => Ok(Some(base)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(Error::io(path, e)),
    }
}
