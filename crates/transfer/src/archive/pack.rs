//! Writing: a walk, and one member for each path of it.

use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;
use zstd::stream::write::Encoder;

use super::member::{self, Body};
use super::{LEVEL, NO_OWNER, Packed};
use crate::audit::read_full;
use crate::error::{Error, Result};
use crate::fold::{self, Digest};
use crate::hole::data_runs;
use crate::leaf::{BLOCK, ContentHash, block_len, leaf, zero_leaf};
use crate::progress::Progress;
use crate::stat::Stat;
use crate::sys;
use crate::walk::{Tree, unreadable};

/// Bytes that are read at once.
const RUN: usize = 1 << 20;
/// Up to this size a file that changes while it is read is read again.
const SMALL: u64 = 4 << 20;
/// How often.
const LOOKS: u32 = 3;

/// Writes the tree below `dir` to `to`. Blocks the thread. `progress` counts bytes and files that were read.
///
/// Where `to` fails, the error is of the path `archive`; whoever made `to` knows more.
pub fn pack(dir: &Path, to: impl Write, progress: &Progress, cancel: &CancellationToken) -> Result<Packed> {
    let top = sys::open_top(dir).map_err(|e| Error::io(dir, e))?;
    let tree = Tree::walk(top.as_fd(), cancel)?;
    progress.files_total.store(tree.len(), Relaxed);
    progress.bytes_total.store(crate::audit::sizes(&tree).bytes, Relaxed);
    let out = Encoder::new(to, LEVEL).and_then(|mut out| out.include_checksum(true).map(|()| out)).map_err(lost)?;
    let nothing_yet =
        Packed { root: crate::TreeRoot([0; 32]), files: 0, bytes: 0, changed: Vec::new(), left_out: Vec::new() };
    let links = HashMap::new();
    let mut packer = Packer { top, tree, out, links, packed: nothing_yet, progress, cancel, buffer: vec![0; RUN] };
    let digests = packer.members()?;
    let Packer { tree, mut out, mut packed, .. } = packer;
    out.write_all(&[0; 1024]).map_err(lost)?; // the end of an archive
    out.finish().and_then(|mut to| to.flush()).map_err(lost)?;
    packed.root = fold::root_of_present(&tree, digests);
    Ok(packed)
}

fn lost(source: io::Error) -> Error {
    Error::Io { path: "archive".into(), source }
}

struct Packer<'a, W: Write> {
    top: OwnedFd,
    tree: Tree,
    out: Encoder<'static, W>,
    /// First names of inodes that have several and are in the archive already, and the hash of what they hold.
    links: HashMap<(u64, u64), (usize, Option<Digest>)>,
    packed: Packed,
    progress: &'a Progress,
    cancel: &'a CancellationToken,
    buffer: Vec<u8>,
}

/// A file that is open, and what it is now.
struct Opened {
    file: OwnedFd,
    stat: Stat,
}

