//! What a round and a finished copy report.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// BLAKE3 over a whole tree: names, metadata and content (see `fold`). Equal roots mean equal trees.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TreeRoot(pub [u8; 32]);

impl fmt::Display for TreeRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for TreeRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeRoot({self})")
    }
}

/// One pass over the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundReport {
    /// 1 for the first.
    pub round: u32,
    /// Bytes of content in the tree (apparent size, hard links once).
    pub bytes_total: u64,
    /// Files, directories and links in the tree, the top not counted.
    pub files: u64,
    /// Bytes of content that differed and were sent.
    pub bytes_sent: u64,
    /// Bytes on the wire, this direction.
    pub bytes_wire: u64,
    /// Blocks of 4 KiB that were sent.
    pub blocks_sent: u64,
    /// Barrier and stat walk.
    pub walk: Duration,
    /// The round as a whole, until the target has written everything.
    pub duration: Duration,
    /// A file moved under our hands, so another round will find something.
    pub changed_during_round_hint: bool,
}

/// Proof of a finished copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// From what the source read.
    pub root_source: TreeRoot,
    /// From what the target's disk gave back.
    pub root_target: TreeRoot,
    /// Files, directories and links in the tree, the top not counted.
    pub files: u64,
    /// Bytes of content in the tree (apparent size, hard links once).
    pub bytes_total: u64,
    /// Bytes of content sent by rounds.
    pub bytes_live: u64,
    /// Bytes of content sent by the last pass.
    pub bytes_frozen: u64,
    /// Bytes on the wire, source to target, all rounds.
    pub bytes_wire: u64,
    /// Blocks of 4 KiB that were sent, all rounds.
    pub blocks_sent: u64,
    /// Passes, the last one included.
    pub rounds: u32,
    /// The last pass: walk, delta, durability of both sides, roots.
    pub final_round: Duration,
    /// Since the connection was made.
    pub duration: Duration,
}

/// What only the source can count, for the receiver's own report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Bytes on the wire, source to target, all rounds.
    pub bytes_wire: u64,
    /// Blocks of 4 KiB that were sent, all rounds.
    pub blocks_sent: u64,
    /// Passes, the last one included.
    pub rounds: u32,
    /// The last pass.
    pub final_round: Duration,
    /// Since the connection was made.
    pub duration: Duration,
}

impl From<&Receipt> for Summary {
    fn from(receipt: &Receipt) -> Self {
        Self {
            bytes_wire: receipt.bytes_wire,
            blocks_sent: receipt.blocks_sent,
            rounds: receipt.rounds,
            final_round: receipt.final_round,
            duration: receipt.duration,
        }
    }
}
