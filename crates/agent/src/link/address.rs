//! Where the other end of a link is, and how it is known to be the right one.

use std::fmt;
use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;
use tokio_tungstenite::tungstenite::http::Uri;

use crate::error::{Error, Result};

const PATH: &str = "/api/v1/agents/connect";

/// Where the other end is.
#[derive(Clone)]
pub(crate) struct Address {
    pub(super) url: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// None: as the URL says, and TLS by the authorities that the web trusts.
    pub(super) pinned: Option<Arc<ClientConfig>>,
}

impl Address {
    /// Of a panel, from `http(s)://host[:port][/prefix]`.
    pub(crate) fn parse(panel_url: &str) -> Result<Self> {
        let wrong = |why: &str| Error::Config(format!("{panel_url} is no address of a panel: {why}"));
        let uri: Uri = panel_url.parse().map_err(|_| wrong("it is not a URL"))?;
        let (scheme, default_port) = match uri.scheme_str() {
            Some("http" | "ws") => ("ws", 80),
            Some("https" | "wss") => ("wss", 443),
            _ => return Err(wrong("it must begin with http:// or https://")),
        };
        let host = uri.host().ok_or_else(|| wrong("it names no host"))?;
        let port = uri.port_u16().unwrap_or(default_port);
        let prefix = uri.path().trim_end_matches('/');
        let url = format!("{scheme}://{host}:{port}{prefix}{PATH}");
        Ok(Self { url, host: host.trim_matches(['[', ']']).to_owned(), port, pinned: None })
    }

    /// Of somebody who is known by a certificate and not by a name: `host:port` and the TLS that accepts only that one.
    pub(crate) fn pinned(host_and_port: &str, tls: Arc<ClientConfig>) -> Result<Self> {
        let wrong = || Error::Config(format!("{host_and_port} is no host:port"));
        let (host, port) = host_and_port.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let host = host.trim_matches(['[', ']']).to_owned();
        // The name in the handshake means nothing: the certificate is compared as a whole.
        Ok(Self { url: format!("wss://badger{PATH}"), host, port, pinned: Some(tls) })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_panels_url_becomes_the_sockets() {
        let url = |text: &str| Address::parse(text).map(|address| address.url);
        assert_eq!(url("http://127.0.0.1:8080").unwrap(), "ws://127.0.0.1:8080/api/v1/agents/connect");
        assert_eq!(url("https://p.example/b/").unwrap(), "wss://p.example:443/b/api/v1/agents/connect");
        assert_eq!(Address::parse("http://[::1]:80").unwrap().host, "::1");
        assert!(url("p.example").is_err());
        assert!(url("ftp://p.example").is_err());
    }

    #[test]
    fn a_pinned_address_is_host_and_port() {
        let key = ::transfer::Identity::generate("hub").unwrap();
        let tls = key.tls_client(key.fingerprint()).unwrap();
        let address = Address::pinned("[fd00::1]:8444", Arc::clone(&tls)).unwrap();
        assert_eq!((address.host.as_str(), address.port), ("fd00::1", 8444));
        assert!(Address::pinned("10.0.0.1", Arc::clone(&tls)).is_err());
        assert!(Address::pinned("10.0.0.1:http", tls).is_err());
    }
}
