//! The life of a server's process: start, adoption, end, and those who wait for it.

use std::sync::Arc;
use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode};
use model::{Permit, RuntimeKind, ServerSpec, ServerStatus};
use tokio::time::Instant;

use super::conflict;
use super::console::Done;
use super::load::{OWNERSHIP, PERMIT};
use super::message::{Answer, reply};
use super::ownership::Ownership;
use super::task::{Task, Waiter, Waiting};
use crate::runtime::{Exit, Running, Unit};
use crate::{configs, disk};

const AFTER_A_KILL: Duration = Duration::from_secs(30);
const START_AGAIN_EVERY: Duration = Duration::from_secs(5);
/// For the last words of a game that has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

impl Task {
    pub(super) async fn start(&mut self, permit: &Permit) -> Result<(), AgentError> {
        if let Some(lease) = self.lease.as_ref().filter(|lease| !lease.record.lost) {
            return Err(conflict(format!("it stands still for transfer {}", lease.record.transfer)));
        }
        if matches!(self.status, ServerStatus::Installing | ServerStatus::InstallFailed) {
            return Err(conflict("it is not installed"));
        }
        self.admit(permit).await?;
        if self.is_live() { Ok(()) } else { self.begin().await }
    }

    /// Checks a permit and records its epoch and itself durably. Nothing runs before this. The epoch goes first: of a
    /// crash in between a record is left that allows nothing, until the panel's next word.
    pub(super) async fn admit(&mut self, permit: &Permit) -> Result<(), AgentError> {
        self.around.permits.check(self.place.server, permit)?;
        let ownership = self.ownership.admit(permit)?;
        self.own(ownership).await?;
        if self.permit.as_ref() != Some(permit) {
            disk::record(self.place.beside(PERMIT), permit).await?;
            self.permit = Some(permit.clone());
        }
        Ok(())
    }

    pub(super) async fn own(&mut self, ownership: Ownership) -> Result<(), AgentError> {
        if ownership != self.ownership {
            disk::record(self.place.beside(OWNERSHIP), &ownership).await?;
            self.ownership = ownership;
            self.show();
        }
        Ok(())
    }

    /// Runs the epoch on record.
    pub(super) async fn begin(&mut self) -> Result<(), AgentError> {
        self.ownership.check_open()?;
        let spec = self.spec();
        self.write_configs(&spec).await;
        let unit = Unit { place: &self.place, spec: &spec, epoch: self.ownership.epoch };
        let running = self.around.runtime.start(unit).await?;
        tracing::info!(server = %self.place.server, epoch = %self.ownership.epoch, "server started");
        self.attach(running);
        self.set_status(if spec.done.is_empty() { ServerStatus::Running } else { ServerStatus::Starting }).await;
        Ok(())
    }

    /// Only now and not when the files arrive: they are the same on both sides of a transfer until the target starts.
    async fn write_configs(&mut self, spec: &Arc<ServerSpec>) {
        self.attention.clear();
        if spec.configs.is_empty() {
            return;
        }
        let (data, spec, runtime) = (self.place.data(), Arc::clone(spec), &self.around.runtime);
        let (inside, owner) = (runtime.kind() != RuntimeKind::Process, runtime.house().owner);
        let applied = disk::blocking(move || Ok(configs::apply(&data, &spec, inside, owner))).await;
        self.attention = applied.unwrap_or_else(|error| vec![format!("configuration files were not written: {error}")]);
        for problem in &self.attention {
            tracing::warn!(server = %self.place.server, problem, "a configuration file was not brought in line");
            self.console.push(format!("[badger] {problem}"));
        }
    }

    pub(super) fn attach(&mut self, running: Running) {
        self.began = Some(running.since);
        self.up = None;
        self.done = Done::of(&self.spec().done);
        self.lines = Some(running.lines);
        self.exit = Some(running.exit);
        self.exit_code = None;
        self.asked_to_end = false;
        self.restart = false;
        self.start_again = None;
    }

    /// Takes over a game that was started by an agent process before this one.
    pub(super) fn adopt(&mut self, running: Running, was: ServerStatus) {
        tracing::info!(server = %self.place.server, "found it running");
        let since = running.since;
        self.attach(running);
        self.asked_to_end = was == ServerStatus::Stopping;
        self.status = match was {
            ServerStatus::Running | ServerStatus::Stopping => was,
            _ if self.spec().done.is_empty() => ServerStatus::Running,
            _ => ServerStatus::Starting,
        };
        if self.status == ServerStatus::Running {
            self.up = Some(since);
        }
        self.show();
    }

    pub(super) async fn heard_line(&mut self, line: Option<String>) {
        let Some(line) = line else {
            self.lines = None;
            return;
        };
        let up = self.status == ServerStatus::Starting && self.done.is_said(&line);
        self.console.push(line);
        if up {
            self.set_status(ServerStatus::Running).await;
        }
    }

