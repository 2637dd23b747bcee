//! What callers may choose.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{progress::Progress, rate::RateLimit};

/// Who owns the files on the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwnerMap {
    /// The same numbers as on the source.
    #[default]
    Keep,
    /// All belong to one user and group.
    To {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

impl OwnerMap {
    pub(crate) fn apply(self, uid: u32, gid: u32) -> (u32, u32) {
        match self {
            Self::Keep => (uid, gid),
            Self::To { uid, gid } => (uid, gid),
        }
    }
}

/// For [`crate::Source::connect`].
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// Applied before the receiver's own.
    pub owner: OwnerMap,
    /// May be shared with other copies and changed while this one runs.
    pub bandwidth: Option<Arc<RateLimit>>,
    /// For TCP, TLS and the greeting together.
    pub connect_timeout: Duration,
    /// A peer that says nothing for so long is gone.
    pub idle_timeout: Duration,
    /// Where an unlinked file of 1/128 of the tree's size may live; must not be inside the tree.
    pub scratch: PathBuf,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            owner: OwnerMap::Keep,
            bandwidth: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            scratch: std::env::temp_dir(),
        }
    }
}

/// What a receiver accepts at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverLimits {
    /// Sum of the apparent sizes of all files.
    pub max_bytes: u64,
    /// Files, directories and links.
    pub max_entries: u64,
}

impl Default for ReceiverLimits {
    fn default() -> Self {
        Self { max_bytes: u64::MAX, max_entries: 10_000_000 }
    }
}

/// How a tree that is there already is built on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// What is unchanged is the same inode in both trees, until one of them is changed by us. For a base that goes when
    /// the new tree takes its place.
    #[default]
    Link,
    /// What is unchanged is copied (its blocks are shared where the file system can). For a base that must stay as it is
    /// although somebody will write to the new tree.
    Copy,
}

/// For [`crate::Listener::expect`].
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// A directory of its own, created if need be (mode 0700), on the file system of the destination. The tree grows
    /// in [`crate::staging_tree`] of it. What an earlier attempt left here is used.
    pub staging: PathBuf,
    /// An existing tree, never modified: what is unchanged there is not sent.
    pub base: Option<PathBuf>,
    /// How it is built on.
    pub sharing: Sharing,
    /// Applied after the source's own.
    pub owner: OwnerMap,
    /// What a source may send.
    pub limits: ReceiverLimits,
    /// Counters to keep.
    pub progress: Arc<Progress>,
    /// A peer that says nothing for so long is gone.
    pub idle_timeout: Duration,
}

impl ReceiverConfig {
    /// Staging in `staging`, everything else as usual.
    pub fn new(staging: impl Into<PathBuf>) -> Self {
        Self {
            staging: staging.into(),
            base: None,
            sharing: Sharing::Link,
            owner: OwnerMap::Keep,
            limits: ReceiverLimits::default(),
            progress: Arc::default(),
            idle_timeout: Duration::from_secs(30),
        }
    }
}
