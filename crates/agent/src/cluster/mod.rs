//! The agent of a Kubernetes cluster. The only tree that knows `kube`.
//!
//! ```text
//!  panel ◄── link ── orchestrator.rs ── carry.rs ─┬─ objects/   what needs the cluster's API
//!                      route.rs, lanes.rs         └─ hub/ ◄── movers, one in each server's pod
//!                      care.rs, beds.rs
//! ```
//!
//! To the panel the cluster is one agent. It is made of many: each pod's mover looks after one server, and knows by
//! itself what a server needs during a freeze. The orchestrator makes and removes what is around them and passes on what
//! was asked. It keeps nothing but its identity: the cluster is its memory.

mod beds;
mod care;
mod carry;
mod hub;
mod lanes;
mod objects;
mod orchestrator;
mod relay;
mod route;
mod settings;
mod survey;
mod vault;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use model::agent_api::{Owner, VERSION, Welcome};
use model::{Clock, SystemClock};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::identity::{Directory, Enrolled, Identity, Vault, get_or_make, new_secret};
use crate::link::enrolment::Enrolment;
use crate::link::{Address, Link};
use hub::{Bearers, Hub};
use objects::{Objects, ObjectsConfig, Patience, Welcomed};
use orchestrator::{Facts, Orchestrator};
use vault::Sealed;

pub use settings::Settings;
pub use survey::{Survey, survey};

/// Notices of all movers that wait for the link; what is missed is in the next heartbeat.
const NEWS: usize = 1024;
/// To whom everything in a volume belongs.
const OWNER: Owner = Owner { uid: 1000, gid: 1000 };
/// What signs the movers' bearers, in the identity.
const MOVER_KEY: &str = "mover.key";

/// What an orchestrator is told at its start.
#[derive(Clone, Debug)]
pub struct OrchestratorConfig {
    /// The configuration file.
    pub settings: Settings,
    /// How to reach the cluster from outside of it; none inside.
    pub kubeconfig: Option<PathBuf>,
    /// Its own namespace.
    pub namespace: String,
    /// Where movers connect.
    pub hub_listen: SocketAddr,
    /// `host:port` at which pods reach that; none: the address that it listens on.
    pub hub_address: Option<String>,
    /// Where the identity is kept; none: in a Secret of its namespace.
    pub state_dir: Option<PathBuf>,
    /// After which time a server that does not run gives its pod back.
    pub idle: Duration,
    /// Name for people.
    pub name: String,
}

/// Runs the orchestrator until `shutdown`, or until the panel refuses it for good. Games and movers go on either way.
///
/// # Errors
///
/// Only what a person must correct; see [`Error`]. A panel that cannot be reached is waited for.
pub async fn run(config: OrchestratorConfig, shutdown: CancellationToken) -> Result<()> {
    // Whatever ends this function ends the tasks that it started.
    let shutdown = shutdown.child_token();
    let _ending = shutdown.clone().drop_guard();
    let vault = open_vault(&config).await?;
    let identity = Identity::open(&*vault, &config.name).await?;
    let (news, _) = broadcast::channel(NEWS);
    let hub = Hub::new(Bearers::new(&get_or_make(&*vault, MOVER_KEY, new_secret).await?), news.clone());
    let listens = hub.listen(config.hub_listen, &identity.key, shutdown.clone()).await?;
    let hub_address = hub_address(&config, listens)?;
    tracing::info!(%listens, hub_address, namespace = config.namespace, "orchestrator begins");
    let welcomed = watch::Sender::new(None);
    let fingerprint = identity.key.fingerprint().to_string();
    let objects = objects_config(&config, &hub_address, &fingerprint, welcomed.subscribe());
    let objects = Objects::open(config.kubeconfig.as_deref(), objects).await;
    let objects = objects.map_err(|error| Error::Cluster(error.message))?;
    if let Some(enrolled) = &identity.enrolled {
        remember(enrolled, &hub, &welcomed);
    }
    let address = Address::parse(&config.settings.panel_url)?;
    let (panel_url, token) = (config.settings.panel_url.clone(), config.settings.token.clone());
    let credential = Enrolment::new(&identity, vault, panel_url.clone(), token)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let about = Facts { name: config.name, fingerprint, hub_address, panel_url, idle: config.idle };
    let orchestrator = Orchestrator::new(about, objects, hub, clock, news, welcomed, shutdown.clone());
    tokio::spawn(Arc::clone(&orchestrator).care());
    Box::pin(Link::new(orchestrator, address, Box::new(credential), shutdown).keep()).await
}

/// Movers that come before the panel does hear what it said last time.
fn remember(enrolled: &Enrolled, hub: &Hub, welcomed: &watch::Sender<Option<Welcomed>>) {
    let Enrolled { agent_id, permit_key, .. } = enrolled.clone();
    hub.welcomed(&Welcome { version: VERSION, agent_id, permit_key: permit_key.clone(), heartbeat_ms: 0 });
    welcomed.send_replace(Some(Welcomed { agent_id, permit_key }));
}

async fn open_vault(config: &OrchestratorConfig) -> Result<Arc<dyn Vault>> {
    match &config.state_dir {
        Some(dir) => Ok(Arc::new(Directory::open(dir.clone())?)),
        None => Ok(Arc::new(Sealed::new(client(config.kubeconfig.as_deref()).await?, &config.namespace))),
    }
}

async fn client(kubeconfig: Option<&Path>) -> Result<kube::Client> {
    let failed = |error: &dyn std::error::Error| Error::Cluster(format!("its address and credentials: {error}"));
    let config = match kubeconfig {
        None => kube::Config::incluster().map_err(|error| failed(&error))?,
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|error| failed(&error))?;
            let options = KubeConfigOptions::default();
            kube::Config::from_custom_kubeconfig(file, &options).await.map_err(|error| failed(&error))?
        }
    };
    kube::Client::try_from(config).map_err(|error| failed(&error))
}

fn hub_address(config: &OrchestratorConfig, listens: SocketAddr) -> Result<String> {
    match &config.hub_address {
        Some(address) => Ok(address.clone()),
        None if !listens.ip().is_unspecified() => Ok(listens.to_string()),
        None => Err(Error::Config(
            "pods have to know where the orchestrator is: make its Service before its pod, or name it with \
             --hub-address"
                .to_owned(),
        )),
    }
}

fn objects_config(
    config: &OrchestratorConfig,
    hub_address: &str,
    hub_fingerprint: &str,
    welcome: watch::Receiver<Option<Welcomed>>,
) -> ObjectsConfig {
    let settings = config.settings.clone();
    ObjectsConfig {
        namespace_prefix: settings.namespace_prefix,
        storage_class: settings.storage_class,
        access_mode: settings.access_mode,
        service_type: settings.service_type,
        node_ports: settings.node_ports,
        external_address: settings.external_address,
        data_service: settings.data_service,
        image: settings.image,
        hub_address: hub_address.to_owned(),
        hub_fingerprint: hub_fingerprint.to_owned(),
        welcome,
        mover: settings.mover,
        install: settings.install,
        owner: OWNER,
        patience: Patience::default(),
    }
}
