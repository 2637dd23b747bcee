//! What the orchestrator does unasked: look at the cluster, put servers to sleep, destroy what has expired.

use std::sync::Arc;
use std::time::Duration;

use model::agent_api::AgentError;
use model::{ServerObservation, ServerStatus, TransferId};
use tokio::time::MissedTickBehavior;

use super::objects::KnownServer;
use super::orchestrator::Orchestrator;

const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Retained volumes expire by the hour or day.
const REAP_EVERY: u32 = 6;

impl Orchestrator {
    /// Until the end.
    pub(super) async fn care(self: Arc<Self>) {
        let shutdown = self.shutdown.clone();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let caring = async {
            for round in (0..REAP_EVERY).cycle() {
                looks.tick().await;
                if let Err(error) = self.care_once(round == 0).await {
                    tracing::warn!(%error, "the cluster cannot be looked after");
                }
            }
        };
        Box::pin(shutdown.run_until_cancelled(caring)).await;
    }

    async fn care_once(self: &Arc<Self>, reap: bool) -> Result<(), AgentError> {
        for known in self.look().await? {
            self.adopt_what_came(&known).await;
            self.put_to_sleep_if_idle(&known);
        }
        let resources = self.objects.resources().await?;
        self.table().resources = resources;
        if reap {
            self.objects.reap(self.clock.now()).await?;
        }
        Ok(())
    }

    /// What was started while the API server, or we, were away. Nothing is asked of it meanwhile: an undo of the start
    /// would look for what is still its transfer's.
    async fn adopt_what_came(&self, known: &KnownServer) {
        let Some(transfer) = came_by(known, self.hub.seen(known.server).as_ref()) else { return };
        let Some(still) = self.beds.put_to_sleep(known.server) else { return };
        tracing::info!(server = %known.server, %transfer, "what the transfer brought has started: it is adopted");
        self.adopt(known.server, transfer, known.epoch).await;
        drop(still);
    }

    /// A server that stands still, of which nobody has asked anything for a while, gives back what its pod reserves. One
    /// that crashed stays: somebody will want to read its console.
    fn put_to_sleep_if_idle(self: &Arc<Self>, known: &KnownServer) {
        let server = known.server;
        let stands_still = self.hub.seen(server).is_some_and(|seen| seen.status == ServerStatus::Offline);
        let idle = self.hub.quiet_for(server).is_some_and(|quiet| quiet >= self.about.idle);
        if known.asleep || known.transfer.is_some() || !stands_still || !idle || !self.hub.is_here(server) {
            return;
        }
        let Some(falling) = self.beds.put_to_sleep(server) else { return };
        let it = Arc::clone(self);
        tokio::spawn(async move {
            tracing::info!(%server, "nothing goes on: it goes to sleep");
            it.table().whole.remove(&server);
            let resting = it.shutdown.run_until_cancelled(it.objects.rest(server)).await;
            if let Some(Err(error)) = resting {
                tracing::warn!(%server, %error, "it cannot be put to sleep");
            }
            drop(falling);
        });
    }
}

/// The transfer that brought what its mover has taken in as a server in the epoch that the transfer gave it; before that
/// there is no server to see.
fn came_by(known: &KnownServer, seen: Option<&ServerObservation>) -> Option<TransferId> {
    known.transfer.filter(|_| seen.is_some_and(|seen| seen.epoch == known.epoch && !seen.fenced))
}

#[cfg(test)]
mod tests {
    use model::{Clock, Epoch, ServerId, SystemClock};

    use super::*;

    #[test]
    fn only_what_a_transfer_brought_and_its_mover_took_in_is_adopted() {
        let (server, transfer) = (ServerId::new(), TransferId::new());
        let known = |transfer| KnownServer {
            server,
            epoch: Epoch(4),
            transfer,
            asleep: false,
            attention: Vec::new(),
            player_address: None,
        };
        let seen = |epoch, fenced| ServerObservation {
            server_id: server,
            status: ServerStatus::Running,
            epoch: Epoch(epoch),
            fenced,
            since: SystemClock.now(),
            exit_code: None,
            attention: Vec::new(),
        };
        assert_eq!(came_by(&known(Some(transfer)), Some(&seen(4, false))), Some(transfer));
        assert_eq!(came_by(&known(Some(transfer)), None), None, "it is still a copy");
        assert_eq!(came_by(&known(Some(transfer)), Some(&seen(2, false))), None, "that was an earlier life of it");
        assert_eq!(came_by(&known(Some(transfer)), Some(&seen(4, true))), None, "it was taken back");
        assert_eq!(came_by(&known(None), Some(&seen(4, false))), None);
    }
}
