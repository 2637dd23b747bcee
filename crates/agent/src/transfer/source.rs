//! The source's steps: measure, copy while running, stop, copy the rest, fence, and their ways back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::transfer::{Decision, OwnerMap, Progress, Receipt, RoundReport, Source, SourceOptions};
use model::agent_api::{AgentError, Door, ErrorCode, Owner, Reply};
use model::{CopyReceipt, FreezePrediction};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::fault::{conflict, of_engine};
use super::progress::{Reporter, millis};
use super::reach::Tries;
use super::{Transfer, way};
use crate::disk;
use crate::node::Node;
use crate::runtime::Unit;
use crate::server::Server;

const TCP_PROBE: Duration = Duration::from_secs(1);
/// A target that syncs gigabytes to a slow disk is silent for a while.
const TARGET_SILENT: Duration = Duration::from_mins(2);
const GOODBYE: Duration = Duration::from_secs(5);

/// A copy under way: the connection, and what it has learnt.
pub(super) struct Session {
    source: Source,
    door: Door,
    history: Vec<RoundReport>,
    reporter: Reporter,
}

impl Session {
    fn bytes_live(&self) -> u64 {
        self.history.iter().map(|round| round.bytes_sent).sum()
    }
}

impl Transfer {
    pub(super) async fn measure(&self, node: &Node, cancel: &CancellationToken) -> Result<Reply, AgentError> {
        let server = node.server(self.server)?;
        let data = node.layout.place(self.server).data();
        let size = blocking_engine(cancel, move |_| ::transfer::measure(&data)).await?;
        let observation = server.observation();
        let running = observation.status.is_live();
        let answers_tcp = running && answers_tcp(node, &server).await;
        let fingerprint = node.key.fingerprint().to_string();
        Ok(Reply::Measured { bytes: size.bytes, files: size.files, running, answers_tcp, fingerprint })
    }

    pub(super) async fn precopy(&self, node: &Node, door: Door) -> Result<Reply, AgentError> {
        node.server(self.server)?;
        let mut session = self.session(node, door).await?;
        let begun = session.history.len();
        let predicted = loop {
            let round = session.source.round().await.map_err(|e| self.copy_failed(&e))?;
            tracing::info!(transfer = %self.id, ?round, "transfer: a round is done");
            session.history.push(round);
            let max_freeze = self.tuning.max_freeze();
            match ::transfer::decide(&session.history[begun..], max_freeze) {
                Decision::Go => {}
                Decision::Stop { predicted } => break predicted,
                Decision::WillNotConverge { predicted } => return Err(does_not_converge(predicted, max_freeze)),
            }
        };
        session.reporter.predict(predicted);
        let prediction = FreezePrediction {
            predicted_freeze_ms: millis(predicted),
            rounds: session.history.last().map_or(0, |round| round.round),
            bytes_live: session.bytes_live(),
        };
        *self.session.lock().await = Some(session);
        Ok(Reply::Precopied { prediction })
    }

    pub(super) async fn stop_source(&self, node: &Node, lease_ms: u64) -> Result<Reply, AgentError> {
        let frozen = node.server(self.server)?.freeze(self.id, lease_ms).await?;
        let ago = node.around.clock.now().as_millisecond() - frozen.stopped_at.as_millisecond();
        Ok(Reply::Stopped { was_running: frozen.was_running, ago_ms: u64::try_from(ago).unwrap_or(0) })
    }

    pub(super) async fn final_copy(&self, node: &Node, door: Door) -> Result<Reply, AgentError> {
        let server = node.server(self.server)?;
        let broken = server.watch_freeze(self.id).await?;
        let mut session = self.session(node, door).await?;
        let copied = broken.run_until_cancelled(session.source.finish()).await;
        // A copy of files that somebody may have changed meanwhile is worth nothing, whatever the engine says.
        server.watch_freeze(self.id).await?;
        let receipt = copied.ok_or_else(lease_lost)?.map_err(|e| self.copy_failed(&e))?;
        let receipt = spell(&receipt, session.bytes_live());
        tracing::info!(transfer = %self.id, ?receipt, "transfer: the last copy is done");
        Ok(Reply::Copied { receipt })
    }

    /// The open copy to this door, or a new one. Whoever takes it puts it back if it is to go on.
    async fn session(&self, node: &Node, door: Door) -> Result<Session, AgentError> {
        let open = self.session.lock().await.take();
        match open.filter(|open| open.door == door) {
            Some(open) => Ok(open),
            None => self.connect(node, door).await,
        }
    }

