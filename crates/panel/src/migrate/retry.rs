//! The ways on from a transfer that has ended without a completed move.
//!
//! ```text
//!   rolled_back ──retry────► a new transfer with the same request; of an undo, the undo once more
//!   stuck ───────retry────► goes on where it stood: the next attempt of what it is stuck at
//!         ├──────cancel───► taken back, where it was on its way forward and players cannot be on the target
//!         └──────resolve──► the one thing that it is stuck at counts as settled by hand, where that cannot hurt
//! ```
//!
//! Each is one event in the saga's log, written together with the promise to see it through; the log decides the rest. Lock
//! and reservations of a stuck transfer are kept until one of these has come to its end.

use std::sync::Arc;
use std::time::Duration;

use model::{TransferId, TransferState};
use saga::{CANCELLED, Cause, Event, Halt, Log, Next, Phase, Plan, SagaId};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::requests::{MigrateError, Origin, StartRequest, word};
use super::{Addresses, Migrations, status, steps};
use crate::db::saga_log::{saga_append, saga_open};
use crate::db::transfers::{self, AddressMove, Owed, Transfer};
use crate::db::{Conn, DbError, allocations};

/// For the driver of a transfer that has come to rest to be gone.
const MOMENT: Duration = Duration::from_secs(10);

/// What is left behind for later when something is settled by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    /// What the target holds is removed once it can be reached.
    Target,
}

impl Migrations {
    /// Tries again: a new transfer if this one was rolled back, the next attempt if it is stuck.
    pub async fn retry(self: &Arc<Self>, id: TransferId, requested_by: &str) -> Result<Transfer, MigrateError> {
        let transfer = self.get(id).await?;
        match transfer.state {
            TransferState::RolledBack => self.start_again(&transfer, requested_by).await,
            TransferState::Stuck => {
                let executor = steps::executor();
                let log = self.log_of(id, executor.plan()).await?;
                let again = executor.plan().again(&log).ok_or_else(no_longer_stuck)?;
                self.go_on_with(&transfer, again, Left::Nothing).await
            }
            TransferState::Completed => Err(conflict(
                "transfer_completed",
                "The transfer has completed: there is nothing to try again. Start a new one to move the server on, or \
                 undo this one.",
            )),
            state => {
                let message = format!("The transfer goes on ({}) and tries again by itself.", word(state));
                Err(MigrateError::Conflict { code: "transfer_running", message })
            }
        }
    }

    /// Counts what a stuck transfer is stuck at as settled by a person, where that cannot hurt.
    pub async fn resolve(self: &Arc<Self>, id: TransferId, by: &str) -> Result<Transfer, MigrateError> {
        let transfer = self.get(id).await?;
        if transfer.state != TransferState::Stuck {
            let message = format!("The transfer is not stuck ({}): there is nothing to settle.", word(transfer.state));
            return Err(MigrateError::Conflict { code: "transfer_not_stuck", message });
        }
        let executor = steps::executor();
        let log = self.log_of(id, executor.plan()).await?;
        let (event, left) = settled(executor.plan(), &log, by)
            .map_err(|why| MigrateError::Conflict { code: "transfer_not_resolvable", message: why.to_owned() })?;
        self.go_on_with(&transfer, event, left).await
    }

    /// A cancel of a stuck transfer: it is taken back from where it stands.
    pub(super) async fn give_up(self: &Arc<Self>, transfer: &Transfer) -> Result<Transfer, MigrateError> {
        let executor = steps::executor();
        let log = self.log_of(transfer.id, executor.plan()).await?;
        let Next::Stuck { step } = executor.plan().next(&log) else { return Err(no_longer_stuck()) };
        if !executor.may_be_given_up(&log) {
            let message = "The transfer is stuck where it cannot be given up: it is being taken back already, or players \
                           may be on the target. Retry it, or resolve it once you have looked.";
            return Err(conflict("transfer_past_pivot", message));
        }
        let error = Cause::new(CANCELLED, "cancelled on request");
        let event = Event::Failed { step: executor.plan().name(step).to_owned(), error };
        self.go_on_with(transfer, event, Left::Nothing).await
    }

