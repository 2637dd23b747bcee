//! What steps leave in the log for later steps and for undoing. Stored: fields are only ever added.

use saga::{Call, Cause, Failure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use model::agent_api::{Door, Route};

/// Of `prepare_target`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Prepared {
    /// Whether the server ran when it was looked at.
    pub(crate) running: bool,
    /// Whether its primary address answered on TCP.
    pub(crate) answers_tcp: bool,
    /// Where the target waits for the files.
    pub(crate) address: String,
    /// Of the target's certificate.
    pub(crate) fingerprint: String,
    /// How long the game is given to end, seconds.
    pub(crate) stop_patience_s: u32,
}

impl Prepared {
    pub(super) fn door(&self, ticket: String) -> Door {
        Door {
            route: Route::Direct { address: self.address.clone() },
            fingerprint: self.fingerprint.clone(),
            ticket,
            owner: None,
        }
    }
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
