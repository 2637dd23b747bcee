//! Reads blocks back from the medium: past the page cache where the file system can, else after dropping it from the
//! cache. The cache keeps what was written, for the game that will start on it.

use std::{
    ops::Range,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{Advice, Mode, OFlags, fadvise},
    io::Errno,
};

use super::{session::Shared, target::shown, verify::Job};
use crate::{
    audit::read_full,
    error::{Error, Result},
    hole,
    leaf::{BLOCK, Leaf, block_len, blocks, leaf, zero_leaf},
    stat::Stat,
    store::Leaves,
    sys,
};

/// Blocks that are read at once.
const READ: usize = 128;

/// A thread's tools.
pub(super) struct Reader<'a> {
    shared: &'a Shared,
    buffer: Aligned,
}

/// What became of a job.
#[derive(Default)]
pub(super) struct Verified {
    /// The file was there.
    pub(super) found: bool,
    /// The leaf of a file that has only one.
    pub(super) one: Option<Leaf>,
}

/// A file that is read back.
struct Medium {
    file: OwnedFd,
    /// Reads go past the page cache.
    direct: bool,
    stat: Stat,
}

/// A buffer that begins where direct reads want it to.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Aligned {
    fn new(len: usize) -> Self {
        let bytes = vec![0; len + BLOCK];
        // If it cannot be told, direct reads fail and the others do.
        let start = bytes.as_ptr().align_offset(BLOCK).min(BLOCK);
        Self { bytes, start }
    }

    fn first(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + len]
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared, buffer: Aligned::new(READ * BLOCK) }
    }

    /// Reads the ranges of a job and notes their leaves.
    pub(super) fn file(&mut self, job: &Job) -> Result<Verified> {
        let failed = |e| Error::io(shown(&job.path), e);
        let mut medium = match self.open(&job.path) {
            Ok(medium) => medium,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Verified::default()),
            Err(e) => return Err(failed(e)),
        };
        let mut verified = Verified { found: true, one: None };
        let end = blocks(medium.stat.size.min(job.size));
        for range in &job.ranges {
            let range = range.start.min(end)..range.end.min(end);
            let mut runs = Vec::new();
            if medium.stat.sparse {
                let found = hole::data_runs(medium.file.as_fd(), range.clone(), |run| {
                    runs.push(run);
                    Ok::<_, Errno>(())
                });
                found.map_err(failed)?;
            } else {
                runs.push(range.clone());
            }
            let mut next = range.start;
            for run in runs {
                self.hole(job, next..run.start, &mut verified)?;
                next = run.end;
                self.run(job, &mut medium, run, &mut verified)?;
            }
            self.hole(job, next..range.end, &mut verified)?;
        }
        Ok(verified)
    }

    fn open(&self, path: &[u8]) -> rustix::io::Result<Medium> {
        let open = |flags| sys::open_beneath(self.shared.staging.tree(), path, flags | OFlags::NONBLOCK, Mode::empty());
        let (file, direct) = match open(OFlags::RDONLY | OFlags::DIRECT) {
            Err(Errno::INVAL) => (open(OFlags::RDONLY)?, false),
            other => (other?, true),
        };
        let stat = Stat::of_file(file.as_fd())?;
        let medium = Medium { file, direct, stat };
        if !direct {
            medium.forget_cached()?;
        }
        Ok(medium)
    }

    fn run(&mut self, job: &Job, medium: &mut Medium, run: Range<u64>, verified: &mut Verified) -> Result<()> {
        let mut at = run.start;
        while at < run.end {
            if self.shared.stop.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let n = (run.end - at).min(READ as u64);
            let buffer = self.buffer.first(usize::try_from(n).expect("small") * BLOCK);
            let got = medium.read(self.shared, &job.path, buffer, at * BLOCK as u64);
            let got = got.map_err(|e| Error::io(shown(&job.path), e))?;
            let leaves: Vec<Leaf> = buffer[..got].chunks(BLOCK).map(leaf).collect();
            self.note(job, at, &leaves, verified)?;
            at += n;
        }
        Ok(())
    }

    fn hole(&self, job: &Job, range: Range<u64>, verified: &mut Verified) -> Result<()> {
        range.into_iter().try_for_each(|at| self.note(job, at, &[zero_leaf(block_len(job.size, at))], verified))
    }

    fn note(&self, job: &Job, at: u64, leaves: &[Leaf], verified: &mut Verified) -> Result<()> {
        if let (Leaves::One(_), [leaf]) = (job.leaves, leaves) {
            verified.one = Some(*leaf);
        }
        self.shared.store.write(&job.leaves, at, leaves)
    }
}

impl Medium {
    /// Reads until `buffer` is full or the file ends.
    fn read(&mut self, shared: &Shared, path: &[u8], buffer: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
        if self.direct {
            match read_direct(&self.file, buffer, offset) {
                // The file system takes the flag and not the reading, or wants another alignment.
                Err(Errno::INVAL) => {
                    self.file = sys::open_beneath(shared.staging.tree(), path, OFlags::RDONLY, Mode::empty())?;
                    self.direct = false;
                    self.forget_cached()?;
                }
                other => return other,
            }
        }
        read_full(&self.file, buffer, offset)
    }

    /// Drops what the cache has of the file, so that reading it is reading the disk.
    fn forget_cached(&self) -> rustix::io::Result<()> {
        fadvise(&self.file, 0, None, Advice::DontNeed)
    }
}

/// A direct read ends at a block's border, or at the end of the file.
fn read_direct(file: &OwnedFd, buffer: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match rustix::io::pread(file, &mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => {
                done += n;
                if !n.is_multiple_of(BLOCK) {
                    break;
                }
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}
