//! System calls in the shape we need them. Paths inside a tree are bytes relative to the tree's descriptor, and are
//! opened so that nothing outside it can be reached, whatever a peer or a running game puts there.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags},
    io::Errno,
    time::{ClockId, Timespec},
};

/// A file system's time stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) sec: i64,
    pub(crate) nsec: u32,
}

impl Stamp {
    pub(crate) fn timespec(self) -> Timespec {
        Timespec { tv_sec: self.sec, tv_nsec: self.nsec.into() }
    }
}

/// The clock with which the kernel stamps ctime. `CLOCK_REALTIME` may be ahead of it by a tick.
pub(crate) fn coarse_now() -> Stamp {
    let now = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
    Stamp { sec: now.tv_sec, nsec: u32::try_from(now.tv_nsec).unwrap_or(0) }
}

/// Waits until that clock has moved on, so that whatever was done before is stamped earlier than what it says now.
/// A tick is 10 ms at most.
pub(crate) fn next_coarse_tick() {
    let before = coarse_now();
    while coarse_now() == before {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Opens a directory by an ordinary path, as the top of a tree.
pub(crate) fn open_top(dir: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(CWD, dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens `path` beneath `top`, through real directories only. An empty path is the top itself.
pub(crate) fn open_beneath(top: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b".".as_slice() } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    loop {
        match rustix::fs::openat2(top, path, flags, mode, resolve) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            other => return other,
        }
    }
}

/// Opens a directory beneath `top`.
pub(crate) fn open_dir(top: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    open_beneath(top, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// A path for calls that know no directory descriptor. It leads to `name` in the directory `dir`.
pub(crate) fn via_proc(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}", dir.as_raw_fd()).into_bytes();
    if !name.is_empty() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    path
}

/// `dir` and `name`, both relative to a tree.
pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    path.extend_from_slice(dir);
    if !dir.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// For errors and reports.
pub(crate) fn shown(path: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(if path.is_empty() { b"." } else { path }))
}

/// Are ctime and mtime set by every store, also one through `mmap`? True where a page is write-protected when it
/// becomes clean, and the barrier of a round makes all pages clean.
pub(crate) fn stamps_are_reliable(fd: BorrowedFd<'_>) -> bool {
    const RELIABLE: [u64; 5] = [
        0xEF53,      /* ext4 */
        0x5846_5342, /* xfs */
        0x9123_683E, /* btrfs */
        0x794C_7630, /* overlay */
        0xF2F5_2010,
    ];
    rustix::fs::fstatfs(fd).is_ok_and(|fs| u64::try_from(fs.f_type).is_ok_and(|t| RELIABLE.contains(&t)))
}

/// Makes a directory that only we can enter, unless it is there.
pub(crate) fn make_private_dir(path: &Path) -> rustix::io::Result<()> {
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}
