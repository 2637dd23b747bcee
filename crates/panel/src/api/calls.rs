//! Calls to agents on behalf of a request: bounded, and their failures in the API's words.

use std::time::Duration;

use model::NodeId;
use model::agent_api::{ErrorCode, Reply, Request};

use super::ApiError;
use crate::agent::CallError;
use crate::app::App;

/// For what an agent answers at once.
pub(crate) const QUICK: Duration = Duration::from_secs(15);
/// For removing the files of a server.
pub(crate) const REMOVE: Duration = Duration::from_mins(5);
/// For a start: an image may have to be looked at, never fetched.
pub(crate) const START: Duration = Duration::from_mins(1);
/// For a start on a cluster: a server that was asleep needs a pod, which has to be scheduled, may wait for its volume and
/// may fetch an image. Not for ever: the start holds the server's lock meanwhile.
pub(crate) const WAKE: Duration = Duration::from_mins(5);
/// For a stop: longer than the patience that any spec has.
pub(crate) const STOP: Duration = Duration::from_mins(5);

/// Asks the agent of `node`. What takes longer than `patience` counts as lost: it may be done or not.
pub(crate) async fn call(app: &App, node: NodeId, request: Request, patience: Duration) -> Result<Reply, CallError> {
    tokio::time::timeout(patience, app.agents.call(node, request)).await.unwrap_or(Err(CallError::Lost))
}

/// Why a call has no answer, to the client.
pub(crate) fn refusal(error: CallError) -> ApiError {
    match error {
        CallError::Offline => ApiError::unavailable(
            "agent_offline",
            "The agent of the server's node or cluster is not connected. Start its daemon, or look at its orchestrator, \
             and try again.",
        ),
        CallError::Lost => ApiError::unavailable(
            "agent_lost",
            "The agent did not answer; it may have done it or not. Look at the server and try again.",
        ),
        CallError::Refused(error) => {
            let message = format!("The agent refused: {}.", error.message.trim_end_matches('.'));
            match error.code {
                ErrorCode::NotFound => ApiError::conflict("agent_has_no_server", message),
                ErrorCode::PortTaken => ApiError::conflict("port_taken", message),
                ErrorCode::WillNotStop => ApiError::conflict("will_not_stop", message),
                ErrorCode::Conflict | ErrorCode::StaleEpoch | ErrorCode::BadPermit => {
                    ApiError::conflict("agent_refused", message)
                }
                ErrorCode::NoSpace => ApiError::unprocessable("insufficient_disk", message),
                ErrorCode::ImageMissing => ApiError::unprocessable("image_missing", message),
                ErrorCode::Unsupported => ApiError::unprocessable("agent_too_old", message),
                _ => ApiError::unavailable("agent_failed", message),
            }
        }
    }
}
