//! How long to wait before the next attempt to reach the panel. Pure but for the jitter's source.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

use super::End;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(15);
/// Half of it is longer than a process takes that was told to end, and all of it less than a lease.
const FIRST_DISPLACED: Duration = Duration::from_secs(10);
const LONGEST_DISPLACED: Duration = Duration::from_mins(2);

/// Doubles up to a bound; a welcome resets it.
///
/// Who was displaced by a newer connection of the same agent waits in seconds at once, and a welcome forgives nothing:
/// each of two that live at the same time is welcomed, and at the pace of the others they would take the link from each
/// other for ever, and commands would be answered by either. So the newest stays, and only what ends otherwise, for then
/// nobody took it, makes the wait short again.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    displaced: u32,
}

impl Backoff {
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after a connection that ended like this.
    pub(super) fn after(&mut self, end: &End) -> Duration {
        if matches!(end, End::Displaced(_)) {
            let whole = bound(FIRST_DISPLACED, self.displaced, LONGEST_DISPLACED);
            self.displaced = self.displaced.saturating_add(1);
            return spread(whole);
        }
        self.displaced = 0;
        let whole = bound(FIRST, self.failures, LONGEST);
        self.failures = self.failures.saturating_add(1);
        spread(whole)
    }
}

fn bound(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << times.min(16)).min(longest)
}

/// Over half of it, so that a thousand agents do not come back in the same instant.
fn spread(whole: Duration) -> Duration {
    whole / 2 + (whole / 2) * random() / 256
}

fn random() -> u32 {
    let mut byte = [0];
    // Without randomness all wait equally long, which is no reason to give up.
    SystemRandom::new().fill(&mut byte).map_or(128, |()| u32::from(byte[0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(backoff: &mut Backoff, end: &End, times: usize) -> Vec<Duration> {
        (0..times).map(|_| backoff.after(end)).collect()
    }

    #[test]
    fn it_grows_to_a_bound_and_starts_again() {
        let (mut backoff, lost) = (Backoff::default(), End::lost("cut"));
        let waits = waits(&mut backoff, &lost, 40);
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST);
        assert!(waits[39] >= LONGEST / 2 && waits[39] <= LONGEST);
        backoff.reset();
        assert!(backoff.after(&lost) <= FIRST);
    }

    #[test]
    fn who_is_displaced_leaves_the_newest_alone_for_seconds_however_often_both_are_welcomed() {
        let (mut backoff, displaced) = (Backoff::default(), End::Displaced("another".to_owned()));
        let mut least = FIRST_DISPLACED / 2;
        for _ in 0..20 {
            let wait = backoff.after(&displaced);
            assert!(wait >= least && wait <= (least * 2).min(LONGEST_DISPLACED), "{wait:?}");
            least = (least * 2).min(LONGEST_DISPLACED / 2);
            backoff.reset();
        }
    }

    #[test]
    fn a_connection_that_nobody_took_ends_the_long_wait() {
        let (mut backoff, displaced) = (Backoff::default(), End::Displaced("another".to_owned()));
        waits(&mut backoff, &displaced, 5);
        assert!(backoff.after(&End::lost("cut")) <= FIRST);
        assert!(backoff.after(&displaced) <= FIRST_DISPLACED);
    }

    #[test]
    fn two_that_are_displaced_do_not_come_back_in_the_same_instant() {
        let displaced = End::Displaced("another".to_owned());
        let firsts: std::collections::HashSet<_> = (0..32).map(|_| Backoff::default().after(&displaced)).collect();
        assert!(firsts.len() > 1);
    }
}
