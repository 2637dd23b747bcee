//! How often: token buckets, kept in memory.
//!
//! A bucket is one number, the time at which it will be full again (the "generic cell rate algorithm"): it needs no
//! timer, and one that is full is the same as one that is not there, so forgetting those bounds the memory.
//!
//! Log-ins have three buckets, by what an attacker would spend: passwords on one account from one address, accounts
//! from one address, addresses on one account. The last one would let anybody shut a user out by guessing from many
//! places; so it is not asked where that user has logged in before ([`Logins::check`]).

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Buckets that are remembered. Beyond it the fullest are forgotten: the worst that does is to let somebody ask again.
const MOST: usize = 50_000;

/// Buckets of one size, by key.
#[derive(Debug)]
pub struct Rates<K = String> {
    /// What a full bucket holds, as the time that it takes to fill.
    burst_ms: f64,
    /// How long one token takes.
    interval_ms: f64,
    /// For each key, when it is full again, milliseconds since 1970.
    buckets: Mutex<HashMap<K, f64>>,
}

impl<K: Eq + Hash + Clone> Rates<K> {
    /// Buckets that hold `burst` and get one more every `interval_ms`.
    #[must_use]
    pub fn new(burst: u32, interval_ms: f64) -> Self {
        Self { burst_ms: f64::from(burst) * interval_ms, interval_ms, buckets: Mutex::default() }
    }

    /// Takes one token, or tells in how many milliseconds there will be one.
    pub fn take(&self, key: &K, now_ms: i64) -> Result<(), u64> {
        let now = to_f64(now_ms);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = buckets.get(key).map_or(now, |at| at.max(now)) + self.interval_ms;
        let missing = full_at - now - self.burst_ms;
        if missing > 0.0 {
            return Err(to_u64(missing));
        }
        if buckets.len() >= MOST && !buckets.contains_key(key) {
            forget(&mut buckets, now);
        }
        buckets.insert(key.clone(), full_at);
        Ok(())
    }

    /// Gives one token back.
    pub fn give_back(&self, key: &K) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_at) = buckets.get_mut(key) {
            *full_at -= self.interval_ms;
        }
    }
}

/// Forgets the buckets that are full, and if that does not make room, the fuller half of the rest.
fn forget<K: Eq + Hash>(buckets: &mut HashMap<K, f64>, now: f64) {
    buckets.retain(|_, full_at| *full_at > now);
    if buckets.len() < MOST {
        return;
    }
    let mut times: Vec<f64> = buckets.values().copied().collect();
    let half = times.len() / 2;
    let (_, median, _) = times.select_nth_unstable_by(half, f64::total_cmp);
    let median = *median;
    buckets.retain(|_, full_at| *full_at > median);
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit into 53 bits for 285,000 years")]
fn to_f64(ms: i64) -> f64 {
    ms as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of milliseconds")]
fn to_u64(ms: f64) -> u64 {
    ms.ceil() as u64
}

/// One attempt to log in.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The account that is tried, as the client wrote it.
    pub account: &'a str,
    /// From where.
    pub address: IpAddr,
    /// Whether the account's user has logged in from there before.
    pub is_known: bool,
}

impl Attempt<'_> {
    fn account(&self) -> String {
        // A bound on what a client can make us remember; longer names than this are nobody's.
        self.account.to_lowercase().chars().take(191).collect()
    }
}

/// Attempts to log in.
#[derive(Debug)]
pub struct Logins {
    pairs: Rates<(String, IpAddr)>,
    addresses: Rates<IpAddr>,
    accounts: Rates,
}

impl Default for Logins {
    fn default() -> Self {
        Self {
            pairs: Rates::new(10, 30_000.0),
            addresses: Rates::new(60, 5_000.0),
            accounts: Rates::new(100, 10_000.0),
        }
    }
}

impl Logins {
    /// Counts an attempt, or tells in how many milliseconds the next one is taken.
    pub fn check(&self, attempt: Attempt<'_>, now_ms: i64) -> Result<(), u64> {
        let (account, address) = (attempt.account(), network(attempt.address));
        self.addresses.take(&address, now_ms)?;
        self.pairs.take(&(account.clone(), address), now_ms)?;
        if attempt.is_known { Ok(()) } else { self.accounts.take(&account, now_ms) }
    }

    /// Takes the count of an attempt back: the password was right.
    pub fn succeeded(&self, attempt: Attempt<'_>) {
        let (account, address) = (attempt.account(), network(attempt.address));
        self.addresses.give_back(&address);
        self.pairs.give_back(&(account.clone(), address));
        if !attempt.is_known {
            self.accounts.give_back(&account);
        }
    }
}

/// What one subscriber has: an address, or the /64 of a longer one.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn attempt(address: &str, is_known: bool) -> Attempt<'static> {
        Attempt { account: "Kim", address: address.parse().unwrap(), is_known }
    }

    #[test]
    fn a_bucket_empties_fills_again_and_says_when() {
        let rates = Rates::new(3, 1000.0);
        for _ in 0..3 {
            rates.take(&"a", 0).unwrap();
        }
        assert_eq!(rates.take(&"a", 0), Err(1000));
        assert_eq!(rates.take(&"a", 400), Err(600));
        rates.take(&"b", 400).unwrap();
        rates.take(&"a", 1000).unwrap();
        assert_eq!(rates.take(&"a", 1000), Err(1000));
        rates.give_back(&"a");
        rates.take(&"a", 1000).unwrap();
        for _ in 0..3 {
            rates.take(&"a", 1_000_000).unwrap();
        }
        assert!(rates.take(&"a", 1_000_000).is_err());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_who_asks_most_is_remembered_longest() {
        let rates = Rates::new(10, 1000.0);
        for _ in 0..10 {
            rates.take(&usize::MAX, 0).unwrap();
        }
        for key in 0..2 * MOST {
            rates.take(&key, 1).unwrap();
        }
        assert!(rates.buckets.lock().unwrap().len() <= MOST);
        assert!(rates.take(&usize::MAX, 1).is_err());
    }

    #[test]
    fn guessing_is_slowed_down_and_a_right_password_costs_nothing() {
        let logins = Logins::default();
        for _ in 0..1000 {
            logins.check(attempt("10.0.0.1", false), 0).unwrap();
            logins.succeeded(attempt("10.0.0.1", false));
        }
        let taken = (0..100).filter(|_| logins.check(attempt("10.0.0.1", false), 0).is_ok()).count();
        assert_eq!(taken, 10);
    }

    #[test]
    fn guesses_from_everywhere_do_not_shut_out_who_was_there_before() {
        let logins = Logins::default();
        let mut taken = 0;
        for n in 0..100 {
            for _ in 0..5 {
                taken += usize::from(logins.check(attempt(&format!("10.0.1.{n}"), false), 0).is_ok());
            }
        }
        assert_eq!(taken, 100);
        assert!(logins.check(attempt("192.0.2.1", false), 0).is_err());
        logins.check(attempt("192.0.2.1", true), 0).unwrap();
        // And a stranger's turn comes too.
        logins.check(attempt("192.0.2.2", false), 10_000).unwrap();
    }

    #[test]
    fn addresses_of_one_subscriber_are_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
