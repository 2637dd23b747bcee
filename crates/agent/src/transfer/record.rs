//! What an agent remembers of a transfer, on disk: the answers it gave (I7), and how far a target has come.
//!
//! The file is written before an answer leaves, and before anything that a crash must not forget. It holds the door's
//! ticket, so it is private. It goes a week after it was last touched.

use std::collections::BTreeMap;

use model::agent_api::{AgentError, ErrorCode, Outcome, Reply, Route, StepKey, TransferAction};
use model::{Epoch, ServerId, ServerSpec, Timestamp, TransferId};
use serde::{Deserialize, Serialize};

const KEEP_MS: i64 = 7 * 24 * 3600 * 1000;

/// `transfers/<id>.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) transfer: TransferId,
    pub(super) server: ServerId,
    /// Of the server when the transfer began.
    pub(super) epoch: Epoch,
    pub(super) touched: Timestamp,
    /// Set before an abort begins: whatever comes later for this transfer comes too late.
    pub(super) aborted: bool,
    pub(super) target: Option<Target>,
    results: BTreeMap<String, Recorded>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Recorded {
    at: Timestamp,
    outcome: Outcome,
}

/// The target's side.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Target {
    pub(super) spec: ServerSpec,
    /// The server's epoch here, if it comes to that.
    pub(super) epoch: Epoch,
    pub(super) source_fingerprint: String,
    pub(super) ticket: String,
    pub(super) phase: Phase,
    /// Where we dial, because the source cannot dial us.
    #[serde(default)]
    pub(super) dial: Option<Route>,
    /// All that was staged is in the server's data, which was there before: staging is of no more use.
    #[serde(default)]
    pub(super) published: bool,
    /// The transfer whose retained copy is built on.
    #[serde(default)]
    pub(super) basis: Option<TransferId>,
}

impl Target {
    pub(super) fn new(spec: ServerSpec, epoch: Epoch, source_fingerprint: String, ticket: String) -> Self {
        Self {
            spec,
            epoch,
            source_fingerprint,
            ticket,
            phase: Phase::Preparing,
            dial: None,
            published: false,
            basis: None,
        }
    }
}

/// How far a target has come.
///
/// ```text
/// Preparing ─► Receiving ─► Received ─► Starting ─► Started
///                  ▲ a new connection │
///                  └──────────────────┘
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// What is made now belongs to this transfer.
    Preparing,
    /// The door is open.
    Receiving,
    /// Staging is complete and equal to the source.
    Received {
        /// Hex.
        root: String,
    },
    /// Staging becomes the server's data.
    Starting,
    /// It is a server of this agent.
    Started,
}

impl Record {
    pub(super) fn new(key: &StepKey, server: ServerId, now: Timestamp) -> Self {
        Self {
            transfer: key.transfer_id,
            server,
            epoch: key.epoch,
            touched: now,
            aborted: false,
            target: None,
            results: BTreeMap::new(),
        }
    }

    /// The answer that was given, its clock moved on.
    pub(super) fn result(&self, name: &str, now: Timestamp) -> Option<Outcome> {
        let recorded = self.results.get(name)?;
        let passed = now.as_millisecond().saturating_sub(recorded.at.as_millisecond());
        Some(aged(&recorded.outcome, u64::try_from(passed).unwrap_or(0)))
    }

    pub(super) fn keep(&mut self, name: String, outcome: Outcome, now: Timestamp) {
        self.results.insert(name, Recorded { at: now, outcome });
    }

    /// Refuses a command that is not of this transfer as it is known here, or comes after its end.
    pub(super) fn admit(&self, key: &StepKey, server: ServerId, action: &TransferAction) -> Result<(), AgentError> {
        if self.server != server {
            return Err(refuse(
                ErrorCode::Conflict,
                format!("transfer {} is of server {}", self.transfer, self.server),
            ));
        }
        if self.epoch != key.epoch {
            let message = format!("transfer {} began in epoch {}, not {}", self.transfer, self.epoch, key.epoch);
            return Err(refuse(ErrorCode::StaleEpoch, message));
        }
        if self.aborted && !matches!(action, TransferAction::AbortTarget) {
            return Err(refuse(ErrorCode::Cancelled, format!("transfer {} was aborted here", self.transfer)));
        }
        Ok(())
    }

    pub(super) fn note_published(&mut self) {
        if let Some(target) = &mut self.target {
            target.published = true;
        }
    }

    pub(super) fn dial(&mut self, route: Option<Route>) {
        if let Some(target) = &mut self.target {
            target.dial = route;
        }
    }

    pub(super) fn phase(&self) -> Option<&Phase> {
        self.target.as_ref().map(|target| &target.phase)
    }

    /// Whether staging, a place and a container of this transfer may exist here.
    pub(super) fn holds_target(&self) -> bool {
        !self.aborted && self.target.is_some()
    }

