//! The mover: the agent inside a server's pod. It has the volume, speaks with the orchestrator, and runs the game through
//! the launcher beside it.
//!
//! A node with one server. What is different: it is told what to do by somebody who passes it on, so only a ping is the
//! panel's word (see `cluster::hub`); and it does not end when it is refused, because the game's lease is its business
//! whoever listens.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use model::agent_api::{Hello, Notice, Outcome, Owner, Request, Welcome};
use model::{Clock, Resources, ServerId, ServerObservation, SystemClock};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::daemon::Daemon;
use crate::error::{Error, Result};
use crate::identity::{Directory, Identity};
use crate::layout::Layout;
use crate::link::standing::Standing;
use crate::link::{Address, Agent, Link};
use crate::node::Node;
use crate::permit::{Permits, Verifier};
use crate::runtime::Runtime;
use crate::runtime::kubernetes::Pod;
use crate::server::{Around, Heard};

/// What a mover is told at its start.
#[derive(Clone, Debug)]
pub struct MoverConfig {
    /// `host:port` of the orchestrator's hub.
    pub orchestrator: String,
    /// SHA-256 of its certificate, lower-case hex.
    pub fingerprint: String,
    /// File with what to show there.
    pub token_file: PathBuf,
    /// Whose pod this is.
    pub server: ServerId,
    /// The volume.
    pub data_dir: PathBuf,
    /// Where other agents deliver to (TLS).
    pub data_listen: SocketAddr,
    /// Where the game's launcher listens.
    pub launcher: PathBuf,
    /// User and group of the pod, to whom all files belong.
    pub uid: u32,
    /// See `uid`.
    pub gid: u32,
}

/// Runs the mover until `shutdown`. The game goes on.
///
/// # Errors
///
/// Only what a person must correct; see [`Error`]. An orchestrator that cannot be reached is waited for.
pub async fn run(config: MoverConfig, shutdown: CancellationToken) -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let owner = Owner { uid: config.uid, gid: config.gid };
    let runtime = Arc::new(Pod::connect(config.launcher.clone(), owner));
    Box::pin(run_with(config, runtime, clock, shutdown)).await
}

/// [`run`] with any runtime.
pub(crate) async fn run_with(
    config: MoverConfig,
    runtime: Arc<dyn Runtime>,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) -> Result<()> {
    let shutdown = shutdown.child_token();
    let _ending = shutdown.clone().drop_guard();
    let layout = Layout::new(config.data_dir);
    let identity = Identity::open(&Directory::open(layout.identity())?, &config.server.to_string()).await?;
    let key = identity.key;
    let peer = config.fingerprint.parse();
    let peer = peer.map_err(|_| Error::Config(format!("{} is no fingerprint", config.fingerprint)))?;
    let tls = key.tls_client(peer).map_err(|error| Error::Config(error.to_string()))?;
    let address = Address::pinned(&config.orchestrator, tls)?;
    let listener = crate::listen(&layout, config.data_listen, &key).await?;
    tracing::info!(server = %config.server, listens = %listener.local_addr(), orchestrator = %address, "mover begins");
    let around = Around {
        runtime,
        clock,
        permits: Arc::new(Permits::default()),
        heard: Arc::new(Heard::new()),
        news: broadcast::channel(crate::NEWS).0,
        shutdown: shutdown.clone(),
    };
    let node = Node::open(layout, around, key, listener).await?;
    let mover = Mover(Arc::new(Daemon { node, name: config.server.to_string(), advertise: None }));
    let credential = Box::new(Standing::new(config.token_file));
    Box::pin(Link::new(Arc::new(mover), address, credential, shutdown).keep()).await
}

struct Mover(Arc<Daemon>);

#[async_trait]
impl Agent for Mover {
    async fn hello(&self, ours: IpAddr) -> Hello {
        self.0.hello(ours).await
    }

    async fn resources(&self) -> Resources {
        self.0.resources().await
    }

    fn observations(&self) -> Vec<ServerObservation> {
        self.0.observations()
    }

    fn news(&self) -> broadcast::Receiver<Notice> {
        self.0.news()
    }

    fn obey(self: Arc<Self>, request: Request) -> BoxFuture<'static, Outcome> {
        match request {
            Request::Ping => self.0.node.obey(request),
            request => self.0.node.carry_out(request),
        }
    }

    fn welcomed(&self, welcome: &Welcome) -> Result<()> {
        let verifier = Verifier::new(welcome.agent_id, &welcome.permit_key);
        self.0.node.around.permits.set(verifier.map_err(|error| Error::Config(error.message))?);
        Ok(())
    }
}
