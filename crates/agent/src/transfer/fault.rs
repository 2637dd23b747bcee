//! From the engine's errors to answers for the panel.

use std::error::Error as _;

use ::transfer::Error;
use model::agent_api::{AgentError, ErrorCode};

/// The answer, with the whole chain of causes in its message.
pub(crate) fn of_engine(error: &Error) -> AgentError {
    let code = match error {
        Error::CannotCarry { .. } => ErrorCode::CannotCarry,
        Error::NoSpace { .. } => ErrorCode::NoSpace,
        Error::Unreachable(_) => ErrorCode::Unreachable,
        Error::RootsDiffer { .. } => ErrorCode::RootsDiffer,
        Error::Cancelled => ErrorCode::Cancelled,
        Error::Refused(_) => ErrorCode::Conflict,
        // A file that somebody still writes, a disk that hiccups: time may help.
        _ => ErrorCode::Internal,
    };
    AgentError::new(code, explain(error))
}

/// With the whole chain of causes.
pub(super) fn explain(error: &Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        message = format!("{message}: {inner}");
        cause = inner.source();
    }
    message
}

pub(super) fn conflict(message: impl Into<String>) -> AgentError {
    AgentError::new(ErrorCode::Conflict, message)
}

pub(super) fn cancelled() -> AgentError {
    AgentError::new(ErrorCode::Cancelled, "it was cancelled")
}
