//! The cluster as the panel's agent: what it says of itself, and how it takes requests in.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use model::agent_api::{AgentError, ClusterFacts, ErrorCode, Hello, Notice, Outcome, Reply, Request, VERSION, Welcome};
use model::{Clock, Resources, RuntimeKind, ServerId, ServerObservation, ServerStatus, Timestamp};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::beds::Beds;
use super::hub::Hub;
use super::lanes::Lanes;
use super::objects::{KnownServer, Objects, Welcomed};
use super::relay::completed;
use super::route::{About, Name, name, server_of, towards};
use crate::daemon::SOFTWARE;
use crate::error::Result;
use crate::link::Agent;

/// What an orchestrator is told of itself and its surroundings.
pub(super) struct Facts {
    /// For people.
    pub(super) name: String,
    /// Of the hub's certificate.
    pub(super) fingerprint: String,
    /// `host:port` where movers connect.
    pub(super) hub_address: String,
    pub(super) panel_url: String,
    /// After which time without anything going on a server that does not run goes to sleep.
    pub(super) idle: Duration,
}

/// Everything that the orchestrator is.
pub(super) struct Orchestrator {
    pub(super) about: Facts,
    pub(super) objects: Objects,
    pub(super) hub: Arc<Hub>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) news: broadcast::Sender<Notice>,
    pub(super) welcomed: watch::Sender<Option<Welcomed>>,
    pub(super) shutdown: CancellationToken,
    pub(super) beds: Arc<Beds>,
    pub(super) table: Mutex<Table>,
    lanes: Arc<Lanes<About, Name>>,
    once: AtomicU64,
}

/// What was last seen of the cluster. A hint: decisions that matter look again.
#[derive(Default)]
pub(super) struct Table {
    pub(super) servers: HashMap<ServerId, Known>,
    pub(super) facts: ClusterFacts,
    pub(super) resources: Resources,
    /// Pods that we know to have their game beside the mover.
    pub(super) whole: HashSet<ServerId>,
}

/// A server in the cluster.
pub(super) struct Known {
    pub(super) server: KnownServer,
    /// Since when we have seen it.
    since: Timestamp,
}

impl Orchestrator {
    /// Not yet known to anybody.
    pub(super) fn new(
        about: Facts,
        objects: Objects,
        hub: Arc<Hub>,
        clock: Arc<dyn Clock>,
        news: broadcast::Sender<Notice>,
        welcomed: watch::Sender<Option<Welcomed>>,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            about,
            objects,
            hub,
            clock,
            news,
            welcomed,
            shutdown,
            beds: Arc::default(),
            table: Mutex::default(),
            lanes: Arc::default(),
            once: AtomicU64::new(1),
        })
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the cluster's servers now.
    pub(super) async fn look(&self) -> Result<Vec<KnownServer>, AgentError> {
        let listed = self.objects.list().await?;
        let now = self.clock.now();
        let mut table = self.table();
        let mut before = std::mem::take(&mut table.servers);
        table.servers = listed
            .iter()
            .map(|server| {
                let since = before.remove(&server.server).map_or(now, |known| known.since);
                (server.server, Known { server: server.clone(), since })
            })
            .collect();
        Ok(listed)
    }

    /// One of them, now.
    pub(super) async fn known(&self, server: ServerId) -> Result<Option<KnownServer>, AgentError> {
        Ok(self.look().await?.into_iter().find(|known| known.server == server))
    }

    /// Nothing of it is here any more.
    pub(super) fn forget(&self, server: ServerId) {
        self.hub.forget(server);
        let mut table = self.table();
        table.servers.remove(&server);
        table.whole.remove(&server);
    }

    /// What the panel is told of a server: its mover's word, and what the cluster shows around it.
    fn observation(&self, known: &Known) -> Option<ServerObservation> {
        let KnownServer { server, epoch, asleep, attention, transfer, .. } = &known.server;
        let seen = self.hub.seen(*server);
        let mut told = match (seen, asleep) {
            (Some(seen), false) => seen,
            (Some(seen), true) if !seen.status.is_live() => seen,
            (None, false) => return None, // Nobody has said yet what it is.
            (None, true) if transfer.is_some() => return None, // It is no server yet.
            (_, true) => asleep_since(known.since, *server, *epoch),
        };
        told.attention.extend(attention.iter().cloned());
        if !asleep && !self.hub.is_here(*server) {
            told.attention.push(format!(
                "its mover is not connected: kubectl get pods --all-namespaces -l badgerpanel.io/server={server}"
            ));
        }
        Some(told)
    }

    pub(super) fn observed_asleep(&self, server: ServerId) -> Option<ServerObservation> {
        self.table().servers.get(&server).and_then(|known| self.observation(known))
    }

    async fn facts(&self) -> ClusterFacts {
        match self.objects.facts().await {
            Ok(facts) => self.table().facts = facts,
            Err(error) => tracing::warn!(%error, "what the cluster is like cannot be looked up"),
        }
        self.table().facts.clone()
    }
}

