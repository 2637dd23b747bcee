//! Which generation of a server this agent may run: the record that makes invariant I1 hold without a panel.
//!
//! ```text
//! none ─record(N)─► N open ─fence─► N fenced ─admit(M > N)─► M open ─► …
//! ```
//!
//! The epoch never falls. A fenced epoch is never run again; only a newer one lifts the tombstone. The record lies
//! beside the data and is durable before anything acts on it.

use model::agent_api::{AgentError, ErrorCode};
use model::{Epoch, Permit};
use serde::{Deserialize, Serialize};

/// `ownership.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ownership {
    /// The highest epoch ever seen here.
    pub(crate) epoch: Epoch,
    /// Whether a tombstone lies on that epoch.
    pub(crate) fenced: bool,
}

impl Ownership {
    /// A server's first record on this agent.
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self { epoch, fenced: false }
    }

    /// The record to have before a run under `permit` (whose signature was checked), or why there is none.
    pub(crate) fn admit(&self, permit: &Permit) -> Result<Self, AgentError> {
        if permit.epoch < self.epoch {
            let (old, seen) = (permit.epoch, self.epoch);
            return Err(stale(format!("the permit is of epoch {old}, and epoch {seen} has been seen here")));
        }
        if permit.epoch == self.epoch {
            self.check_open()?;
        }
        Ok(Self::new(permit.epoch))
    }

    /// Refuses if the epoch on record must not run.
    pub(crate) fn check_open(&self) -> Result<(), AgentError> {
        if self.fenced {
            return Err(stale(format!("epoch {} is fenced here: the server has moved on", self.epoch)));
        }
        Ok(())
    }

    /// The same epoch with a tombstone.
    pub(crate) fn fence(&self) -> Self {
        Self { epoch: self.epoch, fenced: true }
    }
}

fn stale(message: String) -> AgentError {
    AgentError::new(ErrorCode::StaleEpoch, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use model::{NodeId, ServerId};

    use super::*;

    fn permit(epoch: u64) -> Permit {
        Permit { server_id: ServerId::new(), epoch: Epoch(epoch), agent_id: NodeId::new(), signature: String::new() }
    }

    #[test]
    fn the_epoch_never_falls_and_a_tombstone_holds() {
        let open = Ownership::new(Epoch(5));
        let fenced = open.fence();
        assert_eq!(open.admit(&permit(4)).unwrap_err().code, ErrorCode::StaleEpoch);
        assert_eq!(open.admit(&permit(5)).unwrap(), open);
        assert_eq!(open.admit(&permit(6)).unwrap(), Ownership::new(Epoch(6)));
        assert_eq!(fenced.admit(&permit(5)).unwrap_err().code, ErrorCode::StaleEpoch);
        assert_eq!(fenced.admit(&permit(6)).unwrap(), Ownership::new(Epoch(6)));
        assert_eq!(fenced.fence(), fenced);
    }
}
