//! Games as processes of this machine: no container engine, no root.
//!
//! A game is executed directly, in its own process group, with its own environment, its console in files beside its
//! data. So a signal to the agent does not reach it, and it goes on when the agent is gone; `run.json` says how to know
//! it again. Limits of memory and CPU are not enforced here: that is what containers are for.
//!
//! ```text
//! write run.json (nonce) ─► execute ─► write run.json (pid, start time)
//!        │                    │ killed here: found by the nonce in its environment
//!        │ killed here: nothing runs
//! ```

mod console;
mod procfs;
mod startup;

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::agent_api::{AgentError, ErrorCode};
use model::{Clock, Epoch, RuntimeKind, ServerId, ServerSpec, StopHow, Timestamp};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Exit, LINES_WAITING, Running, Runtime, Unit, reachable};
use crate::disk;
use crate::layout::Place;

pub(crate) use procfs::boot_id;
pub(crate) use startup::{fill_in, words as startup_words};

/// The marker in a game's environment by which its processes are known.
const RUN: &str = "BADGER_RUN";
const GROUP_LOOK: Duration = Duration::from_millis(20);

/// Runs games as child processes.
pub(crate) struct Processes {
    clock: Arc<dyn Clock>,
}

/// `run.json`: how to know a game again.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct RunRecord {
    nonce: Uuid,
    boot_id: String,
    epoch: Epoch,
    started_at: Timestamp,
    /// Where its lines begin in the console log.
    console_from: u64,
    /// None between writing this and having executed it.
    process: Option<ProcessId>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct ProcessId {
    pid: i32,
    start_ticks: u64,
    group: i32,
}

impl Processes {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }

    fn execute(&self, unit: Unit<'_>) -> Result<(RunRecord, Child), AgentError> {
        let words = startup::words(unit.spec)?;
        let place = unit.place;
        let io_failed = |e: io::Error| disk::failed("start the game in", &place.home, &e);
        let input = console::make_input(&place.beside("console.in")).map_err(io_failed)?;
        let (log, console_from) = console::open_log(&place.beside("console.log")).map_err(io_failed)?;
        let mut record = RunRecord {
            nonce: Uuid::now_v7(),
            boot_id: boot_id(),
            epoch: unit.epoch,
            started_at: self.clock.now(),
            console_from,
            process: None,
        };
        disk::write_volatile(&place.beside("run.json"), &record).map_err(io_failed)?;
        let child = command(unit, &words, record.nonce, input, log).map_err(io_failed)?.spawn();
        let child = child.map_err(|e| cannot_execute(&words[0], &e))?;
        record.process = child.id().and_then(identify);
        disk::write_volatile(&place.beside("run.json"), &record).map_err(io_failed)?;
        Ok((record, child))
    }

    fn running(&self, place: &Place, record: &RunRecord, exit: impl Future<Output = Exit> + Send + 'static) -> Running {
        let (sender, lines) = mpsc::channel(LINES_WAITING);
        let ended = CancellationToken::new();
        tokio::spawn(console::follow(place.beside("console.log"), record.console_from, sender, ended.clone()));
        let age = self.clock.now().duration_since(record.started_at);
        let age = Duration::try_from(age).unwrap_or_default();
        let since = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        let exit = Box::pin(async move {
            let exit = exit.await;
            ended.cancel();
            exit
        });
        Running { since, lines, exit }
    }
}

#[async_trait]
impl Runtime for Processes {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Process
    }

    async fn fetch(&self, _spec: &ServerSpec) -> Result<(), AgentError> {
        Ok(())
    }

    async fn prepare(&self, unit: Unit<'_>) -> Result<(), AgentError> {
        let words = startup::words(unit.spec)?;
        startup::check_program(&words[0], &unit.place.data())
    }

    async fn install(&self, unit: Unit<'_>) -> Result<(), AgentError> {
        let data = unit.place.data();
        fs::create_dir_all(&data).map_err(|e| disk::failed("make", &data, &e))?;
        match &unit.spec.install {
            Some(install) if !install.script.trim().is_empty() => Err(AgentError::new(
                ErrorCode::Unsupported,
                "this egg has an installation script, which runs in a container, and this node runs games as plain \
                 processes: use a node with the docker runtime, or an egg without one",
            )),
            _ => Ok(()),
        }
    }

    async fn start(&self, unit: Unit<'_>) -> Result<Running, AgentError> {
        if let Some(running) = self.find(unit.place).await? {
            return Ok(running);
        }
        let (record, child) = self.execute(unit)?;
        let exit = ended(child, record.process);
        Ok(self.running(unit.place, &record, exit))
    }

    async fn find(&self, place: &Place) -> Result<Option<Running>, AgentError> {
        let Some((record, process)) = lookup(place)? else { return Ok(None) };
        Ok(Some(self.running(place, &record, adopted_ended(process))))
    }

    async fn history(&self, place: &Place) -> Vec<String> {
        console::last_lines(&place.beside("console.log")).unwrap_or_else(|error| {
            tracing::warn!(server = %place.server, %error, "cannot read the console log");
            Vec::new()
        })
    }

    async fn send(&self, place: &Place, line: &str) -> Result<(), AgentError> {
        console::type_line(&place.beside("console.in"), line)
    }

    async fn ask_to_end(&self, place: &Place, how: &StopHow) -> Result<(), AgentError> {
        match how {
            StopHow::Command(line) => console::type_line(&place.beside("console.in"), line),
            StopHow::Signal(name) => signal(place, signal_named(name)?),
        }
    }

    async fn kill(&self, place: &Place) -> Result<(), AgentError> {
        signal(place, Signal::KILL)
    }

    async fn destroy(&self, _place: &Place) -> Result<(), AgentError> {
        Ok(()) // Nothing of it is outside its directory.
    }

    async fn list(&self) -> Result<Vec<ServerId>, AgentError> {
        Ok(Vec::new())
    }

    async fn game_address(&self, unit: Unit<'_>) -> Option<SocketAddr> {
        unit.spec.allocations.first().and_then(reachable)
    }
}

