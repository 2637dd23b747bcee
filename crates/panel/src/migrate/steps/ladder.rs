//! The data path ladder as decisions: which way of a copy is tried next, and what is said when none is left.
//!
//! ```text
//!   prepare_target:  direct ──► reverse ──► relay ──► agents_unreachable, with all three reasons
//!   a copy broke on reverse:  relay ──► direct ──► reverse
//! ```
//!
//! Direct first: it needs nobody else. The relay last: it costs the panel's line twice. A way that broke is tried again,
//! but behind the others: what broke it may still be there. How a way is tried is `walk`'s business.

use model::agent_api::Owner;
use model::{PathKind, TriedPath};
use saga::{Cause, Failure};
use serde::{Deserialize, Serialize};

use crate::migrate::ask::UNREACHABLE;

/// In the order of preference.
const RUNGS: [PathKind; 3] = [PathKind::Direct, PathKind::Reverse, PathKind::Relay];

/// The way that a copy takes. In the log: its secrets are derived from the label, and not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::migrate) struct Way {
    /// Which.
    pub(in crate::migrate) kind: PathKind,
    /// `host:port` of whoever listens; none on the relay.
    #[serde(default)]
    pub(in crate::migrate) address: Option<String>,
    /// The step and attempt that chose it.
    #[serde(default)]
    pub(in crate::migrate) label: String,
}

/// What every way of this copy ends at: the target's door.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::migrate) struct Goal {
    /// `host:port` where the target waits for the files; none where it cannot be dialled.
    #[serde(default)]
    pub(in crate::migrate) address: Option<String>,
    /// Of the certificate that it shows.
    pub(in crate::migrate) fingerprint: String,
    /// To whom the files belong there; none: the numbers are kept.
    #[serde(default)]
    pub(in crate::migrate) owner: Option<Owner>,
}

/// All ways, the one behind `broken` first and `broken` itself last.
pub(super) fn order(broken: Option<PathKind>) -> [PathKind; 3] {
    let mut rungs = RUNGS;
    let behind = broken.and_then(|broken| RUNGS.iter().position(|rung| *rung == broken)).map_or(0, |at| at + 1);
    rungs.rotate_left(behind % RUNGS.len());
    rungs
}

/// The word for a way in messages and names of steps.
pub(super) fn word(kind: PathKind) -> &'static str {
    match kind {
        PathKind::Direct => "direct",
        PathKind::Reverse => "reverse",
        PathKind::Relay => "relay",
    }
}

/// Why there is no way, and what to do.
pub(super) fn none_left(tried: &[TriedPath]) -> Cause {
    let reasons: Vec<String> =
        tried.iter().map(|tried| format!("{}: {}", word(tried.kind), tried.reason.trim_end_matches('.'))).collect();
    let message = format!(
        "The files cannot get from source to target on any way. {}. Open one of them: the target's data port for the \
         source, the source's data port for the target, or the panel's URL for both.",
        reasons.join(". ")
    );
    Cause::new(UNREACHABLE, message)
}

/// Where nobody should wait for another walk: no way is the end.
pub(super) fn final_word(failure: Failure) -> Failure {
    match failure {
        Failure::Retry(cause) if cause.code == UNREACHABLE => Failure::Undo(cause),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use PathKind::{Direct, Relay, Reverse};

    use super::*;

    #[test]
    fn every_way_has_its_turn_and_the_broken_one_is_last() {
        assert_eq!(order(None), [Direct, Reverse, Relay]);
        assert_eq!(order(Some(Direct)), [Reverse, Relay, Direct]);
        assert_eq!(order(Some(Reverse)), [Relay, Direct, Reverse]);
        assert_eq!(order(Some(Relay)), [Direct, Reverse, Relay]);
    }

    #[test]
    fn the_end_of_the_ladder_tells_all_three_reasons_and_the_cure() {
        let tried = |kind, reason: &str| TriedPath { kind, reason: reason.to_owned() };
        let cause = none_left(&[tried(Direct, "refused."), tried(Reverse, "no address"), tried(Relay, "late")]);
        assert_eq!(cause.code, "agents_unreachable");
        assert!(cause.message.contains("direct: refused. reverse: no address. relay: late. Open"), "{}", cause.message);
        assert!(matches!(final_word(Failure::Retry(cause)), Failure::Undo(_)));
        assert!(matches!(final_word(Failure::Retry(Cause::new("database", ""))), Failure::Retry(_)));
    }
}
