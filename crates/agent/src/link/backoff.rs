//! How long to wait before the next attempt to reach the panel. Pure but for the jitter's source.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(15);

/// Doubles up to a bound; a welcome resets it.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Spread over half of it, so that a thousand agents do not come back in the same instant.
    pub(super) fn next(&mut self) -> Duration {
        let whole = bound(self.failures);
        self.failures = self.failures.saturating_add(1);
        whole / 2 + (whole / 2) * random() / 256
    }
}

fn bound(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.min(16)).min(LONGEST)
}

fn random() -> u32 {
    let mut byte = [0];
    // Without randomness all wait equally long, which is no reason to give up.
    SystemRandom::new().fill(&mut byte).map_or(128, |()| u32::from(byte[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_a_bound_and_starts_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..40).map(|_| backoff.next()).collect();
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST);
        assert!(waits[39] >= LONGEST / 2 && waits[39] <= LONGEST);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