fn command(unit: Unit<'_>, words: &[String], nonce: Uuid, input: File, log: File) -> io::Result<Command> {
    let data = unit.place.data();
    let mut command = Command::new(startup::program(&words[0], &data));
    command
        .args(&words[1..])
        .current_dir(&data)
        .env_clear()
        .env("PATH", startup::PATH)
        .env("HOME", &data)
        .envs(&unit.spec.environment)
        .env(RUN, nonce.to_string())
        .stdin(Stdio::from(input))
        .stderr(Stdio::from(log.try_clone()?))
        .stdout(Stdio::from(log))
        .process_group(0);
    Ok(command)
}

fn cannot_execute(program: &str, error: &io::Error) -> AgentError {
    AgentError::new(ErrorCode::Conflict, format!("cannot execute {program}: {error}"))
}

/// None if it has ended already and was collected, which only its parent does.
fn identify(pid: u32) -> Option<ProcessId> {
    let pid = i32::try_from(pid).ok()?;
    Some(ProcessId { pid, start_ticks: procfs::stat(pid)?.start_ticks, group: pid })
}

/// The game of this place, if anything of it is alive.
fn lookup(place: &Place) -> Result<Option<(RunRecord, ProcessId)>, AgentError> {
    let path = place.beside("run.json");
    let record: Option<RunRecord> = disk::read_json(&path).map_err(|e| disk::failed("read", &path, &e))?;
    let Some(record) = record.filter(|record| record.boot_id == boot_id()) else { return Ok(None) };
    let alive = record.process.filter(|process| is_alive(*process));
    Ok(alive.or_else(|| find_by_nonce(record.nonce)).map(|process| (record, process)))
}

fn is_alive(process: ProcessId) -> bool {
    procfs::stat(process.pid).is_some_and(|stat| stat.lives() && stat.start_ticks == process.start_ticks)
}

/// Children that outlived the leader, or a game that was executed an instant before the agent was killed.
fn find_by_nonce(nonce: Uuid) -> Option<ProcessId> {
    let (pid, stat) = procfs::find_by_environment(&format!("{RUN}={nonce}"))?;
    Some(ProcessId { pid, start_ticks: stat.start_ticks, group: stat.group })
}

fn signal(place: &Place, signal: Signal) -> Result<(), AgentError> {
    let Some((_, process)) = lookup(place)? else { return Ok(()) };
    let group = procfs::pid(process.group).map_err(|e| disk::failed("use", &place.beside("run.json"), &e))?;
    // To the group, as a terminal would: a script that wraps the game does not pass signals on.
    match rustix::process::kill_process_group(group, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => Err(disk::failed("signal the game of", &place.home, &e.into())),
    }
}

fn signal_named(name: &str) -> Result<Signal, AgentError> {
    match name {
        "SIGINT" | "^C" => Ok(Signal::INT),
        "SIGTERM" => Ok(Signal::TERM),
        "SIGQUIT" => Ok(Signal::QUIT),
        other => Err(AgentError::new(ErrorCode::Conflict, format!("a game is not asked to stop with {other}"))),
    }
}

/// The end of a child of ours, and of what it left behind in its group.
async fn ended(mut child: Child, process: Option<ProcessId>) -> Exit {
    let code = match child.wait().await {
        Ok(status) => exit_code(status),
        Err(error) => {
            tracing::warn!(%error, "cannot wait for a game");
            None
        }
    };
    if let Some(process) = process {
        group_ended(process.group).await;
    }
    Exit { code }
}

/// The end of a process that another agent process started.
async fn adopted_ended(process: ProcessId) -> Exit {
    if let Err(error) = pid_ended(process).await {
        tracing::warn!(%error, pid = process.pid, "no notice of a process's end, looking instead");
        while is_alive(process) {
            tokio::time::sleep(GROUP_LOOK).await;
        }
    }
    group_ended(process.group).await;
    Exit { code: None }
}

async fn pid_ended(process: ProcessId) -> io::Result<()> {
    let pidfd = match rustix::process::pidfd_open(procfs::pid(process.pid)?, PidfdFlags::NONBLOCK) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    #[allow(
        deprecated,
        reason = "its successor is unsafe for types that could change their descriptor; OwnedFd cannot"
    )]
    let pidfd = AsyncFd::new(pidfd)?;
    // The pid may have passed to somebody else just before it was opened; what is open now stays the same process.
    if is_alive(process) {
        pidfd.readable().await?.retain_ready();
    }
    Ok(())
}

/// The leader is gone; a child of it that still writes keeps the world from being still.
async fn group_ended(group: i32) {
    let Some(group) = Pid::from_raw(group) else { return };
    while procfs::group_lives(group) {
        tokio::time::sleep(GROUP_LOOK).await;
    }
}

fn exit_code(status: ExitStatus) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal))
}
