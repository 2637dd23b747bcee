//! One pass over the tree.

use std::{
    os::fd::AsFd,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Instant,
};

use tokio_util::sync::CancellationToken;

use super::{
    inbox::{self, Answers},
    outbox::{OpSink, Totals},
    read::{Reading, SEGMENT, Seen, Segment},
    state::{Barrier, Session, State},
};
use crate::{
    audit,
    error::{Error, Result},
    leaf::blocks,
    report::RoundReport,
    store::Leaves,
    sys,
    walk::Tree,
    wire::{Begin, End, ToReceiver},
};

/// What a pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// The tree is in use; what changes under our hands is for the next pass.
    Live,
    /// The tree is still; what changes is a failure.
    Last,
}

/// What a pass found.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) report: RoundReport,
    /// Objects that were not the same when they were read as when they were walked.
    pub(super) moved: Vec<u32>,
}

impl Session {
    /// Walks, announces, reads what may have changed, sends what did, and waits until the receiver has written it.
    pub(super) fn round(&mut self, pass: Pass) -> Result<Outcome> {
        let started = Instant::now();
        let wire_before = self.link.sender().bytes_sent();
        let totals = Totals::default();
        self.state.round += 1;
        if pass == Pass::Last {
            // What is stamped at the barrier or later is then certainly not older than this pass.
            sys::next_coarse_tick();
        }
        let before = self.state.barrier.replace(Barrier::raise(&self.state.top)?);
        let tree = self.state.walk(before.as_ref(), self.link.ended())?;
        let walk = started.elapsed();
        let size = self.begin(&tree)?;
        self.state.announce(tree, &mut OpSink::new(self.link.sender(), &totals))?;
        let segments = self.state.segments(before.as_ref());
        let seen = self.read_and_send(&segments, &totals, pass)?;
        let moved = self.state.note_seen(seen);
        let report = RoundReport {
            round: self.state.round,
            bytes_total: size.bytes,
            files: size.files,
            bytes_sent: totals.bytes.load(Relaxed),
            bytes_wire: self.link.sender().bytes_sent() - wire_before,
            blocks_sent: totals.blocks.load(Relaxed),
            walk,
            duration: started.elapsed(),
            changed_during_round_hint: !moved.is_empty(),
        };
        tracing::debug!(?report, segments = segments.len(), "round done");
        Ok(Outcome { report, moved })
    }

    fn begin(&mut self, tree: &Tree) -> Result<audit::Measure> {
        let size = audit::sizes(tree);
        let progress = &self.progress;
        progress.bytes_total.store(size.bytes, Relaxed);
        progress.files_total.store(size.files, Relaxed);
        progress.files_done.store(0, Relaxed);
        progress.round.store(self.state.round, Relaxed);
        let allocated = tree.first_names().map(|at| tree.entries[at].stat.allocated).sum();
        let begin = Begin { round: self.state.round, bytes: size.bytes, entries: size.files, allocated };
        self.link.sender().send_blocking(&ToReceiver::Begin(begin))?;
        Ok(size)
    }

    /// Workers read and send while this thread takes in what the receiver says.
    fn read_and_send(&mut self, segments: &[Segment], totals: &Totals, pass: Pass) -> Result<Vec<Seen>> {
        let (stop, sender) = (self.link.ended().clone(), self.link.sender());
        let answers = Answers::default();
        let (state, progress) = (&self.state, &*self.progress);
        let reading = Reading {
            state,
            segments,
            next: AtomicUsize::new(0),
            answers: &answers,
            totals,
            progress,
            sender: sender.clone(),
            stop: &stop,
            pass,
        };
        let link = &mut self.link;
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let seen = read_all(&reading);
                let outcome = seen.and_then(|seen| {
                    sender.send_blocking(&ToReceiver::End(end(state.round, pass, totals)))?;
                    Ok(seen)
                });
                if outcome.is_err() {
                    stop.cancel();
                }
                outcome
            });
            let told = inbox::until_round_done(link, state, &answers, progress);
            if told.is_err() {
                stop.cancel();
            }
            let sent = sending.join().map_err(|_| Error::Protocol("a reader panicked".to_owned()))?;
            first_cause(sent, told)
        })
    }
}

