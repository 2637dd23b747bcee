//! Follows one server's console and status, wherever it is, and says what is new.
//!
//! Lines are pulled: the agent answers as soon as there is one behind the mark, so nothing has to be kept for a client
//! that is slow or gone, and a pod is asked as a node is. A server that does not run says nothing; nobody is asked then,
//! and a pod may sleep.

use std::time::Duration;

use model::agent_api::{ConsoleMark, ErrorCode, Reply, Request};
use model::{NodeId, ServerId};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::words::{Status, Word};
use crate::agent::CallError;
use crate::api::calls;
use crate::app::App;
use crate::db::{DbError, servers};

/// How often the status is looked at, and how long an agent waits for a line.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two answers of an agent: a game that floods its console must not flood everybody.
const PULL_EVERY: Duration = Duration::from_millis(100);
/// Lines of one answer.
const LINES_AT_ONCE: u32 = 500;

/// Where a client is in a console.
pub(super) struct Follower {
    pub(super) app: App,
    pub(super) id: ServerId,
    pub(super) mark: Option<ConsoleMark>,
    /// How many lines to begin with.
    pub(super) lines: u32,
    pub(super) news: mpsc::Sender<Word>,
}

/// What a pull has found.
enum Found {
    /// There may be more at once.
    Lines,
    /// Everything was seen.
    Nothing,
    /// There is nobody to ask, or they do not know.
    Nobody,
}

/// Nobody listens any more.
struct Unheard;

impl Follower {
    /// Returns when the server is gone, or nobody listens.
    pub(super) async fn follow(mut self) {
        let mut said = None;
        // What a game said last is read once it has ended, too.
        let mut settled = false;
        loop {
            let begun = Instant::now();
            let (node, status) = match self.look().await {
                Ok(seen) => seen,
                Err(DbError::NotFound) => return,
                Err(error) => {
                    tracing::debug!(server = %self.id, %error, "a console waits for the database");
                    sleep(LOOK_EVERY).await;
                    continue;
                }
            };
            if said != Some(status) {
                said = Some(status);
                settled = false;
                if self.say(Word::Status(status)).await.is_err() {
                    return;
                }
            }
            let ask = status.agent_online && (status.status.is_live() || !settled);
            let found = if ask { self.pull(node).await } else { Ok(Found::Nobody) };
            let pause = match found {
                Err(Unheard) => return,
                Ok(Found::Lines) => PULL_EVERY,
                Ok(Found::Nothing) => {
                    settled = true;
                    PULL_EVERY
                }
                Ok(Found::Nobody) => LOOK_EVERY,
            };
            sleep_until(begun + pause).await;
        }
    }

    async fn look(&self) -> Result<(NodeId, Status), DbError> {
        let mut conn = self.app.db.acquire().await?;
        let server = servers::server_get(&mut conn, self.id).await?;
        let agent_online = self.app.agents.is_online(server.node_id);
        let (status, transfer_state) = (server.status, server.transfer_state);
        Ok((server.node_id, Status { status, transfer_state, agent_online }))
    }

    async fn pull(&mut self, node: NodeId) -> Result<Found, Unheard> {
        let wait_ms = u64::try_from(LOOK_EVERY.as_millis()).unwrap_or(u64::MAX);
        let lines = if self.mark.is_some() { LINES_AT_ONCE } else { self.lines };
        let request = Request::FollowConsole { server_id: self.id, after: self.mark.clone(), lines, wait_ms };
        match calls::call(&self.app, node, request, LOOK_EVERY + calls::QUICK).await {
            Ok(Reply::ConsoleLines { memory, first, lines }) => self.take(memory, first, lines).await,
            Err(CallError::Refused(error)) if error.code == ErrorCode::Unsupported => self.too_old().await,
            // It is on its way from one agent to another, or its agent is.
            Ok(_) | Err(_) => Ok(Found::Nobody),
        }
    }

    async fn take(&mut self, memory: String, first: u64, lines: Vec<String>) -> Result<Found, Unheard> {
        if memory.is_empty() {
            return Ok(Found::Nobody);
        }
        let known = self.mark.as_ref().filter(|mark| mark.memory == memory);
        let lost = known.map_or(0, |mark| first.saturating_sub(mark.line.saturating_add(1)));
        let line = first.saturating_add(lines.len() as u64).saturating_sub(1);
        let is_new = known.is_none();
        self.mark = Some(ConsoleMark { memory: memory.clone(), line });
        if lines.is_empty() {
            return Ok(if is_new { Found::Lines } else { Found::Nothing });
        }
        self.say(Word::Lines { memory, first, lost, lines }).await?;
        Ok(Found::Lines)
    }

    /// Said once; the status is followed all the same.
    async fn too_old(&mut self) -> Result<Found, Unheard> {
        let memory = "too-old".to_owned();
        if self.mark.as_ref().is_none_or(|mark| mark.memory != memory) {
            self.mark = Some(ConsoleMark { memory, line: 0 });
            let message = "The agent of this server is too old to stream its console. Upgrade it; until then read the \
                           last lines at …/console.";
            self.say(Word::Error { id: None, code: "agent_too_old".to_owned(), message: message.to_owned() }).await?;
        }
        Ok(Found::Nobody)
    }

    async fn say(&self, word: Word) -> Result<(), Unheard> {
        self.news.send(word).await.map_err(|_| Unheard)
    }
}
