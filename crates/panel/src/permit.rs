//! The panel's key: it signs permits (I1), and nothing an agent decides depends on another secret of the panel.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use model::{Epoch, NodeId, Permit, ServerId, TransferId};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// Signs permits with the panel's key.
pub struct PermitSigner {
    key: Ed25519KeyPair,
}

impl PermitSigner {
    /// Reads the key pair at `path`, or makes one there (0600).
    pub fn load_or_create(path: &Path) -> io::Result<Self> {
        let document = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path)?,
            other => other?,
        };
        let key = Ed25519KeyPair::from_pkcs8(&document).map_err(|rejected| {
            let message = format!("{} is not an Ed25519 key in PKCS #8: {rejected}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        Ok(Self { key })
    }

    /// The Ed25519 public key, base64 (standard alphabet, padded).
    #[must_use]
    pub fn public_key(&self) -> String {
        BASE64.encode(self.key.public_key().as_ref())
    }

    /// The right of `node` to run `server` in `epoch`.
    #[must_use]
    pub fn sign(&self, server_id: ServerId, epoch: Epoch, agent_id: NodeId) -> Permit {
        let signature = self.key.sign(&Permit::signed_bytes(server_id, epoch, agent_id));
        Permit { server_id, epoch, agent_id, signature: BASE64.encode(signature.as_ref()) }
    }

    /// What the source of a transfer shows at the target's door: 32 bytes, hex.
    #[must_use]
    pub fn ticket(&self, transfer: TransferId) -> String {
        self.secret(transfer, "ticket")
    }

    /// A secret of a transfer for one `purpose`: 32 bytes, hex.
    ///
    /// Derived, not drawn: a panel that dies between telling the target and telling the source tells both the same
    /// after its restart, and no database or log ever holds it.
    #[must_use]
    pub fn secret(&self, transfer: TransferId, purpose: &str) -> String {
        let signature = self.key.sign(format!("badgerpanel {purpose} v1\n{transfer}\n").as_bytes());
        HEXLOWER.encode(ring::digest::digest(&ring::digest::SHA256, signature.as_ref()).as_ref())
    }
}

/// A new key, complete on disk under its name or not there at all.
fn create(path: &Path) -> io::Result<Vec<u8>> {
    let document =
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| io::Error::other("no randomness"))?;
    let tmp = path.with_extension("new");
    match fs::remove_file(&tmp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&tmp)?;
    file.write_all(document.as_ref())?;
    file.sync_all()?;
    fs::rename(&tmp, path)?;
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::File::open(dir)?.sync_all()?;
    }
    Ok(document.as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt as _;

    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_restart_keeps_the_key_and_agents_can_check_what_it_signs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("permit.key");
        let signer = PermitSigner::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = PermitSigner::load_or_create(&path).unwrap();
        assert_eq!(signer.public_key(), again.public_key());

        let permit = again.sign(ServerId::new(), Epoch(3), NodeId::new());
        let public = BASE64.decode(signer.public_key().as_bytes()).unwrap();
        let signature = BASE64.decode(permit.signature.as_bytes()).unwrap();
        let key = UnparsedPublicKey::new(&ED25519, public);
        let bytes = Permit::signed_bytes(permit.server_id, permit.epoch, permit.agent_id);
        key.verify(&bytes, &signature).unwrap();
        let other = Permit::signed_bytes(permit.server_id, Epoch(4), permit.agent_id);
        assert!(key.verify(&other, &signature).is_err());
    }

    #[test]
    fn tickets_differ_between_transfers_and_not_between_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("permit.key");
        let (one, two) = (TransferId::new(), TransferId::new());
        let ticket = PermitSigner::load_or_create(&path).unwrap().ticket(one);
        let signer = PermitSigner::load_or_create(&path).unwrap();
        assert_eq!(ticket.len(), 64);
        assert_eq!(signer.ticket(one), ticket);
        assert_ne!(signer.ticket(two), ticket);
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("permit.key");
        fs::write(&path, "not a key").unwrap();
        assert!(PermitSigner::load_or_create(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"not a key");
    }
}