/// Runs the workers to their end.
fn read_all(reading: &Reading<'_>) -> Result<Vec<Seen>> {
    let workers = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 4);
    let workers = workers.min(reading.segments.len().div_ceil(4)).max(1);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(|| reading.work())).collect();
        let mut all = reading.work();
        if all.is_err() {
            reading.stop.cancel();
        }
        for other in others {
            let theirs = other.join().map_err(|_| Error::Protocol("a reader panicked".to_owned()))?;
            all = match (all, theirs) {
                (Ok(mut all), Ok(theirs)) => {
                    all.extend(theirs);
                    Ok(all)
                }
                // Whoever was stopped by the other's failure did not fail.
                (Err(e), theirs) if !matches!(e, Error::Cancelled) || theirs.is_ok() => Err(e),
                (_, theirs) => theirs,
            };
        }
        all
    })
}

/// Of two halves that stop each other, the failure that came first. What a receiver says explains most.
fn first_cause<T>(sent: Result<T>, told: Result<()>) -> Result<T> {
    match (sent, told) {
        (Ok(sent), Ok(())) => Ok(sent),
        // Our own failure ended the link.
        (Err(e), Ok(()) | Err(Error::Unreachable(_))) if !matches!(e, Error::Cancelled | Error::Unreachable(_)) => {
            Err(e)
        }
        (_, Err(e)) | (Err(e), Ok(())) => Err(e),
    }
}

fn end(round: u32, pass: Pass, totals: &Totals) -> End {
    End {
        round,
        last: pass == Pass::Last,
        ops: totals.ops.load(Relaxed),
        pieces: totals.pieces.load(Relaxed),
        bytes: totals.bytes.load(Relaxed),
    }
}

impl State {
    /// A walk that does not look again at what has not changed since the previous round's barrier.
    fn walk(&self, before: Option<&Barrier>, stop: &CancellationToken) -> Result<Tree> {
        let top = self.top.as_fd();
        match before.filter(|b| self.reliable && self.barrier.is_some_and(|now| !now.clock_was_set(b))) {
            Some(before) => Tree::walk_again(top, &self.tree, before.at, stop),
            None => Tree::walk(top, stop),
        }
    }

    /// What must be read in this round, in the order of the tree. `before` is the previous round's barrier.
    fn segments(&self, before: Option<&Barrier>) -> Vec<Segment> {
        let before = before.filter(|b| self.barrier.is_some_and(|now| !now.clock_was_set(b)));
        let mut segments = Vec::new();
        for at in self.tree.first_names().filter(|at| self.tree.entries[*at].stat.is_file()) {
            let id = self.inodes[at];
            let object = &self.objects[&id];
            if object.size > 0 && self.must_read(object, &self.tree.entries[at].stat, before) {
                let end = blocks(object.size);
                let starts = (0..end).step_by(usize::try_from(SEGMENT).expect("small"));
                segments.extend(starts.map(|first| Segment { object: id, first, end: end.min(first + SEGMENT) }));
            }
        }
        segments
    }

    /// Remembers what was read; gives back what moved.
    fn note_seen(&mut self, seen: Vec<Seen>) -> Vec<u32> {
        let mut moved = Vec::new();
        for Seen { object: id, moved: has_moved, changed, leaf } in seen {
            let object = self.objects.get_mut(&id).expect("was read");
            if let (Leaves::One(one), Some(leaf)) = (&mut object.leaves, leaf) {
                *one = leaf;
            }
            if changed || object.awaits_basis {
                object.hash = None;
            }
            object.awaits_basis = false;
            object.seen = Some(self.tree.entries[object.entry as usize].stat.version());
            if has_moved {
                moved.push(id);
            }
        }
        moved.sort_unstable();
        moved.dedup();
        for id in &moved {
            self.objects.get_mut(id).expect("was read").seen = None;
        }
        moved
    }
}
