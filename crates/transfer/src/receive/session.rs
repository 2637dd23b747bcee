//! One connection's delivery, from the greeting to the verdict. Everything here runs on threads.

use std::{
    os::fd::OwnedFd,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed, mpsc},
};

use tokio_util::sync::CancellationToken;

use super::{
    apply::Applier,
    basis,
    staging::Staging,
    target::{Target, violated},
    verify,
};
use crate::{
    error::{Error, Result},
    link::{Link, Sender},
    options::ReceiverConfig,
    report::TreeRoot,
    store::LeafStore,
    wire::{ToReceiver, ToSource, VERSION},
};

/// What the threads of a session share.
pub(super) struct Shared {
    pub(super) config: ReceiverConfig,
    pub(super) staging: Staging,
    pub(super) store: LeafStore,
    target: Mutex<Target>,
    /// Something about the target has changed that somebody may wait for.
    pub(super) changed: Condvar,
    pub(super) sender: Sender,
    pub(super) stop: CancellationToken,
}

/// A tree that is complete and equal.
#[derive(Debug)]
pub(super) struct Complete {
    pub(super) root: TreeRoot,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// On the staging directory.
    pub(super) lock: OwnedFd,
}

/// What source and receiver agree on.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) root: TreeRoot,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Shared {
    pub(super) fn target(&self) -> MutexGuard<'_, Target> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, or a little while.
    pub(super) fn wait<'a>(&self, target: MutexGuard<'a, Target>) -> Result<MutexGuard<'a, Target>> {
        if self.stop.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let nap = std::time::Duration::from_millis(200);
        Ok(self.changed.wait_timeout(target, nap).unwrap_or_else(PoisonError::into_inner).0)
    }
}

/// Receives a tree over `link`. Returns when it is complete and both roots are equal; the link is then still open.
pub(super) fn receive(config: ReceiverConfig, link: &mut Link) -> Result<Complete> {
    let staging = Staging::open(&config.staging, config.base.as_deref())?;
    let store = LeafStore::create(&config.staging)?;
    let target = Mutex::new(Target::new(config.limits));
    let (sender, stop) = (link.sender(), link.ended().child_token());
    let welcome = ToSource::Welcome { version: VERSION, owner: config.owner, basis: staging.has_basis() };
    sender.send_blocking(&welcome)?;
    let shared = Shared { config, staging, store, target, changed: Condvar::new(), sender, stop };
    let outcome = std::thread::scope(|scope| {
        let shared = &shared;
        let (tell, told) = mpsc::channel();
        let mut threads = vec![
            scope.spawn(move || stopping(shared, basis::tell(shared, &told))),
            scope.spawn(move || stopping(shared, verify::sync(shared))),
        ];
        threads.extend((0..verify::READERS).map(|_| scope.spawn(move || stopping(shared, verify::reread(shared)))));
        let applied = Applier::new(shared, tell).and_then(|applier| apply(shared, applier, link));
        let applied = stopping(shared, applied);
        shared.close();
        threads.into_iter().map(join).fold(applied, root_cause)
    });
    let Agreed { root, files, bytes } = outcome?;
    shared.staging.clean_up()?;
    Ok(Complete { root, files, bytes, lock: shared.staging.into_lock() })
}

/// The main loop: what the source says, in order.
fn apply(shared: &Shared, mut applier: Applier<'_>, link: &mut Link) -> Result<Agreed> {
    loop {
        let frame = link.receive_until(&shared.stop)?;
        match frame.message()? {
            ToReceiver::Begin(begin) => applier.begin(begin)?,
            ToReceiver::Ops(ops) => ops.into_iter().try_for_each(|op| applier.op(op))?,
            ToReceiver::Data { pieces, packed } => applier.data(&pieces, &frame.body, packed)?,
            ToReceiver::End(end) => {
                applier.end(end)?;
                shared.sender.send_blocking(&ToSource::RoundDone(end.round))?;
                if end.last {
                    applier.complete()?;
                }
            }
            ToReceiver::Root(root) => {
                if let Some(agreed) = applier.judge(TreeRoot(root))? {
                    return Ok(agreed);
                }
            }
            ToReceiver::Digests { digests, last } => applier.compare(&digests, last)?,
            ToReceiver::Abort(why) => {
                tracing::debug!(why, "the source gave up");
                return Err(Error::Cancelled);
            }
            ToReceiver::Hello { .. }
            | ToReceiver::Publish(_)
            | ToReceiver::Probe { .. }
            | ToReceiver::Ping(_)
            | ToReceiver::Load => return Err(violated("something at the wrong time")),
        }
        shared.config.progress.files_done.store(applier.files_done(), Relaxed);
    }
}

/// A thread that fails stops the others.
fn stopping<T>(shared: &Shared, outcome: Result<T>) -> Result<T> {
    if outcome.is_err() {
        shared.stop_soon();
    }
    outcome
}

impl Shared {
    /// Lets the threads end when they have nothing left to do.
    fn close(&self) {
        self.target().verifying.closed = true;
        self.changed.notify_all();
    }

    /// Ends the other threads. The link stays up for our last words, unless the peer is what failed.
    fn stop_soon(&self) {
        self.stop.cancel();
        self.changed.notify_all();
    }
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(Error::Protocol("a thread of the receiver panicked".to_owned())))
}

/// Of several failures the one that is not just the echo of another.
fn root_cause(all: Result<Agreed>, one: Result<()>) -> Result<Agreed> {
    match (all, one) {
        (Ok(_), Err(e)) => Err(e),
        (Err(Error::Cancelled | Error::Unreachable(_)), Err(e)) if !matches!(e, Error::Cancelled) => Err(e),
        (all, _) => all,
    }
}
