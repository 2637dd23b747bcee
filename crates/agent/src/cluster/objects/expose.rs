//! Ways in: for other agents while a transfer lasts, and for players where a load balancer decides which.

use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod, Service};
use kube::ResourceExt;
use kube::api::Api;
use model::agent_api::{AgentError, ErrorCode};
use model::{ServerId, TransferId};
use serde_json::json;

use super::config::{DataService, Players, Raise};
use super::make::{Plan, service};
use super::names::{self, GAME, HELD};
use super::remove::not_here;
use super::{Objects, api};

impl Objects {
    /// The anchor first, so that there is never a service without something to hang on.
    pub(super) async fn do_expose_data(
        &self,
        server: ServerId,
        transfer: TransferId,
    ) -> Result<Option<String>, AgentError> {
        if self.config.data_service == DataService::None {
            return Ok(None);
        }
        let anchor = service::anchor(&self.config, server, transfer);
        let anchor: ConfigMap = api::apply(&self.inside(server), &anchor).await?;
        let uid = anchor.metadata.uid.as_deref().unwrap_or_default();
        let data = service::data(&self.config, server, transfer, uid);
        let data: Service = api::apply(&self.inside(server), &data).await?;
        let port = node_port(&data).ok_or_else(|| {
            AgentError::new(ErrorCode::Internal, "the cluster gave the data service no port; try again")
        })?;
        Ok(Some(format!("{}:{port}", bracketed(&self.address_of_pod(server).await?))))
    }

    /// The service goes by the anchor's end too; it is removed by name first because collectors of garbage take their time.
    pub(super) async fn do_conceal_data(&self, server: ServerId, transfer: TransferId) -> Result<(), AgentError> {
        let services = self.inside::<Service>(server);
        api::delete(&services, &names::data_service(transfer)).await?;
        self.cut(server, &names::anchor(transfer)).await?;
        let patience = self.config.patience.gone;
        api::until_gone(&services, &names::data_service(transfer), patience).await?;
        api::until_gone(&self.inside::<ConfigMap>(server), &names::anchor(transfer), patience).await
    }

    /// The mark first: whoever raises the server between the two lets players in as well, and the repeat finishes the rest.
    pub(super) async fn do_admit(&self, raise: &Raise<'_>) -> Result<(), AgentError> {
        let server = raise.spec.id;
        let claim = self.claim(server).await?.ok_or_else(|| not_here(server))?.name_any();
        api::relabel(&self.inside::<PersistentVolumeClaim>(server), &claim, &json!({HELD: null})).await?;
        let (welcomed, players) = (self.welcomed()?, Players::Admitted);
        let plan = Plan { config: &self.config, welcomed: &welcomed, raise, transfer: None, claim: &claim, players };
        self.raise_service(&plan).await
    }

    pub(super) async fn do_player_address(&self, server: ServerId) -> Result<Option<String>, AgentError> {
        let players: Option<Service> = api::get(&self.inside(server), GAME).await?;
        Ok(players.as_ref().and_then(balancer))
    }

    /// Any node answers for a NodePort; the pod's own spares a hop.
    async fn address_of_pod(&self, server: ServerId) -> Result<String, AgentError> {
        if let Some(address) = &self.config.external_address {
            return Ok(address.clone());
        }
        let pods = api::list(&self.inside::<Pod>(server), &names::pods_of(server)).await?;
        let on = pods.iter().find_map(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()));
        let nodes = api::list(&Api::<Node>::all(self.client.clone()), "").await?;
        let first = nodes.iter().find(|node| Some(node.name_any().as_str()) == on).or(nodes.first());
        first.and_then(address).ok_or_else(no_address)
    }
}

fn no_address() -> AgentError {
    AgentError::new(
        ErrorCode::Conflict,
        "the nodes of this cluster tell no address; set networking.external_address of the orchestrator",
    )
}

/// Where a node is reached from outside, or else from beside it.
pub(super) fn address(node: &Node) -> Option<String> {
    let all = node.status.as_ref()?.addresses.as_ref()?;
    let of = |kind: &str| all.iter().find(|address| address.type_ == kind).map(|address| address.address.clone());
    of("ExternalIP").or_else(|| of("InternalIP"))
}

fn node_port(service: &Service) -> Option<i32> {
    service.spec.as_ref()?.ports.as_ref()?.first()?.node_port
}

/// What a load balancer has given the service.
pub(super) fn balancer(service: &Service) -> Option<String> {
    service.spec.as_ref().filter(|spec| spec.type_.as_deref() == Some("LoadBalancer"))?;
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?;
    ingress.ip.clone().or_else(|| ingress.hostname.clone())
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}
