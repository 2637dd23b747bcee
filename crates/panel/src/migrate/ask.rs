//! Asking an agent on behalf of a step: one key per attempt, patience by what it costs, an answer by what comes next.
//!
//! ```text
//!   ask ──► call ──► reply ───────────────► Ok
//!    ▲       │ offline, lost, silent
//!    │       ▼
//!    └── wait for the agent ── too long ──► agent_offline (nothing was ever sent) or agent_lost
//!
//!   beside it: a bound for short commands, a shorter one for tries, the watchdog for copies ("no progress for so long")
//! ```
//!
//! The same key is asked again after a lost connection, after a crash of the panel, and when the answer is late: the
//! agent answers with what it recorded, or lets the caller join what still runs (I7).

use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode, Reply, Request, StepKey, TransferAction};
use model::{NodeId, Options};
use saga::{Call, Cause, Failure};
use tokio::time::{Instant, sleep, timeout};

use super::Move;
use super::place::Place;
use crate::agent::CallError;

/// Nothing was sent: the agent cannot have done anything.
pub(super) const AGENT_OFFLINE: &str = "agent_offline";
/// Something was sent: the agent may have done it.
pub(super) const AGENT_LOST: &str = "agent_lost";
/// One agent cannot reach the other.
pub(super) const UNREACHABLE: &str = "agents_unreachable";
/// The watchdog's word.
pub(super) const NO_PROGRESS: &str = "no_progress";

/// Between two calls to an agent that is there and yet does not answer.
const BREATH: Duration = Duration::from_millis(200);

/// How long a command may take, and how long an agent may be away meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the answer.
    pub(super) answer: Answer,
    /// For an agent that went away.
    pub(super) away: Duration,
    /// What a failure means here.
    pub(super) direction: Direction,
}

/// For how long an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// The command is short.
    Within(Duration),
    /// The command is a try: no answer by then is a no.
    AtOnce(Duration),
    /// It takes as long as it takes, but the copy must get on: longest time without progress.
    WhileProgress(Duration),
}

/// Where in the saga the command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Before the pivot: what time does not help is undone.
    Forward,
    /// Undoing, or past the pivot: there is only this way.
    Onward,
}

impl Move {
    /// Asks `node` for its part of `step`.
    pub(super) async fn ask(
        &self,
        call: &Call<'_>,
        step: &str,
        node: NodeId,
        action: TransferAction,
        patience: Patience,
    ) -> Result<Reply, Failure> {
        self.ask_anew(call, step, node, &|| action.clone(), patience).await
    }

    /// As [`Self::ask`], for a copy whose limits may change meanwhile: whenever it is asked again it is asked with those that
    /// count then, and in between the source is told.
    pub(super) async fn ask_copy(
        &self,
        call: &Call<'_>,
        step: &str,
        action: &(dyn Fn(&Options) -> TransferAction + Sync),
        patience: Patience,
    ) -> Result<Reply, Failure> {
        let tuned = self.tuned.watch();
        let action = || action(&self.tuned.options());
        tokio::select! {
            // In this order: what is said about a copy goes out behind the command that begins it.
            biased;
            answered = self.ask_anew(call, step, self.source(), &action, patience) => answered,
            never = self.keep_tuned(tuned) => match never {},
        }
    }

    async fn ask_anew(
        &self,
        call: &Call<'_>,
        step: &str,
        node: NodeId,
        action: &(dyn Fn() -> TransferAction + Sync),
        patience: Patience,
    ) -> Result<Reply, Failure> {
        let (key, server_id) = (self.key(call, step), self.transfer.server_id);
        let request = || Request::Transfer { key: key.clone(), server_id, action: action() };
        let asking = self.ask_until_answered(call, node, &request, patience);
        let asked = match patience.answer {
            // Twice the time: once lost, once asked again.
            Answer::Within(bound) => match timeout(bound * 2 + patience.away, asking).await {
                Ok(asked) => asked,
                Err(_) => Err(Trouble::Gone(self.gone(node, true))),
            },
            // Each try is bounded, and so is how often it is repeated: by how long the agent may be away.
            Answer::AtOnce(_) => asking.await,
            Answer::WhileProgress(longest) => tokio::select! {
                asked = asking => asked,
                () = self.stalled(longest) => Err(Trouble::Stalled(longest)),
            },
        };
        asked.map_err(|trouble| judge(trouble, self.place(node), patience.direction))
    }

    async fn ask_until_answered(
        &self,
        call: &Call<'_>,
        node: NodeId,
        request: &(dyn Fn() -> Request + Sync),
        patience: Patience,
    ) -> Result<Reply, Trouble> {
        let mut sent = call.is_resumed() || call.attempt() > 1;
        let mut away_since = None;
        loop {
            let began = Instant::now();
            let Some(called) = self.call_once(node, request(), patience.answer).await else {
                return Err(Trouble::Late(began.elapsed()));
            };
            match called {
                Ok(reply) => return Ok(reply),
                Err(CallError::Refused(error)) => return Err(Trouble::Refused(error)),
                Err(CallError::Offline) => {}
                Err(CallError::Lost) => sent = true,
            }
            if began.elapsed() > patience.away {
                away_since = None;
            }
            let since = *away_since.get_or_insert_with(Instant::now);
            let left = patience.away.saturating_sub(since.elapsed());
            if timeout(left, self.back(node)).await.is_err() {
                return Err(Trouble::Gone(self.gone(node, sent)));
            }
        }
    }

