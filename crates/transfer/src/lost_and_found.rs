//! `lost+found` is nobody's file: the file system keeps it at its root for what a repair finds. It is neither measured,
//! sent, hashed nor in the way of what is published.
//!
//! The rule: a directory of that name at the top of the tree, the top itself being where a file system is mounted,
//! owned by root, and closed to everybody else (a cluster may open it to a volume's group). Any other `lost+found` is
//! a file like all.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Mode, StatxAttributes, StatxFlags, statx};

use crate::stat::Stat;

pub(crate) const NAME: &[u8] = b"lost+found";

/// Is `name` at the top of a tree the file system's own?
pub(crate) fn is_it(top: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<bool> {
    if name != NAME || !is_mount_point(top)? {
        return Ok(false);
    }
    let found = statx(top, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS);
    match found {
        Ok(found) => Ok(looks_like_it(&Stat::from(&found))),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

fn is_mount_point(top: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let top = statx(top, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    Ok(top.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn looks_like_it(stat: &Stat) -> bool {
    stat.is_dir() && stat.uid == 0 && !Mode::from_raw_mode(stat.mode).intersects(Mode::RWXO)
}
