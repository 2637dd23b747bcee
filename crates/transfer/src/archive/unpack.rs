//! Reading: members become files beneath one directory descriptor, whatever their names say.
//!
//! Nothing an archive holds is trusted. Its paths lead through directories that it has made itself, never through links;
//! a name comes once; there is no more of anything than was announced.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::{
    Advice, AtFlags, FileType, Mode, OFlags, chmodat, fadvise, linkat, mkdirat, mknodat, symlinkat, syncfs,
};
use rustix::io::Errno;
use tar::{Archive, EntryType};
use tokio_util::sync::CancellationToken;
use zstd::stream::read::Decoder;

use super::member::{self, Member};
use super::{NO_OWNER, Unpacked};
use crate::audit::{RootOf, tree_root_of};
use crate::error::{Error, Result};
use crate::meta::{self, OWNER_RW, OWNER_RWX, is_root};
use crate::options::OwnerMap;
use crate::progress::Progress;
use crate::sys;
use crate::wire::{Meta, valid_name};

/// Bytes of one extended header: attributes of half a mebibyte and two long names fit well.
const MAX_EXTENDED: u64 = 2 << 20;
/// Bytes of the map of a sparse file.
const MAX_MAP: u64 = 64 << 20;
const RUN: usize = 1 << 20;
/// Names that are longer than any file system takes.
const MAX_PATH: usize = 4096;

/// What an archive may bring at most.
#[derive(Clone, Copy, Debug)]
pub struct UnpackLimits {
    /// Files, directories and links.
    pub files: u64,
    /// Bytes of content, holes counted.
    pub bytes: u64,
}

/// Makes the tree in `tree`, an empty directory of ours, of the archive `from`. Everything belongs to `owner`. Durable
/// when it returns, and read again. Blocks the thread. `progress` counts what is written.
///
/// On failure something may be in `tree`; it is the caller's to remove.
pub fn unpack(
    from: impl Read,
    tree: &Path,
    owner: OwnerMap,
    limits: UnpackLimits,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Unpacked> {
    let top = sys::open_top(tree).map_err(|e| Error::io(tree, e))?;
    progress.bytes_total.store(limits.bytes, Relaxed);
    progress.files_total.store(limits.files, Relaxed);
    let mut unpacker = Unpacker {
        top,
        owner,
        limits,
        progress,
        cancel,
        dirs: BTreeMap::new(),
        withheld: BTreeMap::new(),
        files: 0,
        bytes: 0,
        buffer: vec![0; RUN],
    };
    unpacker.members(from)?;
    unpacker.seal()?;
    syncfs(&unpacker.top).map_err(|e| Error::io(tree, e))?;
    let withheld = &unpacker.withheld;
    let mode_of = |path: &[u8]| withheld.get(path).copied();
    let found = tree_root_of(tree, &RootOf { owner: NO_OWNER, mode_of: &mode_of }, cancel)?;
    unpacker.close()?;
    syncfs(&unpacker.top).map_err(|e| Error::io(tree, e))?;
    Ok(Unpacked { root: found.root, files: found.files, bytes: found.bytes })
}

struct Unpacker<'a> {
    top: OwnedFd,
    owner: OwnerMap,
    limits: UnpackLimits,
    progress: &'a Progress,
    cancel: &'a CancellationToken,
    /// Directories get their metadata when nothing in them will change any more.
    dirs: BTreeMap<Vec<u8>, Meta>,
    /// Modes that would keep us out who are not root; set last.
    withheld: BTreeMap<Vec<u8>, u16>,
    files: u64,
    bytes: u64,
    buffer: Vec<u8>,
}

fn damaged(what: impl std::fmt::Display) -> Error {
    Error::Refused(format!("the archive is damaged, or not one of ours: {what}"))
}

