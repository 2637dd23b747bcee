//! Reads segments of files, hashes their blocks, and queues those that the receiver does not have.

use std::{
    ops::Range,
    os::fd::{AsFd, OwnedFd},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use tokio_util::sync::CancellationToken;

use super::{
    inbox::Answers,
    outbox::{Outbox, Packing, Totals},
    round::Pass,
    state::State,
};
use crate::{
    audit::read_full,
    error::{Error, Result},
    hole,
    leaf::{ABSENT, BLOCK, Leaf, block_len, leaf, zero_leaf},
    link::Sender,
    progress::Progress,
    stat::Stat,
    store::Leaves,
    sys,
    walk::unreadable,
};

/// Blocks that a worker takes at once. A large file is shared between workers, and a small one is not split.
pub(super) const SEGMENT: u64 = 128;

/// Bytes in a segment.
const SEGMENT_BYTES: usize = 128 * BLOCK;

/// Part of a file that must be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) object: u32,
    pub(super) first: u64,
    pub(super) end: u64,
}

/// What became of a segment.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) object: u32,
    /// It was not the file of the walk any more, or not all of it.
    pub(super) moved: bool,
    /// Some block differed.
    pub(super) changed: bool,
    /// The leaf of an object that has only one.
    pub(super) leaf: Option<Leaf>,
}

/// What all workers of a round share.
pub(super) struct Reading<'a> {
    pub(super) state: &'a State,
    pub(super) segments: &'a [Segment],
    pub(super) next: AtomicUsize,
    pub(super) answers: &'a Answers,
    pub(super) totals: &'a Totals,
    pub(super) progress: &'a Progress,
    pub(super) sender: Sender,
    pub(super) stop: &'a CancellationToken,
    pub(super) pass: Pass,
}

/// A worker's tools.
struct Worker<'a> {
    reading: &'a Reading<'a>,
    outbox: Outbox<'a>,
    buffer: Vec<u8>,
}

/// One segment while it is worked on.
struct Work<'a> {
    segment: Segment,
    file: &'a OwnedFd,
    path: &'a [u8],
    size: u64,
    leaves: Leaves,
    packing: Packing,
    seen: Seen,
}

impl Reading<'_> {
    /// Works until no segment is left.
    pub(super) fn work(&self) -> Result<Vec<Seen>> {
        let outbox = Outbox::new(self.sender.clone(), self.totals)?;
        let buffer = Vec::with_capacity(SEGMENT_BYTES);
        let mut worker = Worker { reading: self, outbox, buffer };
        let mut seen = Vec::new();
        while let Some(segment) = self.segments.get(self.next.fetch_add(1, Relaxed)) {
            if self.stop.is_cancelled() {
                return Err(Error::Cancelled);
            }
            seen.push(worker.segment(*segment)?);
        }
        worker.outbox.flush_all()?;
        Ok(seen)
    }
}

