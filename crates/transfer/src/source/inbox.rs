//! What the receiver says while a round runs.

use std::{
    collections::HashMap,
    sync::{Condvar, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::state::State;
use crate::{
    error::{Error, Result},
    leaf::{Leaf, blocks},
    link::{Frame, Link},
    progress::Progress,
    store::Leaves,
    wire::ToSource,
};

/// Answers to new files: what the receiver has at their paths.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Objects whose answer is complete; for those of one block with the leaf.
    complete: Mutex<HashMap<u32, Option<Leaf>>>,
    arrived: Condvar,
}

impl Answers {
    /// Waits until the receiver has said all it has for `object`.
    pub(super) fn wait(&self, object: u32, stop: &CancellationToken) -> Result<Option<Leaf>> {
        let mut complete = self.complete.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(leaf) = complete.get(&object) {
                return Ok(*leaf);
            }
            if stop.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let nap = Duration::from_millis(100);
            complete = self.arrived.wait_timeout(complete, nap).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn complete(&self, object: u32, leaf: Option<Leaf>) {
        self.complete.lock().unwrap_or_else(PoisonError::into_inner).insert(object, leaf);
        self.arrived.notify_all();
    }
}

/// Takes in what the receiver says until it has said that the round is done.
pub(super) fn until_round_done(link: &mut Link, state: &State, answers: &Answers, progress: &Progress) -> Result<()> {
    let mut first_leaf = None;
    loop {
        let frame = link.receive_blocking()?;
        match frame.message()? {
            ToSource::RoundDone(round) if round == state.round => return Ok(()),
            ToSource::Basis { object, first, last, .. } => {
                if let Some(leaf) = store_leaves(state, object, first, &frame)? {
                    first_leaf = Some(leaf);
                }
                if last {
                    answers.complete(object, first_leaf.take());
                }
            }
            other => ordinary(other, progress)?,
        }
    }
}

/// What may come at any time.
pub(super) fn ordinary(message: ToSource, progress: &Progress) -> Result<()> {
    match message {
        ToSource::Written { bytes, files } => {
            progress.bytes_written.store(bytes, Relaxed);
            progress.files_done.store(files, Relaxed);
            Ok(())
        }
        ToSource::Failed(failure) => Err(failure.into()),
        other => Err(Error::Protocol(format!("unexpected answer {other:?}"))),
    }
}

/// Notes leaves that the receiver has. Gives back the leaf of an object that has only one.
pub(super) fn store_leaves(state: &State, object: u32, first: u64, frame: &Frame) -> Result<Option<Leaf>> {
    let known = state.objects.get(&object);
    let known = known.ok_or_else(|| Error::Protocol("leaves of an object that does not exist".to_owned()))?;
    let (leaves, rest) = frame.body.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(Error::Protocol("half a leaf".to_owned()));
    }
    // It may have more than we have.
    let room = usize::try_from(blocks(known.size).saturating_sub(first)).unwrap_or(usize::MAX);
    let leaves = &leaves[..leaves.len().min(room)];
    match known.leaves {
        Leaves::One(_) => Ok(leaves.first().copied()),
        Leaves::Region { .. } => state.store.write(&known.leaves, first, leaves).map(|()| None),
    }
}
