//! How the API shows a cluster.

use jiff::Timestamp;
use model::NodeId;
use model::agent_api::ClusterFacts;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::check::MILLICORES_PER_PERCENT;
use crate::api::nodes::{Share, status};
use crate::app::App;
use crate::db::nodes::{self, Node};
use crate::db::{Conn, DbError};

/// A cluster.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ClusterView {
    /// Its id, and its orchestrator's.
    #[schema(value_type = uuid::Uuid)]
    id: NodeId,
    /// For people; unique among nodes and clusters.
    #[schema(example = "eu-west")]
    name: String,
    /// `pending` until its orchestrator has enrolled, then `online` or `offline`; `maintenance` while it is cordoned.
    #[schema(example = "online")]
    status: &'static str,
    /// Whether its orchestrator is connected.
    online: bool,
    /// Whether it takes no new servers.
    cordoned: bool,
    /// Where players reach it; null until somebody knows.
    #[schema(example = "203.0.113.7")]
    address: Option<String>,
    /// What its orchestrator said of it; null until it has enrolled.
    facts: Option<FactsView>,
    /// Release of its orchestrator.
    version: Option<String>,
    /// What it has for servers, and what of it is given away.
    usage: UsageView,
    /// When its orchestrator was last heard of (to the half minute while it is online).
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen_at: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// How to install its orchestrator; only in the answer to the creation of a cluster or a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    enrolment: Option<ClusterEnrolment>,
}

/// What an orchestrator said of its cluster at its last hello.
#[derive(Debug, Serialize, ToSchema)]
struct FactsView {
    /// Of Kubernetes.
    #[schema(example = "v1.34.4")]
    kubernetes: String,
    /// Nodes on which pods can run.
    #[schema(example = 3)]
    nodes: u32,
    /// Where players reach NodePorts, as far as the orchestrator knows.
    #[schema(example = "203.0.113.7")]
    address: String,
    /// First and last port for players; null where a load balancer gives addresses out.
    node_ports: Option<PortsView>,
    /// Of new volumes.
    #[schema(example = "standard")]
    storage_class: String,
}

/// A range of ports.
#[derive(Debug, Serialize, ToSchema)]
struct PortsView {
    /// The lowest.
    #[schema(example = 30000)]
    first: u16,
    /// The highest.
    #[schema(example = 32767)]
    last: u16,
}

/// What a cluster has for servers. Total 0 leaves it to the cluster's scheduler, and free is then null.
#[derive(Debug, Serialize, ToSchema)]
struct UsageView {
    /// MiB.
    memory_mb: Share,
    /// MiB.
    disk_mb: Share,
    /// Millicores; 1000 is one core.
    cpu_millicores: Share,
    /// Servers that it owns.
    servers: u64,
}

/// How to install an orchestrator. The token is shown here and never again.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ClusterEnrolment {
    /// Enrols one orchestrator.
    #[schema(example = "bpe_…")]
    token: String,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// What to run where `kubectl` reaches the cluster.
    #[schema(example = "kubectl apply -f \"https://panel.example.org/api/v1/clusters/install.yaml?token=bpe_…\"")]
    command: String,
    /// The same with Helm, from the chart in the release.
    #[schema(
        example = "helm upgrade --install badgerpanel-orchestrator ./badgerpanel-orchestrator --namespace badger-system …"
    )]
    helm_command: String,
}

impl ClusterEnrolment {
    pub(super) fn new(app: &App, token: String, expires_at: Timestamp) -> Self {
        let url = &app.public_url;
        let command = format!("kubectl apply -f \"{url}/api/v1/clusters/install.yaml?token={token}\"");
        // An image without a tag means `latest`; a colon in front of a slash is that of a port.
        let named = app.image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
        let (repository, tag) = named.unwrap_or((&app.image, "latest"));
        let helm_command = format!(
            "helm upgrade --install badgerpanel-orchestrator ./badgerpanel-orchestrator --namespace badger-system \
             --create-namespace --set panelUrl={url} --set token={token} --set image.repository={repository} \
             --set-string image.tag={tag}"
        );
        Self { token, expires_at, command, helm_command }
    }
}

impl ClusterView {
    pub(in crate::api) async fn load(
        app: &App,
        conn: &mut Conn,
        node: Node,
        enrolment: Option<ClusterEnrolment>,
    ) -> Result<Self, DbError> {
        let usage = nodes::node_usage(conn, node.id, None).await?;
        let millicores = |percent: u64| percent * MILLICORES_PER_PERCENT;
        Ok(Self {
            id: node.id,
            status: status(app, &node),
            online: node.agent.is_some() && app.agents.is_online(node.id),
            cordoned: node.cordoned,
            address: Some(node.player_address().to_owned()).filter(|address| !address.is_empty()),
            usage: UsageView {
                memory_mb: Share::bounded(node.memory_mb, usage.memory_mb),
                disk_mb: Share::bounded(node.disk_mb, usage.disk_mb),
                cpu_millicores: Share::bounded(millicores(node.cpu_percent), millicores(usage.cpu_percent)),
                servers: usage.servers,
            },
            facts: node.facts.map(FactsView::from),
            name: node.name,
            version: node.agent.map(|agent| agent.software),
            last_seen_at: node.last_seen_at,
            created_at: node.created_at,
            enrolment,
        })
    }

    pub(super) fn location(&self) -> String {
        format!("/api/v1/admin/clusters/{}", self.id)
    }
}

impl From<ClusterFacts> for FactsView {
    fn from(facts: ClusterFacts) -> Self {
        Self {
            kubernetes: facts.version,
            nodes: facts.nodes,
            address: facts.address,
            node_ports: facts.node_ports.map(|(first, last)| PortsView { first, last }),
            storage_class: facts.storage_class,
        }
    }
}
