//! One action at a time: joining, superseding, taking turns, and what each action is.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode, Outcome, Reply, TransferAction};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::fault::cancelled;
use super::record::Target;
use super::target::Order;
use super::{Running, Transfer};
use crate::node::Node;

impl Transfer {
    fn running(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join_or_begin(
        self: &Arc<Self>,
        node: Arc<Node>,
        name: String,
        action: TransferAction,
    ) -> watch::Receiver<Option<Outcome>> {
        let mut running = self.running();
        running.retain(|other| other.done.borrow().is_none());
        if let Some(same) = running.iter().find(|other| other.name == name) {
            return same.done.clone();
        }
        for other in running.iter().filter(|other| !other.takes_back) {
            tracing::info!(transfer = %self.id, by = name, cancelled = other.name, "transfer: superseded");
            other.cancel.cancel();
        }
        let before = running.last().map(|other| other.done.clone());
        let cancel = CancellationToken::new();
        let (publish, done) = watch::channel(None);
        let takes_back = action.takes_back();
        running.push(Running { name: name.clone(), takes_back, cancel: cancel.clone(), done: done.clone() });
        let transfer = Arc::clone(self);
        tokio::spawn(async move {
            let shutdown = node.around.shutdown.clone();
            let turn = Box::pin(transfer.take_turn(&node, before, name, action, &cancel));
            // An agent that ends answers nothing; it is asked again when it is back.
            if let Some(outcome) = shutdown.run_until_cancelled(turn).await {
                publish.send_replace(Some(outcome));
            }
        });
        done
    }

    async fn take_turn(
        self: &Arc<Self>,
        node: &Arc<Node>,
        before: Option<watch::Receiver<Option<Outcome>>>,
        name: String,
        action: TransferAction,
        cancel: &CancellationToken,
    ) -> Outcome {
        if let Some(before) = before {
            drop(answer(before).await);
        }
        tracing::info!(transfer = %self.id, server = %self.server, step = name, "transfer: begins");
        let again = may_be_repeated_after_failure(&action);
        let outcome = match Box::pin(self.perform(node, action, cancel)).await {
            Ok(reply) => Outcome::Ok(reply),
            Err(error) => Outcome::Err(error),
        };
        tracing::info!(transfer = %self.id, step = name, ?outcome, "transfer: ends");
        if again && matches!(outcome, Outcome::Err(_)) {
            return outcome;
        }
        self.keep(node, name, outcome).await
    }

    /// An answer that cannot be recorded is not given: a repeat would find something else.
    async fn keep(&self, node: &Node, name: String, outcome: Outcome) -> Outcome {
        let now = node.around.clock.now();
        let kept = self.update(node, |record| {
            record.touched = now;
            record.keep(name, outcome.clone(), now);
        });
        match kept.await {
            Ok(()) => outcome,
            Err(error) => Outcome::Err(error),
        }
    }

    async fn perform(
        self: &Arc<Self>,
        node: &Arc<Node>,
        action: TransferAction,
        cancel: &CancellationToken,
    ) -> Result<Reply, AgentError> {
        if self.record().aborted && !matches!(action, TransferAction::AbortTarget) {
            return Err(cancelled());
        }
        if may_be_cut_short(&action) {
            let work = Box::pin(self.perform_whole(node, action, cancel));
            return cancel.run_until_cancelled(work).await.unwrap_or_else(|| Err(cancelled()));
        }
        self.perform_whole(node, action, cancel).await
    }

    async fn perform_whole(
        self: &Arc<Self>,
        node: &Arc<Node>,
        action: TransferAction,
        cancel: &CancellationToken,
    ) -> Result<Reply, AgentError> {
        match action {
            TransferAction::Measure => self.measure(node, cancel).await,
            TransferAction::PrepareTarget { spec, epoch, source_fingerprint, ticket, bytes, files, basis } => {
                let target = Target { basis, ..Target::new(*spec, epoch, source_fingerprint, ticket) };
                self.prepare_target(node, Order { target, bytes, files }, cancel).await
            }
            TransferAction::Precopy { door, .. } => self.precopy(node, door).await,
            TransferAction::StopSource { lease_ms } => self.stop_source(node, lease_ms).await,
            TransferAction::FinalCopy { door, .. } => self.final_copy(node, door).await,
            TransferAction::FenceSource => done(node.server(self.server)?.fence(self.id).await),
            TransferAction::UnfenceSource { permit } => done(node.server(self.server)?.unfence(permit).await),
            TransferAction::ResumeSource { permit, start } => {
                self.end_copy().await?;
                done(node.server(self.server)?.resume(permit, start).await)
            }
            TransferAction::EndCopy => self.end_copy().await,
            TransferAction::StartTarget { permit, start } => self.start_target(node, permit, start).await,
            TransferAction::CheckHealth { tcp_probe, min_uptime_ms, timeout_ms } => {
                let (uptime, timeout) = (Duration::from_millis(min_uptime_ms), Duration::from_millis(timeout_ms));
                self.check_health(node, tcp_probe, uptime, timeout).await
            }
            // Whoever holds players is asked, and nobody is held here.
            TransferAction::AdmitPlayers => Ok(Reply::Done),
            TransferAction::AbortTarget => self.abort_target(node).await,
            TransferAction::Audit { owner } => self.audit(node, owner, cancel).await,
            TransferAction::ExpectTarget { rendezvous } => self.expect_target(node, &rendezvous).await,
            TransferAction::DialSource { route } => self.dial_source(node, route).await,
            TransferAction::TryDoor { door } => self.try_door(node, door).await,
            TransferAction::RetainSource { expires_at } => self.retain_source(node, expires_at).await,
            TransferAction::FreeRetained => self.free_retained(node).await,
        }
    }
}

/// What takes something back is tried until it is done, also under the key that failed. What only looks, looks again.
fn may_be_repeated_after_failure(action: &TransferAction) -> bool {
    action.takes_back() || matches!(action, TransferAction::FreeRetained | TransferAction::TryDoor { .. })
}

/// Actions whose work may stop anywhere. The others are short, and half of them is worse than all.
fn may_be_cut_short(action: &TransferAction) -> bool {
    matches!(
        action,
        TransferAction::Measure
            | TransferAction::Precopy { .. }
            | TransferAction::StopSource { .. }
            | TransferAction::FinalCopy { .. }
            | TransferAction::CheckHealth { .. }
            | TransferAction::Audit { .. }
            | TransferAction::TryDoor { .. }
    )
}

fn done(outcome: Result<(), AgentError>) -> Result<Reply, AgentError> {
    outcome.map(|()| Reply::Done)
}

pub(super) async fn answer(mut done: watch::Receiver<Option<Outcome>>) -> Outcome {
    match done.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) {
        Ok(Some(outcome)) => outcome,
        _ => Outcome::Err(AgentError::new(ErrorCode::Internal, "the agent is ending")),
    }
}
