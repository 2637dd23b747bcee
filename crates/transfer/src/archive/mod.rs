//! A tree as one stream: an ordinary `.tar.zst` that a person can unpack with tar, and the way back.
//!
//! ```text
//! pack    walk ─► members in the order of the walk ─► zstd ─► whoever carries it away
//!            └──► root of what was written
//! unpack  zstd ─► members, beneath one directory descriptor ─► durable ─► read again ─► root of what is there
//! ```
//!
//! The tree may be in use while it is packed. Each member says how long it is before its content comes, so a file that
//! shrinks meanwhile is filled up with zeros, one that grows is cut, and both are named in [`Packed::changed`]: an archive
//! is always whole. What cannot be carried is an error that names it.
//!
//! Both ends compute one hash over names, metadata and content, as a copy does ([`crate::fold`]), the target from its
//! disk. Owners are not in it: who receives may have to give everything to one user.

mod member;
mod pack;
mod pax;
#[cfg(test)]
mod tests;
mod unpack;

use std::path::PathBuf;

use crate::options::OwnerMap;
use crate::report::TreeRoot;

pub use pack::pack;
pub use unpack::{UnpackLimits, unpack};

/// Owners are left out of an archive's root by making all of them the same.
const NO_OWNER: OwnerMap = OwnerMap::To { uid: 0, gid: 0 };

/// Compression level: the middle between the network and the processor that the game needs.
const LEVEL: i32 = 3;

/// What [`pack`] has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Over names, metadata without owners, and content, as they are in the archive.
    pub root: TreeRoot,
    /// Files, directories and links, the top not counted.
    pub files: u64,
    /// Bytes of content (apparent size, hard links once).
    pub bytes: u64,
    /// Files that changed, or vanished, while they were read: what of them is in the archive is of several moments.
    pub changed: Vec<PathBuf>,
    /// Sockets: an archive has no word for them, and they are made anew by whoever listens.
    pub left_out: Vec<PathBuf>,
}

/// What [`unpack`] has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Of the tree as the disk gives it back, without owners.
    pub root: TreeRoot,
    /// Files, directories and links, the top not counted.
    pub files: u64,
    /// Bytes of content.
    pub bytes: u64,
}
