//! What panel and agent say to each other about a backup, in turns: the panel asks again and again, and each time brings
//! addresses that are good for a while.
//!
//! ```text
//! panel                                                       agent
//!   │ ─ upload {addresses of parts 1…8} ─────────────────────► │   reads, compresses, uploads
//!   │ ◄──────────────── stand {parts done: 1…8, wants 9} ───── │
//!   │ ─ upload {addresses of parts 9…16, I know 8} ──────────► │   …
//!   │ ◄──────────────────────────── stand {result: uploaded} ─ │
//!   │   completes the object                                   │
//!   │ ─ verify {address} ────────────────────────────────────► │   reads it back
//!   │ ◄──────────────────────────────── stand {result: read} ─ │
//! ```
//!
//! Keys of the storage never leave the panel: an address is signed for one part of one object and ends soon, so a long
//! backup asks for more of them. A turn may be repeated; it changes nothing but what the agent knows.

use serde::{Deserialize, Serialize};

use crate::RestoreId;

/// What a turn asks for. Of one backup one thing at a time.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum BackupAction {
    /// Pack the server's files, which may be in use, and upload them in parts.
    Upload {
        /// Bytes of each part but the last.
        part_bytes: u64,
        /// Where parts go that were not uploaded yet.
        parts: Vec<SignedPart>,
        /// Of the parts that were uploaded, how many the panel knows: the answer begins behind them.
        known: u32,
        /// How long to wait for something to tell, milliseconds.
        wait_ms: u64,
    },
    /// Read the object back.
    Verify {
        /// Where it is.
        object: SignedObject,
        /// As in `Upload`.
        wait_ms: u64,
    },
    /// Make the object's tree the server's files. The server must not run.
    Restore {
        /// Which attempt: one that was done is not done again.
        restore_id: RestoreId,
        /// Where it is.
        object: SignedObject,
        /// What is in it.
        contents: BackupContents,
        /// As in `Upload`.
        wait_ms: u64,
    },
    /// Stop what is under way. Nothing of it stays, unless a restore is being put in place: that is finished.
    Cancel,
}

/// Where one part of an object goes: a secret, as long as it is good.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPart {
    /// From 1.
    pub number: u32,
    /// For one `PUT`.
    pub url: String,
}

/// Where an object is: a secret, as long as it is good.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedObject {
    /// For `GET`, also of ranges.
    pub url: String,
    /// How long the object is.
    pub bytes: u64,
}

/// What a backup holds, as its upload found it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupContents {
    /// SHA-256 of the object, lower-case hex.
    pub sha256: String,
    /// Root of the tree in it, owners left out; hex.
    pub root: String,
    /// Files, directories and links.
    pub files: u64,
    /// Bytes of content.
    pub tree_bytes: u64,
}

/// Where a backup stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStand {
    /// In numbers.
    pub progress: BackupProgress,
    /// Parts that were uploaded, behind those that the panel knows.
    #[serde(default)]
    pub parts: Vec<UploadedPart>,
    /// It goes on when it gets an address for this part, or with 0 one of the object: it has none, or none that is good.
    #[serde(default)]
    pub wants: Option<u32>,
    /// How it ended.
    #[serde(default)]
    pub result: Option<BackupResult>,
}

/// A part that the storage has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadedPart {
    /// From 1.
    pub number: u32,
    /// What the storage called it.
    pub etag: String,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupProgress {
    /// Bytes of content in the tree.
    pub bytes_total: u64,
    /// Bytes of content that were read, or that were written by a restore.
    pub bytes_done: u64,
    /// Bytes that went to the storage or came from it.
    pub bytes_moved: u64,
    /// Files, directories and links in the tree.
    pub files_total: u64,
    /// Of these, how many are done.
    pub files_done: u64,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum BackupResult {
    /// All parts are there.
    Uploaded {
        /// What is in them.
        contents: BackupContents,
        /// Bytes of all parts.
        bytes: u64,
        /// Files that changed or vanished while they were read, the first thousand.
        changed: Vec<String>,
        /// How many those are.
        changed_count: u64,
        /// Sockets, the first thousand.
        left_out: Vec<String>,
    },
    /// It was read back.
    Read {
        /// SHA-256 of what came, lower-case hex.
        sha256: String,
    },
    /// The server has the files.
    Restored {
        /// Root of the tree as the disk gave it back, owners left out; hex.
        root: String,
    },
}

impl std::fmt::Debug for BackupAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Upload { part_bytes, parts, known, .. } => {
                write!(f, "Upload {{ part_bytes: {part_bytes}, addresses: {}, known: {known} }}", parts.len())
            }
            Self::Verify { object, .. } => write!(f, "Verify {object:?}"),
            Self::Restore { restore_id, object, contents, .. } => {
                write!(f, "Restore {{ {restore_id}, {object:?}, {contents:?} }}")
            }
            Self::Cancel => f.write_str("Cancel"),
        }
    }
}

impl std::fmt::Debug for SignedPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignedPart({})", self.number)
    }
}

impl std::fmt::Debug for SignedObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignedObject({} bytes)", self.bytes)
    }
}
