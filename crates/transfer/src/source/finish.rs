//! The last pass: the delta, both roots, and the repair of what differs.

use std::{
    os::fd::AsFd,
    path::PathBuf,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use super::{inbox, round::Pass, state::Session};
use crate::{
    error::{Error, Result},
    fold::{self, Digest},
    report::{Receipt, RoundReport, Summary, TreeRoot},
    store::Leaves,
    walk::Tree,
    wire::{ToReceiver, ToSource},
};

/// Passes over a tree that turns out not to be still.
const MAX_PASSES: u32 = 3;

/// Times that blocks which differ are sent again.
const MAX_REPAIRS: u32 = 2;

/// Digests in one frame.
const DIGESTS: usize = 8192;

/// The receiver's opinion.
struct Verdict {
    root: TreeRoot,
    equal: bool,
}

impl Session {
    pub(super) fn finish(&mut self) -> Result<Receipt> {
        let started = Instant::now();
        let (mut passes, mut repairs) = (0, 0);
        let mut frozen = 0;
        loop {
            let outcome = self.round(Pass::Last)?;
            frozen += outcome.report.bytes_sent;
            self.totals.add(&outcome.report);
            if let Some(path) = self.still_moving(&outcome.moved)? {
                passes += 1;
                if passes >= MAX_PASSES {
                    return Err(Error::Changed { path });
                }
                continue;
            }
            let digests = self.digests()?;
            let root = fold::root(&self.state.tree, digests.clone());
            let verdict = self.exchange_roots(root)?;
            if verdict.equal && verdict.root == root {
                let receipt = self.receipt(root, verdict.root, &outcome.report, frozen, started);
                self.summary = Some(Summary::from(&receipt));
                return Ok(receipt);
            }
            let differing = self.ask_what_differs(&digests)?;
            repairs += 1;
            tracing::warn!(paths = differing.len(), "the target's disk gave back something else; repairing");
            if repairs > MAX_REPAIRS || differing.is_empty() {
                return Err(Error::RootsDiffer { paths: differing });
            }
        }
    }

    /// A path that is not what it was when we walked, if there is one.
    fn still_moving(&self, moved: &[u32]) -> Result<Option<PathBuf>> {
        let state = &self.state;
        if let Some(id) = moved.first() {
            return Ok(Some(state.tree.shown(state.objects[id].entry as usize)));
        }
        let now = Tree::walk_stats(state.top.as_fd(), self.link.ended())?;
        let barrier = state.barrier.expect("a pass has raised it").at;
        // Two changes within one tick of the clock look the same, so that a change at all is enough.
        let changed = (0..now.entries.len()).find(|at| now.entries[*at].stat.ctime >= barrier);
        Ok(changed.map(|at| now.shown(at)).or_else(|| state.tree.first_difference(&now)))
    }

    fn digests(&mut self) -> Result<Vec<Digest>> {
        let state = &mut self.state;
        for object in state.objects.values_mut().filter(|o| o.hash.is_none()) {
            object.hash = Some(state.store.content_hash(&object.leaves, object.size)?);
        }
        fold::digests(&state.tree, state.owner, |at| Ok(state.objects[&state.inodes[at]].hash.expect("just computed")))
    }

    fn exchange_roots(&mut self, root: TreeRoot) -> Result<Verdict> {
        self.link.sender().send_blocking(&ToReceiver::Root(root.0))?;
        loop {
            match self.link.receive_blocking()?.message()? {
                ToSource::Verdict { root, equal, .. } => return Ok(Verdict { root: TreeRoot(root), equal }),
                other => inbox::ordinary(other, &self.progress)?,
            }
        }
    }

    /// Learns which paths differ, and what the target has of them, so that the next pass sends what is wrong.
    fn ask_what_differs(&mut self, digests: &[Digest]) -> Result<Vec<PathBuf>> {
        let pairs: Vec<_> = self.state.nodes.iter().copied().zip(digests.iter().copied()).collect();
        let count = pairs.len().div_ceil(DIGESTS);
        for (i, digests) in pairs.chunks(DIGESTS).enumerate() {
            let message = ToReceiver::Digests { digests: digests.to_vec(), last: i + 1 == count };
            self.link.sender().send_blocking(&message)?;
        }
        loop {
            let frame = self.link.receive_blocking()?;
            match frame.message()? {
                ToSource::Basis { object, first, .. } => {
                    let one = inbox::store_leaves(&self.state, object, first, &frame)?;
                    let object = self.state.objects.get_mut(&object).expect("checked");
                    if let (Leaves::One(mine), Some(theirs)) = (&mut object.leaves, one) {
                        *mine = theirs;
                    }
                    (object.hash, object.seen) = (None, None);
                }
                ToSource::Differs { nodes, last } => {
                    self.state.force.extend(nodes);
                    if last {
                        return Ok(self.forced_paths());
                    }
                }
                other => inbox::ordinary(other, &self.progress)?,
            }
        }
    }

    fn forced_paths(&self) -> Vec<PathBuf> {
        let state = &self.state;
        let forced = (0..state.nodes.len()).filter(|at| state.force.contains(&state.nodes[*at]));
        forced.map(|at| state.tree.shown(at)).collect()
    }

    fn receipt(&self, root: TreeRoot, target: TreeRoot, last: &RoundReport, frozen: u64, started: Instant) -> Receipt {
        self.progress.files_done.store(last.files, Relaxed);
        Receipt {
            root_source: root,
            root_target: target,
            files: last.files,
            bytes_total: last.bytes_total,
            bytes_live: self.totals.bytes - frozen,
            bytes_frozen: frozen,
            bytes_wire: self.link.sender().bytes_sent(),
            blocks_sent: self.totals.blocks,
            rounds: self.state.round,
            final_round: started.elapsed(),
            duration: self.started.elapsed().max(Duration::from_nanos(1)),
        }
    }
}
