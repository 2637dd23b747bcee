//! Games as processes of this machine: no container engine, no root.
//!
//! A game is executed directly, in its own process group, with its own environment, its console in files beside its
//! data. So a signal to the agent does not reach it, and it goes on when the agent is gone; `run.json` says how to know
//! it again. Limits of memory and CPU are not enforced here: that is what containers are for.
//!
//! The launcher of a pod runs games this way too, [`Inside`] a container: then they get the image's environment and
//! entrypoint, everything that runs there is theirs, and what a game leaves behind ends with it.
//!
//! ```text
//! write run.json (nonce) ─► execute ─► write run.json (pid, start time)
//!        │                    │ killed here: found by the nonce in its environment
//!        │ killed here: nothing runs
//! ```

mod console;
mod family;
mod inside;
mod known;
mod procfs;
mod startup;

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::agent_api::{AgentError, ErrorCode};
use model::{Clock, RuntimeKind, ServerId, ServerSpec, StopHow};
use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Exit, House, LINES_WAITING, Running, Runtime, Unit, reachable};
use crate::disk;
use crate::layout::Place;
use known::{RunRecord, adopted_ended, ended, identify, lookup, signal, signal_named};

pub(crate) use family::Family;
pub(crate) use inside::Inside;
pub(crate) use procfs::boot_id;
#[cfg(test)]
pub(crate) use procfs::descendants;
pub(crate) use startup::words as startup_words;

/// The marker in a game's environment by which its processes are known.
const RUN: &str = "BADGER_RUN";

/// Runs games as child processes.
pub(crate) struct Processes {
    clock: Arc<dyn Clock>,
    inside: Option<Inside>,
}

impl Processes {
    /// On a machine that has other things to do.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, inside: None }
    }

    /// In a container that is there for one game, whose first process this is.
    pub(crate) fn inside(clock: Arc<dyn Clock>, inside: Inside) -> Self {
        Self { clock, inside: Some(inside) }
    }

    /// Removes what is kept of a game that does not run.
    pub(crate) async fn forget(&self, place: &Place) -> Result<(), AgentError> {
        let files = ["run.json", "console.in", "console.log", "console.log.1"].map(|name| place.beside(name));
        let removed = disk::blocking(move || files.iter().try_for_each(|file| disk::remove_file(file)));
        removed.await.map_err(|e| disk::failed("remove the console in", &place.home, &e))
    }

    fn family(&self) -> Option<&Arc<Family>> {
        self.inside.as_ref().map(|inside| &inside.family)
    }

    /// What to execute, and where programs are looked up.
    fn words(&self, unit: Unit<'_>) -> Result<(Vec<String>, String), AgentError> {
        match &self.inside {
            Some(inside) => Ok((inside.words(unit)?, inside.path())),
            None => Ok((startup::words(unit.spec)?, startup::PATH.to_owned())),
        }
    }

    fn command(&self, unit: Unit<'_>, words: &[String], path: &str) -> Command {
        let data = unit.place.data();
        let mut command = Command::new(startup::program(&words[0], &data, path));
        command.args(&words[1..]).current_dir(&data).env_clear();
        match &self.inside {
            Some(inside) => command.envs(inside.environment(unit)),
            None => command.env("PATH", path).env("HOME", &data).envs(&unit.spec.environment),
        };
        command
    }

    fn spawn(&self, mut command: Command) -> io::Result<Child> {
        match self.family() {
            Some(family) => family.spawn(&mut command),
            None => command.spawn(),
        }
    }

    fn execute(&self, unit: Unit<'_>) -> Result<(RunRecord, Child), AgentError> {
        let (words, path) = self.words(unit)?;
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
        let command = attached(self.command(unit, &words, &path), record.nonce, input, log).map_err(io_failed)?;
        let child = self.spawn(command).map_err(|e| cannot_execute(&words[0], &e))?;
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

    fn house(&self) -> House {
        House { owner: None, data_is_mounted: false, binds_ports: true }
    }

    async fn fetch(&self, _spec: &ServerSpec) -> Result<(), AgentError> {
        Ok(())
    }

    async fn prepare(&self, unit: Unit<'_>) -> Result<(), AgentError> {
        let (words, path) = self.words(unit)?;
        startup::check_program(&words[0], &unit.place.data(), &path)
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
        let exit = ended(child, record.process, self.family().cloned());
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
        signal(place, Signal::KILL)?;
        if let Some(family) = self.family() {
            family.signal_all(Signal::KILL);
        }
        Ok(())
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

/// With its console, its mark, and in a process group of its own.
fn attached(mut command: Command, nonce: Uuid, input: File, log: File) -> io::Result<Command> {
    command
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
