//! The public vocabulary of a transfer. The strings are stable: clients and the product's page use them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a transfer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    /// Accepted, not started.
    Queued,
    /// Going on.
    Running,
    /// Held by a person.
    Paused,
    /// A cancel was accepted and is being honoured.
    Cancelling,
    /// A step failed; what was done is being taken back.
    RollingBack,
    /// The server is on the target.
    Completed,
    /// The server is on the source, exactly as before.
    RolledBack,
    /// A person must look.
    Stuck,
}

impl TransferState {
    /// Whether nothing will happen any more without a person.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::RolledBack | Self::Stuck)
    }
}

/// The stages that the product's page names, and the live one in front of *Stopping server*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Preparing transfer.
    Preparing,
    /// Copying while running.
    CopyingWhileRunning,
    /// Stopping server.
    Stopping,
    /// Compressing files.
    Compressing,
    /// Transferring data.
    Transferring,
    /// Extracting files.
    Extracting,
    /// Starting server.
    Starting,
    /// Cleanup complete.
    Cleanup,
}

impl Stage {
    /// The label that people see.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Preparing => "Preparing transfer",
            Self::CopyingWhileRunning => "Copying while running",
            Self::Stopping => "Stopping server",
            Self::Compressing => "Compressing files",
            Self::Transferring => "Transferring data",
            Self::Extracting => "Extracting files",
            Self::Starting => "Starting server",
            Self::Cleanup => "Cleanup complete",
        }
    }
}

/// How a running server is moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Copy while it runs, stop, send the last delta, start.
    #[default]
    Live,
    /// Stop first, then copy.
    Cold,
}

/// What the tree root of the target is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// What the target's disk gives back.
    #[default]
    Full,
}

/// Whether the server is started on the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartAfter {
    /// If it ran before.
    #[default]
    AsBefore,
    /// In any case.
    Yes,
    /// Not.
    No,
}

/// What the caller may choose at the start of a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Live or cold.
    pub mode: Mode,
    /// Seconds that the freeze may be predicted to last before the server is stopped.
    pub max_freeze_s: u64,
    /// Bytes per second, none for as fast as it goes.
    pub bandwidth_limit: Option<u64>,
    /// Seconds for which the source's copy is kept after the audit.
    pub retain_source_for_s: u64,
    /// What is proven before the start.
    pub verify: Verify,
    /// Whether to start it on the target.
    pub start_after: StartAfter,
    /// Whether a backup is made before anything else.
    pub backup_first: bool,
    /// The server is not stopped before this; it is copied before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Live,
            max_freeze_s: 5,
            bandwidth_limit: None,
            retain_source_for_s: 24 * 3600,
            verify: Verify::Full,
            start_after: StartAfter::AsBefore,
            backup_first: false,
            not_before: None,
        }
    }
}

/// The ways on which a copy can reach its target, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathKind {
    /// The target listens, the source dials.
    Direct,
    /// The source listens, the target dials.
    Reverse,
    /// Both dial the panel.
    Relay,
}

/// Which way a copy takes, and why not another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyPath {
    /// The one that was chosen; none if none was found.
    pub kind: Option<PathKind>,
    /// Those that failed, in that order.
    #[serde(default)]
    pub tried: Vec<TriedPath>,
    /// Round-trip time in microseconds, as measured on it.
    #[serde(default)]
    pub rtt_us: Option<u64>,
    /// Bytes per second, as measured on it.
    #[serde(default)]
    pub bandwidth: Option<u64>,
}

/// A way that did not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriedPath {
    /// Which.
    pub kind: PathKind,
    /// Why not, for people.
    pub reason: String,
}

/// Why a transfer did not complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable word: `cancelled`, `agent_offline`, `insufficient_disk`, …
    pub code: String,
    /// What happened and what to do.
    pub message: String,
    /// The saga's step that failed.
    pub step: String,
    /// When.
    pub at: Timestamp,
}
