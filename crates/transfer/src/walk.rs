//! A stat walk over a tree: everything about every path but the content of files.
//!
//! Entries are in breadth-first order with the names of a directory sorted, so that the children of a directory are
//! one range, parents come before children, and the order is the same wherever the tree is.

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::{
    fs::{AtFlags, FileType, RawDir, Statx, StatxAttributes, StatxFlags, makedev, statx},
    io::Errno,
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, Result},
    sys::{self, Stamp},
    xattr::{self, Xattrs},
};

/// What the kernel says about one inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) size: u64,
    pub(crate) rdev: u64,
    pub(crate) mtime: Stamp,
    pub(crate) ctime: Stamp,
    /// Type and permissions.
    pub(crate) mode: u32,
    pub(crate) nlink: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Fewer blocks than its size needs: there may be holes.
    pub(crate) sparse: bool,
    /// Bytes on the disk.
    pub(crate) allocated: u64,
}

/// What only few paths have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extra {
    pub(crate) xattrs: Xattrs,
    /// Of a symbolic link.
    pub(crate) target: Vec<u8>,
}

/// One path.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) parent: u32,
    name_at: u32,
    name_len: u16,
    first_child: u32,
    child_count: u32,
    pub(crate) stat: Stat,
    extra: Option<Box<Extra>>,
}

/// How closely a walk looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    All,
    Stats,
}

/// A walked tree. Entry 0 is the top.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) entries: Vec<Entry>,
    names: Vec<u8>,
}

impl Stat {
    /// What must be the same for the content to be the same, as far as a stat can tell.
    pub(crate) fn version(&self) -> (u64, u64, u64, Stamp, Stamp) {
        (self.dev, self.ino, self.size, self.mtime, self.ctime)
    }

    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind() == FileType::Directory
    }

    pub(crate) fn is_file(&self) -> bool {
        self.kind() == FileType::RegularFile
    }

    pub(crate) fn inode(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    pub(crate) fn of_file(fd: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        Ok(Self::from(&statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?))
    }
}

impl From<&Statx> for Stat {
    fn from(x: &Statx) -> Self {
        let stamp = |t: rustix::fs::StatxTimestamp| Stamp { sec: t.tv_sec, nsec: t.tv_nsec };
        Self {
            dev: makedev(x.stx_dev_major, x.stx_dev_minor),
            ino: x.stx_ino,
            size: x.stx_size,
            rdev: makedev(x.stx_rdev_major, x.stx_rdev_minor),
            mtime: stamp(x.stx_mtime),
            ctime: stamp(x.stx_ctime),
            mode: x.stx_mode.into(),
            nlink: x.stx_nlink,
            uid: x.stx_uid,
            gid: x.stx_gid,
            sparse: x.stx_blocks.saturating_mul(512) < x.stx_size,
            allocated: x.stx_blocks.saturating_mul(512),
        }
    }
}

impl Tree {
    /// Walks what is below `top`. What vanishes meanwhile is not there.
    pub(crate) fn walk(top: BorrowedFd<'_>, cancel: &CancellationToken) -> Result<Self> {
        Self::walk_for(Detail::All, top, cancel)
    }

    /// As [`Self::walk`], without extended attributes and targets of links. Their changes show in the ctime.
    pub(crate) fn walk_stats(top: BorrowedFd<'_>, cancel: &CancellationToken) -> Result<Self> {
        Self::walk_for(Detail::Stats, top, cancel)
    }

    fn walk_for(detail: Detail, top: BorrowedFd<'_>, cancel: &CancellationToken) -> Result<Self> {
        let mut tree = Self::default();
        let stat = Stat::of_file(top).map_err(|e| Error::io(".", e))?;
        let xattrs = read_xattrs(top, b"", b"")?;
        tree.entries.push(Entry::new(0, (0, 0), stat, extra(xattrs, Vec::new())));
        let mut scratch = Vec::with_capacity(32 << 10);
        let mut at = 0;
        while at < tree.entries.len() {
            if tree.entries[at].stat.is_dir() {
                if cancel.is_cancelled() {
                    return Err(Error::Cancelled);
                }
                tree.walk_dir(detail, top, at, &mut scratch)?;
            }
            at += 1;
        }
        Ok(tree)
    }

    fn walk_dir(&mut self, detail: Detail, top: BorrowedFd<'_>, at: usize, scratch: &mut Vec<u8>) -> Result<()> {
        let path = self.path(at);
        let read = sys::open_dir(top, &path).and_then(|dir| read_names(&dir, scratch).map(|names| (dir, names)));
        let (dir, mut names) = match read {
            Ok(read) => read,
            // Removed, before or after we opened it, or replaced by something else: the next walk sees what.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE) if at != 0 => return Ok(()),
            Err(e) => return Err(unreadable(&path, e)),
        };
        names.sort_unstable();
        let first = index(self.entries.len())?;
        for name in names {
            if let Some((stat, extra)) = look(detail, dir.as_fd(), &path, &name)? {
                let name_at = index(self.names.len())?;
                self.names.extend_from_slice(&name);
                let len = u16::try_from(name.len()).expect("NAME_MAX");
                self.entries.push(Entry::new(index(at)?, (name_at, len), stat, extra));
            }
        }
        self.entries[at].first_child = first;
        self.entries[at].child_count = index(self.entries.len())? - first;
        Ok(())
    }

