//! The launcher's socket: who may call, and how calls are answered.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::console::News;
use super::game::{Game, Run};
use crate::disk;
use crate::runtime::Exit;
use crate::runtime::kubernetes::protocol::{self, Answer, Ask, CALL_BYTES, Call, check_version};

/// A mover has one for each run that it follows, and one for a call. More than these wait in the kernel's queue.
const CONNECTIONS: usize = 32;
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// For the mover to read a game's end before this process is gone.
const FAREWELL: Duration = Duration::from_secs(2);
const AFTER_A_FAILURE: Duration = Duration::from_millis(200);
const HISTORY_LINES: usize = 1000;
const REASON_BYTES: usize = 4096;

/// An open socket.
#[derive(Debug)]
pub(super) struct Door {
    listener: UnixListener,
    path: PathBuf,
}

/// Calls that are being answered.
#[derive(Debug)]
pub(super) struct Calls {
    closing: CancellationToken,
    open: TaskTracker,
    path: PathBuf,
}

impl Door {
    /// For this user alone, in the place of whatever a launcher before this one has left there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // Made under another name: nobody connects before it is as private as it shall be.
        let new = path.with_extension("new");
        disk::remove_file(&new)?;
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, Permissions::from_mode(0o600))?;
        fs::rename(&new, path)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Answers calls in the background.
    pub(super) fn answer(self, game: Arc<Game>) -> Calls {
        let (closing, open) = (CancellationToken::new(), TaskTracker::new());
        let calls = Calls { closing: closing.clone(), open: open.clone(), path: self.path.clone() };
        tokio::spawn(closing.run_until_cancelled_owned(self.accept(game, open)));
        calls
    }

    async fn accept(self, game: Arc<Game>, open: TaskTracker) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let place = Arc::clone(&room).acquire_owned().await.expect("nobody closes it");
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot take a call");
                    tokio::time::sleep(AFTER_A_FAILURE).await;
                    continue;
                }
            };
            if is_from_inside(&stream) {
                tracing::warn!("a process of this container wanted to command its launcher");
                continue;
            }
            let game = Arc::clone(&game);
            open.spawn(async move {
                if let Err(error) = converse(stream, &game).await {
                    tracing::debug!(%error, "a call broke off");
                }
                drop(place);
            });
        }
    }
}

impl Calls {
    /// No more calls. Those that tell of the game's end may finish.
    pub(super) async fn finish(self) {
        self.open.close();
        if tokio::time::timeout(FAREWELL, self.open.wait()).await.is_err() {
            tracing::debug!("somebody still listens, to nothing");
        }
        self.closing.cancel();
        if let Err(error) = disk::remove_file(&self.path) {
            tracing::debug!(%error, "the socket stays; nobody answers there");
        }
    }
}

/// The first process of a container sees the pids of its own container and 0 for everybody else. The game is not the
/// mover, though it has the same user.
fn is_from_inside(stream: &UnixStream) -> bool {
    let inside = stream.peer_cred().is_ok_and(|peer| peer.pid().is_some_and(|pid| pid > 0));
    std::process::id() == 1 && inside
}

async fn converse(stream: UnixStream, game: &Game) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let call = tokio::time::timeout(CALL_WITHIN, protocol::read(&mut stream, CALL_BYTES)).await;
    let call: Call = match call.map_err(io::Error::from)? {
        Ok(Some(call)) => call,
        Ok(None) => return Ok(()),
        Err(error) => return protocol::write(&mut stream, &refused(not_understood(&error))).await,
    };
    if let Err(error) = check_version(&call) {
        return protocol::write(&mut stream, &refused(error)).await;
    }
    match call.ask {
        Ask::Start { spec } => match game.start(&spec).await {
            Ok(run) => tell(stream, &run).await,
            Err(error) => protocol::write(&mut stream, &refused(error)).await,
        },
        Ask::Find => match game.find().await {
            Some(run) => tell(stream, &run).await,
            None => protocol::write(&mut stream, &Answer::Nothing).await,
        },
        Ask::History => recite(stream, game.history().await).await,
        ask => protocol::write(&mut stream, &obey(game, ask).await).await,
    }
}

async fn obey(game: &Game, ask: Ask) -> Answer {
    let outcome = match ask {
        Ask::Check { spec } => game.check(&spec).await,
        Ask::Send { line } => game.send(&line).await,
        Ask::End { how } => game.ask_to_end(&how).await,
        Ask::Kill => game.kill().await,
        Ask::Clear => game.clear().await,
        Ask::Start { .. } | Ask::Find | Ask::History => unreachable!("they are answered with more than a word"),
    };
    outcome.map_or_else(refused, |()| Answer::Done)
}

/// A run from its first line that is kept to its end, or until the mover hangs up.
async fn tell(mut stream: BufReader<UnixStream>, run: &Run) -> io::Result<()> {
    protocol::write(&mut stream, &Answer::Running { run: run.id, age_ms: run.age_ms() }).await?;
    let mut listener = run.listen();
    loop {
        let news = tokio::select! {
            news = listener.next() => news,
            // The mover says nothing more; what can come is its end.
            _ = stream.read_u8() => return Ok(()),
        };
        for news in news {
            match news {
                News::Line(n, line) => protocol::write(&mut stream, &Answer::Line { n, line }).await?,
                News::Ended(exit) => {
                    let Exit { code, evicted } = exit;
                    return protocol::write(&mut stream, &Answer::Exit { code, evicted }).await;
                }
            }
        }
    }
}

async fn recite(mut stream: BufReader<UnixStream>, lines: Vec<String>) -> io::Result<()> {
    let skip = lines.len().saturating_sub(HISTORY_LINES);
    for (n, line) in (0..).zip(lines.into_iter().skip(skip)) {
        protocol::write(&mut stream, &Answer::Line { n, line }).await?;
    }
    protocol::write(&mut stream, &Answer::Done).await
}

/// Short enough for one line, whatever a message quotes.
fn refused(mut error: AgentError) -> Answer {
    error.message.truncate(error.message.floor_char_boundary(REASON_BYTES));
    Answer::Refused { error }
}

fn not_understood(error: &io::Error) -> AgentError {
    AgentError::new(ErrorCode::Unsupported, format!("the launcher does not understand this call: {error}"))
}
