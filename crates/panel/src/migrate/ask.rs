//! Asking an agent on behalf of a step: one key per attempt, patience by what it costs, an answer by what comes next.
//!
//! ```text
//!   ask ──► call ──► reply ───────────────► Ok
//!    ▲       │ offline, lost, silent
//!    │       ▼
//!    └── wait for the agent ── too long ──► agent_offline (nothing was ever sent) or agent_lost
//!
//!   beside it: a bound for short commands, the watchdog for copies ("no progress for so long")
//! ```
//!
//! The same key is asked again after a lost connection, after a crash of the panel, and when the answer is late: the
//! agent answers with what it recorded, or lets the caller join what still runs (I7).

use std::time::Duration;

use model::NodeId;
use model::agent_api::{AgentError, ErrorCode, Reply, Request, StepKey, TransferAction};
use saga::{Call, Cause, Failure};
use tokio::time::{Instant, sleep, timeout};

use super::Move;
use crate::agent::CallError;

/// Nothing was sent: the agent cannot have done anything.
pub(super) const AGENT_OFFLINE: &str = "agent_offline";
/// Something was sent: the agent may have done it.
pub(super) const AGENT_LOST: &str = "agent_lost";
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
        let request = Request::Transfer { key: self.key(call, step), server_id: self.transfer.server_id, action };
        let asking = self.ask_until_answered(call, node, &request, patience);
        let asked = match patience.answer {
            // Twice the time: once lost, once asked again.
            Answer::Within(bound) => match timeout(bound * 2 + patience.away, asking).await {
                Ok(asked) => asked,
                Err(_) => Err(Trouble::Gone(self.gone(node, true))),
            },
            Answer::WhileProgress(longest) => tokio::select! {
                asked = asking => asked,
                () = self.stalled(longest) => Err(Trouble::Stalled(longest)),
            },
        };
        asked.map_err(|trouble| self.judge(trouble, node, patience.direction))
    }

    async fn ask_until_answered(
        &self,
        call: &Call<'_>,
        node: NodeId,
        request: &Request,
        patience: Patience,
    ) -> Result<Reply, Trouble> {
        let mut sent = call.is_resumed() || call.attempt() > 1;
        let mut away_since = None;
        loop {
            let began = Instant::now();
            match self.call_once(node, request.clone(), patience.answer).await {
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

    /// One call. An answer that is late is as good as lost: asking again joins what still runs.
    async fn call_once(&self, node: NodeId, request: Request, answer: Answer) -> Result<Reply, CallError> {
        let call = self.agents.call(node, request);
        match answer {
            Answer::Within(bound) => timeout(bound, call).await.unwrap_or(Err(CallError::Lost)),
            Answer::WhileProgress(_) => call.await,
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
        let step = match call.attempt() {
            1 => step.to_owned(),
            attempt => format!("{step}#{attempt}"),
        };
        StepKey { transfer_id: self.transfer.id, step, epoch: self.transfer.epoch }
    }

    fn gone(&self, node: NodeId, sent: bool) -> Cause {
        let name = self.name_of(node);
        if sent {
            let message = format!("The connection to the agent of node {name} was lost and did not come back in time.");
            Cause::new(AGENT_LOST, message)
        } else {
            let message = format!("The agent of node {name} is not connected. Start its daemon and try again.");
            Cause::new(AGENT_OFFLINE, message)
        }
    }

    fn judge(&self, trouble: Trouble, node: NodeId, direction: Direction) -> Failure {
        match (trouble, direction) {
            (Trouble::Gone(cause), Direction::Forward) => Failure::Undo(cause),
            (Trouble::Gone(cause), Direction::Onward) => Failure::Retry(cause),
            (Trouble::Stalled(longest), _) => {
                let message = format!(
                    "The copy made no progress for {} s. Check the network between the nodes and their disks.",
                    longest.as_secs()
                );
                Failure::Undo(Cause::new(NO_PROGRESS, message))
            }
            (Trouble::Refused(error), direction) => refused(&error, self.name_of(node), direction),
        }
    }
}

enum Trouble {
    Gone(Cause),
    Stalled(Duration),
    Refused(AgentError),
}

/// What an agent's error means for the saga.
fn refused(error: &AgentError, node: &str, direction: Direction) -> Failure {
    let cause = Cause::new(code(error.code), format!("node {node}: {}", error.message));
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
        ErrorCode::Unreachable => "agents_unreachable",
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
        let retried = |code| matches!(refused(&AgentError::new(code, ""), "n", Direction::Forward), Failure::Retry(_));
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
            let failure = refused(&AgentError::new(code, ""), "n", Direction::Onward);
            assert!(matches!(failure, Failure::Retry(_)), "{code:?}");
        }
    }
}