    /// Relative to the top; the top's is empty.
    pub(crate) fn path(&self, mut at: usize) -> Vec<u8> {
        let mut parts = Vec::new();
        while at != 0 {
            parts.push(self.name(at));
            at = self.entries[at].parent as usize;
        }
        parts.reverse();
        parts.join(&b'/')
    }

    pub(crate) fn shown(&self, at: usize) -> PathBuf {
        sys::shown(&self.path(at))
    }

    pub(crate) fn name(&self, at: usize) -> &[u8] {
        let entry = &self.entries[at];
        &self.names[entry.name_at as usize..][..entry.name_len.into()]
    }

    pub(crate) fn children(&self, at: usize) -> std::ops::Range<usize> {
        let entry = &self.entries[at];
        let first = entry.first_child as usize;
        first..first + entry.child_count as usize
    }

    pub(crate) fn extra(&self, at: usize) -> &Extra {
        static NONE: Extra = Extra { xattrs: Vec::new(), target: Vec::new() };
        self.entries[at].extra.as_deref().unwrap_or(&NONE)
    }

    /// Paths below the top.
    pub(crate) fn len(&self) -> u64 {
        self.entries.len() as u64 - 1
    }

    /// The first path at which two walks saw different things.
    pub(crate) fn first_difference(&self, other: &Self) -> Option<PathBuf> {
        let same = |at: usize| {
            let (mine, theirs) = (&self.entries[at], &other.entries[at]);
            let (a, b) = (&mine.stat, &theirs.stat);
            mine.parent == theirs.parent
                && self.name(at) == other.name(at)
                && (a.inode(), a.mode, a.ctime, a.mtime) == (b.inode(), b.mode, b.ctime, b.mtime)
                && (a.is_dir() || a.size == b.size)
        };
        let common = self.entries.len().min(other.entries.len());
        let longer = if self.entries.len() > common { self } else { other };
        let differs = (0..common).find(|at| !same(*at)).map(|at| self.shown(at));
        differs.or_else(|| (longer.entries.len() > common).then(|| longer.shown(common)))
    }

    /// Indices of the first names of all inodes that are not directories, in order.
    pub(crate) fn first_names(&self) -> impl Iterator<Item = usize> {
        let mut seen = std::collections::HashSet::new();
        (0..self.entries.len()).filter(move |at| {
            let stat = &self.entries[*at].stat;
            !stat.is_dir() && (stat.nlink < 2 || seen.insert(stat.inode()))
        })
    }
}

impl Entry {
    fn new(parent: u32, (name_at, name_len): (u32, u16), stat: Stat, extra: Option<Box<Extra>>) -> Self {
        Self { parent, name_at, name_len, first_child: 0, child_count: 0, stat, extra }
    }
}

/// Stat and rarities of one name; none if it vanished.
fn look(
    detail: Detail,
    dir: BorrowedFd<'_>,
    dir_path: &[u8],
    name: &[u8],
) -> Result<Option<(Stat, Option<Box<Extra>>)>> {
    let gone = |e: Errno| e == Errno::NOENT;
    let failed = |e: Errno| unreadable(&sys::join(dir_path, name), e);
    let found = match statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS) {
        Ok(found) => found,
        Err(e) if gone(e) => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    if found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        let path = sys::shown(&sys::join(dir_path, name));
        return Err(Error::cannot_carry(path, "another file system is mounted here; unmount it or move it out"));
    }
    let stat = Stat::from(&found);
    if detail == Detail::Stats {
        return Ok(Some((stat, None)));
    }
    let target = match stat.kind() {
        FileType::Symlink => match rustix::fs::readlinkat(dir, name, Vec::new()) {
            Ok(target) => target.into_bytes(),
            // Gone, or replaced by something that is no link.
            Err(e) if gone(e) || e == Errno::INVAL => return Ok(None),
            Err(e) => return Err(failed(e)),
        },
        _ => Vec::new(),
    };
    let xattrs = match xattr::read(&sys::via_proc(dir, name)) {
        Ok(xattrs) => xattrs,
        Err(e) if gone(e) => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    Ok(Some((stat, extra(xattrs, target))))
}

fn read_xattrs(dir: BorrowedFd<'_>, dir_path: &[u8], name: &[u8]) -> Result<Xattrs> {
    // With a trailing dot, so that the directory itself is meant and not the link in /proc.
    let name = if name.is_empty() { b"." } else { name };
    xattr::read(&sys::via_proc(dir, name)).map_err(|e| unreadable(dir_path, e))
}

fn extra(xattrs: Xattrs, target: Vec<u8>) -> Option<Box<Extra>> {
    (!xattrs.is_empty() || !target.is_empty()).then(|| Box::new(Extra { xattrs, target }))
}

fn read_names(dir: &OwnedFd, scratch: &mut Vec<u8>) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    let spare: &mut [MaybeUninit<u8>] = scratch.spare_capacity_mut();
    let mut entries = RawDir::new(dir, spare);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// A path that we may not read cannot be carried; anything else is the file system's failure.
pub(crate) fn unreadable(path: &[u8], e: Errno) -> Error {
    match e {
        Errno::ACCESS | Errno::PERM => Error::cannot_carry(sys::shown(path), "it cannot be read: permission denied"),
        Errno::NAMETOOLONG => Error::cannot_carry(sys::shown(path), "its path is longer than 4096 bytes"),
        e => Error::io(sys::shown(path), e),
    }
}

fn index(n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| Error::Refused("a tree of more than 4 billion paths".to_owned()))
}
