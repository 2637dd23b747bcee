//! The agents of the world: the contract of `model::agent_api`, kept by a few lines over values.
//!
//! A command goes on when its caller has gone, a repeat of it gets the recorded answer or joins, and what an agent
//! wrote down survives it. That is all that makes retries safe, so nothing here is lenient.

use std::time::Duration;

use async_trait::async_trait;
use model::agent_api::{AgentError, ErrorCode, Outcome, Reply, Request, Route, StepKey, TransferAction};
use model::{CopyProgress, CopyReceipt, FreezePrediction, NodeId, ServerId, TransferId};
use panel::agent::{Agents, CallError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::effects::{Done, error};
use crate::fault::{Fault, Side, When};
use crate::way::{Gate, kind};
use crate::world::{Node, Order, State, Working, World};

/// What one way of a message takes.
const WIRE: Duration = Duration::from_millis(2);
/// What a short command takes: long enough to die in the middle of it.
const MOMENT: Duration = Duration::from_millis(100);
const AGAIN: Duration = Duration::from_secs(2);

#[async_trait]
impl Agents for World {
    async fn call(&self, node: NodeId, request: Request) -> Result<Reply, CallError> {
        if !self.is_online(node) {
            return Err(CallError::Offline);
        }
        sleep(WIRE).await;
        self.state().hear(node);
        match request {
            Request::Ping | Request::AdjustCopy { .. } => self.ping(node),
            Request::Transfer { key, server_id, action } => self.command(node, key, server_id, action).await,
            other => Err(refuse(ErrorCode::Unsupported, &format!("{other:?}"))),
        }
    }

    fn is_online(&self, node: NodeId) -> bool {
        self.state().nodes.get(&node).is_some_and(|node| node.online)
    }

    async fn wait_online(&self, node: NodeId) {
        let mut changes = self.online.subscribe();
        while !self.is_online(node) {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl World {
    fn ping(&self, node: NodeId) -> Result<Reply, CallError> {
        if self.is_online(node) { Ok(Reply::Done) } else { Err(CallError::Lost) }
    }

    async fn command(
        &self,
        node: NodeId,
        key: StepKey,
        server: ServerId,
        action: TransferAction,
    ) -> Result<Reply, CallError> {
        let fault = self.state().fault_for(node, &key, &action);
        let life = self.life(node);
        match fault {
            Some(Fault::Refuse(code)) => return self.refuse_on_record(node, &key, code),
            Some(Fault::LoseRequest) => return Err(CallError::Lost),
            Some(Fault::CrashBefore(away)) => return self.crash(away).await,
            Some(Fault::Gone(away)) => {
                self.agent_dies(node, away);
                return Err(CallError::Offline);
            }
            Some(Fault::AgentDiesBefore(away)) => {
                self.agent_dies(node, away);
                return Err(CallError::Lost);
            }
            Some(Fault::AgentDiesDuring(away)) => {
                self.later(Duration::from_millis(50), move |w| w.agent_dies(node, away));
            }
            Some(Fault::OtherAgentDies(away)) => self.other_dies(node, away),
            Some(Fault::Cancel) => self.order(Order::Cancel(key.transfer_id)),
            Some(Fault::Change) => self.order(Order::Change(key.transfer_id)),
            Some(Fault::Pause(held)) => self.pause(key.transfer_id, held, Order::Resume),
            Some(Fault::PauseAndCancel(held)) => self.pause(key.transfer_id, held, Order::Cancel),
            Some(Fault::PauseAndCrash(held)) => {
                self.pause(key.transfer_id, held, Order::Resume);
                self.later(held / 2, |world| world.order(Order::Crash(Duration::from_secs(1))));
            }
            Some(Fault::Tamper) => self.state().tamper(node, server),
            Some(Fault::Stall) => self.state().stalled = true,
            Some(Fault::CloseWay) => self.state().spoil_way(&action, Gate::Refused),
            Some(Fault::ClogWay) => self.state().spoil_way(&action, Gate::Silent),
            _ => {}
        }
        let mut done = self.begin(node, key.clone(), server, action.clone());
        let outcome = done.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        sleep(WIRE).await;
        match fault {
            Some(Fault::CrashAfter(away)) => return self.crash(away).await,
            Some(Fault::LoseReply) => return Err(CallError::Lost),
            Some(Fault::AgentDiesAfter(away)) => self.agent_dies(node, away),
            Some(Fault::FailAfter(code)) => return self.refuse_on_record(node, &key, code),
            Some(Fault::Duplicate) => self.later(AGAIN, move |world| drop(world.begin(node, key, server, action))),
            _ => {}
        }
        match outcome {
            _ if self.life(node) != life => Err(CallError::Lost),
            Ok(Some(Outcome::Ok(reply))) => Ok(reply),
            Ok(Some(Outcome::Err(error))) => Err(CallError::Refused(error)),
            Ok(None) | Err(_) => Err(CallError::Lost),
        }
    }

    /// The panel is dead from here on: whoever waits for this waits for ever.
    async fn crash(&self, away: Duration) -> Result<Reply, CallError> {
        self.order(Order::Crash(away));
        std::future::pending().await
    }

    fn order(&self, order: Order) {
        // Nobody takes orders any more once the scene is over.
        if self.orders.send(order).is_err() {
            self.state().note("an order came too late".into());
        }
    }

    fn pause(&self, id: TransferId, held: Duration, then: fn(TransferId) -> Order) {
        self.order(Order::Pause(id));
        self.later(held, move |world| world.order(then(id)));
    }

    fn later(&self, after: Duration, what: impl FnOnce(&Self) + Send + 'static) {
        let world = self.clone();
        tokio::spawn(async move {
            sleep(after).await;
            what(&world);
        });
    }

    fn other_dies(&self, node: NodeId, away: Duration) {
        let other = self.state().nodes.keys().copied().find(|id| *id != node);
        if let Some(other) = other {
            self.agent_dies(other, away);
        }
    }

    fn life(&self, node: NodeId) -> u64 {
        self.state().nodes.get(&node).map(|node| node.life).unwrap_or_default()
    }

    fn refuse_on_record(&self, node: NodeId, key: &StepKey, code: ErrorCode) -> Result<Reply, CallError> {
        let error = AgentError::new(code, "on purpose");
        if let Some(node) = self.state().nodes.get_mut(&node) {
            node.records.insert(key.clone(), Outcome::Err(error.clone()));
        }
        Err(CallError::Refused(error))
    }

    /// Begins a command, joins it, or finds its answer.
    fn begin(
        &self,
        node: NodeId,
        key: StepKey,
        server: ServerId,
        action: TransferAction,
    ) -> watch::Receiver<Option<Outcome>> {
        let mut state = self.state();
        let Some(here) = state.nodes.get_mut(&node) else { return watch::channel(None).1 };
        if let Some(recorded) = here.records.get(&key) {
            return watch::channel(Some(recorded.clone())).1;
        }
        if let Some(working) = here.working.get(&key) {
            return working.done.clone();
        }
        here.supersede(&key);
        let (publish, done) = watch::channel(None);
        let (world, name) = (self.clone(), key.clone());
        let task = tokio::spawn(async move {
            let outcome = match world.perform(node, &name, server, action).await {
                Ok(reply) => Outcome::Ok(reply),
                Err(error) => Outcome::Err(error),
            };
            world.record(node, &name, &outcome);
            publish.send_replace(Some(outcome));
        });
        here.working.insert(key, Working { task, done: done.clone() });
        done
    }

    fn record(&self, node: NodeId, key: &StepKey, outcome: &Outcome) {
        let mut state = self.state();
        let word = if matches!(outcome, Outcome::Ok(_)) { "did" } else { "failed at" };
        state.note(format!("{node} {word} {}: {outcome:?}", key.step));
        if let Some(node) = state.nodes.get_mut(&node) {
            node.working.remove(key);
            node.records.insert(key.clone(), outcome.clone());
        }
        if matches!(outcome, Outcome::Ok(_)) {
            *state.effects.entry((node, format!("{}/{}", key.transfer_id, key.step))).or_default() += 1;
        }
        state.check();
    }

    async fn perform(&self, node: NodeId, key: &StepKey, server: ServerId, action: TransferAction) -> Done {
        let id = key.transfer_id;
        let aborts = matches!(action, TransferAction::AbortTarget);
        if !aborts && self.state().here(node)?.aborted.contains(&id) {
            return Err(error(ErrorCode::Cancelled, "this transfer was aborted here"));
        }
        match action {
            TransferAction::Measure => self.state().measure(node, server),
            TransferAction::PrepareTarget { ticket, basis, .. } => {
                sleep(Duration::from_millis(500)).await;
                self.state().prepare(node, id, server, ticket, basis)
            }
            TransferAction::Precopy { door, .. } => self.precopy(node, id, server, &door.route).await,
            TransferAction::StopSource { lease_ms } => {
                sleep(Duration::from_millis(200)).await;
                self.state().stop(node, server, Duration::from_millis(lease_ms))
            }
            TransferAction::FinalCopy { door, .. } => self.final_copy(node, id, server, &door.route).await,
            TransferAction::FenceSource => {
                sleep(MOMENT).await;
                self.state().fence(node, server)
            }
            TransferAction::UnfenceSource { permit } => {
                sleep(MOMENT).await;
                self.state().unfence(node, server, &permit)
            }
            TransferAction::ResumeSource { permit, start } => {
                sleep(MOMENT).await;
                self.state().resume(node, server, &permit, start)
            }
            TransferAction::EndCopy => {
                sleep(MOMENT).await;
                self.state().end_copy(node, id)
            }
            TransferAction::StartTarget { permit, start } => {
                sleep(MOMENT).await;
                self.state().start(node, id, server, &permit, start)
            }
            TransferAction::CheckHealth { min_uptime_ms, .. } => {
                sleep(Duration::from_millis(min_uptime_ms)).await;
                self.state().healthy(node, server)
            }
            TransferAction::AbortTarget => {
                sleep(MOMENT).await;
                self.state().abort(node, id, server)
            }
            TransferAction::AdmitPlayers => {
                sleep(MOMENT).await;
                self.state().admit_players(node, server)
            }
            TransferAction::ExpectTarget { rendezvous } => {
                sleep(MOMENT).await;
                self.state().expect_target(node, id, rendezvous)
            }
            TransferAction::DialSource { route } => {
                sleep(MOMENT).await;
                self.state().dial_source(node, id, route)
            }
            TransferAction::TryDoor { door } => self.try_door(node, id, &door.route).await,
            TransferAction::Audit { .. } => {
                self.state().past_the_pivot(id, server);
                sleep(Duration::from_secs(1)).await;
                let state = self.state();
                Ok(Reply::Audited { root: state.copy(node, server)?.tree.root() })
            }
            TransferAction::RetainSource { .. } => self.state().retain(node, id, server),
            TransferAction::FreeRetained => {
                self.state().here_mut(node)?.retained.remove(&id);
                Ok(Reply::Done)
            }
        }
    }

    async fn precopy(&self, node: NodeId, id: TransferId, server: ServerId, route: &Route) -> Done {
        for round in 1..=4 {
            self.progress(node, id, route, round).await;
            let mut state = self.state();
            let tree = state.copy(node, server)?.tree.clone();
            state.deliver(node, route, id, tree, false)?;
        }
        let prediction = FreezePrediction { predicted_freeze_ms: 400, rounds: 4, bytes_live: 4096 };
        Ok(Reply::Precopied { prediction })
    }

    async fn final_copy(&self, node: NodeId, id: TransferId, server: ServerId, route: &Route) -> Done {
        self.progress(node, id, route, 5).await;
        let mut state = self.state();
        if state.copy(node, server)?.lease_lost {
            return Err(error(ErrorCode::LeaseLost, "it was started again"));
        }
        if state.copy(node, server)?.running.is_some() {
            return Err(error(ErrorCode::Conflict, "it runs"));
        }
        let tree = state.copy(node, server)?.tree.clone();
        let (root_source, files) = (tree.root(), tree.len());
        let root_target = state.deliver(node, route, id, tree, true)?;
        let receipt = CopyReceipt { root_source, root_target, files, rounds: 5, ..CopyReceipt::default() };
        Ok(Reply::Copied { receipt })
    }

    async fn progress(&self, node: NodeId, id: TransferId, route: &Route, round: u32) {
        for part in 1..=3_u64 {
            sleep(Duration::from_millis(150)).await;
            let stuck = self.state().stalled || self.state().is_swallowed(route);
            if stuck {
                std::future::pending::<()>().await;
            }
            let bytes_sent = u64::from(round) * 1000 + part;
            let progress = CopyProgress { bytes_sent, bytes_read: bytes_sent, round, ..CopyProgress::default() };
            self.hub.copy_progress(node, id, &progress);
        }
    }
}

impl Node {
    /// A panel asks for one thing at a time: what it asked before is given up, except what takes something back.
    fn supersede(&mut self, key: &StepKey) {
        let given_up = |other: &StepKey| other.transfer_id == key.transfer_id && !other.step.starts_with("undo_");
        let old: Vec<StepKey> = self.working.keys().filter(|other| given_up(other)).cloned().collect();
        for other in old {
            if let Some(working) = self.working.remove(&other) {
                working.task.abort();
                let cancelled = error(ErrorCode::Cancelled, "superseded");
                self.records.insert(other, Outcome::Err(cancelled));
            }
        }
    }
}

impl State {
    /// Every word of the panel renews the leases of a node.
    fn hear(&mut self, node: NodeId) {
        let now = Instant::now();
        let Some(node) = self.nodes.get_mut(&node) else { return };
        for lease in node.servers.values_mut().filter_map(|copy| copy.lease.as_mut()) {
            lease.until = now + lease.length;
        }
    }

    /// The way of this copy is not what it was when it was tried.
    fn spoil_way(&mut self, action: &TransferAction, gate: Gate) {
        if let TransferAction::Precopy { door, .. } | TransferAction::FinalCopy { door, .. } = action {
            self.ways.set(kind(&door.route), gate);
        }
    }

    fn fault_for(&mut self, node: NodeId, key: &StepKey, action: &TransferAction) -> Option<Fault> {
        let (number, side) = (self.requests, side_of(action));
        self.requests += 1;
        let step = key.step.split('#').next().unwrap_or_default().to_owned();
        let planned = self.faults.iter_mut().find(|planned| {
            !planned.fired
                && match &planned.when {
                    When::Step(name, at) => *name == step && *at == side,
                    When::Nth(n) => *n == number,
                }
        });
        let fault = planned.map(|planned| {
            planned.fired = true;
            planned.fault
        });
        self.note(format!("{node} is asked {} ({number}){}", key.step, describe(fault)));
        if fault == Some(Fault::Corrupt) {
            self.corrupt_next = true;
        }
        fault
    }
}

fn side_of(action: &TransferAction) -> Side {
    match action {
        TransferAction::PrepareTarget { .. }
        | TransferAction::StartTarget { .. }
        | TransferAction::CheckHealth { .. }
        | TransferAction::DialSource { .. }
        | TransferAction::AdmitPlayers
        | TransferAction::AbortTarget => Side::Target,
        _ => Side::Source,
    }
}

fn describe(fault: Option<Fault>) -> String {
    fault.map(|fault| format!(" FAULT {fault:?}")).unwrap_or_default()
}

fn refuse(code: ErrorCode, message: &str) -> CallError {
    CallError::Refused(error(code, message))
}