    async fn connect(&self, node: &Node, door: Door) -> Result<Session, AgentError> {
        let peer = door.fingerprint.parse().map_err(|_| conflict("the target's fingerprint is not one"))?;
        let ticket = door.ticket.parse().map_err(|_| conflict("the ticket is not one"))?;
        let options = SourceOptions {
            owner: owner_map(door.owner),
            bandwidth: Some(self.tuning.limit()),
            idle_timeout: TARGET_SILENT,
            scratch: node.layout.staging(),
            ..SourceOptions::default()
        };
        let data = node.layout.place(self.server).data();
        let progress = Arc::new(Progress::default());
        tracing::info!(transfer = %self.id, target = way::shown(&door.route), "transfer: connecting to the target");
        let tries = Tries::of_copy(&door.route);
        let source = loop {
            let stream = match self.stream(node, &door.route, tries.until).await {
                Ok(stream) => stream,
                Err(error) if tries.again(&error).await => continue,
                Err(error) => return Err(self.copy_failed(&error)),
            };
            let (options, progress) = (options.clone(), Arc::clone(&progress));
            match Source::over(stream, &node.key, peer, &ticket, &data, options, progress).await {
                Err(error) if tries.again(&error).await => {}
                other => break other.map_err(|e| self.copy_failed(&e))?,
            }
        };
        let reporter = Reporter::start(self.id, progress, node.around.news.clone());
        Ok(Session { source, door, history: Vec::new(), reporter })
    }

    /// Ends the copy, and the wait for a target that dials.
    pub(super) async fn end_copy(&self) -> Result<Reply, AgentError> {
        *self.meeting.lock().await = None;
        let open = self.session.lock().await.take();
        if let Some(session) = open
            && tokio::time::timeout(GOODBYE, session.source.abort()).await.is_err()
        {
            tracing::info!(transfer = %self.id, "transfer: the target did not hear the goodbye");
        }
        Ok(Reply::Done)
    }

    pub(super) async fn audit(
        &self,
        node: &Node,
        owner: Option<Owner>,
        cancel: &CancellationToken,
    ) -> Result<Reply, AgentError> {
        let seen = node.server(self.server)?.observation();
        if seen.status.is_live() || !seen.fenced {
            return Err(conflict("only a server that is fenced and stands still can be audited"));
        }
        let data = node.layout.place(self.server).data();
        let report =
            blocking_engine(cancel, move |cancel| ::transfer::tree_root(&data, owner_map(owner), cancel)).await?;
        Ok(Reply::Audited { root: report.root.to_string() })
    }

    fn copy_failed(&self, error: &::transfer::Error) -> AgentError {
        let answer = of_engine(error);
        tracing::warn!(transfer = %self.id, error = %answer, "transfer: the copy failed");
        answer
    }
}

/// Runs a question about a tree on the blocking pool; it stops when `cancel` says so or when the asker goes away.
async fn blocking_engine<T: Send + 'static>(
    cancel: &CancellationToken,
    work: impl FnOnce(&CancellationToken) -> ::transfer::Result<T> + Send + 'static,
) -> Result<T, AgentError> {
    let stop = cancel.child_token();
    let guard = stop.clone().drop_guard();
    let result = disk::blocking(move || Ok(work(&stop))).await;
    drop(guard);
    match result {
        Ok(outcome) => outcome.map_err(|e| of_engine(&e)),
        Err(e) => Err(disk::failed("read", Path::new("the server's files"), &e)),
    }
}

pub(super) async fn answers_tcp(node: &Node, server: &Server) -> bool {
    let spec = server.spec();
    let place = node.layout.place(spec.id);
    let unit = Unit { place: &place, spec: &spec, epoch: server.observation().epoch };
    let Some(address) = node.around.runtime.game_address(unit).await else { return false };
    matches!(tokio::time::timeout(TCP_PROBE, TcpStream::connect(address)).await, Ok(Ok(_)))
}

fn owner_map(owner: Option<Owner>) -> OwnerMap {
    owner.map_or(OwnerMap::Keep, |Owner { uid, gid }| OwnerMap::To { uid, gid })
}

fn spell(receipt: &Receipt, bytes_live: u64) -> CopyReceipt {
    CopyReceipt {
        root_source: receipt.root_source.to_string(),
        root_target: receipt.root_target.to_string(),
        files: receipt.files,
        bytes_total: receipt.bytes_total,
        bytes_live: receipt.bytes_live.max(bytes_live),
        bytes_frozen: receipt.bytes_frozen,
        bytes_wire: receipt.bytes_wire,
        rounds: receipt.rounds,
        final_round_ms: millis(receipt.final_round),
    }
}

fn does_not_converge(predicted: Duration, promise: Duration) -> AgentError {
    let message = format!(
        "the world changes as fast as it is copied: the freeze would last about {} ms, and {} ms were promised; allow a \
         longer freeze, raise the bandwidth limit, or migrate when less is going on",
        millis(predicted),
        millis(promise)
    );
    AgentError::new(ErrorCode::DoesNotConverge, message)
}

fn lease_lost() -> AgentError {
    AgentError::new(ErrorCode::LeaseLost, "the panel was silent for too long and the server runs on its source again")
}
