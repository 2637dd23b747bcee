//! The right to run a server, as a signed message (invariant I1).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{NodeId, ServerId};

/// Generation of a server's ownership. It grows by one each time the owner changes, and never falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of a server that was just created.
    pub const FIRST: Self = Self(1);

    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The panel's word that `agent` may run `server` in `epoch`.
///
/// The agent checks the signature, that it is meant itself, and that `epoch` is not older than the highest that it has
/// recorded beside the server's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permit {
    /// The server that may run.
    pub server_id: ServerId,
    /// In which generation of its ownership.
    pub epoch: Epoch,
    /// Where.
    pub agent_id: NodeId,
    /// Ed25519 over [`Permit::signed_bytes`] by the panel's key, base64 (standard alphabet, padded).
    pub signature: String,
}

impl Permit {
    /// What the signature covers: a fixed prefix, then server, epoch and agent.
    #[must_use]
    pub fn signed_bytes(server_id: ServerId, epoch: Epoch, agent_id: NodeId) -> Vec<u8> {
        format!("badgerpanel permit v1\n{server_id}\n{epoch}\n{agent_id}\n").into_bytes()
    }
}
