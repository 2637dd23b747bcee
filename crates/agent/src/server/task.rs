//! The task of one server: its loop, and the life of its process. What a transfer asks is in `freeze`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use model::agent_api::{AgentError, ErrorCode, Notice};
use model::{Permit, ServerObservation, ServerSpec, ServerStatus, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::console::{Console, says_done};
use super::lease::Lease;
use super::load::{OWNERSHIP, Records, SPEC, STATUS, StatusRecord, shared};
use super::message::{Answer, Command, Frozen, reply};
use super::ownership::Ownership;
use super::{Around, Seen, Server, conflict};
use crate::disk;
use crate::layout::Place;
use crate::runtime::process::boot_id;
use crate::runtime::{Exit, Running, Unit};

const INBOX: usize = 64;
const AFTER_A_KILL: Duration = Duration::from_secs(30);
const START_AGAIN_EVERY: Duration = Duration::from_secs(5);
/// For the last words of a game that has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Who waits for the process to end, and until when.
pub(super) struct Waiter {
    pub(super) until: Instant,
    pub(super) what: Waiting,
}

pub(super) enum Waiting {
    Stop(Answer<()>),
    Kill(Answer<()>),
    Freeze(Answer<Frozen>),
    /// Asked to run again while it was still ending.
    Resume(Answer<()>),
}

/// One server.
pub(super) struct Task {
    pub(super) place: Place,
    pub(super) around: Around,
    pub(super) ownership: Ownership,
    pub(super) lease: Option<Lease>,
    pub(super) console: Console,
    pub(super) exit_code: Option<i32>,
    /// What `status.json` said; only until the task has made up its mind.
    pub(super) recorded: Option<StatusRecord>,
    pub(super) waiters: Vec<Waiter>,
    /// Somebody asked the process that runs to end.
    pub(super) asked_to_end: bool,
    /// When it ends, start it again: the stop was taken back.
    pub(super) restart: bool,
    spec: watch::Sender<Arc<ServerSpec>>,
    seen: watch::Sender<Seen>,
    status: ServerStatus,
    since: Timestamp,
    began: Option<Instant>,
    up: Option<Instant>,
    lines: Option<mpsc::Receiver<String>>,
    exit: Option<BoxFuture<'static, Exit>>,
    installation: Option<BoxFuture<'static, Result<(), AgentError>>>,
    installed: Vec<Answer<()>>,
    start_again: Option<Instant>,
}

impl Task {
    pub(super) fn new(records: Records, around: Around) -> Self {
        let Records { place, spec, ownership, lease, status: recorded } = records;
        let status = recorded.as_ref().map_or(ServerStatus::Offline, |record| record.status);
        let since = recorded.as_ref().map_or_else(|| around.clock.now(), |record| record.since);
        let observation = ServerObservation {
            server_id: place.server,
            status,
            epoch: ownership.epoch,
            fenced: ownership.fenced,
            since,
            exit_code: None,
        };
        let (seen, _) = watch::channel(Seen { observation, began: None, up: None });
        let (spec, _) = watch::channel(shared(spec));
        Self {
            place,
            around,
            ownership,
            lease,
            console: Console::default(),
            exit_code: None,
            recorded,
            waiters: Vec::new(),
            asked_to_end: false,
            restart: false,
            spec,
            seen,
            status,
            since,
            began: None,
            up: None,
            lines: None,
            exit: None,
            installation: None,
            installed: Vec::new(),
            start_again: None,
        }
    }

    pub(super) fn spawn(records: Records, around: Around) -> Server {
        Self::new(records, around).run_in_background()
    }

    pub(super) fn run_in_background(self) -> Server {
        let (inbox, commands) = mpsc::channel(INBOX);
        let server = Server { id: self.place.server, inbox, seen: self.seen.subscribe(), spec: self.spec.subscribe() };
        tokio::spawn(self.run(commands));
        server
    }

    /// Ends when it is retired, when nobody holds the server any more, or when the agent does.
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let shutdown = self.around.shutdown.clone();
        loop {
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                exit = or_never(&mut self.exit) => self.ended(exit).await,
                result = or_never(&mut self.installation) => self.install_ended(result).await,
                command = commands.recv() => match command {
                    None => return,
                    Some(Command::Retire { answer }) => {
                        let outcome = self.retire().await;
                        let done = outcome.is_ok();
                        reply(answer, outcome);
                        if done { return }
                    }
                    Some(command) => self.obey(command).await,
                },
                () = sleep_until(deadline) => self.time_has_come().await,
                // Last: a game that floods its console must not keep anybody from stopping it.
                line = next_line(&mut self.lines) => self.heard_line(line).await,
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Install { spec, answer } => self.install(*spec, answer).await,
            Command::Start { permit, answer } => reply(answer, self.start(&permit).await),
            Command::Stop { answer } => self.stop(answer).await,
            Command::Kill { answer } => self.kill(answer).await,
            Command::Type { line, answer } => reply(answer, self.type_line(&line).await),
            Command::Console { lines, answer } => reply(answer, Ok(self.console.last(lines))),
            Command::Freeze { transfer, lease_ms, answer } => self.freeze(transfer, lease_ms, answer).await,
            Command::Watch { transfer, answer } => reply(answer, self.watch_freeze(transfer)),
            Command::Fence { transfer, answer } => reply(answer, self.fence(transfer).await),
            Command::Disown { answer } => reply(answer, self.own(self.ownership.fence()).await),
            Command::Unfence { permit, answer } => reply(answer, self.admit(&permit).await),
            Command::Resume { permit, start, answer } => self.resume(&permit, start, answer).await,
            Command::Retire { .. } => unreachable!("the loop itself answers it"),
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.exit.is_some()
    }

    pub(super) fn spec(&self) -> Arc<ServerSpec> {
        Arc::clone(&self.spec.borrow())
    }

    fn next_deadline(&self) -> Option<Instant> {
        let waiters = self.waiters.iter().map(|waiter| waiter.until);
        waiters.chain(self.start_again).chain(self.lease_deadline()).min()
    }

    async fn time_has_come(&mut self) {
        let now = Instant::now();
        self.give_up_waiting(now).await;
        if self.lease_deadline().is_some_and(|at| at <= now) {
            self.lose_lease().await;
        }
        if self.start_again.is_some_and(|at| at <= now) {
            self.start_again().await;
        }
    }

    // ---- installation

    async fn install(&mut self, spec: ServerSpec, answer: Answer<()>) {
        if self.installation.is_some() {
            return self.installed.push(answer);
        }
        if let Err(error) = disk::record(self.place.beside(SPEC), &spec).await {
            return reply(answer, Err(error));
        }
        self.spec.send_replace(shared(spec));
        let data = self.place.data();
        if self.status != ServerStatus::InstallFailed && data.exists() {
            return reply(answer, Ok(()));
        }
        self.set_status(ServerStatus::Installing).await;
        self.installed.push(answer);
        let (runtime, place, spec) = (Arc::clone(&self.around.runtime), self.place.clone(), self.spec());
        let epoch = self.ownership.epoch;
        self.installation =
            Some(Box::pin(async move { runtime.install(Unit { place: &place, spec: &spec, epoch }).await }));
    }

    async fn install_ended(&mut self, result: Result<(), AgentError>) {
        self.installation = None;
        if let Err(error) = &result {
            tracing::warn!(server = %self.place.server, %error, "installation failed");
        }
        self.set_status(if result.is_ok() { ServerStatus::Offline } else { ServerStatus::InstallFailed }).await;
        for answer in self.installed.drain(..) {
            reply(answer, result.clone());
        }
    }

    // ---- the process

    async fn start(&mut self, permit: &Permit) -> Result<(), AgentError> {
        if let Some(lease) = self.lease.as_ref().filter(|lease| !lease.record.lost) {
            return Err(conflict(format!("it stands still for transfer {}", lease.record.transfer)));
        }
        if matches!(self.status, ServerStatus::Installing | ServerStatus::InstallFailed) {
            return Err(conflict("it is not installed"));
        }
        self.admit(permit).await?;
        if self.is_live() { Ok(()) } else { self.begin().await }
    }

    /// Checks a permit and records its epoch durably. Nothing runs before this.
    pub(super) async fn admit(&mut self, permit: &Permit) -> Result<(), AgentError> {
        self.around.permits.check(self.place.server, permit)?;
        let ownership = self.ownership.admit(permit)?;
        self.own(ownership).await
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
        let unit = Unit { place: &self.place, spec: &spec, epoch: self.ownership.epoch };
        let running = self.around.runtime.start(unit).await?;
        tracing::info!(server = %self.place.server, epoch = %self.ownership.epoch, "server started");
        self.attach(running);
        self.set_status(if spec.done.is_empty() { ServerStatus::Running } else { ServerStatus::Starting }).await;
        Ok(())
    }

    fn attach(&mut self, running: Running) {
        self.began = Some(running.since);
        self.up = None;
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

    async fn heard_line(&mut self, line: Option<String>) {
        let Some(line) = line else {
            self.lines = None;
            return;
        };
        let up = self.status == ServerStatus::Starting && says_done(&line, &self.spec().done);
        self.console.push(line);
        if up {
            self.set_status(ServerStatus::Running).await;
        }
    }

    async fn ended(&mut self, exit: Exit) {
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
        tracing::info!(server = %self.place.server, code = ?exit.code, asked, "server ended");
        self.set_status(if asked { ServerStatus::Offline } else { ServerStatus::Crashed }).await;
        self.record_lease().await;
        if restart {
            let outcome = self.begin().await;
            for answer in resumed {
                reply(answer, outcome.clone());
            }
        }
    }

    /// Tells everybody that it has ended; returns those who want it to run again.
    fn answer_waiters(&mut self) -> Vec<Answer<()>> {
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

    async fn last_words(&mut self) {
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

    async fn stop(&mut self, answer: Answer<()>) {
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

    async fn kill(&mut self, answer: Answer<()>) {
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

    async fn give_up_waiting(&mut self, now: Instant) {
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

    fn will_not_stop(&self) -> AgentError {
        let patience = self.spec().stop_patience_s;
        let message = format!(
            "the game did not end within {patience} s of being asked: raise its patience, correct the egg's stop \
             command, or kill it yourself"
        );
        AgentError::new(ErrorCode::WillNotStop, message)
    }

    async fn type_line(&mut self, line: &str) -> Result<(), AgentError> {
        if !self.is_live() {
            return Err(conflict("it is not running"));
        }
        self.around.runtime.send(&self.place, line).await
    }

    async fn retire(&mut self) -> Result<(), AgentError> {
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

    async fn start_again(&mut self) {
        self.start_again = None;
        if self.is_live() || self.ownership.fenced {
            return;
        }
        if let Err(error) = self.begin().await {
            tracing::error!(server = %self.place.server, %error, "cannot start it again yet");
            self.start_again = Some(Instant::now() + START_AGAIN_EVERY);
        }
    }

    // ---- what others see

    pub(super) async fn set_status(&mut self, status: ServerStatus) {
        if status == ServerStatus::Running && self.up.is_none() {
            self.up = Some(Instant::now());
        }
        self.status = status;
        self.since = self.around.clock.now();
        self.show();
        let observation = self.seen.borrow().observation.clone();
        if self.around.news.send(Notice::ServerChanged { server: observation }).is_err() {
            tracing::trace!("no panel listens; the next heartbeat tells it");
        }
        self.record_status().await;
    }

    fn show(&self) {
        let observation = ServerObservation {
            server_id: self.place.server,
            status: self.status,
            epoch: self.ownership.epoch,
            fenced: self.ownership.fenced,
            since: self.since,
            exit_code: self.exit_code,
        };
        self.seen.send_replace(Seen { observation, began: self.began, up: self.up });
    }

    async fn record_status(&mut self) {
        let record =
            StatusRecord { status: self.status, since: self.since, exit_code: self.exit_code, boot_id: boot_id() };
        let path = self.place.beside(STATUS);
        if let Err(error) = disk::blocking(move || disk::write_volatile(&path, &record)).await {
            tracing::warn!(server = %self.place.server, %error, "cannot write down its status");
        }
    }
}

/// A future that may be absent: then it never resolves. It is not polled again after it has.
async fn or_never<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn next_line(lines: &mut Option<mpsc::Receiver<String>>) -> Option<String> {
    match lines {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
