//! What can go wrong, and when.

use std::time::Duration;

use model::agent_api::ErrorCode;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The agent refuses; nothing happened.
    Refuse(ErrorCode),
    /// It happened, and yet the agent answers that it failed.
    FailAfter(ErrorCode),
    /// The connection is lost before the agent hears of it.
    LoseRequest,
    /// The connection is lost before the panel hears of it.
    LoseReply,
    /// It is delivered again two seconds later.
    Duplicate,
    /// The panel dies before the agent hears of it, and is back after this long.
    CrashBefore(Duration),
    /// The panel dies after it happened, before that is on record, and is back after this long.
    CrashAfter(Duration),
    /// The agent is found dead: nothing is ever sent.
    Gone(Duration),
    /// The agent dies before it happened (its games go on), and is back after this long.
    AgentDiesBefore(Duration),
    /// The agent dies in the middle of it.
    AgentDiesDuring(Duration),
    /// The agent dies after it happened, before the answer.
    AgentDiesAfter(Duration),
    /// The agent on the other side dies while this one is at it.
    OtherAgentDies(Duration),
    /// Somebody cancels while it happens.
    Cancel,
    /// Somebody pauses while it happens, and resumes after this long.
    Pause(Duration),
    /// Somebody pauses while it happens, the panel dies while it is held, and somebody resumes after this long.
    PauseAndCrash(Duration),
    /// Somebody pauses while it happens, and cancels after this long.
    PauseAndCancel(Duration),
    /// Somebody changes the limits while it happens.
    Change,
    /// The target's disk returns something else than was written.
    Corrupt,
    /// Somebody writes to the source's files although they are frozen.
    Tamper,
    /// The copy stops making progress, for ever.
    Stall,
    /// The way that the copy takes is closed from now on.
    CloseWay,
    /// The way that the copy takes swallows everything from now on.
    ClogWay,
}

/// Which agent, relative to the transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that has the server.
    Source,
    /// The one that gets it.
    Target,
}

/// When it goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// At a request of this step (`undo_` in front for taking it back) to this side, whatever its attempt.
    Step(&'static str, Side),
    /// At the request with this number, counted over all of the transfer's.
    Nth(u64),
}

/// One fault, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When.
    pub when: When,
    /// What.
    pub fault: Fault,
    /// Whether it did.
    pub fired: bool,
}

impl Planned {
    /// `fault` at `step` on `side`.
    #[must_use]
    pub fn at(step: &'static str, side: Side, fault: Fault) -> Self {
        Self { when: When::Step(step, side), fault, fired: false }
    }

    /// `fault` at request number `n`.
    #[must_use]
    pub fn nth(n: u64, fault: Fault) -> Self {
        Self { when: When::Nth(n), fault, fired: false }
    }
}
