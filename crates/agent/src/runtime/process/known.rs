//! Knowing a game again, and noticing its end, whoever started it.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode};
use model::{Epoch, Timestamp};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use uuid::Uuid;

use super::RUN;
use super::family::Family;
use super::procfs::{self, boot_id};
use crate::disk;
use crate::layout::Place;
use crate::runtime::Exit;

const GROUP_LOOK: Duration = Duration::from_millis(20);

/// `run.json`: how to know a game again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RunRecord {
    pub(super) nonce: Uuid,
    pub(super) boot_id: String,
    pub(super) epoch: Epoch,
    pub(super) started_at: Timestamp,
    /// Where its lines begin in the console log.
    pub(super) console_from: u64,
    /// None between writing this and having executed it.
    pub(super) process: Option<ProcessId>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct ProcessId {
    pub(super) pid: i32,
    pub(super) start_ticks: u64,
    pub(super) group: i32,
}

/// None if it has ended already and was collected, which only its parent does.
pub(super) fn identify(pid: u32) -> Option<ProcessId> {
    let pid = i32::try_from(pid).ok()?;
    Some(ProcessId { pid, start_ticks: procfs::stat(pid)?.start_ticks, group: pid })
}

/// The game of this place, if anything of it is alive.
pub(super) fn lookup(place: &Place) -> Result<Option<(RunRecord, ProcessId)>, AgentError> {
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

pub(super) fn signal(place: &Place, signal: Signal) -> Result<(), AgentError> {
    let Some((_, process)) = lookup(place)? else { return Ok(()) };
    let group = procfs::pid(process.group).map_err(|e| disk::failed("use", &place.beside("run.json"), &e))?;
    // To the group, as a terminal would: a script that wraps the game does not pass signals on.
    match rustix::process::kill_process_group(group, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => Err(disk::failed("signal the game of", &place.home, &e.into())),
    }
}

pub(super) fn signal_named(name: &str) -> Result<Signal, AgentError> {
    match name {
        "SIGINT" | "^C" => Ok(Signal::INT),
        "SIGTERM" => Ok(Signal::TERM),
        "SIGQUIT" => Ok(Signal::QUIT),
        other => Err(AgentError::new(ErrorCode::Conflict, format!("a game is not asked to stop with {other}"))),
    }
}

/// The end of a child of ours, and of what it left behind: waited for on a machine that is not ours alone, asked to end
/// in a container that is.
pub(super) async fn ended(mut child: Child, process: Option<ProcessId>, family: Option<Arc<Family>>) -> Exit {
    let pid = child.id();
    let code = match child.wait().await {
        Ok(status) => exit_code(status),
        Err(error) => {
            tracing::warn!(%error, "cannot wait for a game");
            None
        }
    };
    match (family, process) {
        (Some(family), _) => family.ends_with(pid).await,
        (None, Some(process)) => group_ended(process.group).await,
        (None, None) => {}
    }
    Exit::with(code)
}

/// The end of a process that another agent process started.
pub(super) async fn adopted_ended(process: ProcessId) -> Exit {
    if let Err(error) = pid_ended(process).await {
        tracing::warn!(%error, pid = process.pid, "no notice of a process's end, looking instead");
        while is_alive(process) {
            tokio::time::sleep(GROUP_LOOK).await;
        }
    }
    group_ended(process.group).await;
    Exit::with(None)
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
