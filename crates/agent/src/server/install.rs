//! The installation of a server: once, beside the loop, so that the server can be looked at meanwhile.

use std::sync::Arc;

use model::agent_api::AgentError;
use model::{ServerSpec, ServerStatus};

use super::load::{SPEC, shared};
use super::message::{Answer, reply};
use super::task::Task;
use crate::disk;
use crate::runtime::Unit;

impl Task {
    pub(super) async fn install(&mut self, spec: ServerSpec, answer: Answer<()>) {
        if self.installation.is_some() {
            return self.installed.push(answer);
        }
        if let Err(error) = self.configure(spec).await {
            return reply(answer, Err(error));
        }
        if self.is_live() || self.is_installed() {
            return reply(answer, Ok(()));
        }
        self.set_status(ServerStatus::Installing).await;
        self.installed.push(answer);
        let (runtime, place, spec) = (Arc::clone(&self.around.runtime), self.place.clone(), self.spec());
        let epoch = self.ownership.epoch;
        self.installation =
            Some(Box::pin(async move { runtime.install(Unit { place: &place, spec: &spec, epoch }).await }));
    }

    /// The next start is by this spec. What runs goes on as it was started.
    pub(super) async fn configure(&mut self, spec: ServerSpec) -> Result<(), AgentError> {
        disk::record(self.place.beside(SPEC), &spec).await?;
        self.spec.send_replace(shared(spec));
        Ok(())
    }

    /// Where `data` is mounted it is there before anything is in it. Then an installation is repeated: what it runs has
    /// been taken out of the spec by whoever has run it.
    fn is_installed(&self) -> bool {
        let scripted = self.spec().install.is_some() && self.around.runtime.house().data_is_mounted;
        self.status != ServerStatus::InstallFailed && self.place.data().exists() && !scripted
    }

    pub(super) async fn install_ended(&mut self, result: Result<(), AgentError>) {
        self.installation = None;
        if let Err(error) = &result {
            tracing::warn!(server = %self.place.server, %error, "installation failed");
        }
        self.set_status(if result.is_ok() { ServerStatus::Offline } else { ServerStatus::InstallFailed }).await;
        for answer in self.installed.drain(..) {
            reply(answer, result.clone());
        }
    }
}
