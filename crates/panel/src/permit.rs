//! Placeholder of the permit signer.

use std::io;
use std::path::Path;

use model::{Epoch, NodeId, Permit, ServerId};

/// Signs permits with the panel's key.
pub struct PermitSigner {}

impl PermitSigner {
    /// Reads the key pair at `path`, or makes one there (0600).
    pub fn load_or_create(_path: &Path) -> io::Result<Self> {
        Ok(Self {})
    }

    /// The Ed25519 public key, base64 (standard alphabet, padded).
    #[must_use]
    pub fn public_key(&self) -> String {
        String::new()
    }

    /// The right of `node` to run `server` in `epoch`.
    #[must_use]
    pub fn sign(&self, server_id: ServerId, epoch: Epoch, agent_id: NodeId) -> Permit {
        Permit { server_id, epoch, agent_id, signature: String::new() }
    }
}
