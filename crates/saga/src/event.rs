//! What can happen to a saga. These are stored: their spelling is a format.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One entry of a log. Steps go by name, so that a log outlives a release that adds a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// An attempt begins. Written before its first effect.
    Started {
        /// Which step.
        step: String,
        /// 1 for the first attempt.
        attempt: u32,
        /// Why the attempt before this one was given up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<Cause>,
    },
    /// It took effect.
    Done {
        /// Which step.
        step: String,
        /// What later steps, and every undo, may read.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        output: Value,
    },
    /// A person wants it to stand still: in front of the step, or inside of it. The attempt that comes next has a number
    /// of its own.
    Paused {
        /// Which step.
        step: String,
    },
    /// It is given up, and with it the saga. It may have left half its work behind.
    Failed {
        /// Which step.
        step: String,
        /// Why.
        error: Cause,
    },
    /// An attempt to take a step back begins.
    UndoStarted {
        /// Which step.
        step: String,
        /// 1 for the first attempt.
        attempt: u32,
        /// Why the attempt before this one was given up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<Cause>,
    },
    /// Nothing is left of the step.
    Undone {
        /// Which step.
        step: String,
    },
    /// Neither forward nor back: a person must look.
    Stuck {
        /// Which step.
        step: String,
        /// At what to look.
        error: Cause,
    },
}

impl Event {
    /// The step that it is about.
    #[must_use]
    pub fn step(&self) -> &str {
        match self {
            Self::Started { step, .. }
            | Self::Done { step, .. }
            | Self::Paused { step }
            | Self::Failed { step, .. }
            | Self::UndoStarted { step, .. }
            | Self::Undone { step }
            | Self::Stuck { step, .. } => step,
        }
    }
}

/// Why something failed: a stable word for programs, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Cause {
    /// Stable word.
    pub code: String,
    /// What happened and what to do.
    pub message: String,
}

impl Cause {
    /// A cause with this code and message.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_spelling_does_not_change() {
        let spelled = |event: &Event| serde_json::to_string(event).expect("plain data");
        let step = || "copy".to_owned();
        assert_eq!(
            spelled(&Event::Started { step: step(), attempt: 1, because: None }),
            r#"{"event":"started","step":"copy","attempt":1}"#
        );
        assert_eq!(spelled(&Event::Done { step: step(), output: Value::Null }), r#"{"event":"done","step":"copy"}"#);
        assert_eq!(
            spelled(&Event::Failed { step: step(), error: Cause::new("c", "m") }),
            r#"{"event":"failed","step":"copy","error":{"code":"c","message":"m"}}"#
        );
        assert_eq!(spelled(&Event::Paused { step: step() }), r#"{"event":"paused","step":"copy"}"#);
        let read: Event = serde_json::from_str(r#"{"event":"done","step":"copy","later":1}"#).expect("it reads");
        assert_eq!(read, Event::Done { step: step(), output: Value::Null }, "an unknown field is ignored");
    }
}
