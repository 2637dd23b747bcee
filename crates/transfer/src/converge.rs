//! When to stop copying a tree that is in use: a pure decision over the rounds so far.
//!
//! The next delta is what will have changed during the round that just ended. Its size is estimated by the rate at
//! which the tree gets dirty, its cost by the bandwidth that was reached; the walk comes on top.

use std::time::Duration;

use crate::report::RoundReport;

/// Rounds after which we no longer hope.
const MAX_ROUNDS: usize = 12;

/// Below this share of the promise another round is not worth it.
const COMFORTABLE: u32 = 4;

/// Making things durable on both sides and exchanging roots, on top of walk and delta.
const SETTLING: Duration = Duration::from_millis(100);

/// What to do after a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Another round makes the freeze shorter.
    Go,
    /// Stop the server now; the last pass is expected to take `predicted`.
    Stop {
        /// Of the last pass.
        predicted: Duration,
    },
    /// The tree gets dirty as fast as it is copied: the promise cannot be kept.
    WillNotConverge {
        /// Of the last pass, if it were now.
        predicted: Duration,
    },
}

/// Decides from the rounds so far, oldest first.
#[must_use]
pub fn decide(history: &[RoundReport], promise: Duration) -> Decision {
    let [.., before, last] = history else { return Decision::Go };
    let predicted = predict(before, last);
    // A round that does not even halve the delta has reached its floor: what the game writes in that time.
    let shrinking = last.bytes_sent.saturating_mul(2) < before.bytes_sent;
    if predicted <= promise && (!shrinking || predicted <= promise / COMFORTABLE || history.len() >= MAX_ROUNDS) {
        return Decision::Stop { predicted };
    }
    if predicted > promise && (history.len() >= MAX_ROUNDS || stalled(history)) {
        return Decision::WillNotConverge { predicted };
    }
    Decision::Go
}

/// Expected length of a last pass that started when `last` ended.
fn predict(before: &RoundReport, last: &RoundReport) -> Duration {
    let floor = last.walk + SETTLING;
    let copying = last.duration.saturating_sub(last.walk).max(Duration::from_millis(1));
    // What `last` sent had changed since `before` began to read.
    let dirty_for = before.duration.max(Duration::from_millis(1));
    let next = copying.mul_f64((last.duration.as_secs_f64() / dirty_for.as_secs_f64()).min(4.0));
    floor + next
}

/// Three rounds in a row that did not get smaller by a tenth.
fn stalled(history: &[RoundReport]) -> bool {
    let tail = &history[history.len().saturating_sub(4)..];
    tail.len() == 4 && tail.windows(2).all(|w| w[1].bytes_sent.saturating_mul(10) > w[0].bytes_sent.saturating_mul(9))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(bytes_sent: u64, walk_ms: u64, duration_ms: u64) -> RoundReport {
        let (walk, duration) = (Duration::from_millis(walk_ms), Duration::from_millis(duration_ms));
        RoundReport { bytes_sent, walk, duration, ..RoundReport::default() }
    }

    #[test]
    fn one_round_says_nothing_about_the_dirty_rate() {
        assert_eq!(decide(&[], Duration::from_secs(9)), Decision::Go);
        assert_eq!(decide(&[round(1 << 30, 50, 3000)], Duration::from_secs(9)), Decision::Go);
    }

    #[test]
    fn a_small_delta_stops_the_rounds() {
        let history = [round(1 << 30, 50, 3000), round(1 << 20, 50, 120)];
        assert!(
            matches!(decide(&history, Duration::from_secs(2)), Decision::Stop { predicted } if predicted < Duration::from_secs(1))
        );
    }

    #[test]
    fn a_delta_that_fits_but_still_shrinks_gets_another_round() {
        let history = [round(1 << 30, 50, 3000), round(300 << 20, 50, 2000)];
        assert_eq!(decide(&history, Duration::from_secs(2)), Decision::Go);
    }

    #[test]
    fn a_tree_that_is_dirtied_as_fast_as_it_is_copied_does_not_converge() {
        let history = vec![round(1 << 30, 50, 9000); 4];
        assert!(
            matches!(decide(&history, Duration::from_secs(1)), Decision::WillNotConverge { predicted } if predicted > Duration::from_secs(8))
        );
    }

    #[test]
    fn a_stalled_delta_that_fits_the_promise_is_taken() {
        let history = vec![round(40 << 20, 50, 900); 4];
        assert!(matches!(decide(&history, Duration::from_secs(2)), Decision::Stop { .. }));
    }
}
