//! What happens next in an evacuation. Pure: rows in, acts out; asking again after a crash gives what is still to do.
//!
//! ```text
//!             its turn            its transfer exists           completed
//!  Waiting ────────────► Starting ───────────────────► Running ───────────► Completed
//!     ▲ │                  │   │                           │ rolled back, stuck
//!     │ │ cancel           │   │ refused, and time         ▼
//!     │ └──► Cancelled     │   │ does not help ─────────► Failed ──retry──► Waiting
//!     └────────────────────┘   │ nothing to do any more
//!       refused for now        └──────────────────────► Skipped
//! ```
//!
//! Whoever is on its way counts against the concurrency until its transfer rests: a transfer rests when its server is
//! healthy and audited, or is back where it was.

use jiff::SignedDuration;
use model::{EvacuationItemId, Timestamp, TransferId, TransferState};

use crate::db::evacuations::{Evacuation, Item, ItemState, Problem, State};
use crate::migrate::Refusal;

/// How long a server may be in somebody else's hands when its turn has come.
pub(crate) const PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// How often it is tried meanwhile.
pub(crate) const RETRY_EVERY: SignedDuration = SignedDuration::from_secs(5);

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Choose an id for its transfer, then start that.
    Start(EvacuationItemId),
    /// Start the transfer whose id was chosen by a panel that died then.
    StartAgain(EvacuationItemId, TransferId),
    /// Its transfer is there.
    Started(EvacuationItemId),
    /// Let it wait again.
    PutBack(EvacuationItemId),
    /// Cancel its transfer.
    Cancel(EvacuationItemId, TransferId),
    /// Its turn is over.
    End(EvacuationItemId, ItemState, Option<Problem>),
    /// The evacuation is over.
    Finish(State),
}

/// Everything that is to be done now.
pub(crate) fn decide(evacuation: &Evacuation, items: &[Item], now: Timestamp) -> Vec<Act> {
    if evacuation.state.is_final() {
        return Vec::new();
    }
    let mut acts: Vec<Act> = items.iter().filter_map(|item| about(evacuation, item)).collect();
    let over =
        |item: &&Item| acts.iter().any(|act| matches!(act, Act::End(id, ..) | Act::PutBack(id) if *id == item.id));
    let on_their_way = items.iter().filter(|item| is_on_its_way(item)).filter(|item| !over(item)).count();
    if evacuation.state == State::Running {
        let room = usize::try_from(evacuation.concurrency).unwrap_or(usize::MAX).saturating_sub(on_their_way);
        let due =
            items.iter().filter(|item| item.state == ItemState::Waiting && item.retry_at.is_none_or(|at| at <= now));
        acts.extend(due.take(room).map(|item| Act::Start(item.id)));
    }
    if items.iter().all(|item| item.state.is_final()) {
        acts.push(Act::Finish(end_of(evacuation.state, items)));
    }
    acts
}

fn is_on_its_way(item: &Item) -> bool {
    matches!(item.state, ItemState::Starting | ItemState::Running)
}

/// What is to be done about an item whose turn has come, or never will.
fn about(evacuation: &Evacuation, item: &Item) -> Option<Act> {
    let cancelling = evacuation.state == State::Cancelling;
    match (item.state, &item.transfer, item.transfer_id) {
        (ItemState::Waiting, ..) if cancelling => Some(Act::End(item.id, ItemState::Cancelled, None)),
        (ItemState::Starting, Some(_), _) => Some(Act::Started(item.id)),
        // The panel died between the choice of an id and the transfer.
        (ItemState::Starting, None, Some(transfer)) => Some(match evacuation.state {
            State::Running => Act::StartAgain(item.id, transfer),
            State::Cancelling => Act::End(item.id, ItemState::Cancelled, None),
            _ => Act::PutBack(item.id),
        }),
        (ItemState::Starting, None, None) => Some(Act::PutBack(item.id)),
        (ItemState::Running, None, _) => {
            let problem = Problem::new("transfer_gone", "Its transfer was removed while it ran, with its server.");
            Some(Act::End(item.id, ItemState::Failed, Some(problem)))
        }
        (ItemState::Running, Some(moving), Some(transfer)) => match moving.state {
            TransferState::Completed => Some(Act::End(item.id, ItemState::Completed, None)),
            TransferState::RolledBack | TransferState::Stuck => {
                Some(Act::End(item.id, ItemState::Failed, Some(failure_of(item))))
            }
            _ if cancelling && evacuation.cancel_running && !moving.cancel_requested => {
                Some(Act::Cancel(item.id, transfer))
            }
            _ => None,
        },
        _ => None,
    }
}

fn failure_of(item: &Item) -> Problem {
    let moving = item.transfer.as_ref();
    match moving.and_then(|moving| moving.failure.as_ref()) {
        Some(failure) => Problem::new(failure.code.clone(), failure.message.clone()),
        None => Problem::new("unknown", "Its transfer did not complete. Look at the transfer."),
    }
}

fn end_of(state: State, items: &[Item]) -> State {
    match state {
        State::Cancelling => State::Cancelled,
        _ if items.iter().any(|item| item.state == ItemState::Failed) => State::CompletedWithFailures,
        _ => State::Completed,
    }
}

/// What becomes of an item whose transfer was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It waits: somebody has the server, or an agent is away.
    Wait {
        /// Since when.
        since: Timestamp,
        /// Until it is tried again.
        retry_at: Timestamp,
    },
    /// There is nothing to do any more.
    Skip,
    /// Time does not help, or helped for too long already.
    Fail,
}

/// Decides that.
pub(crate) fn after(refusal: &Refusal, blocked_since: Option<Timestamp>, now: Timestamp) -> Refused {
    match refusal {
        Refusal::SameTarget { .. } | Refusal::UnknownServer => Refused::Skip,
        Refusal::Locked { .. } | Refusal::Installing | Refusal::AgentOffline { .. } | Refusal::FeatureDisabled => {
            let since = blocked_since.unwrap_or(now);
            let late = now.duration_since(since) >= PATIENCE;
            if late { Refused::Fail } else { Refused::Wait { since, retry_at: now + RETRY_EVERY } }
        }
        _ => Refused::Fail,
    }
}

/// The order in which servers are moved: first what nobody plays on, then the smallest, so that room is made early.
pub(crate) fn order<T>(servers: &mut [T], is_live: impl Fn(&T) -> bool, bytes: impl Fn(&T) -> u64) {
    servers.sort_by_key(|server| (is_live(server), bytes(server)));
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