impl Unpacker<'_> {
    fn members(&mut self, from: impl Read) -> Result<()> {
        let decoder = Decoder::new(from).map_err(damaged)?;
        let mut archive = Archive::new(decoder);
        let mut extended = Vec::new();
        // Raw: the library would follow names and lengths that only it has understood.
        for entry in archive.entries().map_err(damaged)?.raw(true) {
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let mut entry = entry.map_err(damaged)?;
            if entry.header().entry_type() == EntryType::XHeader {
                extended.clear();
                if entry.size() > MAX_EXTENDED {
                    return Err(damaged("an extended header of more than 2 MiB"));
                }
                entry.read_to_end(&mut extended).map_err(damaged)?;
                continue;
            }
            let member = member::read(entry.header(), &extended);
            let mut member = member
                .map_err(|why| damaged(format_args!("{}: {why}", String::from_utf8_lossy(&entry.path_bytes()))))?;
            extended.clear();
            (member.meta.uid, member.meta.gid) = self.owner.apply(member.meta.uid, member.meta.gid);
            self.member(&member, &mut entry)?;
        }
        // To the very end: whoever hashes the stream wants all of it, and a cut one is noticed here.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(damaged)?;
        if !self.dirs.contains_key(b"".as_slice()) {
            return Err(damaged("it does not begin with its top"));
        }
        Ok(())
    }

    fn member(&mut self, member: &Member, content: &mut impl Read) -> Result<()> {
        let shown = sys::shown(&member.path);
        if matches!(member.path.as_slice(), b"." | b"./") && member.kind == EntryType::Directory {
            self.dirs.insert(Vec::new(), member.meta.clone());
            return Ok(());
        }
        let (parent, name) = split(&member.path).ok_or_else(|| {
            Error::Refused(format!("the archive holds {}, which leads out of the directory", shown.display()))
        })?;
        self.files += 1;
        self.progress.files_done.store(self.files, Relaxed);
        if self.files > self.limits.files {
            return Err(damaged(format_args!("more than the {} files that were announced", self.limits.files)));
        }
        let failed = |e| Error::io(&shown, e);
        // Through directories that are there: none is made for a name that comes before them, and no link is followed.
        let dir = sys::open_dir(self.top.as_fd(), parent).map_err(|e| match e {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV => {
                damaged(format_args!("{} is in no directory of the archive", shown.display()))
            }
            e => failed(e),
        })?;
        let again =
            |e| if e == Errno::EXIST { damaged(format_args!("{} comes twice", shown.display())) } else { failed(e) };
        match member.kind {
            EntryType::Directory => {
                mkdirat(&dir, name, Mode::RWXU).map_err(again)?;
                self.dirs.insert(member.path.clone(), member.meta.clone());
                return Ok(());
            }
            EntryType::Link => return self.link(member, &dir, name, &again),
            EntryType::Symlink => symlinkat(member.link.as_slice(), &dir, name).map_err(again)?,
            EntryType::Fifo => make_node(&dir, name, FileType::Fifo, 0).map_err(again)?,
            EntryType::Char | EntryType::Block => {
                let kind =
                    if member.kind == EntryType::Char { FileType::CharacterDevice } else { FileType::BlockDevice };
                make_node(&dir, name, kind, member.rdev).map_err(|e| match e {
                    Errno::PERM => Error::cannot_carry(&shown, "device nodes may not be made here"),
                    e => again(e),
                })?;
            }
            EntryType::Regular => self.file(member, &dir, name, content, &again)?,
            other => return Err(damaged(format_args!("{} is of the unknown kind {other:?}", shown.display()))),
        }
        let mut meta = member.meta.clone();
        if member.kind == EntryType::Regular && keeps_out(meta.mode, OWNER_RW) {
            self.withheld.insert(member.path.clone(), meta.mode);
            meta.mode |= OWNER_RW;
        }
        meta::apply(dir.as_fd(), name, &meta, member.kind == EntryType::Symlink, &member.path).map(drop)
    }

    /// Another name of a file that came before.
    fn link(&self, member: &Member, dir: &OwnedFd, name: &[u8], failed: &dyn Fn(Errno) -> Error) -> Result<()> {
        let Some((parent, first)) = split(&member.link) else {
            let shown = sys::shown(&member.path);
            return Err(damaged(format_args!("{} is linked to what is not in the archive", shown.display())));
        };
        let there = sys::open_dir(self.top.as_fd(), parent).map_err(failed)?;
        linkat(there, first, dir, name, AtFlags::empty()).map_err(failed)
    }

    fn file(
        &mut self,
        member: &Member,
        dir: &OwnedFd,
        name: &[u8],
        content: &mut impl Read,
        failed: &dyn Fn(Errno) -> Error,
    ) -> Result<()> {
        let size = member.sparse.unwrap_or(member.size);
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.bytes {
            return Err(damaged(format_args!("more than the {} bytes that were announced", self.limits.bytes)));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = sys::open_beneath(dir.as_fd(), name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        let mut file = File::from(file);
        let at_disk = |e: io::Error| Error::io(sys::shown(&member.path), e);
        if member.sparse.is_none() {
            self.pour(content, size, &mut file, member)?;
        } else {
            let runs = read_map(content, member.size, size).ok_or_else(|| {
                damaged(format_args!("the map of {} makes no sense", sys::shown(&member.path).display()))
            })?;
            for (at, len) in runs {
                self.pour(content, len, &mut At { file: &file, at }, member)?;
            }
            file.set_len(size).map_err(at_disk)?;
            self.progress.bytes_written.store(self.bytes, Relaxed);
        }
        // What is read again should come from the disk. A file system that does not know the call loses only that.
        match file.sync_data().map_err(at_disk).map(|()| fadvise(&file, 0, None, Advice::DontNeed)) {
            Ok(Ok(()) | Err(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn pour(&mut self, from: &mut impl Read, len: u64, to: &mut impl Write, member: &Member) -> Result<()> {
        let mut left = len;
        while left > 0 {
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let want = usize::try_from(left.min(RUN as u64)).expect("at most a run");
            from.read_exact(&mut self.buffer[..want]).map_err(damaged)?;
            to.write_all(&self.buffer[..want]).map_err(|e| Error::io(sys::shown(&member.path), e))?;
            self.progress.bytes_written.fetch_add(want as u64, Relaxed);
            left -= want as u64;
        }
        Ok(())
    }

    /// The metadata of directories, deepest first: the time of each moves with every name in it.
    fn seal(&mut self) -> Result<()> {
        let dirs = std::mem::take(&mut self.dirs);
        // Behind its parent in the order of bytes is every path.
        for (path, mut meta) in dirs.into_iter().rev() {
            if keeps_out(meta.mode, OWNER_RWX) {
                self.withheld.insert(path.clone(), meta.mode);
                meta.mode |= OWNER_RWX;
            }
            let dir = sys::open_dir(self.top.as_fd(), &path).map_err(|e| Error::io(sys::shown(&path), e))?;
            meta::apply(dir.as_fd(), b".", &meta, false, &path)?;
        }
        Ok(())
    }

    fn close(&self) -> Result<()> {
        for (path, mode) in self.withheld.iter().rev() {
            let (parent, name) = split(path).unwrap_or((b"", b"."));
            let set = sys::open_dir(self.top.as_fd(), parent)
                .and_then(|dir| chmodat(&dir, name, Mode::from_raw_mode((*mode).into()), AtFlags::empty()));
            set.map_err(|e| Error::io(sys::shown(path), e))?;
        }
        Ok(())
    }
}

fn keeps_out(mode: u16, needed: u16) -> bool {
    !is_root() && mode & needed != needed
}

fn make_node(dir: &OwnedFd, name: &[u8], kind: FileType, rdev: u64) -> rustix::io::Result<()> {
    mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, rdev)
}

/// Parent and name, if every part of the path is a name and nothing else.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() > MAX_PATH || !path.split(|b| *b == b'/').all(valid_name) {
        return None;
    }
    Some(match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    })
}

/// The map in front of a sparse file's data; none unless its runs are in order, within the file, and all that follows.
fn read_map(from: &mut impl Read, in_archive: u64, size: u64) -> Option<Vec<(u64, u64)>> {
    let (mut taken, mut block, mut at) = (0_u64, [0; 512], 512);
    let mut number = || {
        let mut value: Option<u64> = None;
        loop {
            if at == block.len() {
                from.read_exact(&mut block).ok()?;
                taken += 512;
                at = 0;
            }
            let byte = block[at];
            at += 1;
            match byte {
                b'\n' => return value.map(|value| (value, taken)),
                b'0'..=b'9' if taken <= MAX_MAP => {
                    value = Some(value.unwrap_or(0).checked_mul(10)?.checked_add(u64::from(byte - b'0'))?);
                }
                _ => return None,
            }
        }
    };
    let (count, mut taken) = number()?;
    let (mut runs, mut end, mut data) = (Vec::new(), 0, 0_u64);
    for _ in 0..count {
        let (offset, len) = (number()?.0, number()?);
        taken = len.1;
        if offset < end {
            return None;
        }
        end = offset.checked_add(len.0).filter(|end| *end <= size)?;
        data += len.0;
        runs.push((offset, len.0));
    }
    (taken + data == in_archive).then_some(runs)
}

/// Writes at a place of a file.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Write for At<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(bytes, self.at)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
