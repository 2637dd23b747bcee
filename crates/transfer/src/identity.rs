//! Who we are on a data connection: a self-signed certificate, known to the peer by its fingerprint, and the one-time
//! ticket that says which copy a connection is for.

use std::{fmt, str::FromStr, sync::Arc};

use data_encoding::HEXLOWER;
use rcgen::{CertificateParams, KeyPair};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::{
    ClientConfig, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::{
    error::{Error, Result},
    tls,
};

/// SHA-256 of a certificate. Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// What a source shows at the door; 32 random bytes, good for one copy. `Display` gives it away, `Debug` does not.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Ticket([u8; 32]);

/// A self-signed certificate and its key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    pem: String,
}

impl Identity {
    /// Makes a new one. `name` is for people who look at the certificate.
    pub fn generate(name: &str) -> Result<Self> {
        let broken = |e: rcgen::Error| Error::Protocol(format!("making a certificate: {e}"));
        let key = KeyPair::generate().map_err(broken)?;
        let mut params = CertificateParams::new(vec!["badger".to_owned()]).map_err(broken)?;
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.self_signed(&key).map_err(broken)?;
        Self::from_pem(&format!("{}{}", certificate.pem(), key.serialize_pem()))
    }

    /// Reads what [`Self::to_pem`] wrote.
    pub fn from_pem(pem: &str) -> Result<Self> {
        let broken = |e| Error::Protocol(format!("reading a certificate: {e}"));
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(broken)?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(broken)?;
        Ok(Self { certificate, key, pem: pem.to_owned() })
    }

    /// Certificate and **secret key**. Keep it where only we can read it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.pem.clone()
    }

    /// How a peer knows us.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// TLS 1.3 as a client who accepts exactly the certificate `peer`, for other connections than a copy's.
    pub fn tls_client(&self, peer: Fingerprint) -> Result<Arc<ClientConfig>> {
        tls::client(self, peer)
    }

    /// TLS 1.3 as a server who wants a certificate, any: who its peer is must be decided by what comes after.
    pub fn tls_server(&self) -> Result<Arc<ServerConfig>> {
        tls::server(self)
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

impl Fingerprint {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl Ticket {
    /// A fresh one.
    ///
    /// # Panics
    /// If the system has no randomness.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
        Self(bytes)
    }

    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(…)")
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint())
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        hex32(text).map(Self)
    }
}

impl FromStr for Ticket {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        hex32(text).map(Self)
    }
}

fn hex32(text: &str) -> Result<[u8; 32]> {
    let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|b| b.try_into().ok());
    bytes.ok_or_else(|| Error::Protocol("expected 64 lower-case hexadecimal digits".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_pem() {
        let me = Identity::generate("node").expect("generated");
        let again = Identity::from_pem(&me.to_pem()).expect("read");
        assert_eq!(me.fingerprint(), again.fingerprint());
        assert!(Identity::from_pem("nonsense").is_err());
    }

    #[test]
    fn text_forms_are_strict_and_secrets_stay_out_of_debug() {
        let ticket = Ticket::random();
        assert!(ticket.to_string().parse::<Ticket>().is_ok_and(|t| t == ticket));
        assert!(!format!("{ticket:?}").contains(&ticket.to_string()));
        for bad in ["", "ab", &"A".repeat(64), &"g".repeat(64), &"0".repeat(66)] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
