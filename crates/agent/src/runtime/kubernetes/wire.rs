//! The mover's end of a connection to the launcher.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode};
use tokio::io::BufReader;
use tokio::net::UnixStream;

use super::protocol::{self, ANSWER_BYTES, Answer, Ask, Call, VERSION};

/// For an answer. A launcher answers at once; what takes longer hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// One call, asked.
pub(super) struct Wire {
    stream: BufReader<UnixStream>,
}

impl Wire {
    /// Connects and asks.
    pub(super) async fn ask(socket: &Path, ask: Ask) -> io::Result<Self> {
        // The game can write to the socket's directory: what it points elsewhere is not followed there.
        let kind = tokio::fs::symlink_metadata(socket).await?.file_type();
        if !kind.is_socket() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is no socket", socket.display())));
        }
        let mut stream = BufReader::new(UnixStream::connect(socket).await?);
        protocol::write(&mut stream, &Call { version: VERSION, ask }).await?;
        Ok(Self { stream })
    }

    /// One that was asked already.
    #[cfg(test)]
    pub(super) fn over(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// The next line, whenever it comes.
    pub(super) async fn next(&mut self) -> io::Result<Answer> {
        let answer = protocol::read(&mut self.stream, ANSWER_BYTES).await?;
        answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// The answer to the call itself.
    pub(super) async fn answer(&mut self) -> Result<Answer, AgentError> {
        match tokio::time::timeout(ANSWER_WITHIN, self.next()).await {
            Ok(Ok(Answer::Refused { error })) => Err(error),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(broken(&error)),
            Err(_) => Err(broken(&io::ErrorKind::TimedOut.into())),
        }
    }
}

/// Whether nobody is there to ask: no socket yet, or one that a launcher left behind.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

pub(super) fn broken(error: &io::Error) -> AgentError {
    let message =
        format!("the launcher in the game's container does not answer ({error}): look at that container's log");
    AgentError::new(ErrorCode::Internal, message)
}
