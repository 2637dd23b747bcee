//! Who is at the other end: the client's address, and whether it speaks https.
//!
//! Behind a proxy both are what the proxy says, but only if the connection comes from one that is trusted
//! ([`crate::AccessConfig`]); anybody can write a header.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::ApiError;
use crate::access::{Access, rate};
use crate::app::App;
use crate::serve::Peer;

/// The other end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// Whether it came by https.
    pub is_https: bool,
}

impl Client {
    /// What one subscriber has: the address, or the /64 of a longer one.
    #[must_use]
    pub fn network(self) -> IpAddr {
        rate::network(self.address)
    }
}

impl FromRequestParts<App> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        // A request without a peer did not come over a socket (a test calls the routes itself).
        let peer = parts.extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
        let address = behind_proxies(&app.access, peer, &parts.headers);
        let said = parts.headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
        let is_https = match said.filter(|_| app.access.is_proxy(peer)) {
            Some(said) => said.split(',').next().is_some_and(|first| first.trim().eq_ignore_ascii_case("https")),
            None => app.public_url.starts_with("https://"),
        };
        Ok(Self { address, is_https })
    }
}

/// The address that the last trusted proxy of the chain has seen: what stands before it, the client may have written.
fn behind_proxies(access: &Access, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let lines = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = lines.flat_map(|line| line.split(',')).collect();
    let mut address = peer;
    for hop in hops.iter().rev() {
        if !access.is_proxy(address) {
            break;
        }
        let Ok(before) = hop.trim().parse::<IpAddr>() else { break };
        address = before.to_canonical();
    }
    address
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::AccessConfig;

    #[test]
    fn only_what_trusted_proxies_say_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let networks = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let config = AccessConfig { trusted_proxies: networks.into(), ..AccessConfig::default() };
        let access = Access::open(dir.path(), config).unwrap();
        for (peer, said, client) in [
            ("203.0.113.1", vec!["192.0.2.1"], "203.0.113.1"),
            ("10.0.0.1", vec!["192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", vec!["192.0.2.9, 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", vec!["192.0.2.9", "192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            ("10.0.0.1", vec!["nonsense"], "10.0.0.1"),
            ("10.0.0.1", vec!["192.0.2.9, nonsense, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("::1", vec!["2001:db8::1"], "2001:db8::1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in said {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            let found = behind_proxies(&access, peer.parse().unwrap(), &headers);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {headers:?}");
        }
    }
}
