//! The one game of a launcher: at most one run at a time, and what is known of the last one.

use std::sync::Arc;
use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode};
use model::{ServerSpec, StopHow};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Echo;
use super::console::{Console, Listener, News};
use super::right::Right;
use crate::layout::Place;
use crate::runtime::kubernetes::Possession;
use crate::runtime::process::Processes;
use crate::runtime::{Exit, Running, Runtime, Unit};

/// For the last lines of a game that has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What is run here.
pub(super) struct Game {
    place: Place,
    processes: Processes,
    right: Right,
    echo: Arc<Echo>,
    /// Held across a start, so that nothing else is decided meanwhile.
    run: Mutex<Option<Run>>,
    /// This container has to go.
    leaving: CancellationToken,
}

/// One run of it, over or not.
#[derive(Clone)]
pub(super) struct Run {
    pub(super) id: Uuid,
    began: Instant,
    stop: StopHow,
    console: Arc<Console>,
}

impl Run {
    pub(super) fn age_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn listen(&self) -> Listener {
        self.console.listen()
    }

    async fn ended(&self) {
        let mut listener = self.listen();
        while !matches!(listener.next().await.last(), Some(News::Ended(_)) | None) {}
    }
}

impl Game {
    pub(super) fn new(place: Place, processes: Processes, right: Right, echo: Echo) -> Self {
        let (run, leaving) = (Mutex::default(), CancellationToken::new());
        Self { place, processes, right, echo: Arc::new(echo), run, leaving }
    }

    /// What runs now.
    pub(super) async fn find(&self) -> Option<Run> {
        self.run.lock().await.clone().filter(|run| !run.console.has_ended())
    }

    /// Fails for what a start of this would fail for, as far as that is known before.
    pub(super) async fn check(&self, spec: &ServerSpec) -> Result<(), AgentError> {
        self.is_ours(spec)?;
        // The epoch is for labels, and a process has none.
        self.processes.prepare(Unit { place: &self.place, spec, epoch: model::Epoch::FIRST }).await
    }

    /// Runs it, if the volume's records allow that; what runs already is left alone.
    pub(super) async fn start(&self, spec: &ServerSpec) -> Result<Run, AgentError> {
        self.is_ours(spec)?;
        let mut now = self.run.lock().await;
        if let Some(run) = now.as_ref().filter(|run| !run.console.has_ended()) {
            return Ok(run.clone());
        }
        if self.leaving.is_cancelled() {
            return Err(conflict("this pod is being ended: the server starts again in the next one"));
        }
        let possession = Possession::take(self.right.home()).await?;
        // After it: what was recorded by somebody who has ended by now is read, too.
        let epoch = self.right.check()?;
        let running = self.processes.start(Unit { place: &self.place, spec, epoch }).await?;
        let console = Arc::new(Console::new());
        let run = Run { id: Uuid::now_v7(), began: running.since, stop: spec.stop.clone(), console };
        tracing::info!(server = %spec.id, %epoch, run = %run.id, "game started");
        tokio::spawn(keep(running, possession, run.clone(), Arc::clone(&self.echo), self.leaving.clone()));
        *now = Some(run.clone());
        Ok(run)
    }

    /// The last lines that it wrote, whether it runs or not; also those of a container before this one.
    pub(super) async fn history(&self) -> Vec<String> {
        self.processes.history(&self.place).await
    }

    pub(super) async fn send(&self, line: &str) -> Result<(), AgentError> {
        self.processes.send(&self.place, line).await
    }

    pub(super) async fn ask_to_end(&self, how: &StopHow) -> Result<(), AgentError> {
        self.processes.ask_to_end(&self.place, how).await
    }

    pub(super) async fn kill(&self) -> Result<(), AgentError> {
        // Not beside a start, which would look like a kill that had no effect.
        let _run = self.run.lock().await;
        self.processes.kill(&self.place).await
    }

    /// Forgets what is kept of a game that does not run.
    pub(super) async fn clear(&self) -> Result<(), AgentError> {
        let mut run = self.run.lock().await;
        if run.as_ref().is_some_and(|run| !run.console.has_ended()) {
            return Err(conflict("it is running: stop it first"));
        }
        *run = None;
        self.processes.forget(&self.place).await
    }

    /// Ends the game because the container must, and waits for that. Kubernetes bounds it.
    pub(super) async fn leave(&self) {
        self.leaving.cancel();
        let Some(run) = self.find().await else { return };
        tracing::info!(run = %run.id, "this pod is being ended: asking the game to end");
        if let Err(error) = self.ask_to_end(&run.stop).await {
            tracing::error!(%error, "the game cannot be asked to end as its egg says, trying SIGTERM");
            let second = self.ask_to_end(&StopHow::Signal("SIGTERM".to_owned())).await;
            second.unwrap_or_else(|error| tracing::error!(%error, "nor so: it will be killed with this pod"));
        }
        run.ended().await;
    }

    fn is_ours(&self, spec: &ServerSpec) -> Result<(), AgentError> {
        if spec.id == self.place.server {
            return Ok(());
        }
        Err(conflict(format!("this container is for server {}, not for {}", self.place.server, spec.id)))
    }
}

/// Keeps one run company: its lines, its end, and the volume until then.
async fn keep(mut running: Running, possession: Possession, run: Run, echo: Arc<Echo>, leaving: CancellationToken) {
    let hear = |line: String| {
        echo(&line);
        run.console.push(line);
    };
    let exit = loop {
        tokio::select! {
            exit = &mut running.exit => break exit,
            Some(line) = running.lines.recv() => hear(line),
        }
    };
    let rest = async {
        while let Some(line) = running.lines.recv().await {
            hear(line);
        }
    };
    if tokio::time::timeout(LAST_WORDS, rest).await.is_err() {
        tracing::debug!("its last words took too long");
    }
    drop(possession);
    let exit = Exit { code: exit.code, evicted: leaving.is_cancelled() };
    tracing::info!(run = %run.id, code = ?exit.code, evicted = exit.evicted, "game ended");
    run.console.end(exit);
}

fn conflict(message: impl Into<String>) -> AgentError {
    AgentError::new(ErrorCode::Conflict, message)
}
