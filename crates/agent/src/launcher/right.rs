//! The right to run the game now, as the volume's records give it and this process verifies it (invariant I1).
//!
//! The mover writes both records durably before it asks for a start. They are read anew for each start and nothing is
//! remembered: a tombstone that was laid a moment ago counts.

use std::path::PathBuf;

use model::agent_api::{AgentError, ErrorCode};
use model::{Epoch, Permit, ServerId};
use serde::de::DeserializeOwned;

use crate::disk;
use crate::permit::Verifier;
use crate::server::ownership::Ownership;
use crate::server::{OWNERSHIP, PERMIT};

/// What a start is checked against.
#[derive(Debug)]
pub(super) struct Right {
    home: PathBuf,
    server: ServerId,
    verifier: Verifier,
}

impl Right {
    pub(super) fn new(home: PathBuf, server: ServerId, verifier: Verifier) -> Self {
        Self { home, server, verifier }
    }

    /// The server's directory on the volume.
    pub(super) fn home(&self) -> &PathBuf {
        &self.home
    }

    /// The epoch that may run, or why none may.
    pub(super) fn check(&self) -> Result<Epoch, AgentError> {
        let ownership: Ownership = self.read(OWNERSHIP)?;
        ownership.check_open()?;
        let permit: Permit = self.read(PERMIT)?;
        self.verifier.check(self.server, &permit)?;
        if permit.epoch != ownership.epoch {
            let (of, on_record) = (permit.epoch, ownership.epoch);
            let message =
                format!("the recorded permit is of epoch {of}, and epoch {on_record} was seen on this volume");
            return Err(AgentError::new(ErrorCode::StaleEpoch, message));
        }
        Ok(ownership.epoch)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T, AgentError> {
        let path = self.home.join(name);
        let record = disk::read_json(&path).map_err(|e| disk::failed("read", &path, &e))?;
        let missing = || {
            let message = format!("{} is not there: only the panel can start this server", path.display());
            AgentError::new(ErrorCode::BadPermit, message)
        };
        record.ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use model::NodeId;

    use super::*;
    use crate::permit::testing::Signer;

    #[test]
    fn only_the_recorded_epoch_with_the_panels_permit_for_it_may_run() {
        let dir = tempfile::tempdir().unwrap();
        let (panel, server, cluster) = (Signer::new(), ServerId::new(), NodeId::new());
        let verifier = Verifier::new(cluster, &panel.public()).unwrap();
        let right = Right::new(dir.path().to_owned(), server, verifier);
        let refused = || right.check().unwrap_err().code;
        let own = |record: &Ownership| disk::write_json(&dir.path().join(OWNERSHIP), record).unwrap();
        let permit = |permit: &Permit| disk::write_json(&dir.path().join(PERMIT), permit).unwrap();

        assert_eq!(refused(), ErrorCode::BadPermit, "an empty volume");
        own(&Ownership::new(Epoch(4)));
        assert_eq!(refused(), ErrorCode::BadPermit, "no permit");
        permit(&panel.permit(server, 4, cluster));
        assert_eq!(right.check().unwrap(), Epoch(4));

        permit(&panel.permit(server, 3, cluster));
        assert_eq!(refused(), ErrorCode::StaleEpoch, "an older permit");
        permit(&panel.permit(server, 5, cluster));
        assert_eq!(refused(), ErrorCode::StaleEpoch, "a newer one that was not admitted");
        permit(&Signer::new().permit(server, 4, cluster));
        assert_eq!(refused(), ErrorCode::BadPermit, "a stranger's signature");
        permit(&panel.permit(ServerId::new(), 4, cluster));
        assert_eq!(refused(), ErrorCode::BadPermit, "another server's");
        permit(&panel.permit(server, 4, NodeId::new()));
        assert_eq!(refused(), ErrorCode::BadPermit, "another cluster's");
        permit(&panel.permit(server, 4, cluster));
        own(&Ownership::new(Epoch(4)).fence());
        assert_eq!(refused(), ErrorCode::StaleEpoch, "a tombstone");
    }
}
