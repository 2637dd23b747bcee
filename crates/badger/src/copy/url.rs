//! What one side prints and the other is given: `badger://HOST:PORT/FINGERPRINT/TICKET`. Nothing in it needs quoting in
//! a shell. It is a secret as long as the receiver waits.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    str::FromStr,
};

use anyhow::{Context, Result, bail};
use transfer::{Fingerprint, Ticket};

/// Begins such a URL.
pub(super) const SCHEME: &str = "badger://";

/// Where a receiver is, and how to be let in.
#[derive(Clone, Debug)]
pub(super) struct CopyUrl {
    pub(super) address: String,
    pub(super) fingerprint: Fingerprint,
    pub(super) ticket: Ticket,
}

impl fmt::Display for CopyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.address, self.fingerprint, self.ticket)
    }
}

impl FromStr for CopyUrl {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = "the URL must be the whole line that `badger copy --listen` printed on the other side";
        let rest = text.trim().strip_prefix(SCHEME).context(wrong)?;
        let mut parts = rest.split('/');
        let (Some(address), Some(fingerprint), Some(ticket), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            bail!(wrong);
        };
        if address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
            bail!("{wrong}: `{address}` is no address");
        }
        let (fingerprint, ticket) = (fingerprint.parse().context(wrong)?, ticket.parse().context(wrong)?);
        Ok(Self { address: address.to_owned(), fingerprint, ticket })
    }
}

/// `HOST:PORT`, `:PORT` or `PORT`.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr> {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    if let Ok(port) = text.trim_start_matches(':').parse() {
        return Ok(SocketAddr::new(any.ip(), port));
    }
    let resolved =
        text.to_socket_addrs().with_context(|| format!("`{text}` is no address; write it like 0.0.0.0:7000"));
    resolved?.next().with_context(|| format!("`{text}` has no address"))
}

/// The address that others can use for one that we listen on.
pub(super) fn reachable(listening: SocketAddr) -> SocketAddr {
    if !listening.ip().is_unspecified() {
        return listening;
    }
    SocketAddr::new(outward(listening.is_ipv6()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), listening.port())
}

/// Our address on the way to the rest of the world. Nothing is sent: connecting a datagram socket only picks a route.
fn outward(v6: bool) -> Option<IpAddr> {
    let (from, to): (IpAddr, IpAddr) = if v6 {
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
    } else {
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into())
    };
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect((to, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_url_survives_its_text_and_needs_no_quoting() {
        let fingerprint = Fingerprint([7; 32]);
        for address in ["10.0.0.5:7000", "[::1]:7000", "node.example:7000"] {
            let url = CopyUrl { address: address.to_owned(), fingerprint, ticket: Ticket::random() };
            let text = url.to_string();
            assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || ":/.-[]".contains(c)), "{text}");
            let again: CopyUrl = text.parse().unwrap();
            assert_eq!((again.address, again.fingerprint, again.ticket), (url.address, url.fingerprint, url.ticket));
        }
    }

    #[test]
    fn half_a_url_is_refused_with_a_hint() {
        let whole = CopyUrl { address: "h:1".into(), fingerprint: Fingerprint([0; 32]), ticket: Ticket::random() };
        let whole = whole.to_string();
        for bad in
            ["badger://", "badger://h:1", &whole[..whole.len() - 1], &whole.replace("h:1", "h"), "http://h:1/a/b"]
        {
            let error = bad.parse::<CopyUrl>().unwrap_err();
            assert!(format!("{error:#}").contains("badger copy --listen"), "{bad}: {error:#}");
        }
    }

    #[test]
    fn addresses_may_be_short() {
        assert_eq!(listen_address("7000").unwrap().to_string(), "0.0.0.0:7000");
        assert_eq!(listen_address(":7000").unwrap().to_string(), "0.0.0.0:7000");
        assert_eq!(listen_address("127.0.0.1:0").unwrap().to_string(), "127.0.0.1:0");
        assert!(listen_address("nonsense").is_err());
    }
}
