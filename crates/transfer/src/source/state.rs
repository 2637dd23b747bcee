//! What the source remembers between rounds: what it told the receiver, and the leaves of what it sent.

use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
    time::Instant,
};

use rustix::fs::{FileType, syncfs};

use crate::{
    error::{Error, Result},
    fold::Digest,
    link::Link,
    options::OwnerMap,
    progress::Progress,
    report::{RoundReport, Summary},
    stat::Stat,
    store::{LeafStore, Leaves},
    sys::{self, Stamp},
    walk::Tree,
    wire::{Kind, Meta, ToSource},
};

/// A connection and what goes over it.
pub(super) struct Session {
    pub(super) link: Link,
    pub(super) state: State,
    pub(super) progress: Arc<Progress>,
    pub(super) started: Instant,
    pub(super) totals: Sums,
    /// Of a copy that is finished.
    pub(super) summary: Option<Summary>,
}

impl Session {
    /// What the receiver said last, or how its connection broke.
    pub(super) fn why_ended(&mut self) -> Error {
        loop {
            match self.link.receive_blocking().and_then(|frame| frame.message()) {
                Ok(ToSource::Failed(failure)) => return failure.into(),
                Ok(_) => {}
                Err(e) => return e,
            }
        }
    }
}

/// Over all rounds so far.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) bytes: u64,
    pub(super) blocks: u64,
}

impl Sums {
    pub(super) fn add(&mut self, report: &RoundReport) {
        self.bytes += report.bytes_sent;
        self.blocks += report.blocks_sent;
    }
}

/// The source's memory.
pub(super) struct State {
    pub(super) top: OwnedFd,
    pub(super) owner: OwnerMap,
    /// The receiver answers each new file with what it has at its path.
    pub(super) basis: bool,
    /// Whether a store always moves the ctime, given a barrier.
    pub(super) reliable: bool,
    /// As announced last.
    pub(super) tree: Tree,
    /// Id of each entry of `tree`.
    pub(super) nodes: Vec<u32>,
    /// Id of the inode of each entry of `tree`; [`NONE`] for directories.
    pub(super) inodes: Vec<u32>,
    pub(super) objects: HashMap<u32, Object>,
    pub(super) by_inode: HashMap<(u64, u64), u32>,
    pub(super) store: LeafStore,
    pub(super) barrier: Option<Barrier>,
    pub(super) round: u32,
    pub(super) next_id: u32,
    /// Nodes to announce again, changed or not.
    pub(super) force: HashSet<u32>,
}

/// No id.
pub(super) const NONE: u32 = u32::MAX;

/// An inode that is not a directory, as the receiver knows it.
#[derive(Debug)]
pub(super) struct Object {
    /// Where it is on our disk. A file that was replaced keeps its object, so that only the difference is sent.
    pub(super) inode: (u64, u64),
    /// Its first name in the tree.
    pub(super) entry: u32,
    /// The round that saw it last.
    pub(super) round: u32,
    pub(super) size: u64,
    pub(super) leaves: Leaves,
    /// The stat before the last complete reading; none: read it.
    pub(super) seen: Option<Version>,
    /// The receiver will say what it has.
    pub(super) awaits_basis: bool,
    pub(super) hash: Option<Digest>,
}

/// See [`Stat::version`].
pub(super) type Version = (u64, u64, u64, Stamp, Stamp);

/// The start of a round. Every store that the round may miss happens later, and is stamped later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Barrier {
    /// By the clock that stamps ctime.
    pub(super) at: Stamp,
    /// By a clock that nobody sets.
    elapsed: Instant,
}

impl Barrier {
    /// Writes back all dirty pages of the file system, which write-protects them: a later store through `mmap` faults
    /// and moves the ctime. The time is taken *before*: a store while pages are written back is either in what we read
    /// or stamped later than this.
    pub(super) fn raise(top: &OwnedFd) -> Result<Self> {
        let barrier = Self { at: sys::coarse_now(), elapsed: Instant::now() };
        syncfs(top).map_err(|e| Error::io(".", e))?;
        Ok(barrier)
    }

    /// Did somebody set the clock between `before` and `self`? Then stamps cannot be compared.
    pub(super) fn clock_was_set(&self, before: &Self) -> bool {
        let nanos = |s: Stamp| i128::from(s.sec) * 1_000_000_000 + i128::from(s.nsec);
        let by_stamps = nanos(self.at) - nanos(before.at);
        let real = i128::try_from(self.elapsed.duration_since(before.elapsed).as_nanos()).unwrap_or(i128::MAX);
        (by_stamps - real).abs() > 500_000_000
    }
}

impl State {
    pub(super) fn new(dir: &Path, scratch: &Path, owner: OwnerMap, basis: bool) -> Result<Self> {
        let top = sys::open_top(dir).map_err(|e| Error::io(dir, e))?;
        let reliable = sys::stamps_are_reliable(top.as_fd());
        Ok(Self {
            top,
            owner,
            basis,
            reliable,
            tree: Tree::default(),
            nodes: Vec::new(),
            inodes: Vec::new(),
            objects: HashMap::new(),
            by_inode: HashMap::new(),
            store: LeafStore::create(scratch)?,
            barrier: None,
            round: 0,
            next_id: 1,
            force: HashSet::new(),
        })
    }

    pub(super) fn fresh_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Must the content of an object be read, given its stat now? `before` is the previous round's barrier.
    pub(super) fn must_read(&self, object: &Object, stat: &Stat, before: Option<&Barrier>) -> bool {
        let trusted = self.reliable && before.is_some_and(|b| stat.ctime < b.at);
        !trusted || object.seen != Some(stat.version())
    }
}

/// Metadata of an entry as the receiver shall have it.
pub(super) fn meta(tree: &Tree, at: usize, owner: OwnerMap) -> Meta {
    let stat = &tree.entries[at].stat;
    let (uid, gid) = owner.apply(stat.uid, stat.gid);
    let mode = u16::try_from(stat.mode & 0o7777).expect("twelve bits");
    Meta { mode, uid, gid, mtime: stat.mtime, xattrs: tree.extra(at).xattrs.clone() }
}

/// What kind of inode an entry is; none for a directory.
pub(super) fn kind(tree: &Tree, at: usize) -> Option<Kind> {
    let stat = &tree.entries[at].stat;
    match stat.kind() {
        FileType::RegularFile => Some(Kind::File { size: stat.size }),
        FileType::Symlink => Some(Kind::Symlink { target: tree.extra(at).target.clone() }),
        FileType::Fifo => Some(Kind::Fifo),
        FileType::Socket => Some(Kind::Socket),
        FileType::CharacterDevice => Some(Kind::CharDevice { rdev: stat.rdev }),
        FileType::BlockDevice => Some(Kind::BlockDevice { rdev: stat.rdev }),
        _ => None,
    }
}

/// May an inode of kind `a` be turned into one of kind `b` in place?
pub(super) fn convertible(a: &Kind, b: &Kind) -> bool {
    matches!((a, b), (Kind::File { .. }, Kind::File { .. })) || a == b
}