impl<W: Write> Packer<'_, W> {
    /// The digest of every entry that is in the archive.
    fn members(&mut self) -> Result<Vec<Option<Digest>>> {
        let mut digests = Vec::with_capacity(self.tree.entries.len());
        for at in 0..self.tree.entries.len() {
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            digests.push(self.member(at)?);
            if digests[at].is_some() && at > 0 {
                self.packed.files += 1;
            }
            self.progress.files_done.store(at as u64, Relaxed);
        }
        Ok(digests)
    }

    fn member(&mut self, at: usize) -> Result<Option<Digest>> {
        match self.tree.entries[at].stat.kind() {
            FileType::RegularFile => self.file(at),
            FileType::Socket => {
                self.packed.left_out.push(self.tree.shown(at));
                Ok(None)
            }
            FileType::Directory => self.write(at, Body::Empty).map(|()| Some(self.digest(at, None, None))),
            _ => self.named_again(at, None),
        }
    }

    /// A name of an inode without content, or with content that is known: the first is a member, the others lead to it.
    fn named_again(&mut self, at: usize, content: Option<Digest>) -> Result<Option<Digest>> {
        let stat = self.tree.entries[at].stat;
        if let Some((first, known)) = self.links.get(&stat.inode()).filter(|_| stat.nlink > 1).copied() {
            let target = self.tree.path(first);
            self.write(at, Body::Link(&target))?;
            Ok(Some(self.digest(at, Some(first), content.or(known))))
        } else {
            if stat.nlink > 1 {
                self.links.insert(stat.inode(), (at, content));
            }
            self.write(at, Body::Empty)?;
            Ok(Some(self.digest(at, None, content)))
        }
    }

    fn digest(&self, at: usize, first: Option<usize>, content: Option<Digest>) -> Digest {
        fold::entry_digest(&self.tree, at, NO_OWNER, first, content)
    }

    fn write(&mut self, at: usize, body: Body<'_>) -> Result<()> {
        member::write(&mut self.out, &self.tree, at, body).map_err(lost)
    }

    /// What it is when it is opened is what counts. One that has gone, or has become something else, was never there.
    fn file(&mut self, at: usize) -> Result<Option<Digest>> {
        let Some(opened) = self.open(at)? else {
            self.packed.changed.push(self.tree.shown(at));
            return Ok(None);
        };
        self.tree.entries[at].stat = opened.stat;
        if opened.stat.nlink > 1 && self.links.contains_key(&opened.stat.inode()) {
            return self.named_again(at, None);
        }
        let (content, changed) = if opened.stat.size <= SMALL && !opened.stat.sparse {
            self.small(at, opened)?
        } else {
            self.large(at, &opened)?
        };
        if changed {
            self.packed.changed.push(self.tree.shown(at));
        }
        let stat = self.tree.entries[at].stat;
        self.packed.bytes += stat.size;
        if stat.nlink > 1 {
            self.links.insert(stat.inode(), (at, Some(content)));
        }
        Ok(Some(self.digest(at, None, Some(content))))
    }

    fn open(&self, at: usize) -> Result<Option<Opened>> {
        let path = self.tree.path(at);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match sys::open_beneath(self.top.as_fd(), &path, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE | Errno::NXIO) => return Ok(None),
            Err(e) => return Err(unreadable(&path, e)),
        };
        let stat = Stat::of_file(file.as_fd()).map_err(|e| unreadable(&path, e))?;
        Ok(stat.is_file().then_some(Opened { file, stat }))
    }

    /// Read as a whole before it is written, and again if it has changed meanwhile: most files are torn for a moment only.
    fn small(&mut self, at: usize, mut opened: Opened) -> Result<(Digest, bool)> {
        let path = self.tree.path(at);
        let (mut content, mut changed) = (Vec::new(), true);
        for _ in 0..LOOKS {
            content.resize(usize::try_from(opened.stat.size).expect("a small file"), 0);
            let got = read_full(&opened.file, &mut content, 0).map_err(|e| unreadable(&path, e))?;
            let after = Stat::of_file(opened.file.as_fd()).map_err(|e| unreadable(&path, e))?;
            changed = got < content.len() || after.version() != opened.stat.version();
            if !changed || after.size > SMALL {
                content[got..].fill(0);
                break;
            }
            // Cut or grown: it is as long as it is now.
            content[got..].fill(0);
            opened.stat = after;
        }
        // The last look may have ended with the size of the next one.
        opened.stat.size = content.len() as u64;
        self.tree.entries[at].stat = opened.stat;
        self.write(at, Body::File { size: opened.stat.size, runs: None })?;
        let mut hash = Content::new(opened.stat.size);
        hash.update(&content);
        self.out.write_all(&content).and_then(|()| member::pad(&mut self.out, opened.stat.size)).map_err(lost)?;
        self.progress.bytes_read.fetch_add(opened.stat.size, Relaxed);
        Ok((hash.finish(), changed))
    }

    /// Read while it is written; holes are neither.
    fn large(&mut self, at: usize, opened: &Opened) -> Result<(Digest, bool)> {
        let (path, stat) = (self.tree.path(at), opened.stat);
        let runs = if stat.sparse { Some(runs(opened.file.as_fd(), stat.size, &path)?) } else { None };
        self.write(at, Body::File { size: stat.size, runs: runs.as_deref() })?;
        let (mut hash, mut written, mut short) = (Content::new(stat.size), 0, false);
        let whole = std::iter::once(0..stat.size);
        for run in runs.map_or_else(|| whole.collect(), Vec::from) {
            hash.hole_until(run.start);
            written += run.end - run.start;
            short |= self.run(&opened.file, &path, run, &mut hash)?;
        }
        hash.hole_until(stat.size);
        member::pad(&mut self.out, written).map_err(lost)?;
        let after = Stat::of_file(opened.file.as_fd()).map_err(|e| unreadable(&path, e))?;
        Ok((hash.finish(), short || after.version() != stat.version()))
    }

    /// Answers whether the file has become shorter meanwhile.
    fn run(&mut self, file: &OwnedFd, path: &[u8], run: Range<u64>, hash: &mut Content) -> Result<bool> {
        let (mut at, mut short) = (run.start, false);
        while at < run.end {
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let want = usize::try_from((run.end - at).min(RUN as u64)).expect("at most a run");
            let piece = &mut self.buffer[..want];
            let got = read_full(file, piece, at).map_err(|e| unreadable(path, e))?;
            piece[got..].fill(0);
            short |= got < want;
            hash.update(piece);
            self.out.write_all(piece).map_err(lost)?;
            self.progress.bytes_read.fetch_add(want as u64, Relaxed);
            at += want as u64;
        }
        Ok(short)
    }
}

