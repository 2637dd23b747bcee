//! What a schedule does: a list of tasks, one after the other.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::Signal;
use crate::api::on_server::Right;

/// One task. It begins `time_offset_s` seconds after the one before it has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum Task {
    /// A line for the console.
    Command {
        /// Without a line end.
        #[schema(example = "save-all")]
        command: String,
        /// Seconds since the end of the task before it.
        #[serde(default)]
        time_offset_s: u32,
        /// Whether the tasks behind it are done although this one failed.
        #[serde(default)]
        continue_on_failure: bool,
    },
    /// Start, stop, restart or kill.
    Power {
        /// `start`, `stop`, `restart` or `kill`.
        signal: Signal,
        /// Seconds since the end of the task before it.
        #[serde(default)]
        time_offset_s: u32,
        /// Whether the tasks behind it are done although this one failed.
        #[serde(default)]
        continue_on_failure: bool,
    },
    /// A backup to the default storage. The run goes on when it is complete.
    Backup {
        /// For people; without it one that says when it was made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(example = "nightly")]
        name: Option<String>,
        /// Whether it is kept from being deleted.
        #[serde(default)]
        locked: bool,
        /// Seconds since the end of the task before it.
        #[serde(default)]
        time_offset_s: u32,
        /// Whether the tasks behind it are done although this one failed.
        #[serde(default)]
        continue_on_failure: bool,
    },
}

impl Task {
    /// Seconds since the end of the task before it.
    #[must_use]
    pub fn time_offset_s(&self) -> u32 {
        match self {
            Self::Command { time_offset_s, .. }
            | Self::Power { time_offset_s, .. }
            | Self::Backup { time_offset_s, .. } => *time_offset_s,
        }
    }

    /// Whether the tasks behind it are done although this one failed.
    #[must_use]
    pub fn continue_on_failure(&self) -> bool {
        match self {
            Self::Command { continue_on_failure, .. }
            | Self::Power { continue_on_failure, .. }
            | Self::Backup { continue_on_failure, .. } => *continue_on_failure,
        }
    }

    /// What one must be allowed to do by hand to have it done by a schedule.
    #[must_use]
    pub fn right(&self) -> Right {
        match self {
            Self::Command { .. } => Right::Console,
            Self::Power { .. } => Right::Power,
            Self::Backup { .. } => Right::Backups,
        }
    }
}
