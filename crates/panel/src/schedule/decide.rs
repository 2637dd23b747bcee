//! What becomes of a run that has not begun: a pure function, so that every case can be read and tested.

use std::time::Duration;

use model::{ServerStatus, Timestamp};

/// For how long after its time a run may still begin.
pub const GRACE: Duration = Duration::from_mins(15);

/// What the decision is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// When it was due.
    pub due_at: Timestamp,
    /// What the server does.
    pub status: ServerStatus,
    /// Whether a transfer or another operation holds the server.
    pub held: bool,
    /// Whether it is left out while the game does not run.
    pub only_when_online: bool,
    /// Whether the run before it still goes on.
    pub goes_on: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Begin.
    Run,
    /// Look again later.
    Defer(&'static str),
    /// It is not done.
    Skip(&'static str),
}

/// Decides. A server that is being moved is left alone: what a schedule writes or stops then would be written to files
/// that are being taken, or undo what the transfer is about to do.
#[must_use]
pub fn decide(facts: &Facts, now: Timestamp) -> Decision {
    let late = is_late(facts.due_at, now);
    match facts.status {
        _ if facts.goes_on => Decision::Skip("the run before it still went on"),
        _ if facts.held && late => {
            Decision::Skip("a transfer or another operation held the server for too long after it was due")
        }
        _ if facts.held => Decision::Defer("a transfer or another operation holds the server"),
        _ if late => Decision::Skip("it could not begin in time"),
        ServerStatus::Installing | ServerStatus::InstallFailed => Decision::Skip("the server is not installed"),
        status if facts.only_when_online && status != ServerStatus::Running => {
            Decision::Skip("the server did not run, and this schedule is for a server that runs")
        }
        _ => Decision::Run,
    }
}

/// Whether it is too late to begin what was due then.
#[must_use]
pub fn is_late(due_at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(due_at).unsigned_abs() > GRACE && now > due_at
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FINE: fn() -> Facts = || Facts {
        due_at: Timestamp::UNIX_EPOCH,
        status: ServerStatus::Running,
        held: false,
        only_when_online: false,
        goes_on: false,
    };

    fn after_minutes(minutes: i64) -> Timestamp {
        Timestamp::from_second(minutes * 60).unwrap()
    }

    #[test]
    fn a_run_begins_within_the_grace_and_not_after_it() {
        assert_eq!(decide(&FINE(), after_minutes(0)), Decision::Run);
        assert_eq!(decide(&FINE(), after_minutes(15)), Decision::Run);
        assert!(matches!(decide(&FINE(), after_minutes(16)), Decision::Skip(_)));
    }

    #[test]
    fn a_server_that_is_held_is_waited_for_as_long_as_the_grace() {
        let held = Facts { held: true, ..FINE() };
        assert!(matches!(decide(&held, after_minutes(0)), Decision::Defer(_)));
        assert!(matches!(decide(&held, after_minutes(15)), Decision::Defer(_)));
        assert!(matches!(decide(&held, after_minutes(16)), Decision::Skip(_)));
    }

    #[test]
    fn two_runs_of_one_schedule_do_not_overlap() {
        assert!(matches!(decide(&Facts { goes_on: true, ..FINE() }, after_minutes(0)), Decision::Skip(_)));
    }

    #[test]
    fn only_when_online_means_running() {
        for (status, runs) in [
            (ServerStatus::Running, true),
            (ServerStatus::Starting, false),
            (ServerStatus::Offline, false),
            (ServerStatus::Crashed, false),
        ] {
            let facts = Facts { status, only_when_online: true, ..FINE() };
            assert_eq!(decide(&facts, after_minutes(0)) == Decision::Run, runs, "{status:?}");
            let facts = Facts { only_when_online: false, ..facts };
            assert_eq!(decide(&facts, after_minutes(0)), Decision::Run, "{status:?}");
        }
        for status in [ServerStatus::Installing, ServerStatus::InstallFailed] {
            assert!(matches!(decide(&Facts { status, ..FINE() }, after_minutes(0)), Decision::Skip(_)), "{status:?}");
        }
    }
}
