//! What a name of a server is and should be. Pure.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Seconds for which an address is kept elsewhere while its server moves.
pub const TTL_WHILE_MOVING: u32 = 30;

/// The records of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records {
    /// A or AAAA.
    pub address: IpAddr,
    /// `_minecraft._tcp` and the port that its SRV record gives, if it has one.
    pub service: Option<(String, u16)>,
    /// Seconds.
    pub ttl: u32,
}

/// What it is made from.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// An IP address, as text.
    pub address: &'a str,
    /// Of the game.
    pub port: u16,
    /// `_minecraft._tcp`, if there is to be an SRV record.
    pub service: Option<&'a str>,
    /// Seconds, as the zone has it.
    pub ttl: u32,
    /// Whether the server is being moved.
    pub moving: bool,
}

/// What the records of a name should be, or why there can be none.
///
/// A low TTL from the beginning of a move on: who asks then asks again soon after the address has changed. Once the move
/// is over, well or not, it is what the zone has.
pub fn desired(wanted: &Wanted<'_>) -> Result<Records, String> {
    let Wanted { address, port, service, ttl, moving } = *wanted;
    let parsed: IpAddr = address.parse().map_err(|_| {
        format!("{address} is no IP address, and only those go into A and AAAA records. Give its allocation an IP address as alias.")
    })?;
    if parsed.is_unspecified() {
        return Err(format!("{address} is no address that players can reach. Give its allocation an alias."));
    }
    let ttl = if moving { ttl.min(TTL_WHILE_MOVING) } else { ttl };
    Ok(Records { address: parsed, service: service.map(|service| (service.to_owned(), port)), ttl })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const STILL: Wanted<'_> =
        Wanted { address: "203.0.113.7", port: 25565, service: Some("_minecraft._tcp"), ttl: 300, moving: false };

    #[test]
    fn the_ttl_is_low_while_the_server_moves_and_as_before_when_it_has_moved_or_not() {
        assert_eq!(desired(&STILL).unwrap().ttl, 300);
        assert_eq!(desired(&Wanted { moving: true, ..STILL }).unwrap().ttl, 30);
        assert_eq!(desired(&Wanted { moving: true, ttl: 10, ..STILL }).unwrap().ttl, 10);
    }

    #[test]
    fn a_service_has_the_games_port() {
        assert_eq!(desired(&STILL).unwrap().service, Some(("_minecraft._tcp".to_owned(), 25565)));
        assert_eq!(desired(&Wanted { service: None, ..STILL }).unwrap().service, None);
    }

    #[test]
    fn what_is_no_address_is_said() {
        for address in ["0.0.0.0", "::", "lb.example", ""] {
            assert!(desired(&Wanted { address, ..STILL }).is_err(), "{address}");
        }
    }
}
