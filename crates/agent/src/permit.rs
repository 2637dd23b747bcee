//! Checks that the panel really said so (invariant I1): the signature, and that it is meant for this agent.
//!
//! Whether the epoch is still good is the ownership record's decision ([`crate::server::ownership`]).

use std::sync::RwLock;

use data_encoding::BASE64;
use model::agent_api::{AgentError, ErrorCode};
use model::{NodeId, Permit, ServerId};
use ring::signature::{ED25519, UnparsedPublicKey};

/// What a permit is checked against. Known since the first welcome, kept in the identity.
#[derive(Clone, Debug)]
pub(crate) struct Verifier {
    agent: NodeId,
    key: Vec<u8>,
}

impl Verifier {
    /// `key` is the panel's Ed25519 public key, base64.
    pub(crate) fn new(agent: NodeId, key: &str) -> Result<Self, AgentError> {
        let key =
            BASE64.decode(key.as_bytes()).map_err(|e| bad(format!("the panel's permit key is not base64: {e}")))?;
        Ok(Self { agent, key })
    }

    /// Refuses a permit that the panel did not sign, or signed for another server or agent.
    pub(crate) fn check(&self, server: ServerId, permit: &Permit) -> Result<(), AgentError> {
        if permit.server_id != server {
            return Err(bad(format!("the permit is for server {}, not {server}", permit.server_id)));
        }
        if permit.agent_id != self.agent {
            return Err(bad(format!("the permit is for agent {}, and this is {}", permit.agent_id, self.agent)));
        }
        let signature =
            BASE64.decode(permit.signature.as_bytes()).map_err(|e| bad(format!("its signature is not base64: {e}")))?;
        let signed = Permit::signed_bytes(permit.server_id, permit.epoch, permit.agent_id);
        UnparsedPublicKey::new(&ED25519, &self.key)
            .verify(&signed, &signature)
            .map_err(|_| bad("the permit's signature is not the panel's".to_owned()))
    }
}

/// The verifier of now, shared by everybody who gets permits. Empty until the first welcome.
#[derive(Debug, Default)]
pub(crate) struct Permits(RwLock<Option<Verifier>>);

impl Permits {
    pub(crate) fn set(&self, verifier: Verifier) {
        *self.0.write().expect("nobody panics with it") = Some(verifier);
    }

    pub(crate) fn check(&self, server: ServerId, permit: &Permit) -> Result<(), AgentError> {
        match &*self.0.read().expect("nobody panics with it") {
            Some(verifier) => verifier.check(server, permit),
            None => Err(bad("this agent has not met its panel yet".to_owned())),
        }
    }
}

fn bad(message: String) -> AgentError {
    AgentError::new(ErrorCode::BadPermit, message)
}

#[cfg(test)]
pub(crate) mod testing {
    #![allow(clippy::unwrap_used)]

    use model::Epoch;
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    /// A panel as far as permits go.
    pub(crate) struct Signer(Ed25519KeyPair);

    impl Signer {
        pub(crate) fn new() -> Self {
            let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
            Self(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
        }

        pub(crate) fn public(&self) -> String {
            BASE64.encode(self.0.public_key().as_ref())
        }

        pub(crate) fn permit(&self, server_id: ServerId, epoch: u64, agent_id: NodeId) -> Permit {
            let epoch = Epoch(epoch);
            let signature = self.0.sign(&Permit::signed_bytes(server_id, epoch, agent_id));
            Permit { server_id, epoch, agent_id, signature: BASE64.encode(signature.as_ref()) }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use model::Epoch;

    use super::testing::Signer;
    use super::*;

    #[test]
    fn only_the_panels_word_for_this_server_and_agent_counts() {
        let (panel, stranger) = (Signer::new(), Signer::new());
        let (server, agent) = (ServerId::new(), NodeId::new());
        let verifier = Verifier::new(agent, &panel.public()).unwrap();
        assert!(verifier.check(server, &panel.permit(server, 3, agent)).is_ok());

        let changed = Permit { epoch: Epoch(4), ..panel.permit(server, 3, agent) };
        let garbled = Permit { signature: "%".to_owned(), ..panel.permit(server, 3, agent) };
        for permit in [
            stranger.permit(server, 3, agent),
            panel.permit(ServerId::new(), 3, agent),
            panel.permit(server, 3, NodeId::new()),
            changed,
            garbled,
        ] {
            assert_eq!(verifier.check(server, &permit).unwrap_err().code, ErrorCode::BadPermit);
        }
    }
}
