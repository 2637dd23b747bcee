//! What the orchestrator's configuration says about objects, and what each raise is told. Data only.

use std::time::Duration;

use model::agent_api::Owner;
use model::{Epoch, NodeId, ServerId, ServerSpec, TransferId};
use tokio::sync::watch;

/// What all objects are made with.
#[derive(Clone, Debug)]
pub(crate) struct ObjectsConfig {
    /// `bp-`: in front of a server's id it is the name of its namespace.
    pub(crate) namespace_prefix: String,
    /// None: the cluster's default class.
    pub(crate) storage_class: Option<String>,
    /// `ReadWriteOnce` and its like.
    pub(crate) access_mode: String,
    /// How players reach a server.
    pub(crate) service_type: ServiceType,
    /// First and last port of players' services, where they are NodePorts.
    pub(crate) node_ports: (u16, u16),
    /// Under which address NodePorts are reached from outside; none: what the nodes say of themselves.
    pub(crate) external_address: Option<String>,
    /// How other agents reach a mover.
    pub(crate) data_service: DataService,
    /// The image of `badger` itself: its entrypoint is the executable.
    pub(crate) image: String,
    /// `host:port` at which movers reach the hub.
    pub(crate) hub_address: String,
    /// SHA-256 of the hub's certificate, lower-case hex.
    pub(crate) hub_fingerprint: String,
    /// What the panel said when it welcomed us; none before that.
    pub(crate) welcome: watch::Receiver<Option<Welcomed>>,
    /// Of the mover's container.
    pub(crate) mover: Share,
    /// Of an installation's container.
    pub(crate) install: Share,
    /// To whom everything in a volume belongs.
    pub(crate) owner: Owner,
    /// How long to wait for what.
    pub(crate) patience: Patience,
}

/// What launchers need of the panel's welcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Welcomed {
    /// To whom permits are addressed.
    pub(crate) agent_id: NodeId,
    /// Who signs them.
    pub(crate) permit_key: String,
}

/// How players reach a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceType {
    NodePort,
    LoadBalancer,
}

/// Whether players get in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Players {
    Admitted,
    /// Their address is given out and leads nowhere.
    Held,
}

/// How other agents reach a mover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataService {
    /// A NodePort for as long as a transfer lasts.
    NodePort,
    /// Not at all: it dials.
    None,
}

/// Requests and limits of one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Millicores that are set aside.
    pub(crate) cpu_request_m: u64,
    /// MiB that are set aside.
    pub(crate) memory_request_mb: u64,
    /// MiB above which it is ended.
    pub(crate) memory_limit_mb: u64,
}

/// Bounds of waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until a pod runs.
    pub(crate) raise: Duration,
    /// For which a refusal that may heal by itself (a node that is just coming, a registry that hiccups) is not believed.
    pub(crate) doubt: Duration,
    /// Until something that was removed is gone, beyond what the game's own end may take.
    pub(crate) gone: Duration,
    /// For an installation script.
    pub(crate) install: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            raise: Duration::from_mins(5),
            doubt: Duration::from_secs(15),
            gone: Duration::from_mins(2),
            install: Duration::from_hours(1),
        }
    }
}

/// One server as it is to be in the cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raise<'a> {
    pub(crate) spec: &'a ServerSpec,
    pub(crate) epoch: Epoch,
    /// The transfer that brings it, if one does.
    pub(crate) transfer: Option<TransferId>,
    /// Bytes that its volume must have room for.
    pub(crate) bytes: u64,
    /// Without the game: to read the files of a server that is stopped, on however full a cluster.
    pub(crate) mover_only: bool,
    /// What its mover shows the hub.
    pub(crate) token: &'a str,
}

/// A server as the cluster shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownServer {
    pub(crate) server: ServerId,
    /// Of the labels; what counts lies beside the data.
    pub(crate) epoch: Epoch,
    /// The transfer that it still belongs to.
    pub(crate) transfer: Option<TransferId>,
    /// Whether nothing of it is meant to run.
    pub(crate) asleep: bool,
    /// What a person should look at, a sentence each.
    pub(crate) attention: Vec<String>,
    /// Where a load balancer lets players in.
    pub(crate) player_address: Option<String>,
}
