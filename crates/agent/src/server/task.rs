//! The task of one server: what it knows, and its loop. What it does is in `life` (the process), `freeze` (what a
//! transfer asks), `install` and `shown`.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use model::agent_api::AgentError;
use model::{Permit, ServerObservation, ServerSpec, ServerStatus, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::console::{Console, Done};
use super::lease::Lease;
use super::load::{Records, StatusRecord, shared};
use super::message::{Answer, Command, Frozen, reply};
use super::ownership::Ownership;
use super::{Around, Seen, Server};
use crate::layout::Place;
use crate::runtime::Exit;

const INBOX: usize = 64;

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
    /// The last permit that was admitted, as it is on disk.
    pub(super) permit: Option<Permit>,
    pub(super) lease: Option<Lease>,
    pub(super) console: Console,
    /// What says that the game that runs is up.
    pub(super) done: Done,
    /// What a person should know of its last start.
    pub(super) attention: Vec<String>,
    pub(super) exit_code: Option<i32>,
    /// What `status.json` said; only until the task has made up its mind.
    pub(super) recorded: Option<StatusRecord>,
    pub(super) waiters: Vec<Waiter>,
    /// Somebody asked the process that runs to end.
    pub(super) asked_to_end: bool,
    /// When it ends, start it again: the stop was taken back.
    pub(super) restart: bool,
    pub(super) spec: watch::Sender<Arc<ServerSpec>>,
    pub(super) seen: watch::Sender<Seen>,
    pub(super) status: ServerStatus,
    pub(super) since: Timestamp,
    pub(super) began: Option<Instant>,
    pub(super) up: Option<Instant>,
    pub(super) lines: Option<mpsc::Receiver<String>>,
    pub(super) exit: Option<BoxFuture<'static, Exit>>,
    pub(super) installation: Option<BoxFuture<'static, Result<(), AgentError>>>,
    pub(super) installed: Vec<Answer<()>>,
    pub(super) start_again: Option<Instant>,
}

impl Task {
    pub(super) fn new(records: Records, around: Around) -> Self {
        let Records { place, spec, ownership, permit, lease, status: recorded } = records;
        let status = recorded.as_ref().map_or(ServerStatus::Offline, |record| record.status);
        let since = recorded.as_ref().map_or_else(|| around.clock.now(), |record| record.since);
        let observation = ServerObservation {
            server_id: place.server,
            status,
            epoch: ownership.epoch,
            fenced: ownership.fenced,
            since,
            exit_code: None,
            attention: Vec::new(),
        };
        let (seen, _) = watch::channel(Seen { observation, began: None, up: None });
        let (spec, _) = watch::channel(shared(spec));
        Self {
            place,
            around,
            ownership,
            permit,
            lease,
            console: Console::default(),
            done: Done::default(),
            attention: Vec::new(),
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
        let (seen, spec, said) = (self.seen.subscribe(), self.spec.subscribe(), self.console.watch());
        let server = Server { id: self.place.server, inbox, seen, spec, said };
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
            Command::Configure { spec, answer } => reply(answer, self.configure(*spec).await),
            Command::Start { permit, answer } => reply(answer, self.start(&permit).await),
            Command::Stop { answer } => self.stop(answer).await,
            Command::Kill { answer } => self.kill(answer).await,
            Command::Type { line, answer } => reply(answer, self.type_line(&line).await),
            Command::Console { lines, answer } => reply(answer, Ok(self.console.last(lines))),
            Command::Behind { mark, lines, answer } => {
                reply(answer, Ok(self.console.behind(mark.as_ref(), lines)));
            }
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
