//! The seam to whoever has something to do.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::{Cause, Log};

/// One step of a saga and what takes it back. `C` is whatever all steps of the saga need.
///
/// # What the executor guarantees
///
/// `run` is called after every step in front of it is done; `undo` after every later step has been undone. The start of
/// each attempt is on record before it is called.
///
/// # What a step must uphold
///
/// Both may be called again after having had their effect (the process died before it was recorded), with the same
/// [`Call::attempt`]; the second call must come to the same end. `undo` must tolerate that `run` never had an effect,
/// and that it had half of it. The future of `run` may be dropped at any await: a cancel, or a crash.
#[async_trait]
pub trait Step<C: Sync + ?Sized>: Send + Sync {
    /// Unique within the saga, stable across releases: it is stored.
    fn name(&self) -> &'static str;

    /// Does it. The value is what later steps can read.
    async fn run(&self, context: &C, call: &Call<'_>) -> Result<Value, Failure>;

    /// Takes it back.
    async fn undo(&self, context: &C, call: &Call<'_>) -> Result<(), Failure>;

    /// Whether a cancel may still interrupt this step, as far as `log` says. Where it may not, none is accepted any more:
    /// neither here nor later. Past the pivot it never may.
    ///
    /// That is decided when the step in front of it is about to be done: what that one leaves is not in `log` then.
    fn takes_cancel(&self, _log: &Log) -> bool {
        true
    }

    /// Whether a person may hold the saga here. From the first step that says [`Pausing::Never`] on, none may.
    fn pausing(&self) -> Pausing {
        Pausing::Never
    }

    /// It was interrupted by a pause, and is held: whatever goes on elsewhere for it should come to rest. Called once per
    /// life of the process while it is held, dropped when it goes on; what cannot be said is not waited for.
    async fn hold(&self, _context: &C, _call: &Call<'_>) {}

    /// How often [`Failure::Retry`] is believed when running.
    fn retries(&self) -> Retries {
        Retries::DEFAULT
    }

    /// The same for taking it back. Longer: where undoing ends, a person begins.
    fn undo_retries(&self) -> Retries {
        Retries::PERSISTENT
    }
}

/// Where in a step a saga may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pausing {
    /// Neither here nor later.
    Never,
    /// In front of it, and behind it: it is short, or half of it is of no use.
    Around,
    /// Also inside: its future is dropped, and it is begun again when the saga goes on. Where it is the last step that
    /// can be held, a pause behind it begins it again, too.
    Inside,
}

/// What a step is told about this call of it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub(crate) log: &'a Log,
    pub(crate) attempt: u32,
    pub(crate) resumed: bool,
}

impl<'a> Call<'a> {
    /// A call for tests of single steps.
    #[must_use]
    pub fn new(log: &'a Log, attempt: u32, resumed: bool) -> Self {
        Self { log, attempt, resumed }
    }

    /// Everything that happened so far: outputs of the steps before, the failure that led to this undo.
    #[must_use]
    pub fn log(&self) -> &'a Log {
        self.log
    }

    /// 1 for the first attempt. It grows when an attempt *failed*; a repeat after a crash has the same number.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether a process before this one may have begun this very attempt.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }
}

/// How a step fails: by what happens next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Time may help. Bounded by [`Retries`]; then it is as `Undo`.
    #[error("may succeed later")]
    Retry(#[source] Cause),
    /// Give up cleanly. Past the pivot, and while undoing, it is as `Stuck`.
    #[error("given up")]
    Undo(#[source] Cause),
    /// A person must look.
    #[error("a person must look")]
    Stuck(#[source] Cause),
}

impl Failure {
    /// Why.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        match self {
            Self::Retry(cause) | Self::Undo(cause) | Self::Stuck(cause) => cause,
        }
    }
}

/// How often, and how far apart, a step is attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// Pause after the first; it doubles from one to the next.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
}

impl Retries {
    /// Six attempts within about fifteen seconds.
    pub const DEFAULT: Self =
        Self { attempts: 6, first_pause: Duration::from_millis(500), longest_pause: Duration::from_secs(10) };
    /// For what should end well if it takes an hour.
    pub const PERSISTENT: Self =
        Self { attempts: 70, first_pause: Duration::from_millis(500), longest_pause: Duration::from_mins(1) };
    /// One attempt.
    pub const NONE: Self = Self { attempts: 1, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };

    /// The pause after the failure of `attempt`; none if that was the last.
    #[must_use]
    pub fn pause_after(&self, attempt: u32) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        Some(self.first_pause.saturating_mul(doubled).min(self.longest_pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_the_attempts() {
        let retries =
            Retries { attempts: 5, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(5) };
        let pauses: Vec<_> = (1..=5).map(|attempt| retries.pause_after(attempt).map(|p| p.as_secs())).collect();
        assert_eq!(pauses, [Some(1), Some(2), Some(4), Some(5), None]);
        assert_eq!(Retries::PERSISTENT.pause_after(60), Some(Duration::from_mins(1)), "no overflow");
    }
}
