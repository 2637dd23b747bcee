//! How a command ends: the exit codes that `badger --help` documents.

use std::process::ExitCode;

/// What the caller learns from the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// Failed; standard error says why.
    Failed,
    /// The transfer was rolled back or cancelled: the server is on the source, as before.
    RolledBack,
    /// The transfer is stuck: a person must look.
    Stuck,
    /// Of several servers some were not moved.
    NotAll,
    /// Interrupted by a signal.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            // 2 is clap's, for a wrong command line.
            Exit::RolledBack => 3,
            Exit::Stuck => 4,
            Exit::NotAll => 5,
            Exit::Interrupted => 130,
        })
    }
}
