//! What is said on a console's WebSocket.

use model::{ServerId, ServerStatus, TransferState};
use serde::{Deserialize, Serialize};

use crate::api::ApiError;
use crate::api::power::Signal;

/// From the panel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Word {
    Hello { server_id: ServerId, may: Vec<&'static str> },
    Status(Status),
    Lines { memory: String, first: u64, lost: u64, lines: Vec<String> },
    Done { id: Option<String> },
    Error { id: Option<String>, code: String, message: String },
}

/// What is seen of a server beside its console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(clippy::struct_field_names, reason = "the words of the wire")]
pub(super) struct Status {
    pub(super) status: ServerStatus,
    pub(super) transfer_state: Option<TransferState>,
    pub(super) agent_online: bool,
}

/// From the client.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Input {
    Command { command: String, id: Option<String> },
    Power { signal: Signal, id: Option<String> },
}

impl Input {
    /// What the client calls it.
    pub(super) fn id(&self) -> Option<String> {
        match self {
            Self::Command { id, .. } | Self::Power { id, .. } => id.clone(),
        }
    }
}

impl Word {
    /// What came of an input.
    pub(super) fn outcome(id: Option<String>, outcome: Result<(), ApiError>) -> Self {
        match outcome {
            Ok(()) => Self::Done { id },
            Err(error) => Self::Error { id, code: error.code().to_owned(), message: error.message().to_owned() },
        }
    }
}