impl Worker<'_> {
    fn segment(&mut self, segment: Segment) -> Result<Seen> {
        let state = self.reading.state;
        let object = &state.objects[&segment.object];
        let mut leaves = object.leaves;
        if object.awaits_basis {
            let theirs = self.reading.answers.wait(segment.object, self.reading.stop)?;
            if let (Leaves::One(one), Some(leaf)) = (&mut leaves, theirs) {
                *one = leaf;
            }
        }
        let at = object.entry as usize;
        let (path, walked) = (state.tree.path(at), &state.tree.entries[at].stat);
        let mut seen = Seen { object: segment.object, moved: false, changed: false, leaf: None };
        if let Leaves::One(leaf) = leaves {
            seen.leaf = Some(leaf);
        }
        let Some(file) = self.open(&path)? else {
            seen.moved = true;
            return Ok(seen);
        };
        let before = Stat::of_file(file.as_fd()).map_err(|e| unreadable(&path, e))?;
        seen.moved = before.version() != walked.version();
        if !before.is_file() {
            return Ok(seen);
        }
        let packing = Packing::of(state.tree.name(at));
        let mut work = Work { segment, file: &file, path: &path, size: object.size, leaves, packing, seen };
        self.read(&mut work, before.sparse)?;
        if self.reading.pass == Pass::Last {
            let after = Stat::of_file(file.as_fd()).map_err(|e| unreadable(&path, e))?;
            work.seen.moved |= after.version() != before.version();
        }
        Ok(work.seen)
    }

    /// None if there is no such file any more. A FIFO in its place does not hold us up.
    fn open(&self, path: &[u8]) -> Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let top = self.reading.state.top.as_fd();
        // Only the owner may leave the access time alone.
        let opened = match sys::open_beneath(top, path, flags | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => sys::open_beneath(top, path, flags, Mode::empty()),
            other => other,
        };
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
            Err(e) => Err(unreadable(path, e)),
        }
    }

    fn read(&mut self, work: &mut Work<'_>, sparse: bool) -> Result<()> {
        let Segment { first, end, .. } = work.segment;
        let mut runs = Vec::new();
        if sparse {
            let found = hole::data_runs(work.file.as_fd(), first..end, |run| {
                runs.push(run);
                Ok::<_, Errno>(())
            });
            found.map_err(|e| unreadable(work.path, e))?;
        } else {
            runs.push(first..end);
        }
        let mut next = first;
        for run in runs {
            self.hole(work, next..run.start)?;
            next = run.end;
            self.run(work, run)?;
        }
        self.hole(work, next..end)
    }

    /// A run of blocks that hold data.
    fn run(&mut self, work: &mut Work<'_>, run: Range<u64>) -> Result<()> {
        let offset = run.start * BLOCK as u64;
        let want = usize::try_from(work.size.min(run.end * BLOCK as u64) - offset).expect("a segment");
        self.buffer.resize(want, 0);
        let got = read_full(work.file, &mut self.buffer, offset).map_err(|e| unreadable(work.path, e))?;
        self.reading.progress.bytes_read.fetch_add(got as u64, Relaxed);
        let usable = if got < want {
            // It was truncated. The next walk sees its new size; until then a block at the end says nothing.
            work.seen.moved = true;
            got - got % BLOCK
        } else {
            want
        };
        let now: Vec<Leaf> = self.buffer[..usable].chunks(BLOCK).map(leaf).collect();
        let mut known = vec![ABSENT; now.len()];
        self.reading.state.store.read(&work.leaves, run.start, &mut known)?;
        for changed in changed_runs(&known, &now) {
            let bytes = &self.buffer[changed.start * BLOCK..usable.min(changed.end * BLOCK)];
            let block = run.start + changed.start as u64;
            self.outbox.bytes(work.segment.object, block, bytes, work.packing)?;
            note(work, self.reading.state, block, &now[changed])?;
        }
        Ok(())
    }

    /// A run of blocks that lie in a hole. What the receiver never got is a hole there as well.
    fn hole(&mut self, work: &mut Work<'_>, range: Range<u64>) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let count = usize::try_from((range.end - at).min(SEGMENT)).expect("a segment");
            let mut known = vec![ABSENT; count];
            self.reading.state.store.read(&work.leaves, at, &mut known)?;
            for (block, known) in (at..).zip(known) {
                let len = block_len(work.size, block);
                if known != ABSENT && known != zero_leaf(len) {
                    self.outbox.hole(work.segment.object, block, u32::try_from(len).expect("a block"))?;
                    note(work, self.reading.state, block, &[zero_leaf(len)])?;
                }
            }
            at += count as u64;
        }
        Ok(())
    }
}

/// The receiver will have these blocks.
fn note(work: &mut Work<'_>, state: &State, block: u64, leaves: &[Leaf]) -> Result<()> {
    work.seen.changed = true;
    if let (Leaves::One(_), [leaf]) = (work.leaves, leaves) {
        work.seen.leaf = Some(*leaf);
    }
    state.store.write(&work.leaves, block, leaves)
}

/// Ranges in which two lists of leaves differ.
fn changed_runs(known: &[Leaf], now: &[Leaf]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for at in (0..now.len()).filter(|at| known[*at] != now[*at]) {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end += 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}
