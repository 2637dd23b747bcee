//! When a server may be stopped for its move. Pure: options and a time in, an answer out.

use jiff::SignedDuration;
use model::{Options, Timestamp};

use super::Move;

/// Until when to wait; none if it may be stopped at `now`.
pub(super) fn opening(options: &Options, now: Timestamp) -> Option<Timestamp> {
    options.not_before.filter(|at| *at > now)
}

impl Move {
    /// For how long the server may not be stopped yet; none if it may.
    pub(super) fn opening(&self, options: &Options) -> Option<SignedDuration> {
        let now = self.now();
        opening(options, now).map(|at| at.duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn nothing_is_waited_for_unless_somebody_asked() {
        assert_eq!(opening(&Options::default(), at(5)), None);
    }

    #[test]
    fn not_before_is_until_then_and_never_after() {
        let options = Options { not_before: Some(at(10)), ..Options::default() };
        assert_eq!(opening(&options, at(9)), Some(at(10)));
        assert_eq!(opening(&options, at(10)), None);
        assert_eq!(opening(&options, at(11)), None);
    }
}
