//! What the two sides say to each other. A frame is a postcard-encoded message and, for some, raw bytes behind it.
//!
//! ```text
//! source                                receiver
//!   │ ─ Hello ────────────────────────────► │
//!   │ ◄──────────────────────────── Welcome │   owner map, is there something to build on
//!   │ ─ Begin, Ops… ──────────────────────► │   what the tree looks like now, as changes
//!   │ ◄─────────────────────────────  Basis │   leaves of what it has at a new file's path, if it has a basis
//!   │ ─ Data… ────────────────────────────► │   blocks that differ, in any order
//!   │ ─ End ──────────────────────────────► │   totals: what is missing is an error
//!   │ ◄─────────────────────────  RoundDone │   written (not yet durable)
//!   │        …more rounds, the last one with `last` set; then                │
//!   │ ─ Root ─────────────────────────────► │
//!   │ ◄──────────────────────────── Verdict │   durable, re-read, folded; equal or not
//!   │ ─ Digests… ─────────────────────────► │   only if not equal: per path
//!   │ ◄──────────────── Basis…, Differs     │   what differs; the source sends it again in another round
//!   │ ─ Publish ──────────────────────────► │
//!   │ ◄────────────────────────── Published │
//! ```
//!
//! Written progress (`Written`) and failure (`Failed`) may come at any time. Ids of nodes (directories and names) and of
//! objects (inodes that are not directories) are chosen by the source and never reused within a session.

use std::{
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{error::Error, options::OwnerMap, report::Summary, sys::Stamp, xattr::Xattrs};

/// Both sides must have the same.
pub(crate) const VERSION: u16 = 1;

/// First bytes of a hello.
pub(crate) const MAGIC: [u8; 8] = *b"badger\0\x01";

/// Longest encoded message.
pub(crate) const MAX_HEAD: usize = 1 << 20;

/// Most raw bytes behind one message, before and after compression.
pub(crate) const MAX_BODY: usize = 2 << 20;

/// Largest message before a connection has shown its ticket.
pub(crate) const MAX_HELLO: usize = 256;

/// Id of the top directory.
pub(crate) const TOP: u32 = 0;

/// Source → receiver.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToReceiver {
    Hello {
        magic: [u8; 8],
        version: u16,
        ticket: [u8; 32],
    },
    Begin(Begin),
    Ops(Vec<Op>),
    /// The body is the content of all pieces that carry bytes, one after another.
    Data {
        pieces: Vec<Piece>,
        packed: bool,
    },
    End(End),
    Root([u8; 32]),
    /// Own digests of nodes: for a name, those of the entry as a whole.
    Digests {
        digests: Vec<(u32, [u8; 32])>,
        last: bool,
    },
    Publish(Summary),
    Abort(String),
    /// Instead of a hello: how good is the way? See `probe`.
    Probe {
        magic: [u8; 8],
        version: u16,
        ticket: [u8; 32],
    },
    Ping(u32),
    /// The body means nothing.
    Load,
}

/// Receiver → source.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToSource {
    Welcome {
        version: u16,
        owner: OwnerMap,
        basis: bool,
    },
    /// The body is leaves of the object from block `first` on, of a file that has `size` bytes.
    Basis {
        object: u32,
        size: u64,
        first: u64,
        last: bool,
    },
    Written {
        bytes: u64,
        files: u64,
    },
    RoundDone(u32),
    Verdict {
        root: [u8; 32],
        equal: bool,
        files: u64,
        bytes: u64,
    },
    Differs {
        nodes: Vec<u32>,
        last: bool,
    },
    Published,
    Failed(Failure),
    Pong(u32),
}

/// Opens a round.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Begin {
    pub(crate) round: u32,
    /// Bytes of content in the tree.
    pub(crate) bytes: u64,
    /// Paths in it.
    pub(crate) entries: u64,
    /// Bytes that it occupies, if holes are not counted.
    pub(crate) allocated: u64,
}

/// Closes a round: what must have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) round: u32,
    /// A root follows.
    pub(crate) last: bool,
    pub(crate) ops: u64,
    pub(crate) pieces: u64,
    pub(crate) bytes: u64,
}

/// A change of the tree. Removals come first, children before parents; then what is new, parents before children.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Op {
    /// Removes a name, or a directory that is empty by now.
    Remove(u32),
    Dir {
        node: u32,
        parent: u32,
        name: Vec<u8>,
        meta: Meta,
    },
    DirMeta {
        node: u32,
        meta: Meta,
    },
    /// Declares an inode, or changes its metadata or size.
    Object {
        object: u32,
        kind: Kind,
        meta: Meta,
    },
    /// Gives an inode a (further) name.
    Name {
        node: u32,
        parent: u32,
        name: Vec<u8>,
        object: u32,
    },
    /// All names are as they should be: inodes without one go.
    Structured,
}

/// What an inode is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    File { size: u64 },
    Symlink { target: Vec<u8> },
    Fifo,
    Socket,
    CharDevice { rdev: u64 },
    BlockDevice { rdev: u64 },
}

/// Metadata of an inode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// The lower twelve bits.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Stamp,
    pub(crate) xattrs: Xattrs,
}

/// A run of blocks of one file.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) object: u32,
    /// First block.
    pub(crate) block: u64,
    /// Bytes.
    pub(crate) len: u32,
    pub(crate) fill: Fill,
}

/// What a run is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fill {
    /// Bytes in the body.
    Bytes,
    /// A hole.
    Hole,
}

/// An [`Error`] on its way to the peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    CannotCarry { path: Vec<u8>, why: String },
    NoSpace { path: Vec<u8>, detail: String },
    Refused(String),
    Protocol(String),
    Io { path: Vec<u8>, what: String },
    Cancelled,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let bytes = |path: &PathBuf| path.as_os_str().as_bytes().to_vec();
        match error {
            Error::CannotCarry { path, why } => Self::CannotCarry { path: bytes(path), why: why.clone() },
            Error::NoSpace { path, detail } => Self::NoSpace { path: bytes(path), detail: detail.clone() },
            Error::Refused(why) => Self::Refused(why.clone()),
            Error::Io { path, source } => Self::Io { path: bytes(path), what: source.to_string() },
            Error::Cancelled => Self::Cancelled,
            other => Self::Protocol(other.to_string()),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let path = |bytes| PathBuf::from(std::ffi::OsString::from_vec(bytes));
        match failure {
            Failure::CannotCarry { path: p, why } => Self::CannotCarry { path: path(p), why },
            Failure::NoSpace { path: p, detail } => Self::NoSpace { path: path(p), detail },
            Failure::Refused(why) => Self::Refused(why),
            Failure::Protocol(why) => Self::Protocol(why),
            Failure::Io { path: p, what } => Self::Io { path: path(p), source: io::Error::other(what) },
            Failure::Cancelled => Self::Unreachable(io::Error::other("the other side was cancelled")),
        }
    }
}

/// A name that may stand in a directory and nothing else.
pub(crate) fn valid_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != b"."
        && name != b".."
        && !name.contains(&b'/')
        && !name.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_not_names() {
        for bad in [&b""[..], b".", b"..", b"/", b"a/b", b"../x", b"/etc", b"a\0b", &[b'n'; 256]] {
            assert!(!valid_name(bad), "{bad:?}");
        }
        for good in [&b"a"[..], b"...", b" ", b"-rf", b"caf\xe9", b"new\nline", &[b'n'; 255]] {
            assert!(valid_name(good), "{good:?}");
        }
    }
}
