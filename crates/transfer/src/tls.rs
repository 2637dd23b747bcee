//! TLS 1.3 between two ends that know each other by fingerprint. There is no authority: a certificate is right if it
//! is the one that was announced, and its owner proves in the handshake that the key is theirs.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error as TlsError, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use crate::{
    error::{Error, Result},
    identity::{Fingerprint, Identity},
};

/// Name in the handshake; it means nothing.
pub(crate) const SERVER_NAME: &str = "badger";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn broken(e: &TlsError) -> Error {
    Error::Protocol(format!("TLS configuration: {e}"))
}

/// For the source: accepts exactly the certificate `peer`.
pub(crate) fn client(me: &Identity, peer: Fingerprint) -> Result<Arc<ClientConfig>> {
    let provider = provider();
    let verifier = Arc::new(Pinned { peer: Some(peer), algorithms: provider.signature_verification_algorithms });
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| broken(&e))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(me.chain(), me.key())
        .map_err(|e| broken(&e))?;
    Ok(Arc::new(config))
}

/// For the listener: wants a certificate, any; who may deliver where is decided with the ticket.
pub(crate) fn server(me: &Identity) -> Result<Arc<ServerConfig>> {
    let provider = provider();
    let verifier = Arc::new(Pinned { peer: None, algorithms: provider.signature_verification_algorithms });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| broken(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(me.chain(), me.key())
        .map_err(|e| broken(&e))?;
    // Nobody resumes.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Takes a certificate for what its fingerprint says.
#[derive(Debug)]
struct Pinned {
    /// None: any.
    peer: Option<Fingerprint>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn check(&self, certificate: &CertificateDer<'_>) -> std::result::Result<(), TlsError> {
        match self.peer {
            Some(peer) if peer != Fingerprint::of(certificate) => {
                Err(TlsError::General("the peer shows another certificate than announced".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn no_tls12() -> std::result::Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("only TLS 1.3".to_owned()))
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        Self::no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> std::result::Result<ClientCertVerified, TlsError> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        Self::no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
