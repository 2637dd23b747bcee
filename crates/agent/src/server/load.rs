//! A server's records on disk, and what an agent makes of them when it starts.

use std::io;
use std::sync::Arc;

use model::agent_api::AgentError;
use model::{Epoch, Permit, ServerSpec, ServerStatus, Timestamp};
use serde::{Deserialize, Serialize};

use super::lease::{Lease, LeaseRecord};
use super::ownership::Ownership;
use super::task::Task;
use super::{Around, Server};
use crate::disk;
use crate::layout::Place;

pub(super) const SPEC: &str = "spec.json";
pub(crate) const OWNERSHIP: &str = "ownership.json";
/// The panel's word for the epoch on record: what a pod's launcher checks before each start.
pub(crate) const PERMIT: &str = "permit.json";
pub(super) const LEASE: &str = "lease.json";
pub(super) const STATUS: &str = "status.json";

/// `status.json`: what the server did when the agent last looked. Only a hint, never a right to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StatusRecord {
    pub(super) status: ServerStatus,
    pub(super) since: Timestamp,
    pub(super) exit_code: Option<i32>,
    /// [`crate::runtime::Runtime::boot`].
    pub(super) boot_id: String,
    /// It does not run, and was about to be started again without being asked.
    #[serde(default)]
    pub(super) start_again: bool,
}

/// Everything that is known about a server before its task runs.
pub(super) struct Records {
    pub(super) place: Place,
    pub(super) spec: ServerSpec,
    pub(super) ownership: Ownership,
    pub(super) permit: Option<Permit>,
    pub(super) lease: Option<Lease>,
    pub(super) status: Option<StatusRecord>,
}

/// Writes the records that make a directory a server. The epoch first: a spec without one must not be.
fn install_records(place: &Place, spec: &ServerSpec, epoch: Epoch) -> io::Result<()> {
    disk::private_dir(&place.home)?;
    disk::write_json(&place.beside(OWNERSHIP), &Ownership::new(epoch))?;
    disk::write_json(&place.beside(SPEC), spec)
}

/// A server that is new here, and its task.
pub(crate) async fn write_new(
    place: Place,
    spec: ServerSpec,
    epoch: Epoch,
    around: Around,
) -> Result<Server, AgentError> {
    let (to, written) = (place.clone(), spec.clone());
    let records = disk::blocking(move || install_records(&to, &written, epoch)).await;
    records.map_err(|e| disk::failed("make the server's directory", &place.home, &e))?;
    let ownership = Ownership::new(epoch);
    let records = Records { place, spec, ownership, permit: None, lease: None, status: None };
    Ok(Task::spawn(records, around))
}

/// The server in this directory, and its task; none if the directory is not one.
pub(crate) async fn load(place: Place, around: Around) -> Result<Option<Server>, AgentError> {
    let home = place.home.clone();
    let records = disk::blocking(move || read(place)).await.map_err(|e| disk::failed("load", &home, &e))?;
    let Some(records) = records else { return Ok(None) };
    let mut task = Task::new(records, around);
    task.recover().await?;
    Ok(Some(task.run_in_background()))
}

fn read(place: Place) -> io::Result<Option<Records>> {
    let Some(spec) = disk::read_json(&place.beside(SPEC))? else { return Ok(None) };
    let ownership: Option<Ownership> = disk::read_json(&place.beside(OWNERSHIP))?;
    let ownership =
        ownership.ok_or_else(|| io::Error::other("its ownership record is missing, so it cannot be run"))?;
    let permit = disk::read_json(&place.beside(PERMIT))?;
    let lease = disk::read_json::<LeaseRecord>(&place.beside(LEASE))?;
    // A fence ends the lease; the agent may have died before it could remove the file.
    let lease = lease.filter(|_| !ownership.fenced).map(Lease::new);
    let status = disk::read_json(&place.beside(STATUS))?;
    Ok(Some(Records { place, spec, ownership, permit, lease, status }))
}

impl Task {
    /// Compares what was with what is: adopts a game that goes on, notices one that ended, and starts one again that
    /// ran when the machine or the pod went down, or that a lost lease says should run. A lease in force decides by
    /// itself when it does.
    async fn recover(&mut self) -> Result<(), AgentError> {
        let before = self.recorded.take();
        let was = before.as_ref().map_or(ServerStatus::Offline, |record| record.status);
        if let Some(running) = self.around.runtime.find(&self.place).await? {
            self.adopt(running, was);
            return Ok(());
        }
        for line in self.around.runtime.history(&self.place).await {
            self.console.push(line);
        }
        let boot = self.around.runtime.boot();
        let rebooted = before.as_ref().is_some_and(|record| record.boot_id != boot);
        let (status, again) = after_absence(was, rebooted);
        let again = again || before.as_ref().is_some_and(|record| record.start_again);
        self.exit_code = before.and_then(|record| record.exit_code);
        let now = self.around.clock.now();
        if let Some(lease) = &mut self.lease {
            lease.stopped(now);
        }
        let lost = self.lease.as_ref().is_some_and(|lease| lease.record.lost && lease.record.was_running);
        if lost || (again && self.lease.is_none()) {
            self.start_again_soon();
        }
        self.set_status(status).await;
        Ok(())
    }
}

/// What a server is whose game is not there, and whether it should be started without being asked.
fn after_absence(was: ServerStatus, rebooted: bool) -> (ServerStatus, bool) {
    match was {
        ServerStatus::Starting | ServerStatus::Running if rebooted => (ServerStatus::Offline, true),
        ServerStatus::Starting | ServerStatus::Running => (ServerStatus::Crashed, false),
        ServerStatus::Stopping => (ServerStatus::Offline, false),
        ServerStatus::Installing => (ServerStatus::InstallFailed, false),
        other => (other, false),
    }
}

/// The spec, shared with those who ask.
pub(super) fn shared(spec: ServerSpec) -> Arc<ServerSpec> {
    Arc::new(spec)
}
