//! Puts a staged tree where it belongs, in one step.

use std::{io, path::Path};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use crate::{
    error::{Error, Result},
    meta::is_root,
    sys,
};

/// Was something else at the destination?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Displaced {
    /// It is where the staged tree was.
    Yes,
    No,
}

/// Makes `staging_tree` the directory `destination`, which may exist: then they change places by one rename, and what
/// was there is removed. Both must be on one file system. Durable when it returns.
pub fn publish(staging_tree: &Path, destination: &Path) -> Result<()> {
    match put_in_place(staging_tree, destination)? {
        Displaced::Yes => remove_tree(staging_tree),
        Displaced::No => Ok(()),
    }
}

/// As [`publish`], but what was at the destination is kept where the staged tree was.
pub(crate) fn put_in_place(staging_tree: &Path, destination: &Path) -> Result<Displaced> {
    let closed = let_move(staging_tree)?;
    let displaced = match renameat_with(CWD, staging_tree, CWD, destination, RenameFlags::NOREPLACE) {
        Ok(()) => Displaced::No,
        Err(Errno::EXIST) => {
            exchange(staging_tree, destination)?;
            Displaced::Yes
        }
        Err(e) => return Err(Error::io(destination, e)),
    };
    if let Some(mode) = closed {
        std::fs::set_permissions(destination, mode).map_err(|e| Error::io(destination, e))?;
    }
    for path in [destination, staging_tree] {
        sync_parent(path)?;
    }
    Ok(displaced)
}

/// A directory that denies its owner writing cannot be moved to another by them, unless they are root: its own entry
/// for its parent changes. Opens such a one and returns the mode that it had.
pub(crate) fn let_move(dir: &Path) -> Result<Option<std::fs::Permissions>> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |e| Error::io(dir, e);
    let had = std::fs::symlink_metadata(dir).map_err(failed)?.permissions();
    if is_root() || had.mode() & 0o700 == 0o700 {
        return Ok(None);
    }
    let open = std::fs::Permissions::from_mode(had.mode() | 0o700);
    std::fs::set_permissions(dir, open).map_err(failed)?;
    Ok(Some(had))
}

fn exchange(staging_tree: &Path, destination: &Path) -> Result<()> {
    if !std::fs::symlink_metadata(destination).map_err(|e| Error::io(destination, e))?.is_dir() {
        return Err(Error::Refused(format!("{} exists and is not a directory", destination.display())));
    }
    let_move(destination)?;
    renameat_with(CWD, staging_tree, CWD, destination, RenameFlags::EXCHANGE).map_err(|e| Error::io(destination, e))
}

pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let synced = sys::open_top(parent).and_then(rustix::fs::fsync);
    synced.map_err(|e| Error::io(parent, e))
}

/// Removes a tree of which we are the owner, also where its directories forbid it.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path);
            std::fs::remove_dir_all(path).map_err(|e| Error::io(path, e))
        }
        other => other.map_err(|e| Error::io(path, e)),
    }
}

/// Gives us write permission on every directory, as far as we may; what fails shows when the removal fails again.
fn open_up(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).is_err() {
        return;
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            open_up(&entry.path());
        }
    }
}