fn asleep_since(since: Timestamp, server_id: ServerId, epoch: model::Epoch) -> ServerObservation {
    let (status, attention) = (ServerStatus::Offline, Vec::new());
    ServerObservation { server_id, status, epoch, fenced: false, since, exit_code: None, attention }
}

#[async_trait]
impl Agent for Orchestrator {
    async fn hello(&self, _ours: IpAddr) -> Hello {
        if let Err(error) = self.look().await {
            tracing::warn!(%error, "the cluster's servers cannot be looked up");
        }
        Hello {
            version: VERSION,
            software: SOFTWARE.to_owned(),
            host: self.about.name.clone(),
            runtime: RuntimeKind::Kubernetes,
            fingerprint: self.about.fingerprint.clone(),
            // Nothing is delivered here: each target says where it is.
            data_address: self.about.hub_address.clone(),
            secret: None,
            resources: self.resources().await,
            servers: self.observations(),
            cluster: Some(self.facts().await),
        }
    }

    async fn resources(&self) -> Resources {
        self.table().resources
    }

    fn observations(&self) -> Vec<ServerObservation> {
        self.table().servers.values().filter_map(|known| self.observation(known)).collect()
    }

    fn player_addresses(&self) -> BTreeMap<ServerId, String> {
        let table = self.table();
        let told = |(id, known): (&ServerId, &Known)| Some((*id, known.server.player_address.clone()?));
        table.servers.iter().filter_map(told).collect()
    }

    fn news(&self) -> broadcast::Receiver<Notice> {
        self.news.subscribe()
    }

    /// Every request is the panel's word, and every mover hears of it: a lease must not end because it was somebody
    /// else's turn to be asked.
    fn obey(self: Arc<Self>, request: Request) -> BoxFuture<'static, Outcome> {
        self.hub.word(server_of(&request));
        let request = completed(request, &self.about.panel_url);
        let once = self.once.fetch_add(1, Ordering::Relaxed);
        let Some((about, name)) = name(&request, once) else {
            let (it, shutdown) = (Arc::clone(&self), self.shutdown.clone());
            return Box::pin(
                async move { shutdown.run_until_cancelled(it.begin(request)).await.unwrap_or_else(ending) },
            );
        };
        let (it, newer) = (Arc::clone(&self), name.clone());
        let work = move || -> BoxFuture<'static, Outcome> {
            let (begun, shutdown) = (Arc::clone(&it).begin(request), it.shutdown.clone());
            Box::pin(async move { shutdown.run_until_cancelled(begun).await.unwrap_or_else(ending) })
        };
        self.lanes.enter(about, name, move |earlier| towards(&newer, earlier), work)
    }

    fn welcomed(&self, welcome: &Welcome) -> Result<()> {
        self.hub.welcomed(welcome);
        self.hub.word(None);
        self.welcomed
            .send_replace(Some(Welcomed { agent_id: welcome.agent_id, permit_key: welcome.permit_key.clone() }));
        Ok(())
    }
}

fn ending() -> Outcome {
    Outcome::Err(AgentError::new(ErrorCode::Internal, "the orchestrator is ending"))
}

pub(super) fn outcome(result: Result<Reply, AgentError>) -> Outcome {
    match result {
        Ok(reply) => Outcome::Ok(reply),
        Err(error) => Outcome::Err(error),
    }
}