/// Bytes that hold data, in whole blocks but for the last.
fn runs(file: BorrowedFd<'_>, size: u64, path: &[u8]) -> Result<Vec<Range<u64>>> {
    let (mut runs, block) = (Vec::new(), BLOCK as u64);
    let found = data_runs(file, 0..size.div_ceil(block), |run| {
        runs.push(run.start * block..(run.end * block).min(size));
        Ok::<_, Errno>(())
    });
    found.map_err(|e| unreadable(path, e))?;
    // GNU tar wants the end of the file to be in the map where it ends with a hole.
    if runs.last().is_none_or(|last| last.end < size) {
        runs.push(size..size);
    }
    Ok(runs)
}

/// [`ContentHash`] of bytes that come in runs which begin at whole blocks.
struct Content {
    hash: ContentHash,
    size: u64,
    at: u64,
    /// The beginning of a block.
    rest: Vec<u8>,
}

impl Content {
    fn new(size: u64) -> Self {
        Self { hash: ContentHash::new(size), size, at: 0, rest: Vec::with_capacity(BLOCK) }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        self.at += bytes.len() as u64;
        while self.rest.len() + bytes.len() >= BLOCK {
            let (head, tail) = bytes.split_at(BLOCK - self.rest.len());
            let block = if self.rest.is_empty() {
                leaf(head)
            } else {
                self.rest.extend_from_slice(head);
                leaf(&self.rest)
            };
            self.hash.update(&[block]);
            self.rest.clear();
            bytes = tail;
        }
        self.rest.extend_from_slice(bytes);
    }

    fn hole_until(&mut self, end: u64) {
        while self.at < end {
            let len = block_len(self.size, self.at / BLOCK as u64);
            self.hash.update(&[zero_leaf(len)]);
            self.at += len as u64;
        }
    }

    fn finish(mut self) -> Digest {
        if !self.rest.is_empty() {
            self.hash.update(&[leaf(&self.rest)]);
        }
        self.hash.finish()
    }
}
