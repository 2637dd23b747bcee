//! Questions about a tree that need no peer: its root, its size.

use std::{
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use rustix::fs::{Mode, OFlags};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, Result},
    fold,
    leaf::{BLOCK, ContentHash, block_len, blocks, leaf, zero_leaf},
    options::OwnerMap,
    report::TreeRoot,
    stat::Stat,
    sys,
    walk::{Tree, unreadable},
};

/// Blocks that are read at once.
const RUN: u64 = 256;

/// What [`tree_root`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeReport {
    /// Over everything.
    pub root: TreeRoot,
    /// Files, directories and links, the top not counted.
    pub files: u64,
    /// Bytes of content (apparent size, hard links once).
    pub bytes: u64,
    /// Blocks of 4 KiB that were read; holes are not.
    pub blocks: u64,
}

/// What [`measure`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Bytes of content (apparent size, hard links once).
    pub bytes: u64,
    /// Files, directories and links, the top not counted.
    pub files: u64,
}

/// Reads the whole tree and folds it into its root. Blocks the thread.
pub fn tree_root(dir: &Path, owner: OwnerMap, cancel: &CancellationToken) -> Result<TreeReport> {
    tree_root_of(dir, &RootOf { owner, mode_of: &|_| None }, cancel)
}

/// What a tree is taken for that is not yet what it will be.
pub(crate) struct RootOf<'a> {
    pub(crate) owner: OwnerMap,
    /// Permissions that a path will have, where they are others.
    pub(crate) mode_of: &'a dyn Fn(&[u8]) -> Option<u16>,
}

/// As [`tree_root`].
pub(crate) fn tree_root_of(dir: &Path, about: &RootOf<'_>, cancel: &CancellationToken) -> Result<TreeReport> {
    let RootOf { owner, mode_of } = *about;
    let top = sys::open_top(dir).map_err(|e| Error::io(dir, e))?;
    let mut tree = Tree::walk(top.as_fd(), cancel)?;
    for at in 0..tree.entries.len() {
        if let Some(mode) = mode_of(&tree.path(at)) {
            let stat = &mut tree.entries[at].stat;
            stat.mode = stat.mode & !0o7777 | u32::from(mode);
        }
    }
    let tree = tree;
    let mut reader = Reader { top: top.as_fd(), cancel, buffer: Vec::new(), blocks: 0 };
    let mut seen = std::collections::HashMap::new();
    let digests = fold::digests(&tree, owner, |at| {
        let stat = tree.entries[at].stat;
        if let Some(hash) = seen.get(&stat.inode()) {
            return Ok(*hash);
        }
        let hash = reader.content(&tree.path(at), &stat)?;
        if stat.nlink > 1 {
            seen.insert(stat.inode(), hash);
        }
        Ok(hash)
    })?;
    let size = sizes(&tree);
    Ok(TreeReport { root: fold::root(&tree, digests), files: size.files, bytes: size.bytes, blocks: reader.blocks })
}

/// Stats the whole tree. Blocks the thread.
pub fn measure(dir: &Path) -> Result<Measure> {
    let top = sys::open_top(dir).map_err(|e| Error::io(dir, e))?;
    Ok(sizes(&Tree::walk_stats(top.as_fd(), &CancellationToken::new())?))
}

pub(crate) fn sizes(tree: &Tree) -> Measure {
    let stats = tree.first_names().map(|at| &tree.entries[at].stat);
    Measure { bytes: stats.filter(|s| s.is_file()).map(|s| s.size).sum(), files: tree.len() }
}

struct Reader<'a> {
    top: BorrowedFd<'a>,
    cancel: &'a CancellationToken,
    buffer: Vec<u8>,
    blocks: u64,
}

impl Reader<'_> {
    /// Hash of one file, holes skipped.
    fn content(&mut self, path: &[u8], stat: &Stat) -> Result<fold::Digest> {
        let failed = |e| unreadable(path, e);
        let file = sys::open_beneath(self.top, path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty());
        let file = file.map_err(failed)?;

        let (mut hash, end, mut next) = (ContentHash::new(stat.size), blocks(stat.size), 0);
        let mut runs = Vec::new();
        if stat.sparse {
            crate::hole::data_runs(file.as_fd(), 0..end, |run| {
                runs.push(run);
                Ok::<_, rustix::io::Errno>(())
            })
            .map_err(failed)?;
        } else {
            runs.push(0..end);
        }
        for run in runs {
            Self::hole(&mut hash, stat.size, next..run.start);
            next = run.end;
            self.run(&mut hash, &file, path, stat.size, run)?;
        }
        Self::hole(&mut hash, stat.size, next..end);
        Ok(hash.finish())
    }

    fn run(
        &mut self,
        hash: &mut ContentHash,
        file: &impl AsFd,
        path: &[u8],
        size: u64,
        run: std::ops::Range<u64>,
    ) -> Result<()> {
        let mut at = run.start;
        while at < run.end {
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let n = (run.end - at).min(RUN);
            let offset = at * BLOCK as u64;
            let want = usize::try_from((size - offset).min(n * BLOCK as u64)).expect("a run");
            self.buffer.resize(want, 0);
            let got = read_full(file, &mut self.buffer, offset).map_err(|e| unreadable(path, e))?;
            if got < want {
                return Err(Error::Changed { path: sys::shown(path) });
            }
            self.buffer.chunks(BLOCK).for_each(|block| hash.update(&[leaf(block)]));
            self.blocks += n;
            at += n;
        }
        Ok(())
    }

    fn hole(hash: &mut ContentHash, size: u64, range: std::ops::Range<u64>) {
        range.for_each(|at| hash.update(&[zero_leaf(block_len(size, at))]));
    }
}

/// Reads until `buffer` is full or the file ends.
pub(crate) fn read_full(file: &impl AsFd, buffer: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match rustix::io::pread(file, &mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}
