//! Sees to it that what was written is read back from the disk: first it is made durable, then read and hashed. Runs
//! behind the writing, so that the last pass finds only the last blocks unread.

use std::ops::Range;

use super::{reread::Reader, session::Shared, target::Target};
use crate::{error::Result, leaf::BLOCK, store::Leaves};

/// Blocks that are worth a round trip to the disk.
pub(super) const BATCH: u64 = (64 << 20) / BLOCK as u64;

/// Threads that read back. They wait for the disk more than they hash.
pub(super) const READERS: usize = 3;

/// Blocks of one file to read again.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) object: u32,
    pub(super) path: Vec<u8>,
    pub(super) ranges: Vec<Range<u64>>,
    pub(super) leaves: Leaves,
    pub(super) size: u64,
    /// Of the tree when the path was looked up.
    structure: u64,
}

/// The thread that collects what was written and makes it durable.
pub(super) fn sync(shared: &Shared) -> Result<()> {
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
        target.verifying.in_flight += batch.len();
        drop(target);
        shared.staging.sync()?;
        let mut target = shared.target();
        // One batch is read while the next one is made durable, no more.
        while !target.verifying.queue.is_empty() {
            target = shared.wait(target)?;
        }
        target.verifying.queue.extend(batch);
        shared.changed.notify_all();
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
        let blocks: u64 = ranges.iter().map(|r| r.end - r.start).sum();
        target.unverified_blocks = target.unverified_blocks.saturating_sub(blocks);
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

/// A thread that reads back.
pub(super) fn reread(shared: &Shared) -> Result<()> {
    let mut reader = Reader::new(shared);
    while let Some(job) = next_job(shared)? {
        let verified = reader.file(&job)?;
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
        target.verifying.in_flight -= 1;
        let idle = target.verifying.queue.is_empty();
        drop(target);
        if idle {
            shared.changed.notify_all();
        }
    }
    Ok(())
}

/// None at the end of the session.
fn next_job(shared: &Shared) -> Result<Option<Job>> {
    let mut target = shared.target();
    loop {
        if let Some(job) = target.verifying.queue.pop_front() {
            return Ok(Some(job));
        }
        if target.verifying.closed {
            return Ok(None);
        }
        target = shared.wait(target)?;
    }
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