    /// One call. An answer that is late is as good as lost (asking again joins what still runs), or none.
    async fn call_once(&self, node: NodeId, request: Request, answer: Answer) -> Option<Result<Reply, CallError>> {
        let call = self.agents.call(node, request);
        match answer {
            Answer::Within(bound) => Some(timeout(bound, call).await.unwrap_or(Err(CallError::Lost))),
            Answer::AtOnce(bound) => timeout(bound, call).await.ok(),
            Answer::WhileProgress(_) => Some(call.await),
        }
    }

    async fn back(&self, node: NodeId) {
        sleep(BREATH).await;
        self.agents.wait_online(node).await;
    }

    /// Returns when the copy's numbers have not changed for `longest`.
    async fn stalled(&self, longest: Duration) {
        let mut progress = self.following.watch();
        while let Ok(Ok(())) = timeout(longest, progress.changed()).await {}
    }

    fn key(&self, call: &Call<'_>, step: &str) -> StepKey {
        StepKey { transfer_id: self.transfer.id, step: key_step(call, step), epoch: self.transfer.epoch }
    }

    fn gone(&self, node: NodeId, sent: bool) -> Cause {
        let place = self.place(node);
        if sent {
            let message = format!("The connection to {} was lost and did not come back in time.", place.agent());
            Cause::new(AGENT_LOST, message)
        } else {
            Cause::new(AGENT_OFFLINE, place.offline())
        }
    }
}

fn judge(trouble: Trouble, place: &Place, direction: Direction) -> Failure {
    match (trouble, direction) {
        (Trouble::Gone(cause), Direction::Forward) => Failure::Undo(cause),
        (Trouble::Gone(cause), Direction::Onward) => Failure::Retry(cause),
        (Trouble::Late(bound), _) => {
            let message = format!("{place} did not answer within {} s", bound.as_secs());
            Failure::Retry(Cause::new(UNREACHABLE, message))
        }
        (Trouble::Stalled(longest), _) => {
            let message = format!(
                "The copy made no progress for {} s. Check the network between source and target and their disks.",
                longest.as_secs()
            );
            Failure::Undo(Cause::new(NO_PROGRESS, message))
        }
        (Trouble::Refused(error), direction) => refused(&error, place, direction),
    }
}

enum Trouble {
    Gone(Cause),
    Late(Duration),
    Stalled(Duration),
    Refused(AgentError),
}

/// The name of a step's attempt in keys.
pub(super) fn key_step(call: &Call<'_>, step: &str) -> String {
    match call.attempt() {
        1 => step.to_owned(),
        attempt => format!("{step}#{attempt}"),
    }
}

/// What an agent's error means for the saga.
fn refused(error: &AgentError, place: &Place, direction: Direction) -> Failure {
    let cause = Cause::new(code(error.code), format!("{place}: {}", error.message));
    match (error.code, direction) {
        (ErrorCode::Unreachable | ErrorCode::Internal, Direction::Forward) => Failure::Retry(cause),
        (_, Direction::Forward) => Failure::Undo(cause),
        // Neither becomes true by waiting, and there is no other way to go.
        (ErrorCode::BadPermit | ErrorCode::Unsupported | ErrorCode::StaleEpoch, Direction::Onward) => {
            Failure::Stuck(cause)
        }
        (_, Direction::Onward) => Failure::Retry(cause),
    }
}

/// The stable word that users see.
fn code(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Unsupported => "unsupported",
        ErrorCode::NotFound => "not_found",
        ErrorCode::Conflict => "conflict",
        ErrorCode::StaleEpoch => "stale_epoch",
        ErrorCode::BadPermit => "bad_permit",
        ErrorCode::NoSpace => "insufficient_disk",
        ErrorCode::ImageMissing => "image_missing",
        ErrorCode::PortTaken => "port_taken",
        ErrorCode::WillNotStop => "will_not_stop",
        ErrorCode::LeaseLost => "lease_lost",
        ErrorCode::CannotCarry => "cannot_carry",
        ErrorCode::Unreachable => UNREACHABLE,
        ErrorCode::RootsDiffer => "roots_differ",
        ErrorCode::DoesNotConverge => "does_not_converge",
        ErrorCode::Unhealthy => "unhealthy",
        ErrorCode::Cancelled => saga::CANCELLED,
        ErrorCode::Internal | ErrorCode::Unknown => "agent_failed",
    }
}

/// An answer that does not belong to the question: a bug of one side, and no reason to go on.
pub(super) fn unexpected(reply: &Reply) -> Failure {
    Failure::Undo(Cause::new("unexpected_reply", format!("the agent answered something else: {reply:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_pivot_only_what_time_may_help_is_tried_again() {
        let retried = |code| {
            matches!(refused(&AgentError::new(code, ""), &Place::default(), Direction::Forward), Failure::Retry(_))
        };
        for code in [ErrorCode::Unreachable, ErrorCode::Internal] {
            assert!(retried(code), "{code:?}");
        }
        for code in [ErrorCode::NoSpace, ErrorCode::LeaseLost, ErrorCode::RootsDiffer, ErrorCode::Unknown] {
            assert!(!retried(code), "{code:?}");
        }
    }

    #[test]
    fn where_there_is_only_one_way_nothing_is_given_up() {
        for code in [ErrorCode::Internal, ErrorCode::Conflict, ErrorCode::NotFound, ErrorCode::Unknown] {
            let failure = refused(&AgentError::new(code, ""), &Place::default(), Direction::Onward);
            assert!(matches!(failure, Failure::Retry(_)), "{code:?}");
        }
    }
}
