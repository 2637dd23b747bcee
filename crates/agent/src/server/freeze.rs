//! What a transfer asks of the server that it moves away: stand still, do not come back, come back after all.

use model::agent_api::{AgentError, ErrorCode};
use model::{Permit, TransferId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::conflict;
use super::lease::{Lease, LeaseRecord};
use super::load::LEASE;
use super::message::{Answer, Frozen, reply};
use super::task::{Task, Waiter, Waiting};
use crate::disk;

impl Task {
    pub(super) async fn freeze(&mut self, transfer: TransferId, lease_ms: u64, answer: Answer<Frozen>) {
        if let Err(error) = self.take_lease(transfer, lease_ms).await {
            return reply(answer, Err(error));
        }
        if !self.is_live() {
            let now = self.around.clock.now();
            if let Some(lease) = &mut self.lease {
                lease.stopped(now);
            }
            return reply(answer, self.frozen());
        }
        self.restart = false;
        match self.ask_to_end().await {
            Ok(until) => self.waiters.push(Waiter { until, what: Waiting::Freeze(answer) }),
            Err(error) => reply(answer, Err(error)),
        }
    }

    /// Writes the lease down before the game is asked to end.
    async fn take_lease(&mut self, transfer: TransferId, lease_ms: u64) -> Result<(), AgentError> {
        match &mut self.lease {
            Some(lease) if lease.record.transfer == transfer && lease.record.lost => return Err(lost(transfer)),
            Some(lease) if lease.record.transfer == transfer => {
                lease.record.lease_ms = lease_ms;
                return Ok(());
            }
            Some(lease) if !lease.record.lost => {
                return Err(conflict(format!("it stands still for transfer {}", lease.record.transfer)));
            }
            _ => {}
        }
        self.ownership.check_open()?;
        if self.start_again.is_some() {
            return Err(conflict("it is about to be started again"));
        }
        let was_running = self.is_live();
        let record = LeaseRecord { transfer, lease_ms, was_running, stopped_at: None, lost: false };
        disk::record(self.place.beside(LEASE), &record).await?;
        tracing::info!(server = %self.place.server, %transfer, was_running, "stopping it for the transfer");
        self.lease = Some(Lease::new(record));
        Ok(())
    }

    /// The answer to whoever froze it.
    pub(super) fn frozen(&self) -> Result<Frozen, AgentError> {
        let Some(record) = self.lease.as_ref().map(|lease| &lease.record) else {
            return Err(AgentError::new(ErrorCode::Cancelled, "the stop was taken back"));
        };
        let stopped_at = record.stopped_at.unwrap_or_else(|| self.around.clock.now());
        Ok(Frozen { was_running: record.was_running, stopped_at })
    }

    pub(super) fn watch_freeze(&self, transfer: TransferId) -> Result<CancellationToken, AgentError> {
        let lease = self.lease.as_ref().filter(|lease| lease.record.transfer == transfer);
        match lease {
            Some(lease) if lease.record.lost => Err(lost(transfer)),
            Some(lease) if !self.is_live() => Ok(lease.broken.clone()),
            _ => Err(conflict(format!("it was not stopped for transfer {transfer}"))),
        }
    }

    pub(super) async fn fence(&mut self, transfer: TransferId) -> Result<(), AgentError> {
        if self.ownership.fenced {
            return Ok(());
        }
        if self.is_live() || self.watch_freeze(transfer).is_err() {
            return Err(lost(transfer));
        }
        self.own(self.ownership.fence()).await?;
        tracing::info!(server = %self.place.server, %transfer, epoch = %self.ownership.epoch, "fenced by the transfer");
        self.end_lease().await
    }

    pub(super) async fn resume(&mut self, permit: &Permit, start: bool, answer: Answer<()>) {
        let ready = match self.admit(permit).await {
            Ok(()) => self.end_lease().await,
            Err(error) => Err(error),
        };
        if ready.is_err() || !start {
            return reply(answer, ready);
        }
        if !self.is_live() {
            return reply(answer, self.begin().await);
        }
        if !self.asked_to_end {
            return reply(answer, Ok(()));
        }
        // It was asked to end and has not yet. Starting beside it is out of the question, so it is waited for.
        self.restart = true;
        let until = self.waiters.iter().map(|waiter| waiter.until).max().unwrap_or_else(Instant::now);
        self.waiters.push(Waiter { until, what: Waiting::Resume(answer) });
    }

    async fn end_lease(&mut self) -> Result<(), AgentError> {
        if self.lease.take().is_none() {
            return Ok(());
        }
        let path = self.place.beside(LEASE);
        let gone = path.clone();
        let removed = disk::blocking(move || {
            disk::remove_file(&gone)?;
            gone.parent().map_or(Ok(()), disk::sync_dir)
        });
        removed.await.map_err(|e| disk::failed("remove", &path, &e))
    }

    pub(super) fn lease_deadline(&self) -> Option<Instant> {
        self.lease.as_ref().filter(|_| !self.ownership.fenced)?.deadline(self.around.heard.last())
    }

    /// The panel is silent for too long: the players come first.
    pub(super) async fn lose_lease(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        let transfer = lease.record.transfer;
        tracing::warn!(server = %self.place.server, %transfer, "no word from the panel: the transfer loses its lease");
        lease.lose();
        self.record_lease().await;
        self.start_again_soon();
    }

    /// Updates the record of the lease. It existed before; what is lost with this update only costs time.
    pub(super) async fn record_lease(&mut self) {
        let Some(record) = self.lease.as_ref().map(|lease| lease.record.clone()) else { return };
        if let Err(error) = disk::record(self.place.beside(LEASE), &record).await {
            tracing::error!(server = %self.place.server, transfer = %record.transfer, %error, "cannot write the lease");
        }
    }
}

fn lost(transfer: TransferId) -> AgentError {
    AgentError::new(
        ErrorCode::LeaseLost,
        format!("the panel was silent for too long: the server runs on its source again, transfer {transfer} is over"),
    )
}
