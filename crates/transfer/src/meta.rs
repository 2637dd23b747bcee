//! Metadata of one inode: what it is, and making it what it should be.

use std::os::fd::BorrowedFd;

use rustix::{
    fs::{AtFlags, Gid, Mode, StatxFlags, Timestamps, Uid, chmodat, chownat, statx, utimensat},
    io::Errno,
};

use crate::{
    error::{Error, Result},
    stat::Stat,
    sys::{self, shown},
    wire::Meta,
    xattr,
};

/// Without these bits an owner who is not root cannot work with a file, or with what is in a directory.
pub(crate) const OWNER_RW: u16 = 0o600;
pub(crate) const OWNER_RWX: u16 = 0o700;

pub(crate) fn look(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Stat> {
    statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS).map(|x| Stat::from(&x))
}

/// Sets what differs. The order matters: a new owner clears the set-user-id bit and capabilities, an ACL changes the
/// mode's group bits to what they are anyway, and everything but the time itself may move the time.
pub(crate) fn apply(dir: BorrowedFd<'_>, name: &[u8], meta: &Meta, is_link: bool, path: &[u8]) -> Result<Stat> {
    let failed = |e| Error::io(shown(path), e);
    let stat = look(dir, name).map_err(failed)?;
    let mut changed = false;
    if (stat.uid, stat.gid) != (meta.uid, meta.gid) {
        let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
        chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(|e| refused(path, meta, e))?;
        changed = true;
    }
    let attributes = sys::via_proc(dir, name);
    xattr::apply(&attributes, &meta.xattrs).map_err(|(what, e)| match e {
        Errno::NOSPC | Errno::DQUOT => failed(e),
        e => Error::cannot_carry(shown(path), format!("the target does not take {what}: {e}")),
    })?;
    if !is_link && (changed || stat.mode & 0o7777 != meta.mode.into() || !meta.xattrs.is_empty()) {
        chmodat(dir, name, Mode::from_raw_mode(meta.mode.into()), AtFlags::empty()).map_err(failed)?;
        changed = true;
    }
    if stat.mtime != meta.mtime {
        let time = meta.mtime.timespec();
        utimensat(dir, name, &Timestamps { last_access: time, last_modification: time }, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed)?;
        changed = true;
    }
    let left = if changed || !meta.xattrs.is_empty() { look(dir, name).map_err(failed)? } else { stat };
    if !is_link && left.mode & 0o7777 != meta.mode.into() {
        return Err(mode_refused(path, meta.mode));
    }
    Ok(left)
}

pub(crate) fn mode_refused(path: &[u8], mode: u16) -> Error {
    Error::cannot_carry(shown(path), format!("the target does not take the mode {mode:o}"))
}

fn refused(path: &[u8], meta: &Meta, e: Errno) -> Error {
    match e {
        Errno::PERM | Errno::INVAL => {
            let why =
                format!("the target may not give it to {}:{}; receive as root or map the owner", meta.uid, meta.gid);
            Error::cannot_carry(shown(path), why)
        }
        e => Error::io(shown(path), e),
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