    async fn start_again(self: &Arc<Self>, old: &Transfer, requested_by: &str) -> Result<Transfer, MigrateError> {
        if let Some(undone) = old.undo_of {
            return self.undo(undone, old.options.clone(), requested_by).await;
        }
        let mut conn = self.db.acquire().await?;
        let mut addresses = Addresses::default();
        for AddressMove { old, new } in transfers::addresses_of(&mut conn, old.id).await? {
            let Some(old) = old else { continue };
            match allocations::allocation_get(&mut conn, new.id).await {
                Ok(had) if had.is_free() => drop(addresses.picks.insert(old.id, new.id)),
                Ok(_) | Err(DbError::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        drop(conn);
        let request = StartRequest {
            server_id: old.server_id,
            target_node_id: old.target_node_id,
            allocation_id: None,
            addresses,
            options: old.options.clone(),
            requested_by: requested_by.to_owned(),
        };
        self.start_from(TransferId::new(), &request, Origin::RetryOf(old.id)).await
    }

    /// Writes a person's word into the log of a stuck transfer, and drives it on from there.
    async fn go_on_with(
        self: &Arc<Self>,
        transfer: &Transfer,
        event: Event,
        left: Left,
    ) -> Result<Transfer, MigrateError> {
        let id = transfer.id;
        // Its end is on record a moment before its driver is gone; the next one must not find it.
        let gone = async {
            while self.driven().contains_key(&id) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(MOMENT, gone).await.is_err() {
            return Err(no_longer_stuck());
        }
        let executor = steps::executor();
        let mut log = self.log_of(id, executor.plan()).await?;
        let seq = log.length();
        executor.plan().record(&mut log, &event).map_err(|_| no_longer_stuck())?;
        let state = status::state(executor.plan(), &log, transfer.cancel_requested);
        let mut tx = self.db.begin().await?;
        match self.reopen(&mut tx, id, (seq, &event), state).await {
            Ok(()) => {}
            Err(DbError::Conflict) => return Err(no_longer_stuck()),
            Err(error) => return Err(error.into()),
        }
        if left == Left::Target {
            let node_id = transfer.target_node_id;
            let owed = Owed { transfer_id: id, server_id: transfer.server_id, node_id, epoch: transfer.epoch };
            transfers::owed_insert(&mut tx, &owed).await?;
        }
        tx.commit().await.map_err(DbError::from)?;
        tracing::info!(transfer = %id, ?event, "transfer: a person lets it go on");
        let transfer = self.get(id).await?;
        self.drive(transfer.clone()).await?;
        Ok(transfer)
    }

    /// [`DbError::Conflict`] if somebody was faster.
    async fn reopen(
        &self,
        tx: &mut Conn,
        id: TransferId,
        (seq, event): (u64, &Event),
        state: TransferState,
    ) -> Result<(), DbError> {
        let saga = SagaId(id.to_string());
        transfers::transfer_reopen(tx, id).await?;
        if !saga_append(tx, &saga, seq, event, self.clock.now()).await? {
            return Err(DbError::Conflict);
        }
        saga_open(tx, &saga).await?;
        transfers::transfer_show(tx, id, state).await?;
        let (level, message) = status::describe(event);
        let body = json!({"level": level, "step": event.step(), "message": message});
        transfers::event_append(tx, id, "log", &body, self.clock.now()).await.map(drop)
    }
}

/// What to write if a person has settled what `log` is stuck at; or why they cannot.
///
/// Past the pivot only the audit is a question for people. On the way back only what the server does not depend on can be
/// left: a game that may still run on the target, a tombstone, the owner on record and the lock must be what they say.
fn settled(plan: &Plan, log: &Log, by: &str) -> Result<(Event, Left), &'static str> {
    let Next::Stuck { step } = plan.next(log) else { return Err("The transfer is not stuck any more.") };
    let name = plan.name(step);
    match (log.phase(name), name) {
        (Some(Phase::Stuck(Halt::Forward(_))), "audit") => {
            let output = json!({"accepted_by": by});
            Ok((Event::Done { step: name.to_owned(), output }, Left::Nothing))
        }
        (Some(Phase::Stuck(Halt::Back(_))), "precopy" | "await_window" | "stop_source" | "final_copy") => {
            Ok((Event::Undone { step: name.to_owned() }, Left::Nothing))
        }
        (Some(Phase::Stuck(Halt::Back(_))), "prepare_target") => {
            Ok((Event::Undone { step: name.to_owned() }, Left::Target))
        }
        (Some(Phase::Stuck(Halt::Forward(_))), _) if plan.is_before_pivot(step) => {
            Err("Nothing has to be settled by hand here: cancel the transfer to have it taken back, or retry it.")
        }
        (Some(Phase::Stuck(Halt::Back(_))), _) => Err(
            "Whether the server may still run on the target, and who owns it, cannot be settled by hand. Mend what the \
             failure names, then retry the transfer.",
        ),
        _ => Err(
            "The server runs on the target, and what is left can only be done. Mend what the failure names, then retry.",
        ),
    }
}

fn no_longer_stuck() -> MigrateError {
    conflict("transfer_running", "The transfer goes on already.")
}

fn conflict(code: &'static str, message: &str) -> MigrateError {
    MigrateError::Conflict { code, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log of a transfer that got stuck at `step`, forward or back.
    fn stuck(plan: &Plan, step: &str, back: bool) -> Log {
        let at = (0..64).find(|at| plan.name(*at) == step).expect("a step");
        let started = |step: &str| Event::Started { step: step.into(), attempt: 1, because: None };
        let mut events = vec![];
        for index in 0..at {
            let name = plan.name(index);
            events.extend([started(name), Event::Done { step: name.into(), output: serde_json::Value::Null }]);
        }
        let error = || Cause::new("lost", "nobody knows");
        events.push(started(step));
        if back {
            events.push(Event::Failed { step: step.into(), error: error() });
            events.push(Event::UndoStarted { step: step.into(), attempt: 1, because: None });
        }
        events.push(Event::Stuck { step: step.into(), error: error() });
        plan.fold(events).expect("legal")
    }

    #[test]
    fn what_a_person_settles_can_follow_and_hurts_nobody() {
        let executor = steps::executor();
        let plan = executor.plan();
        for (step, back) in [
            ("audit", false),
            ("precopy", true),
            ("stop_source", true),
            ("final_copy", true),
            ("prepare_target", true),
            ("await_window", true),
        ] {
            let mut log = stuck(plan, step, back);
            let (event, left) = settled(plan, &log, "admin").expect(step);
            plan.record(&mut log, &event).expect("it can follow");
            assert_eq!(left == Left::Target, step == "prepare_target");
        }
        for (step, back) in [
            ("start_target", true),
            ("switch_over", true),
            ("fence_source", true),
            ("lock_server", true),
            ("stop_source", false),
            ("release_source", false),
        ] {
            assert!(settled(plan, &stuck(plan, step, back), "admin").is_err(), "{step}");
        }
    }

    #[test]
    fn what_is_stuck_is_given_up_only_where_players_cannot_be_on_the_target() {
        let executor = steps::executor();
        let plan = executor.plan();
        for step in ["lock_server", "precopy", "stop_source", "final_copy", "switch_over"] {
            assert!(executor.may_be_given_up(&stuck(plan, step, false)), "{step}");
            assert!(!executor.may_be_given_up(&stuck(plan, step, true)), "{step} is being taken back already");
        }
        for step in ["start_target", "check_health", "audit", "unlock_server"] {
            assert!(!executor.may_be_given_up(&stuck(plan, step, false)), "{step}");
        }
    }
}
