//! Reads back what was written, from the disk: first everything is made durable, then it is dropped from the page
//! cache, read and hashed. Runs behind the writing, so that the last pass finds only the last blocks unread.

use std::{
    ops::Range,
    os::fd::{AsFd, OwnedFd},
    sync::mpsc,
};

use rustix::{
    fs::{Advice, Mode, OFlags, fadvise},
    io::Errno,
};

use super::{
    session::Shared,
    target::{Target, shown},
};
use crate::{
    audit::read_full,
    error::{Error, Result},
    hole,
    leaf::{BLOCK, Leaf, block_len, blocks, leaf, zero_leaf},
    store::Leaves,
    sys,
    walk::Stat,
};

/// Blocks that are worth a round trip to the disk.
pub(super) const BATCH: u64 = (64 << 20) / BLOCK as u64;

/// Blocks that are read at once.
const READ: usize = 128;

/// Blocks of one file to read again.
#[derive(Debug)]
pub(super) struct Job {
    object: u32,
    path: Vec<u8>,
    ranges: Vec<Range<u64>>,
    leaves: Leaves,
    size: u64,
    structure: u64,
}

/// First thread: collects what was written and makes it durable.
pub(super) fn sync(shared: &Shared, synced: &mpsc::SyncSender<Vec<Job>>) -> Result<()> {
    loop {
        let mut target = shared.target();
        let batch = loop {
            if target.verifying.closed {
                return Ok(());
            }
            if target.verifying.wanted || target.unverified_blocks >= BATCH {
                let batch = collect(&mut target);
                if !batch.is_empty() {
                    break batch;
                }
            }
            target = shared.wait(target)?;
        };
        target.verifying.in_flight += 1;
        drop(target);
        shared.staging.sync()?;
        synced.send(batch).map_err(|_| Error::Cancelled)?;
    }
}

/// Takes the unverified ranges of every object that nobody is at.
fn collect(target: &mut Target) -> Vec<Job> {
    let ready = |id: &u32, target: &Target| target.objects.get(id).is_some_and(|o| !o.busy);
    let ids: Vec<u32> = target.unverified.iter().copied().filter(|id| ready(id, target)).collect();
    let mut batch = Vec::with_capacity(ids.len());
    for id in ids {
        target.unverified.remove(&id);
        let path = target.path_of(id);
        let structure = target.structure;
        let object = target.objects.get_mut(&id).expect("ready");
        object.busy = true;
        let (mut ranges, leaves, size) = (std::mem::take(&mut object.unverified), object.leaves, object.size());
        target.unverified_blocks -= ranges.iter().map(|r| r.end - r.start).sum::<u64>().min(target.unverified_blocks);
        ranges.sort_unstable_by_key(|r| r.start);
        batch.push(Job { object: id, path, ranges: merged(ranges), leaves, size, structure });
    }
    batch
}

fn merged(sorted: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// Second thread: reads batches back.
pub(super) fn reread(shared: &Shared, synced: &mpsc::Receiver<Vec<Job>>) -> Result<()> {
    let mut buffer = vec![0; READ * BLOCK];
    while let Ok(batch) = synced.recv() {
        for job in batch {
            if shared.stop.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let verified = reread_file(shared, &job, &mut buffer)?;
            let mut target = shared.target();
            let structure = target.structure;
            if let Some(object) = target.objects.get_mut(&job.object) {
                object.busy = false;
                object.hash = None;
                if let Some(leaf) = verified.one {
                    object.leaves = Leaves::One(leaf);
                }
            }
            // Its name may have been given to another file while we read.
            if !verified.found || structure != job.structure {
                job.ranges.into_iter().for_each(|range| target.mark_unverified(job.object, range));
            }
            drop(target);
            shared.changed.notify_all();
        }
        shared.target().verifying.in_flight -= 1;
        shared.changed.notify_all();
    }
    Ok(())
}

#[derive(Default)]
struct Verified {
    found: bool,
    one: Option<Leaf>,
}

fn reread_file(shared: &Shared, job: &Job, buffer: &mut [u8]) -> Result<Verified> {
    let failed = |e| Error::io(shown(&job.path), e);
    let file =
        match sys::open_beneath(shared.staging.tree(), &job.path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Verified::default()),
            Err(e) => return Err(failed(e)),
        };
    let stat = Stat::of_file(file.as_fd()).map_err(failed)?;
    // This is what makes it a reading of the disk.
    fadvise(&file, 0, None, Advice::DontNeed).map_err(failed)?;
    let mut verified = Verified { found: true, one: None };
    let end = blocks(stat.size.min(job.size));
    for range in &job.ranges {
        let range = range.start.min(end)..range.end.min(end);
        let mut runs = Vec::new();
        if stat.sparse {
            hole::data_runs(file.as_fd(), range.clone(), |run| {
                runs.push(run);
                Ok::<_, Errno>(())
            })
            .map_err(failed)?;
        } else {
            runs.push(range.clone());
        }
        let mut next = range.start;
        for run in runs {
            note_hole(shared, job, next..run.start, &mut verified)?;
            next = run.end;
            reread_run(shared, job, &file, run, buffer, &mut verified)?;
        }
        note_hole(shared, job, next..range.end, &mut verified)?;
    }
    Ok(verified)
}

fn reread_run(
    shared: &Shared,
    job: &Job,
    file: &OwnedFd,
    run: Range<u64>,
    buffer: &mut [u8],
    verified: &mut Verified,
) -> Result<()> {
    let mut at = run.start;
    while at < run.end {
        let n = (run.end - at).min(READ as u64);
        let buffer = &mut buffer[..usize::try_from(n).expect("small") * BLOCK];
        let got = read_full(file, buffer, at * BLOCK as u64).map_err(|e| Error::io(shown(&job.path), e))?;
        let leaves: Vec<Leaf> = buffer[..got].chunks(BLOCK).map(leaf).collect();
        note(shared, job, at, &leaves, verified)?;
        at += n;
    }
    Ok(())
}

fn note_hole(shared: &Shared, job: &Job, range: Range<u64>, verified: &mut Verified) -> Result<()> {
    range.into_iter().try_for_each(|at| note(shared, job, at, &[zero_leaf(block_len(job.size, at))], verified))
}

fn note(shared: &Shared, job: &Job, at: u64, leaves: &[Leaf], verified: &mut Verified) -> Result<()> {
    if let (Leaves::One(_), [leaf]) = (job.leaves, leaves) {
        verified.one = Some(*leaf);
    }
    shared.store.write(&job.leaves, at, leaves)
}

/// Waits until everything written so far was read back.
pub(super) fn flush(shared: &Shared) -> Result<()> {
    let mut target = shared.target();
    target.verifying.wanted = true;
    shared.changed.notify_all();
    while !target.unverified.is_empty() || target.verifying.in_flight > 0 {
        target = shared.wait(target)?;
    }
    target.verifying.wanted = false;
    Ok(())
}
