//! The target's steps: make ready, receive, start, see that it is up, or take everything back.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::transfer::{Fingerprint, Progress, ReceiverConfig, Sharing, Ticket};
use model::agent_api::{AgentError, ErrorCode, Reply};
use model::{Epoch, Permit, ServerSpec, TransferId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Transfer;
use super::dial::Dial;
use super::fault::{cancelled, conflict, of_engine};
use super::place::{clear_place, is_mounted};
use super::progress::{Reporter, millis};
use super::record::{Phase, Target};
use super::room::{check_port, check_room, limits};
use crate::disk;
use crate::node::{Node, remove_tree};
use crate::runtime::Unit;

/// Between the last round of a copy and the stop of a patient game, a source has nothing to say.
const SOURCE_SILENT: Duration = Duration::from_mins(20);
/// The word that all has arrived is on its way here and to the panel at once.
const LAST_WORD: Duration = Duration::from_secs(10);
const AFTER_A_FAILURE: Duration = Duration::from_millis(200);

/// What a target was asked to prepare for.
pub(super) struct Order {
    pub(super) target: Target,
    pub(super) bytes: u64,
    pub(super) files: u64,
}

/// A door that is open for the source.
pub(super) struct OpenDoor {
    received: watch::Receiver<bool>,
    /// Who does not wait for the source alone.
    pub(super) dial: Option<Dial>,
    _task: AbortOnDropHandle<Option<()>>,
    _reporter: Reporter,
}

impl Transfer {
    pub(super) async fn prepare_target(
        self: &Arc<Self>,
        node: &Arc<Node>,
        order: Order,
        cancel: &CancellationToken,
    ) -> Result<Reply, AgentError> {
        let phase = self.record().phase().cloned();
        if matches!(phase, Some(Phase::Starting | Phase::Started)) {
            return Err(conflict("it has been started here already"));
        }
        if phase.is_none() {
            self.check_absent(node).await?;
        }
        let Order { target, bytes, files } = order;
        self.check_basis(node, target.basis).await?;
        let (spec, epoch) = (target.spec.clone(), target.epoch);
        tracing::info!(transfer = %self.id, server = %self.server, bytes, "transfer: preparing the target");
        check_room(&node.layout.staging_of(self.id), &node.layout.staging(), bytes, files).await?;
        let house = node.around.runtime.house();
        if house.binds_ports {
            spec.allocations.iter().try_for_each(check_port)?;
        }
        // An image may take minutes. It is the only part that is cut short: the rest makes things, and half of one of
        // them would be found by nobody.
        let fetched = cancel.run_until_cancelled(node.around.runtime.fetch(&spec)).await;
        fetched.unwrap_or_else(|| Err(cancelled()))?;
        self.update(node, |record| record.target = Some(target)).await?;
        if let Err(error) = self.make_ready(node, &spec, epoch).await {
            tracing::warn!(transfer = %self.id, %error, "transfer: the target cannot be prepared");
            self.clear_target(node).await?;
            return Err(error);
        }
        self.set_phase(node, Phase::Receiving).await?;
        self.open_door(node).await?;
        Ok(Reply::TargetReady {
            address: Some(node.data_address()),
            fingerprint: node.key.fingerprint().to_string(),
            owner: house.owner,
            player_address: None,
            // The game has the machine's own port: from its start on whoever knows it may come.
            holds_players: false,
        })
    }

    /// An undo sends the delta, or says that it cannot: nobody waits for a copy of everything who did not ask for one.
    async fn check_basis(&self, node: &Node, basis: Option<TransferId>) -> Result<(), AgentError> {
        let Some(basis) = basis else { return Ok(()) };
        let data = node.layout.retained_data(basis);
        let there = disk::blocking(move || Ok(data.is_dir())).await.unwrap_or_default();
        if is_mounted(node) || !there {
            let message =
                format!("the retained copy of transfer {basis} is not here any more: start a transfer back instead");
            return Err(AgentError::new(ErrorCode::NotFound, message));
        }
        Ok(())
    }

    async fn check_absent(&self, node: &Node) -> Result<(), AgentError> {
        let (place, mounted) = (node.layout.place(self.server), is_mounted(node));
        let looked = place.clone();
        let vacant = disk::blocking(move || disk::is_vacant(&looked, mounted)).await;
        let vacant = vacant.map_err(|e| disk::failed("look into", &place.home, &e))?;
        if node.server(self.server).is_ok() || !vacant {
            return Err(conflict(format!("server {} is on this node already ({})", self.server, place.home.display())));
        }
        Ok(())
    }

    async fn make_ready(&self, node: &Node, spec: &ServerSpec, epoch: Epoch) -> Result<(), AgentError> {
        let place = node.layout.place(self.server);
        let staging = node.layout.staging_of(self.id);
        let (home, data) = (place.home.clone(), place.data());
        let made = disk::blocking(move || {
            disk::private_dir(&staging)?;
            disk::private_dir(&home)?;
            std::fs::create_dir_all(&data)
        });
        made.await.map_err(|e| disk::failed("make", &place.home, &e))?;
        node.around.runtime.prepare(Unit { place: &place, spec, epoch }).await
    }

    /// Lets the source in. Also after a restart of the agent, from the record.
    pub(super) async fn open_door(self: &Arc<Self>, node: &Arc<Node>) -> Result<(), AgentError> {
        let Some(target) = self.record().target.clone() else { return Err(conflict("nothing is prepared here")) };
        let ticket: Ticket = target.ticket.parse().map_err(|_| conflict("the ticket is not one"))?;
        let source: Fingerprint =
            target.source_fingerprint.parse().map_err(|_| conflict("the source's fingerprint is not one"))?;
        let progress = Arc::new(Progress::default());
        let staging = node.layout.staging_of(self.id);
        let config = ReceiverConfig {
            limits: limits(&staging),
            progress: Arc::clone(&progress),
            idle_timeout: SOURCE_SILENT,
            base: target.basis.map(|basis| node.layout.retained_data(basis)),
            // The game here will write to what is built, and the retained copy must outlive that: it may have to be undone.
            sharing: Sharing::Copy,
            ..ReceiverConfig::new(staging)
        };
        let mut slot = self.door.lock().await;
        *slot = None; // The old door closes before a new one with the same ticket opens.
        let door = node.listener.expect(ticket, Some(source), config);
        let (word, received) = watch::channel(matches!(target.phase, Phase::Received { .. }));
        let path = node.layout.record_of(self.id);
        let (keeper, shutdown) = (Arc::clone(self), node.around.shutdown.clone());
        let task = async move { shutdown.run_until_cancelled(keeper.keep_door(path, door, word)).await };
        let task = AbortOnDropHandle::new(tokio::spawn(task));
        let reporter = Reporter::start(self.id, progress, node.around.news.clone());
        let dial = target.dial.map(|route| Dial::start(self.id, node, route));
        *slot = Some(OpenDoor { received, dial, _task: task, _reporter: reporter });
        Ok(())
    }

    /// Notes each complete delivery. There may be several: a source that did not hear our last word sends again.
    async fn keep_door(&self, path: PathBuf, mut door: ::transfer::Door, word: watch::Sender<bool>) {
        loop {
            match door.wait().await {
                Ok(received) => {
                    tracing::info!(transfer = %self.id, root = %received.root, "transfer: all has arrived");
                    let phase = Phase::Received { root: received.root.to_string() };
                    let kept = self.update_at(&path, |record| set_phase(record, phase)).await;
                    match kept {
                        Ok(()) => drop(word.send_replace(true)),
                        Err(error) => tracing::error!(transfer = %self.id, %error, "transfer: cannot note the arrival"),
                    }
                }
                Err(error) => {
                    let error = of_engine(&error);
                    tracing::warn!(transfer = %self.id, %error, "transfer: a delivery failed");
                    tokio::time::sleep(AFTER_A_FAILURE).await;
                }
            }
        }
    }

    pub(super) async fn start_target(&self, node: &Node, permit: Permit, start: bool) -> Result<Reply, AgentError> {
        node.around.permits.check(self.server, &permit)?;
        let Some(target) = self.record().target.clone() else { return Err(conflict("nothing is prepared here")) };
        if permit.epoch != target.epoch {
            let message = format!("epoch {} was prepared here, the permit is of {}", target.epoch, permit.epoch);
            return Err(AgentError::new(ErrorCode::StaleEpoch, message));
        }
        if !matches!(target.phase, Phase::Starting | Phase::Started) {
            self.await_delivery().await?;
            *self.door.lock().await = None;
            self.set_phase(node, Phase::Starting).await?;
        }
        tracing::info!(transfer = %self.id, epoch = %permit.epoch, start, "transfer: publishing and starting");
        self.publish(node).await?;
        let place = node.layout.place(self.server);
        let server = node.take_in(place, target.spec, permit.epoch).await?;
        if start {
            server.start(permit).await?;
        } else {
            server.unfence(permit).await?;
        }
        self.set_phase(node, Phase::Started).await?;
        let ago_ms = server.seen().borrow().began.map(|began| millis(began.elapsed()));
        Ok(Reply::Started { ago_ms })
    }

    async fn await_delivery(&self) -> Result<(), AgentError> {
        let received = self.door.lock().await.as_ref().map(|door| door.received.clone());
        let incomplete = || conflict("the source has not delivered everything to this node");
        let mut received = received.ok_or_else(incomplete)?;
        match tokio::time::timeout(LAST_WORD, received.wait_for(|all| *all)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(incomplete()),
        }
    }

    /// Makes staging the server's data. Done again after a crash, it finds one of the two.
    async fn publish(&self, node: &Node) -> Result<(), AgentError> {
        if is_mounted(node) {
            return self.publish_into(node).await;
        }
        let (tree, staging) = (node.layout.staging_tree(self.id), node.layout.staging_of(self.id));
        let data = node.layout.place(self.server).data();
        let place = data.clone();
        let published = disk::blocking(move || {
            if tree.exists() {
                // What the runtime was prepared with is empty; anything else is not ours to replace.
                match std::fs::remove_dir(&data) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
                ::transfer::publish(&tree, &data).map_err(|e| io::Error::other(of_engine(&e).message))?;
            } else if !data.exists() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "neither staging nor data is there"));
            }
            disk::remove_tree(&staging)
        });
        published.await.map_err(|e| disk::failed("publish to", &place, &e))
    }

    /// Moves what is staged into the directory that is mounted. That it was done is noted before staging, and with it
    /// the engine's own proof, goes: an empty directory would not say whether all or nothing was published.
    async fn publish_into(&self, node: &Node) -> Result<(), AgentError> {
        let (tree, staging) = (node.layout.staging_tree(self.id), node.layout.staging_of(self.id));
        let data = node.layout.place(self.server).data();
        if !self.record().target.as_ref().is_some_and(|target| target.published) {
            let (from, to) = (tree, data.clone());
            let published = disk::blocking(move || Ok(::transfer::publish_into(&from, &to))).await;
            let published = published.map_err(|e| disk::failed("publish to", &data, &e))?;
            published.map_err(|e| of_engine(&e))?;
            self.update(node, super::record::Record::note_published).await?;
        }
        remove_tree(&staging).await
    }

    /// Nothing of this transfer stays. It was not for players yet, so what runs may be ended at once.
    pub(super) async fn abort_target(&self, node: &Node) -> Result<Reply, AgentError> {
        tracing::info!(transfer = %self.id, server = %self.server, "transfer: aborted, taking everything back");
        let noted = self.update(node, |record| record.aborted = true).await;
        // On a disk that this transfer has filled nothing can be noted before something is removed.
        if noted.as_ref().is_err_and(|error| error.code != ErrorCode::NoSpace) {
            noted?;
        }
        self.clear_target(node).await?;
        Ok(Reply::Done)
    }

    /// Removes server, container, staging and door, if this transfer brought them here.
    pub(super) async fn clear_target(&self, node: &Node) -> Result<(), AgentError> {
        *self.door.lock().await = None;
        let Some(target) = self.record().target.clone() else { return Ok(()) };
        remove_tree(&node.layout.staging_of(self.id)).await?;
        if target.phase == Phase::Started && node.server(self.server).is_err() {
            return Ok(()); // It came, and went on to somewhere else since.
        }
        if let Ok(server) = node.server(self.server) {
            let epoch = server.observation().epoch;
            if epoch > target.epoch {
                return Err(conflict(format!(
                    "the server is in epoch {epoch} here: it is not this transfer's any more"
                )));
            }
            server.disown().await?;
            server.kill().await?;
        }
        node.let_go(self.server).await?;
        clear_place(node, self.server).await?;
        self.update(node, |record| record.target = None).await
    }

    async fn set_phase(&self, node: &Node, phase: Phase) -> Result<(), AgentError> {
        self.update(node, |record| set_phase(record, phase)).await
    }
}

fn set_phase(record: &mut super::record::Record, phase: Phase) {
    if let Some(target) = &mut record.target {
        if phase == Phase::Started {
            target.ticket.clear(); // Nobody needs it any more.
        }
        target.phase = phase;
    }
}