    pub(super) fn is_old(&self, now: Timestamp) -> bool {
        now.as_millisecond() - self.touched.as_millisecond() > KEEP_MS && !self.holds_open_target()
    }

    /// Whether that has not become a server of this agent yet.
    pub(super) fn holds_open_target(&self) -> bool {
        self.holds_target() && self.phase() != Some(&Phase::Started)
    }

    /// The transfer whose retained copy must stay: this one builds on it, and may have to begin again.
    pub(super) fn basis_in_use(&self) -> Option<TransferId> {
        self.target.as_ref().filter(|_| self.holds_open_target())?.basis
    }
}

/// Which step asks for what: the same step may ask an agent for several things.
pub(super) fn name(key: &StepKey, action: &TransferAction) -> String {
    let action = match action {
        TransferAction::Measure => "measure",
        TransferAction::PrepareTarget { .. } => "prepare_target",
        TransferAction::Precopy { .. } => "precopy",
        TransferAction::StopSource { .. } => "stop_source",
        TransferAction::FinalCopy { .. } => "final_copy",
        TransferAction::FenceSource => "fence_source",
        TransferAction::UnfenceSource { .. } => "unfence_source",
        TransferAction::ResumeSource { .. } => "resume_source",
        TransferAction::EndCopy => "end_copy",
        TransferAction::StartTarget { .. } => "start_target",
        TransferAction::CheckHealth { .. } => "check_health",
        TransferAction::AdmitPlayers => "admit_players",
        TransferAction::AbortTarget => "abort_target",
        TransferAction::Audit { .. } => "audit",
        TransferAction::ExpectTarget { .. } => "expect_target",
        TransferAction::DialSource { .. } => "dial_source",
        TransferAction::TryDoor { .. } => "try_door",
        TransferAction::RetainSource { .. } => "retain_source",
        TransferAction::FreeRetained => "free_retained",
    };
    format!("{}/{action}", key.step)
}

/// Answers that say how long ago something was go on ageing.
fn aged(outcome: &Outcome, passed: u64) -> Outcome {
    match outcome {
        Outcome::Ok(Reply::Stopped { was_running, ago_ms }) => {
            Outcome::Ok(Reply::Stopped { was_running: *was_running, ago_ms: ago_ms + passed })
        }
        Outcome::Ok(Reply::Started { ago_ms }) => {
            Outcome::Ok(Reply::Started { ago_ms: ago_ms.map(|ago| ago + passed) })
        }
        other => other.clone(),
    }
}

fn refuse(code: ErrorCode, message: String) -> AgentError {
    AgentError::new(code, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn key() -> StepKey {
        StepKey { transfer_id: TransferId::new(), step: "stop_source".to_owned(), epoch: Epoch(3) }
    }

    #[test]
    fn an_answer_reads_back_older_by_the_time_that_passed() {
        let (key, server) = (key(), ServerId::new());
        let mut record = Record::new(&key, server, Timestamp::UNIX_EPOCH);
        let name = name(&key, &TransferAction::StopSource { lease_ms: 1 });
        assert_eq!(record.result(&name, Timestamp::UNIX_EPOCH), None);
        let outcome = Outcome::Ok(Reply::Stopped { was_running: true, ago_ms: 10 });
        record.keep(name.clone(), outcome, Timestamp::UNIX_EPOCH);
        let later = Timestamp::from_millisecond(500).unwrap();
        let record: Record = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        assert_eq!(
            record.result(&name, later).unwrap(),
            Outcome::Ok(Reply::Stopped { was_running: true, ago_ms: 510 })
        );
    }

    #[test]
    fn strangers_other_epochs_and_latecomers_are_refused() {
        let (key, server) = (key(), ServerId::new());
        let mut record = Record::new(&key, server, Timestamp::UNIX_EPOCH);
        let code = |record: &Record, key: &StepKey, server, action: TransferAction| {
            record.admit(key, server, &action).err().map(|error| error.code)
        };
        let other_epoch = StepKey { epoch: Epoch(4), ..key.clone() };
        assert_eq!(code(&record, &key, server, TransferAction::Measure), None);
        assert_eq!(code(&record, &key, ServerId::new(), TransferAction::Measure), Some(ErrorCode::Conflict));
        assert_eq!(code(&record, &other_epoch, server, TransferAction::Measure), Some(ErrorCode::StaleEpoch));
        record.aborted = true;
        assert_eq!(code(&record, &key, server, TransferAction::Measure), Some(ErrorCode::Cancelled));
        assert_eq!(code(&record, &key, server, TransferAction::AbortTarget), None);
    }

    #[test]
    fn a_record_goes_after_a_week() {
        let record = Record::new(&key(), ServerId::new(), Timestamp::UNIX_EPOCH);
        assert!(!record.is_old(Timestamp::from_millisecond(KEEP_MS).unwrap()));
        assert!(record.is_old(Timestamp::from_millisecond(KEEP_MS + 1).unwrap()));
    }
}
