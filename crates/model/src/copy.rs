//! Numbers of a copy: while it runs, and the receipt at its end.

use serde::{Deserialize, Serialize};

/// Where a copy stands. Counters only grow within one attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyProgress {
    /// Bytes of file content known so far, all paths together.
    pub bytes_total: u64,
    /// Bytes read and hashed on the source (all rounds).
    pub bytes_read: u64,
    /// Bytes put on the wire (after compression, all rounds).
    pub bytes_sent: u64,
    /// Bytes of content that the target has written.
    pub bytes_written: u64,
    /// Files, directories and links known so far.
    pub files_total: u64,
    /// Of these, how many are on the target.
    pub files_done: u64,
    /// 1 for the first pass over the tree.
    pub round: u32,
    /// Bytes of content per second, moving average.
    pub rate_bytes_per_s: u64,
    /// Seconds to the end of this round at that rate.
    pub eta_s: u64,
    /// How long the freeze would be if the server were stopped now.
    pub predicted_freeze_ms: Option<u64>,
}

/// Why the copying while running ended, and what the freeze is expected to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezePrediction {
    /// Expected milliseconds from the stop of the game to its start on the target.
    pub predicted_freeze_ms: u64,
    /// Rounds done while running.
    pub rounds: u32,
    /// Bytes of content sent while running.
    pub bytes_live: u64,
}

/// What a finished copy can prove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyReceipt {
    /// Tree root computed by the source from what it read, hex.
    pub root_source: String,
    /// Tree root computed by the target from what its disk gave back, hex.
    pub root_target: String,
    /// Files, directories and links in the tree.
    pub files: u64,
    /// Bytes of content in the tree.
    pub bytes_total: u64,
    /// Bytes of content copied while the game ran.
    pub bytes_live: u64,
    /// Bytes of content copied while it was stopped.
    pub bytes_frozen: u64,
    /// Bytes on the wire, both directions excluded retransmissions of TCP.
    pub bytes_wire: u64,
    /// Rounds, the last one included.
    pub rounds: u32,
    /// Milliseconds of the last round: walk, delta, durability, roots.
    pub final_round_ms: u64,
}
