//! What stands between a stranger and the panel: passwords, tokens, and how often one may ask.
//!
//! No SQL and no HTTP here; [`crate::api`] calls it with what it has read from both. Built once, in [`crate::run`].

pub mod password;
mod private_file;
pub mod rate;
pub mod token;
pub mod vault;

use std::io;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;

pub use password::Passwords;
pub(crate) use private_file::write_private;
pub use rate::Rates;
pub use token::Tokens;
pub use vault::Vault;

/// Who may tell the panel for whom they ask, and how often anybody may ask.
#[derive(Clone, Debug)]
pub struct AccessConfig {
    /// Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Requests that one caller may make in a second, on average. Ten times as many at once are taken.
    pub requests_per_s: u32,
}

impl Default for AccessConfig {
    /// A proxy on this machine is believed, and a caller may make 200 requests a second.
    fn default() -> Self {
        let loopback = ["127.0.0.0/8", "::1/128"];
        Self { trusted_proxies: loopback.iter().filter_map(|net| net.parse().ok()).collect(), requests_per_s: 200 }
    }
}

/// The gate of a running panel.
#[derive(Debug)]
pub struct Access {
    /// Hashes and checks passwords.
    pub passwords: Passwords,
    /// Makes and reads the tokens of sessions.
    pub tokens: Tokens,
    /// Seals secrets that must be read again.
    pub secrets: Vault,
    /// Attempts to log in.
    pub logins: rate::Logins,
    /// Requests of each caller.
    pub requests: Rates,
    trusted_proxies: Vec<IpNet>,
}

impl Access {
    /// A gate whose secret lies in `data_dir`, made there if it is not there yet.
    pub fn open(data_dir: &Path, config: AccessConfig) -> io::Result<Self> {
        let rate = config.requests_per_s.max(1);
        Ok(Self {
            passwords: Passwords::default(),
            tokens: Tokens::load_or_create(&data_dir.join("session.key"))?,
            secrets: Vault::load_or_create(&data_dir.join("secrets.key"))?,
            logins: rate::Logins::default(),
            requests: Rates::new(rate.saturating_mul(10), 1000.0 / f64::from(rate)),
            trusted_proxies: config.trusted_proxies,
        })
    }

    /// Whether what `address` says about its client is believed.
    #[must_use]
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }
}
