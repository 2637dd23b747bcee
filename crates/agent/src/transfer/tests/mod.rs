//! Two agents and no panel: the test asks for the steps itself. Games are real processes, copies go through real TLS.

#![allow(clippy::unwrap_used)]

mod docker;
mod faults;
mod mounted;
mod pipes;
mod restarts;
mod story;
mod ways;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ::transfer::{Identity, Listener, OwnerMap, Ticket, tree_root};
use model::agent_api::{AgentError, Door, ErrorCode, Outcome, Reply, Request, Route, StepKey, TransferAction};
use model::{Epoch, NodeId, Permit, ServerId, ServerSpec, ServerStatus, SystemClock, TransferId};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::RuntimeConfig;
use crate::layout::Layout;
use crate::node::Node;
use crate::permit::testing::Signer;
use crate::permit::{Permits, Verifier};
use crate::server::testing::spec;
use crate::server::{Around, Heard};

const PATIENCE: Duration = Duration::from_mins(1);
const EPOCH: u64 = 4;
/// Writes a record every few milliseconds until it is told to stop.
const GAME: &str = r#"mkdir -p world
(n=0; while :; do n=$((n+1)); echo "record $n" >> world/log.txt; echo "$n" > world/last; sleep 0.01; done) &
W=$!
echo "server is ready"
while read -r line; do [ "$line" = stop ] && { kill $W; wait $W; echo bye; exit 0; }; done"#;

/// One agent. It can be ended and begun again on its directory; the games go on.
pub(crate) struct Side {
    dir: TempDir,
    id: NodeId,
    key: Arc<Identity>,
    permit_key: String,
    runtime: RuntimeConfig,
    data: Data,
    pub(crate) node: Arc<Node>,
}

/// What the directory of a server's files is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Data {
    Plain,
    Mounted,
}

