//! What every step of one migration has at hand.

use std::sync::Arc;
use std::time::Duration;

use model::{Clock, Epoch, NodeId, Timestamp};
use saga::{Cause, Failure};

use super::ask::{Answer, Direction, Patience};
use super::place::Place;
use super::standing::Standing;
use super::tuning::Tuned;
use crate::agent::Agents;
use crate::backup::Backups;
use crate::db::transfers::Transfer;
use crate::db::{Db, DbError};
use crate::events::{Following, Hub};
use crate::permit::PermitSigner;
use crate::relay::Relays;

/// The migration of one server, while it is driven.
pub struct Move {
    pub(super) db: Db,
    pub(super) agents: Arc<dyn Agents>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) permits: Arc<PermitSigner>,
    pub(super) events: Arc<Hub>,
    pub(super) pace: Pace,
    /// As it was accepted; only its fixed parts are looked at.
    pub(super) transfer: Transfer,
    pub(super) from: Place,
    pub(super) to: Place,
    pub(super) relays: Arc<Relays>,
    pub(super) backups: Arc<Backups>,
    /// The way that the copy takes, as far as this life of the panel knows.
    pub(super) standing: Standing,
    pub(super) following: Following,
    /// The options as they count now: those of `transfer` are as it was accepted.
    pub(super) tuned: Tuned,
}

/// How long things may take. While players wait, patience is short.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// For the answer to a short command.
    pub answer: Duration,
    /// For an agent that is away while the game runs.
    pub away: Duration,
    /// The same while it is stopped.
    pub away_frozen: Duration,
    /// The same where there is only one way to go: undoing, and past the pivot.
    pub away_onward: Duration,
    /// Longest time without progress of a copy while the game runs, or was not running anyway.
    pub stalled: Duration,
    /// The same while it is stopped.
    pub stalled_frozen: Duration,
    /// For everything that a target must have: image, container, directories; on a cluster a pod, which may wait for a
    /// machine to be added.
    pub prepare: Duration,
    /// For a target to take everything back: a pod is given its time to end.
    pub clear: Duration,
    /// For each word and each try of one way of a copy.
    pub door: Duration,
    /// How often both agents hear from us while the game is stopped.
    pub ping: Duration,
    /// For how long the source stays stopped without a word from us.
    pub lease: Duration,
    /// For the game to come up on the target.
    pub boot: Duration,
    /// How long it must have been up.
    pub uptime: Duration,
    /// For the source to hash its files again.
    pub audit: Duration,
    /// For a target that is away and must be tidied up, before that is left for later.
    pub tidy: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            away: Duration::from_mins(2),
            away_frozen: Duration::from_secs(15),
            away_onward: Duration::from_hours(24),
            stalled: Duration::from_mins(5),
            stalled_frozen: Duration::from_mins(1),
            prepare: Duration::from_mins(15),
            clear: Duration::from_mins(3),
            door: Duration::from_secs(6),
            ping: Duration::from_secs(5),
            lease: Duration::from_secs(20),
            boot: Duration::from_mins(5),
            uptime: Duration::from_secs(2),
            audit: Duration::from_hours(6),
            tidy: Duration::from_secs(30),
        }
    }
}

impl Move {
    pub(super) fn source(&self) -> NodeId {
        self.transfer.source_node_id
    }

    pub(super) fn target(&self) -> NodeId {
        self.transfer.target_node_id
    }

    pub(super) fn place(&self, node: NodeId) -> &Place {
        if node == self.source() { &self.from } else { &self.to }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The epoch in which the source owned the server when this began.
    pub(super) fn epoch(&self) -> Epoch {
        self.transfer.epoch
    }

    /// The epoch in which the target owns it.
    pub(super) fn epoch_there(&self) -> Epoch {
        self.transfer.epoch.next()
    }

    /// The epoch in which the source owns it again. Never the target's: a permit for that may be on its way.
    pub(super) fn epoch_back(&self) -> Epoch {
        self.transfer.epoch.next().next()
    }

    /// For short commands while the game runs.
    pub(super) fn patient(&self) -> Patience {
        let answer = Answer::Within(self.pace.answer);
        Patience { answer, away: self.pace.away, direction: Direction::Forward }
    }

    /// For short commands while the game is stopped.
    pub(super) fn hurried(&self) -> Patience {
        Patience { away: self.pace.away_frozen, ..self.patient() }
    }

    /// For commands without an alternative.
    pub(super) fn onward(&self) -> Patience {
        let answer = Answer::Within(self.pace.answer);
        Patience { answer, away: self.pace.away_onward, direction: Direction::Onward }
    }

    /// For a copy.
    pub(super) fn while_progress(&self, frozen: bool) -> Patience {
        let (longest, away) = if frozen {
            (self.pace.stalled_frozen, self.pace.away_frozen)
        } else {
            (self.pace.stalled, self.pace.away)
        };
        Patience { answer: Answer::WhileProgress(longest), away, direction: Direction::Forward }
    }
}

impl Patience {
    /// Late is never: the answer is of use within `bound` only.
    pub(super) fn at_once(self, bound: Duration) -> Self {
        Self { answer: Answer::AtOnce(bound), ..self }
    }

    pub(super) fn within(self, bound: Duration) -> Self {
        Self { answer: Answer::Within(bound), ..self }
    }
}

/// A failed query, as the failure of a step.
#[allow(clippy::needless_pass_by_value, reason = "made for map_err")]
pub(super) fn db_failure(error: DbError) -> Failure {
    let permanent =
        matches!(error, DbError::Conflict | DbError::NotFound | DbError::Corrupt { .. } | DbError::Unstorable(_));
    let cause = Cause::new(if permanent { "conflict" } else { "database" }, error.to_string());
    if permanent { Failure::Undo(cause) } else { Failure::Retry(cause) }
}
