//! What others see of a server: its status, told at once, kept on disk as a hint for the next agent process.

use model::agent_api::Notice;
use model::{ServerObservation, ServerStatus};
use tokio::time::Instant;

use super::Seen;
use super::load::{STATUS, StatusRecord};
use super::task::Task;
use crate::disk;

impl Task {
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

    pub(super) fn show(&self) {
        let observation = ServerObservation {
            server_id: self.place.server,
            status: self.status,
            epoch: self.ownership.epoch,
            fenced: self.ownership.fenced,
            since: self.since,
            exit_code: self.exit_code,
            attention: self.attention.clone(),
        };
        self.seen.send_replace(Seen { observation, began: self.began, up: self.up });
    }

    pub(super) async fn record_status(&mut self) {
        let record = StatusRecord {
            status: self.status,
            since: self.since,
            exit_code: self.exit_code,
            boot_id: self.around.runtime.boot(),
            start_again: self.start_again.is_some(),
        };
        let path = self.place.beside(STATUS);
        if let Err(error) = disk::blocking(move || disk::write_volatile(&path, &record)).await {
            tracing::warn!(server = %self.place.server, %error, "cannot write down its status");
        }
    }
}