    pub(super) async fn ended(&mut self, exit: Exit) {
        self.exit = None;
        self.began = None;
        self.up = None;
        self.exit_code = exit.code;
        let now = self.around.clock.now();
        if let Some(lease) = &mut self.lease {
            lease.stopped(now);
        }
        let restart = std::mem::take(&mut self.restart);
        let resumed = self.answer_waiters();
        self.last_words().await;
        let asked = std::mem::take(&mut self.asked_to_end);
        let evicted = exit.evicted && !asked;
        tracing::info!(server = %self.place.server, code = ?exit.code, asked, evicted, "server ended");
        if evicted {
            // Here if this pod stays after all, else in the next one, which finds it on record.
            self.start_again_soon();
        }
        self.set_status(if asked || evicted { ServerStatus::Offline } else { ServerStatus::Crashed }).await;
        self.record_lease().await;
        if restart {
            self.start_again().await;
        }
        let outcome = if self.is_live() { Ok(()) } else { Err(conflict("it ended, and cannot be started again yet")) };
        for answer in resumed {
            reply(answer, outcome.clone());
        }
    }

    /// Tells everybody that it has ended; returns those who want it to run again.
    pub(super) fn answer_waiters(&mut self) -> Vec<Answer<()>> {
        let mut resumed = Vec::new();
        for waiter in std::mem::take(&mut self.waiters) {
            match waiter.what {
                Waiting::Stop(answer) | Waiting::Kill(answer) => reply(answer, Ok(())),
                Waiting::Freeze(answer) => reply(answer, self.frozen()),
                Waiting::Resume(answer) => resumed.push(answer),
            }
        }
        resumed
    }

    pub(super) async fn last_words(&mut self) {
        let Some(mut lines) = self.lines.take() else { return };
        let console = &mut self.console;
        let rest = async {
            while let Some(line) = lines.recv().await {
                console.push(line);
            }
        };
        if tokio::time::timeout(LAST_WORDS, rest).await.is_err() {
            tracing::debug!(server = %self.place.server, "its last words took too long");
        }
    }

    pub(super) async fn stop(&mut self, answer: Answer<()>) {
        self.start_no_more().await;
        if !self.is_live() {
            return reply(answer, Ok(()));
        }
        self.restart = false;
        match self.ask_to_end().await {
            Ok(until) => self.waiters.push(Waiter { until, what: Waiting::Stop(answer) }),
            Err(error) => reply(answer, Err(error)),
        }
    }

    /// Asks the game to end, and says until when it may take.
    pub(super) async fn ask_to_end(&mut self) -> Result<Instant, AgentError> {
        let spec = self.spec();
        self.around.runtime.ask_to_end(&self.place, &spec.stop).await?;
        self.asked_to_end = true;
        self.set_status(ServerStatus::Stopping).await;
        Ok(self.patience())
    }

    pub(super) fn patience(&self) -> Instant {
        Instant::now() + Duration::from_secs(u64::from(self.spec().stop_patience_s.max(1)))
    }

    pub(super) async fn kill(&mut self, answer: Answer<()>) {
        self.start_no_more().await;
        if !self.is_live() {
            return reply(answer, Ok(()));
        }
        self.restart = false;
        self.asked_to_end = true;
        match self.around.runtime.kill(&self.place).await {
            Ok(()) => self.waiters.push(Waiter { until: Instant::now() + AFTER_A_KILL, what: Waiting::Kill(answer) }),
            Err(error) => reply(answer, Err(error)),
        }
    }

    pub(super) async fn give_up_waiting(&mut self, now: Instant) {
        let (late, waiting) = std::mem::take(&mut self.waiters).into_iter().partition(|waiter| waiter.until <= now);
        self.waiters = waiting;
        for Waiter { what, .. } in late {
            match what {
                Waiting::Stop(answer) => reply(answer, Err(self.will_not_stop())),
                Waiting::Freeze(answer) => reply(answer, Err(self.will_not_stop())),
                Waiting::Kill(answer) => {
                    let message = "it was killed and is still there: look at this node's kernel log";
                    reply(answer, Err(AgentError::new(ErrorCode::Internal, message)));
                }
                Waiting::Resume(answer) => {
                    // It ignored the stop, so it runs as before. Should it still end because of it, it is started.
                    self.set_status(ServerStatus::Running).await;
                    reply(answer, Ok(()));
                }
            }
        }
    }

    pub(super) fn will_not_stop(&self) -> AgentError {
        let patience = self.spec().stop_patience_s;
        let message = format!(
            "the game did not end within {patience} s of being asked: raise its patience, correct the egg's stop \
             command, or kill it yourself"
        );
        AgentError::new(ErrorCode::WillNotStop, message)
    }

    pub(super) async fn type_line(&mut self, line: &str) -> Result<(), AgentError> {
        if !self.is_live() {
            return Err(conflict("it is not running"));
        }
        self.around.runtime.send(&self.place, line).await
    }

    pub(super) async fn retire(&mut self) -> Result<(), AgentError> {
        if self.is_live() {
            return Err(conflict("it is running: stop it first"));
        }
        if self.installation.is_some() {
            return Err(conflict("its installation is running"));
        }
        self.around.runtime.destroy(&self.place).await
    }

    /// Starts it without a new permit: the agent still owns the epoch.
    pub(super) fn start_again_soon(&mut self) {
        self.start_again = Some(Instant::now());
    }

    /// Somebody wants it to stay down.
    async fn start_no_more(&mut self) {
        if self.start_again.take().is_some() {
            self.record_status().await;
        }
    }

    pub(super) async fn start_again(&mut self) {
        self.start_again = None;
        if self.is_live() || self.ownership.fenced {
            return self.record_status().await;
        }
        if let Err(error) = self.begin().await {
            tracing::error!(server = %self.place.server, %error, "cannot start it again yet");
            self.start_again = Some(Instant::now() + START_AGAIN_EVERY);
        }
    }
}
