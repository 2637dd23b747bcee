//! A stat walk over a tree: everything about every path but the content of files.
//!
//! Entries are in breadth-first order with the names of a directory sorted, so that the children of a directory are
//! one range, parents come before children, and the order is the same wherever the tree is.

use std::{
    collections::HashMap,
    mem::MaybeUninit,
    ops::Range,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::{
    fs::{AtFlags, FileType, RawDir, StatxAttributes, StatxFlags, statx},
    io::Errno,
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, Result},
    lost_and_found,
    stat::Stat,
    sys::{self, Stamp},
    xattr::{self, Xattrs},
};

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

/// Bytes of extended attributes that fit into a message with much to spare.
const MAX_XATTRS: usize = 512 << 10;

/// How closely a walk looks.
#[derive(Clone, Copy, Debug)]
enum Detail<'a> {
    All,
    Stats,
    News { before: &'a Tree, since: Stamp },
}

/// Where the directories of a walk are in the walk before.
struct Known<'a> {
    detail: Detail<'a>,
    /// Per entry; only with [`Detail::News`].
    old: HashMap<usize, usize>,
}

impl<'a> Known<'a> {
    fn new(detail: Detail<'a>) -> Self {
        let has_top = matches!(detail, Detail::News { before, .. } if !before.entries.is_empty());
        Self { detail, old: if has_top { HashMap::from([(0, 0)]) } else { HashMap::new() } }
    }

    /// What the directory `at` had before.
    fn children(&mut self, at: usize) -> Range<usize> {
        match (self.detail, self.old.remove(&at)) {
            (Detail::News { before, .. }, Some(old)) => before.children(old),
            _ => 0..0,
        }
    }

    /// Takes `name` out of `theirs`; both are sorted.
    fn find(&self, theirs: &mut Range<usize>, name: &[u8]) -> Option<usize> {
        let Detail::News { before, .. } = self.detail else { return None };
        while theirs.start < theirs.end && before.name(theirs.start) < name {
            theirs.start += 1;
        }
        let found = theirs.start;
        (found < theirs.end && before.name(found) == name).then_some(found)
    }

    fn note(&mut self, at: usize, before: Option<usize>) {
        if let (Detail::News { before: tree, .. }, Some(old)) = (self.detail, before)
            && tree.entries[old].stat.is_dir()
        {
            self.old.insert(at, old);
        }
    }
}

/// The same inode, and nothing about it has changed for long enough to be sure.
fn is_old(before: &Stat, now: &Stat, since: Stamp) -> bool {
    before.inode() == now.inode() && before.mode == now.mode && before.ctime == now.ctime && now.ctime < since
}

/// A walked tree. Entry 0 is the top.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) entries: Vec<Entry>,
    names: Vec<u8>,
}

impl Tree {
    /// Walks what is below `top`. What vanishes meanwhile is not there.
    pub(crate) fn walk(top: BorrowedFd<'_>, cancel: &CancellationToken) -> Result<Self> {
        Self::walk_for(Detail::All, top, cancel)
    }

    /// As [`Self::walk`]. What was the same inode at the same path in `before`, and has not changed since, keeps its
    /// attributes and its link's target without another look. `since` is older than that walk: a stamp before it
    /// cannot be that of a change that the walk missed.
    pub(crate) fn walk_again(
        top: BorrowedFd<'_>,
        before: &Self,
        since: Stamp,
        cancel: &CancellationToken,
    ) -> Result<Self> {
        Self::walk_for(Detail::News { before, since }, top, cancel)
    }

    /// As [`Self::walk`], without extended attributes and targets of links. Their changes show in the ctime.
    pub(crate) fn walk_stats(top: BorrowedFd<'_>, cancel: &CancellationToken) -> Result<Self> {
        Self::walk_for(Detail::Stats, top, cancel)
    }

    fn walk_for(detail: Detail<'_>, top: BorrowedFd<'_>, cancel: &CancellationToken) -> Result<Self> {
        let mut tree = Self::default();
        let stat = Stat::of_file(top).map_err(|e| Error::io(".", e))?;
        // With a dot behind it, so that the directory is meant and not the link in /proc.
        let xattrs = xattr::read(&sys::via_proc(top, b".")).map_err(|e| unreadable(b"", e))?;
        tree.entries.push(Entry::new(0, (0, 0), stat, extra(xattrs, Vec::new())));
        let mut scratch = Vec::with_capacity(32 << 10);
        let mut known = Known::new(detail);
        let mut at = 0;
        while at < tree.entries.len() {
            if tree.entries[at].stat.is_dir() {
                if cancel.is_cancelled() {
                    return Err(Error::Cancelled);
                }
                tree.walk_dir(&mut known, top, at, &mut scratch)?;
            }
            at += 1;
        }
        Ok(tree)
    }

    fn walk_dir(&mut self, known: &mut Known<'_>, top: BorrowedFd<'_>, at: usize, scratch: &mut Vec<u8>) -> Result<()> {
        let path = self.path(at);
        let read = sys::open_dir(top, &path).and_then(|dir| read_names(&dir, scratch).map(|names| (dir, names)));
        let (dir, mut names) = match read {
            Ok(read) => read,
            // Removed, before or after we opened it, or replaced by something else: the next walk sees what.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE) if at != 0 => return Ok(()),
            Err(e) => return Err(unreadable(&path, e)),
        };
        names.sort_unstable();
        if at == 0 {
            leave_out_lost_and_found(&mut names, dir.as_fd())?;
        }
        let first = index(self.entries.len())?;
        let mut theirs = known.children(at);
        for name in names {
            let before = known.find(&mut theirs, &name);
            if let Some((stat, extra)) = look(known.detail, before, dir.as_fd(), &path, &name)? {
                known.note(self.entries.len(), before);
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

    pub(crate) fn children(&self, at: usize) -> Range<usize> {
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

fn leave_out_lost_and_found(names: &mut Vec<Vec<u8>>, top: BorrowedFd<'_>) -> Result<()> {
    if let Ok(at) = names.binary_search_by(|name| name.as_slice().cmp(lost_and_found::NAME))
        && lost_and_found::is_it(top, lost_and_found::NAME).map_err(|e| unreadable(lost_and_found::NAME, e))?
    {
        names.remove(at);
    }
    Ok(())
}

/// Stat and rarities of one name; none if it vanished.
fn look(
    detail: Detail<'_>,
    before_at: Option<usize>,
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
    match (detail, before_at) {
        (Detail::Stats, _) => return Ok(Some((stat, None))),
        (Detail::News { before, since }, Some(at)) if is_old(&before.entries[at].stat, &stat, since) => {
            return Ok(Some((stat, before.entries[at].extra.clone())));
        }
        _ => {}
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
    let bytes: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_XATTRS {
        let path = sys::shown(&sys::join(dir_path, name));
        return Err(Error::cannot_carry(path, "its extended attributes are larger than 512 KiB"));
    }
    Ok(Some((stat, extra(xattrs, target))))
}

fn extra(xattrs: Xattrs, target: Vec<u8>) -> Option<Box<Extra>> {
    (!xattrs.is_empty() || !target.is_empty()).then(|| Box::new(Extra { xattrs, target }))
}

/// What is in a directory, without its own names for itself and its parent.
pub(crate) fn names_in(dir: &OwnedFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    // Not the descriptor that we were given: it would have to be wound back.
    read_names(&sys::open_dir(dir.as_fd(), b"")?, &mut Vec::with_capacity(32 << 10))
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
