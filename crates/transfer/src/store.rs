//! Where leaves live: in an unlinked file, so that the heap stays flat however large the tree is.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use rustix::fs::{CWD, Mode, OFlags};

use crate::{
    error::{Error, Result},
    leaf::{ABSENT, ContentHash, Leaf, block_len, blocks, zero_leaf},
};

/// Leaves that are read or written at once.
const CHUNK: usize = 512;

/// The file. Shared between threads; whoever owns a region keeps writers of the same leaf apart.
#[derive(Debug)]
pub(crate) struct LeafStore {
    file: File,
    end: AtomicU64,
}

/// The leaves of one file. A file of one block has no region: its leaf is kept here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    One(Leaf),
    Region { at: u64, capacity: u64 },
}

impl LeafStore {
    /// Makes the file in `dir` and unlinks it at once.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, dir, flags, Mode::RUSR | Mode::WUSR).or_else(|_| named_then_unlinked(dir));
        let fd = fd.map_err(|e| Error::io(dir, e))?;
        Ok(Self { file: File::from(fd), end: AtomicU64::new(0) })
    }

    /// Room for a file of `size` bytes, all absent.
    pub(crate) fn allocate(&self, size: u64) -> Leaves {
        match blocks(size) {
            0 | 1 => Leaves::One(ABSENT),
            // A hole in the store reads as zeros, and zeros are the absent leaf.
            capacity => Leaves::Region { at: self.end.fetch_add(capacity * 32, Relaxed), capacity },
        }
    }

    /// As [`Self::allocate`] for a file that changes its size: what stays keeps its leaves, what is new is absent.
    pub(crate) fn resize(&self, leaves: Leaves, old: u64, new: u64) -> Result<Leaves> {
        let (old_blocks, new_blocks) = (blocks(old), blocks(new));
        let fits = match leaves {
            Leaves::One(_) => new_blocks <= 1,
            Leaves::Region { capacity, .. } => new_blocks <= capacity,
        };
        let grown = if fits {
            leaves
        } else {
            // Half as much again, so that a growing log does not move every round.
            let wider = self.allocate(new + (new / 2));
            self.copy(leaves, wider, old_blocks)?;
            wider
        };
        match grown {
            Leaves::One(leaf) => Ok(Leaves::One(if old_blocks == 0 { ABSENT } else { leaf })),
            Leaves::Region { .. } => {
                let mut at = old_blocks;
                while fits && at < new_blocks {
                    let n = (new_blocks - at).min(CHUNK as u64);
                    self.write(&grown, at, &vec![ABSENT; usize::try_from(n).expect("a chunk")])?;
                    at += n;
                }
                Ok(grown)
            }
        }
    }

    /// Reads the leaves from block `first` on.
    pub(crate) fn read(&self, leaves: &Leaves, first: u64, into: &mut [Leaf]) -> Result<()> {
        match *leaves {
            Leaves::One(leaf) => into.fill(leaf),
            Leaves::Region { at, .. } => {
                let bytes = into.as_flattened_mut();
                let mut done = 0;
                while done < bytes.len() {
                    let position = at + first * 32 + done as u64;
                    let n = self.file.read_at(&mut bytes[done..], position).map_err(store_failed)?;
                    if n == 0 {
                        bytes[done..].fill(0);
                        break;
                    }
                    done += n;
                }
            }
        }
        Ok(())
    }

    /// Writes the leaves from block `first` on. Not for [`Leaves::One`]: its owner replaces it.
    pub(crate) fn write(&self, leaves: &Leaves, first: u64, from: &[Leaf]) -> Result<()> {
        match *leaves {
            Leaves::One(_) => Ok(()),
            Leaves::Region { at, .. } => {
                self.file.write_all_at(from.as_flattened(), at + first * 32).map_err(store_failed)
            }
        }
    }

    /// Folds all leaves of a file of `size` bytes. What is absent is a hole.
    pub(crate) fn content_hash(&self, leaves: &Leaves, size: u64) -> Result<[u8; 32]> {
        let mut hash = ContentHash::new(size);
        let mut buffer = [ABSENT; CHUNK];
        let (mut at, end) = (0, blocks(size));
        while at < end {
            let n = usize::try_from((end - at).min(CHUNK as u64)).expect("a chunk");
            self.read(leaves, at, &mut buffer[..n])?;
            for (leaf, block) in buffer[..n].iter_mut().zip(at..) {
                if *leaf == ABSENT {
                    *leaf = zero_leaf(block_len(size, block));
                }
            }
            hash.update(&buffer[..n]);
            at += n as u64;
        }
        Ok(hash.finish())
    }

    fn copy(&self, from: Leaves, to: Leaves, count: u64) -> Result<()> {
        let mut buffer = [ABSENT; CHUNK];
        let mut at = 0;
        while at < count {
            let n = usize::try_from((count - at).min(CHUNK as u64)).expect("a chunk");
            self.read(&from, at, &mut buffer[..n])?;
            self.write(&to, at, &buffer[..n])?;
            at += n as u64;
        }
        Ok(())
    }
}

fn store_failed(e: std::io::Error) -> Error {
    Error::io("(leaf store)", e)
}

/// For file systems without `O_TMPFILE`.
fn named_then_unlinked(dir: &Path) -> rustix::io::Result<rustix::fd::OwnedFd> {
    let path = dir.join(format!(".leaves-{}", crate::identity::Ticket::random()));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::unlink(&path)?;
    Ok(fd)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn numbered(n: u8) -> Leaf {
        [n; 32]
    }

    #[test]
    fn what_a_file_loses_and_gets_back_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let store = LeafStore::create(dir.path()).unwrap();
        let ten = 10 * 4096;
        let leaves = store.allocate(ten);
        store.write(&leaves, 0, &(1..=10).map(numbered).collect::<Vec<_>>()).unwrap();
        let leaves = store.resize(leaves, ten, 3 * 4096).unwrap();
        let leaves = store.resize(leaves, 3 * 4096, ten).unwrap();
        let mut back = [numbered(99); 10];
        store.read(&leaves, 0, &mut back).unwrap();
        assert_eq!(back[..3], [numbered(1), numbered(2), numbered(3)]);
        assert_eq!(back[3..], [ABSENT; 7]);
    }

    #[test]
    fn growing_moves_the_leaves_along() {
        let dir = tempfile::tempdir().unwrap();
        let store = LeafStore::create(dir.path()).unwrap();
        let leaves = store.resize(Leaves::One(numbered(7)), 100, 2000 * 4096).unwrap();
        let mut back = [numbered(99); 3];
        store.read(&leaves, 0, &mut back).unwrap();
        assert_eq!(back, [numbered(7), ABSENT, ABSENT]);
        let leaves = store.resize(leaves, 2000 * 4096, 0).unwrap();
        let leaves = store.resize(leaves, 0, 4096).unwrap();
        store.read(&leaves, 0, &mut back[..1]).unwrap();
        assert_eq!(back[0], ABSENT);
    }
}
