//! What mover and launcher of a pod say to each other: one call a connection, in lines of JSON.
//!
//! ```text
//! mover                                        launcher
//! {"version":1,"call":"start","spec":{…}} ──►
//!                                         ◄──  {"answer":"running","run":"…","age_ms":3}
//!                                         ◄──  {"answer":"line","n":0,"line":"Loading world"}
//!                                         ◄──  …
//!                                         ◄──  {"answer":"exit","code":0,"evicted":false}
//! ```
//!
//! `start` and `find` are answered with what runs, its console from the first line that is kept, and its end; `history`
//! with lines and `done`; everything else with one line. A line is refused beyond a length, on both sides: the mover
//! cannot know whether it talks to the launcher or to a game that has taken its socket.

use std::io;

use model::agent_api::{AgentError, ErrorCode};
use model::{ServerSpec, StopHow};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use uuid::Uuid;

/// Of this protocol. Both sides come from one image and one release, so there is nothing to negotiate.
pub(crate) const VERSION: u32 = 1;
/// A spec with an egg's whole environment stays far below.
pub(crate) const CALL_BYTES: usize = 1 << 20;
/// A console line of [`crate::runtime::lines::LINE_BYTES`], every byte of it escaped.
pub(crate) const ANSWER_BYTES: usize = 64 << 10;

/// The mover's line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) version: u32,
    #[serde(flatten)]
    pub(crate) ask: Ask,
}

/// What a launcher can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub(crate) enum Ask {
    /// Would a start of this find its program?
    Check { spec: Box<ServerSpec> },
    /// Run it, if the records on the volume allow it.
    Start { spec: Box<ServerSpec> },
    /// What runs?
    Find,
    /// The last console lines, of this run or the one before.
    History,
    /// Type a line.
    Send { line: String },
    /// Ask the game to end.
    End { how: StopHow },
    /// End it.
    Kill,
    /// Forget console and records of a game that does not run.
    Clear,
}

/// The launcher's lines.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    /// Done; or all lines of a history were told.
    Done,
    /// Nothing runs.
    Nothing,
    /// Why not.
    Refused { error: AgentError },
    /// This run of the game, begun so long ago.
    Running { run: Uuid, age_ms: u64 },
    /// Its console; `n` counts from the first line of the run.
    Line { n: u64, line: String },
    /// Its end: the last line of this connection.
    Exit { code: Option<i32>, evicted: bool },
}

/// Writes one message.
pub(crate) async fn write<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line).await
}

/// Reads one message of at most `limit` bytes; none if the other side has nothing more to say.
pub(crate) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncBufRead + Unpin),
    limit: usize,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    from.take(most).read_until(b'\n', &mut line).await?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => serde_json::from_slice(&line).map(Some).map_err(io::Error::from),
        Some(_) if line.len() >= limit => Err(io::Error::new(io::ErrorKind::InvalidData, "a line that is too long")),
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Refuses a call of another release.
pub(crate) fn check_version(call: &Call) -> Result<(), AgentError> {
    if call.version == VERSION {
        return Ok(());
    }
    let (theirs, ours) = (call.version, VERSION);
    let message = format!("the mover speaks version {theirs}, the launcher {ours}: their pod mixes two releases");
    Err(AgentError::new(ErrorCode::Unsupported, message))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    async fn said(bytes: &[u8]) -> io::Result<Option<Answer>> {
        read(&mut &bytes[..], 100).await
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_what_is_not_a_message_is_refused() {
        let mut wire = Vec::new();
        write(&mut wire, &Answer::Line { n: 7, line: "two\nlines".to_owned() }).await.unwrap();
        assert!(matches!(said(&wire).await.unwrap(), Some(Answer::Line { n: 7, .. })));
        assert!(said(b"").await.unwrap().is_none());
        assert_eq!(said(b"{\"answer\":\"done\"}").await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(said(b"{\"answer\":\"rule the world\"}\n").await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let endless = [b'x'; 1000];
        assert_eq!(said(&endless).await.unwrap_err().to_string(), "a line that is too long");
    }

    #[tokio::test]
    async fn a_call_is_one_flat_object() {
        let mut wire = Vec::new();
        let how = StopHow::Signal("SIGINT".to_owned());
        write(&mut wire, &Call { version: VERSION, ask: Ask::End { how } }).await.unwrap();
        let text = String::from_utf8(wire.clone()).unwrap();
        assert_eq!(text, "{\"version\":1,\"call\":\"end\",\"how\":{\"signal\":\"SIGINT\"}}\n");
        let call: Call = read(&mut &wire[..], CALL_BYTES).await.unwrap().unwrap();
        assert!(check_version(&call).is_ok());
        assert_eq!(check_version(&Call { version: 2, ..call }).unwrap_err().code, ErrorCode::Unsupported);
    }
}
