//! Where the panel does not connect on behalf of a webhook: what only it can reach is nobody else's to reach.
//!
//! The addresses are judged where the name is looked up, and the connection goes to those that were judged: a name that
//! leads somewhere else a moment later gains nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// What webhooks may lead to beside the public Internet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboundConfig {
    /// This machine and private networks.
    pub private: bool,
    /// Link-local addresses, which is where clouds keep their metadata.
    pub link_local: bool,
}

/// Looks names up and leaves out the addresses that are not allowed.
#[derive(Debug)]
pub(super) struct Guard {
    allowed: OutboundConfig,
    names: DefaultResolver,
}

impl Guard {
    pub(super) fn new(allowed: OutboundConfig) -> Self {
        Self { allowed, names: DefaultResolver::default() }
    }
}

impl Resolver for Guard {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.names.resolve(uri, config, timeout)?;
        let mut allowed = self.empty();
        let mut refused = None;
        for address in &found {
            match refusal(self.allowed, address.ip()) {
                None => allowed.push(*address),
                Some(why) => refused = Some(why),
            }
        }
        match refused {
            Some(why) if allowed.is_empty() => {
                Err(ureq::Error::Io(io::Error::new(io::ErrorKind::PermissionDenied, why)))
            }
            _ => Ok(allowed),
        }
    }
}

/// Why the panel does not connect to `address`; none if it does.
#[must_use]
pub fn refusal(allowed: OutboundConfig, address: IpAddr) -> Option<&'static str> {
    const LINK_LOCAL: &str = "it leads to a link-local address, which is where clouds keep their metadata";
    const PRIVATE: &str =
        "it leads to a private address; the panel must be started with --allow-private-webhooks for that";
    let address = address.to_canonical();
    let link_local = match address {
        // Beside 169.254.0.0/16: Alibaba's and Oracle's metadata.
        IpAddr::V4(v4) => {
            v4.is_link_local() || v4 == Ipv4Addr::new(100, 100, 100, 200) || v4 == Ipv4Addr::new(192, 0, 0, 192)
        }
        // fe80::/10, and Amazon's metadata.
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    };
    if link_local {
        return (!allowed.link_local).then_some(LINK_LOCAL);
    }
    let private = match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            // With 0.0.0.0/8 (this machine) and 100.64.0.0/10 (carriers, overlays).
            v4.is_private() || v4.is_loopback() || a == 0 || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local(),
    };
    if private {
        return (!allowed.private).then_some(PRIVATE);
    }
    let nowhere = match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] >= 240,
        IpAddr::V6(v6) => v6.is_multicast(),
    };
    nowhere.then_some("it leads to an address of no single machine")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_only_the_panel_can_reach_is_refused_unless_it_is_allowed() {
        let nothing = OutboundConfig::default();
        let private = OutboundConfig { private: true, ..nothing };
        let all = OutboundConfig { private: true, link_local: true };
        for (address, without, with_private, with_all) in [
            ("203.0.113.7", true, true, true),
            ("2001:db8::1", true, true, true),
            ("127.0.0.1", false, true, true),
            ("::1", false, true, true),
            ("::ffff:127.0.0.1", false, true, true),
            ("0.0.0.0", false, true, true),
            ("10.1.2.3", false, true, true),
            ("192.168.0.1", false, true, true),
            ("100.64.0.1", false, true, true),
            ("fd00::1", false, true, true),
            ("169.254.169.254", false, false, true),
            ("::ffff:169.254.169.254", false, false, true),
            ("100.100.100.200", false, false, true),
            ("fd00:ec2::254", false, false, true),
            ("fe80::1", false, false, true),
            ("224.0.0.1", false, false, false),
            ("255.255.255.255", false, false, false),
        ] {
            let may = |allowed| refusal(allowed, address.parse().unwrap()).is_none();
            assert_eq!((may(nothing), may(private), may(all)), (without, with_private, with_all), "{address}");
        }
    }
}
