//! What steps leave in the log for later steps and for undoing. Stored: fields are only ever added.

use saga::{Call, Cause, Failure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use model::{FreezePrediction, PathKind};

use super::ladder::{Goal, Way};

/// Of `prepare_target`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Prepared {
    /// Whether the server ran when it was looked at.
    pub(crate) running: bool,
    /// Whether its primary address answered on TCP.
    pub(crate) answers_tcp: bool,
    /// Where the files go.
    #[serde(flatten)]
    pub(super) goal: Goal,
    /// How long the game is given to end, seconds.
    pub(crate) stop_patience_s: u32,
    /// The way that was found; none in logs of earlier releases, which knew one only.
    #[serde(default)]
    pub(super) way: Option<Way>,
    /// Whether players cannot reach the target before they are let in.
    #[serde(default)]
    pub(super) holds_players: bool,
}

impl Prepared {
    pub(super) fn way(&self) -> Way {
        let direct = || Way { kind: PathKind::Direct, address: self.goal.address.clone(), label: String::new() };
        self.way.clone().unwrap_or_else(direct)
    }
}

/// Of `precopy`, where there was one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Precopied {
    /// What was reached.
    #[serde(flatten)]
    pub(crate) prediction: FreezePrediction,
    /// The way that it took at last; the last copy goes on there.
    #[serde(default)]
    pub(super) way: Option<Way>,
    /// Milliseconds that the freeze was promised to last at most when it began.
    #[serde(default)]
    pub(super) promise_ms: Option<u64>,
}

/// Of `stop_source`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stopped {
    /// Whether a game was stopped.
    pub(crate) was_running: bool,
    /// When its process ended, milliseconds since 1970 by the panel's clock.
    pub(crate) at_ms: i64,
}

/// Of `start_target`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Started {
    /// Whether it was started.
    pub(crate) started: bool,
}

/// What `step` left. It is there: the step is done.
pub(super) fn output_of<T: DeserializeOwned>(call: &Call<'_>, step: &str) -> Result<T, Failure> {
    call.log().output(step).ok_or_else(|| {
        Failure::Stuck(Cause::new("log_unreadable", format!("the log does not say what {step} left behind")))
    })
}

/// As a step's output.
pub(super) fn to_output<T: Serialize>(value: &T) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(value)
        .map_err(|error| Failure::Undo(Cause::new("internal_error", format!("an output is not JSON: {error}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_an_earlier_release_reads_as_the_one_way_that_it_knew() {
        let old = serde_json::json!({
            "running": true, "answers_tcp": false, "address": "10.0.0.1:8443", "fingerprint": "ab", "stop_patience_s": 30,
        });
        let prepared: Prepared = serde_json::from_value(old).expect("it reads");
        let way = prepared.way();
        assert_eq!((way.kind, way.address.as_deref()), (PathKind::Direct, Some("10.0.0.1:8443")));
        assert_eq!(prepared.goal.owner, None);
        assert!(!prepared.holds_players);
        let old = serde_json::json!({"predicted_freeze_ms": 1, "rounds": 2, "bytes_live": 3});
        let precopied: Precopied = serde_json::from_value(old).expect("it reads");
        assert_eq!((precopied.prediction.rounds, precopied.way), (2, None));
    }
}