impl Side {
    async fn new(panel: &Signer, runtime: RuntimeConfig, data: Data) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = Arc::new(Identity::generate("test").unwrap());
        let (id, permit_key) = (NodeId::new(), panel.public());
        let node = open(&dir, id, &key, &permit_key, &runtime, data).await;
        Self { dir, id, key, permit_key, runtime, data, node }
    }

    pub(crate) async fn restart(&mut self) {
        self.node.around.shutdown.cancel();
        let old = Arc::downgrade(&self.node);
        self.node = open(&self.dir, self.id, &self.key, &self.permit_key, &self.runtime, self.data).await;
        let gone = async {
            while old.strong_count() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("an agent that was shut down lets go of everything");
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub(crate) fn names(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(dir)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Nothing of a transfer is here but the memory of it.
    fn is_clean(&self) -> bool {
        self.names("servers").is_empty() && self.names("staging").is_empty()
    }

    fn status(&self, server: ServerId) -> ServerStatus {
        self.node.server(server).unwrap().observation().status
    }

    pub(crate) async fn until(&self, server: ServerId, status: ServerStatus) {
        let mut seen = self.node.server(server).unwrap().seen();
        let reached = seen.wait_for(|seen| seen.observation.status == status);
        tokio::time::timeout(PATIENCE, reached).await.unwrap().unwrap();
    }
}

/// Ends its games, however the test ended.
impl Drop for Side {
    fn drop(&mut self) {
        self.node.around.shutdown.cancel();
        match &self.runtime {
            RuntimeConfig::Process => kill_games(&self.path("servers")),
            RuntimeConfig::Docker { socket, .. } => remove_containers(socket, &self.key.fingerprint().to_string()),
        }
    }
}

fn kill_games(servers: &Path) {
    for entry in fs::read_dir(servers).into_iter().flatten().flatten() {
        let run = fs::read(entry.path().join("run.json")).unwrap_or_default();
        let run: serde_json::Value = serde_json::from_slice(&run).unwrap_or_default();
        let group = run["process"]["group"].as_i64().and_then(|group| Pid::from_raw(i32::try_from(group).ok()?));
        if let Some(group) = group {
            // An error: it has ended.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

fn remove_containers(socket: &str, agent: &str) {
    let docker = |args: &[&str]| {
        let output = Command::new("docker").args(["-H", socket]).args(args).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    };
    let filter = format!("label=io.badgerpanel.agent={agent}");
    for id in docker(&["ps", "-aq", "--filter", &filter]).split_whitespace() {
        docker(&["rm", "-f", id]);
    }
}

async fn open(
    dir: &TempDir,
    id: NodeId,
    key: &Arc<Identity>,
    permit_key: &str,
    runtime: &RuntimeConfig,
    data: Data,
) -> Arc<Node> {
    let permits = Arc::new(Permits::default());
    permits.set(Verifier::new(id, permit_key).unwrap());
    let clock = Arc::new(SystemClock);
    let runtime = crate::runtime(runtime, key.fingerprint().to_string(), Arc::clone(&clock) as _).await.unwrap();
    let around = Around {
        runtime: if data == Data::Mounted { Arc::new(mounted::Mounted(runtime)) } else { runtime },
        clock,
        permits,
        heard: Arc::new(Heard::new()),
        news: broadcast::channel(256).0,
        shutdown: CancellationToken::new(),
    };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Arc::clone(key)).await.unwrap();
    Node::open(Layout::new(dir.path()), around, Arc::clone(key), listener).await.unwrap()
}

/// A server on the source, and a transfer of it to the target.
pub(crate) struct Stage {
    panel: Signer,
    pub(crate) source: Side,
    target: Side,
    pub(crate) spec: ServerSpec,
    transfer: TransferId,
    ticket: String,
    /// The source's side of the copy's way; none: directly.
    way: Option<Route>,
}

impl Stage {
    /// The server exists and does not run.
    async fn offline() -> Self {
        Self::with(RuntimeConfig::Process, "none").await
    }

    async fn with(runtime: RuntimeConfig, image: &str) -> Self {
        Self::in_houses(runtime, image, Data::Plain).await
    }

    pub(crate) async fn in_houses(runtime: RuntimeConfig, image: &str, data: Data) -> Self {
        let panel = Signer::new();
        let (source, target) = (Side::new(&panel, runtime.clone(), data).await, Side::new(&panel, runtime, data).await);
        let mut spec = spec();
        spec.image = image.to_owned();
        spec.startup = "/bin/sh game.sh".to_owned();
        let stage = Self {
            panel,
            source,
            target,
            spec,
            transfer: TransferId::new(),
            ticket: Ticket::random().to_string(),
            way: None,
        };
        let create = Request::CreateServer { spec: Box::new(stage.spec.clone()), epoch: Epoch(EPOCH) };
        assert_eq!(stage.source.node.obey(create).await, Outcome::Ok(Reply::Done));
        let data = stage.source_data();
        fs::write(data.join("game.sh"), GAME).unwrap();
        fs::write(data.join("region.bin"), noise(3 << 20)).unwrap();
        fs::create_dir_all(data.join("empty/dir")).unwrap();
        fs::hard_link(data.join("region.bin"), data.join("linked.bin")).unwrap();
        std::os::unix::fs::symlink("region.bin", data.join("symbolic")).unwrap();
        stage
    }

    async fn running() -> Self {
        let stage = Self::offline().await;
        stage.start().await;
        stage
    }

    pub(crate) async fn start(&self) {
        let start = Request::StartServer { server_id: self.spec.id, permit: self.permit(&self.source, EPOCH) };
        assert_eq!(self.source.node.obey(start).await, Outcome::Ok(Reply::Done));
        self.source.until(self.spec.id, ServerStatus::Running).await;
    }

    pub(crate) fn permit(&self, side: &Side, epoch: u64) -> Permit {
        self.panel.permit(self.spec.id, epoch, side.id)
    }

    pub(crate) fn source_data(&self) -> PathBuf {
        self.source.path(&format!("servers/{}/data", self.spec.id))
    }

    fn target_data(&self) -> PathBuf {
        self.target.path(&format!("servers/{}/data", self.spec.id))
    }

    fn request(&self, step: &str, action: TransferAction) -> Request {
        let key = StepKey { transfer_id: self.transfer, step: step.to_owned(), epoch: Epoch(EPOCH) };
        Request::Transfer { key, server_id: self.spec.id, action }
    }

    async fn ask(&self, side: &Side, step: &str, action: TransferAction) -> Result<Reply, AgentError> {
        let outcome = side.node.obey(self.request(step, action));
        match tokio::time::timeout(PATIENCE, outcome).await.unwrap() {
            Outcome::Ok(reply) => Ok(reply),
            Outcome::Err(error) => Err(error),
        }
    }

    async fn at_source(&self, step: &str, action: TransferAction) -> Result<Reply, AgentError> {
        self.ask(&self.source, step, action).await
    }

    async fn at_target(&self, step: &str, action: TransferAction) -> Result<Reply, AgentError> {
        self.ask(&self.target, step, action).await
    }

    fn prepare_for(&self, bytes: u64) -> TransferAction {
        TransferAction::PrepareTarget {
            spec: Box::new(self.spec.clone()),
            epoch: Epoch(EPOCH + 1),
            source_fingerprint: self.source.key.fingerprint().to_string(),
            ticket: self.ticket.clone(),
            bytes,
            files: 10,
            basis: None,
        }
    }

    async fn prepare(&self) -> Result<Reply, AgentError> {
        self.at_target("prepare_target", self.prepare_for(4 << 20)).await
    }

    fn door(&self) -> Door {
        Door {
            route: self.way.clone().unwrap_or_else(|| Route::Direct { address: self.target.node.data_address() }),
            fingerprint: self.target.key.fingerprint().to_string(),
            ticket: self.ticket.clone(),
            owner: None,
        }
    }

    fn precopy(&self, bandwidth_limit: Option<u64>) -> TransferAction {
        TransferAction::Precopy { door: self.door(), max_freeze_ms: 5000, bandwidth_limit }
    }

    fn final_copy(&self) -> TransferAction {
        TransferAction::FinalCopy { door: self.door(), bandwidth_limit: None }
    }

    fn start_target(&self) -> TransferAction {
        TransferAction::StartTarget { permit: self.permit(&self.target, EPOCH + 1), start: true }
    }

    fn resume(&self, epoch: u64) -> TransferAction {
        TransferAction::ResumeSource { permit: self.permit(&self.source, epoch), start: true }
    }

    /// Everything up to and with the fence.
    async fn frozen_and_copied(&self) -> String {
        self.prepare().await.unwrap();
        self.at_source("precopy", self.precopy(None)).await.unwrap();
        self.at_source("stop_source", stop()).await.unwrap();
        let Reply::Copied { receipt } = self.at_source("final_copy", self.final_copy()).await.unwrap() else {
            panic!("no receipt");
        };
        assert_eq!(receipt.root_source, receipt.root_target);
        self.at_source("fence_source", TransferAction::FenceSource).await.unwrap();
        receipt.root_source
    }

    /// The same for a server that does not run.
    async fn frozen_and_copied_offline(&self) {
        self.prepare().await.unwrap();
        self.at_source("stop_source", stop()).await.unwrap();
        self.at_source("final_copy", self.final_copy()).await.unwrap();
        self.at_source("fence_source", TransferAction::FenceSource).await.unwrap();
    }
}

/// Bytes that do not compress: a limit on bandwidth would mean nothing otherwise.
fn noise(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    SystemRandom::new().fill(&mut bytes).unwrap();
    bytes
}

fn stop() -> TransferAction {
    TransferAction::StopSource { lease_ms: 20_000 }
}

fn health() -> TransferAction {
    TransferAction::CheckHealth { tcp_probe: false, min_uptime_ms: 100, timeout_ms: 20_000 }
}

pub(crate) fn root_of(dir: &Path) -> String {
    tree_root(dir, OwnerMap::Keep, &CancellationToken::new()).unwrap().root.to_string()
}

fn code(outcome: Result<Reply, AgentError>) -> ErrorCode {
    outcome.unwrap_err().code
}
