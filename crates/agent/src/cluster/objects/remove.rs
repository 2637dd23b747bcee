//! Taking servers away, and saying whose they are.
//!
//! Order: the pod first, because a volume is not to be touched while something writes to it; the volume last but for the
//! namespace, so that whatever interrupts this leaves more and not less than it should.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, Service};
use kube::ResourceExt;
use model::agent_api::{AgentError, ErrorCode};
use model::{Epoch, ServerId, TransferId};
use serde_json::{Value, json};

use super::names::{self, EPOCH, FILES, FINALIZER, GAME, INSTALL, MANAGED_BY, MOVER, RETAINED, TRANSFER, US};
use super::raise::{Holder, transfer_of};
use super::{Objects, api};

impl Objects {
    pub(super) async fn do_rest(&self, server: ServerId) -> Result<(), AgentError> {
        let deployments = self.inside::<Deployment>(server);
        let Some(deployment) = api::get(&deployments, GAME).await? else { return Ok(()) };
        api::merge(&deployments, GAME, &json!({"spec": {"replicas": 0}})).await?;
        self.until_no_pod(server, grace(&deployment)).await
    }

    pub(super) async fn do_remove(&self, server: ServerId) -> Result<(), AgentError> {
        if self.standing_now(server).await?.namespace.is_none() {
            return Ok(());
        }
        self.take_down(server).await?;
        self.drop_claims(server, &format!("{},!{RETAINED}", names::of_server(server))).await?;
        self.close_space(server, None).await
    }

    pub(super) async fn do_remove_target(&self, server: ServerId, transfer: TransferId) -> Result<(), AgentError> {
        let standing = self.standing_now(server).await?;
        if standing.namespace.is_none() {
            return Ok(());
        }
        self.do_conceal_data(server, transfer).await?;
        // What is somebody else's, or nobody's any more, is not this transfer's to remove.
        if !matches!(standing.holder(), Holder::Nobody) && standing.holder() != Holder::Transfer(transfer) {
            return Ok(());
        }
        self.take_down(server).await?;
        let brought = format!("{},{TRANSFER}={transfer},!{RETAINED}", names::of_server(server));
        self.drop_claims(server, &brought).await?;
        self.close_space(server, Some(transfer)).await
    }

    /// All but volumes and the namespace.
    pub(super) async fn take_down(&self, server: ServerId) -> Result<(), AgentError> {
        let deployments = self.inside::<Deployment>(server);
        let last = api::get(&deployments, GAME).await?;
        api::delete(&deployments, GAME).await?;
        self.end_pods(server).await?;
        self.until_no_pod(server, last.as_ref().map_or(Duration::ZERO, grace)).await?;
        api::until_gone(&deployments, GAME, self.config.patience.gone).await?;
        self.drop_services(server).await?;
        // Secrets cannot be listed, on purpose, so they go by name.
        for name in [MOVER, INSTALL] {
            api::delete(&self.inside::<Secret>(server), name).await?;
        }
        self.drop_anchors(server).await
    }

    /// Those of the Deployment go with it; an installation's, and any that a hand orphaned, do not.
    async fn end_pods(&self, server: ServerId) -> Result<(), AgentError> {
        let pods = self.inside::<Pod>(server);
        for pod in api::list(&pods, &names::of_server(server)).await? {
            api::delete(&pods, &pod.name_any()).await?;
        }
        Ok(())
    }

    async fn until_no_pod(&self, server: ServerId, grace: Duration) -> Result<(), AgentError> {
        let pods = self.inside::<Pod>(server);
        api::until_none(&pods, &names::of_server(server), grace + self.config.patience.gone).await
    }

    async fn drop_services(&self, server: ServerId) -> Result<(), AgentError> {
        let services = self.inside::<Service>(server);
        for service in api::list(&services, &names::of_server(server)).await? {
            api::delete(&services, &service.name_any()).await?;
        }
        api::until_none(&services, &names::of_server(server), self.config.patience.gone).await
    }

    async fn drop_anchors(&self, server: ServerId) -> Result<(), AgentError> {
        let anchors = self.inside::<ConfigMap>(server);
        for anchor in api::list(&anchors, &names::of_server(server)).await? {
            self.cut(server, &anchor.name_any()).await?;
        }
        api::until_none(&anchors, &names::of_server(server), self.config.patience.gone).await
    }

    /// Removes an anchor.
    pub(super) async fn cut(&self, server: ServerId, anchor: &str) -> Result<(), AgentError> {
        let anchors = self.inside::<ConfigMap>(server);
        api::let_go(&anchors, anchor, FINALIZER).await?;
        api::delete(&anchors, anchor).await
    }

    async fn drop_claims(&self, server: ServerId, selector: &str) -> Result<(), AgentError> {
        let claims = self.inside::<PersistentVolumeClaim>(server);
        for claim in api::list(&claims, selector).await? {
            api::delete(&claims, &claim.name_any()).await?;
            api::let_go(&claims, &claim.name_any(), FILES).await?;
        }
        api::until_none(&claims, selector, self.config.patience.gone).await
    }

    /// Removes the namespace if it is ours and nothing is kept in it. `brought_by`: only if that transfer made it.
    ///
    /// A volume that somebody else put there is a reason to keep it too.
    pub(super) async fn close_space(&self, server: ServerId, brought_by: Option<TransferId>) -> Result<(), AgentError> {
        let space = self.space(server);
        let Some(namespace) = api::get(&self.namespaces(), &space).await? else { return Ok(()) };
        let ours = namespace.labels().get(MANAGED_BY).is_some_and(|who| who == US);
        let brought = brought_by.is_none() || transfer_of::<Namespace>(&namespace) == brought_by;
        if !ours || !brought || !self.is_empty(server).await? {
            return Ok(());
        }
        if namespace.metadata.deletion_timestamp.is_none() {
            api::delete(&self.namespaces(), &space).await?;
        }
        api::until_gone(&self.namespaces(), &space, self.config.patience.gone).await
    }

    async fn is_empty(&self, server: ServerId) -> Result<bool, AgentError> {
        let claims = api::list(&self.inside::<PersistentVolumeClaim>(server), "").await?;
        let deployment = api::get(&self.inside::<Deployment>(server), GAME).await?;
        Ok(claims.is_empty() && deployment.is_none())
    }

    pub(super) async fn do_adopt(
        &self,
        server: ServerId,
        transfer: TransferId,
        epoch: Epoch,
    ) -> Result<(), AgentError> {
        match self.standing(server).await?.holder() {
            Holder::Nobody => Err(not_here(server)),
            Holder::Transfer(other) if other != transfer => Err(AgentError::new(
                ErrorCode::Conflict,
                format!("server {server} was brought by transfer {other}, not by {transfer}"),
            )),
            Holder::Server | Holder::Transfer(_) => {
                self.do_conceal_data(server, transfer).await?;
                self.mark(server, &json!({TRANSFER: null, EPOCH: epoch.0.to_string()})).await
            }
        }
    }

    pub(super) async fn do_set_epoch(&self, server: ServerId, epoch: Epoch) -> Result<(), AgentError> {
        self.mark(server, &json!({EPOCH: epoch.0.to_string()})).await
    }

    /// The volume first: as long as it is a transfer's, that transfer's end may remove it.
    async fn mark(&self, server: ServerId, labels: &Value) -> Result<(), AgentError> {
        let Some(claim) = self.claim(server).await? else { return Err(not_here(server)) };
        api::relabel(&self.inside::<PersistentVolumeClaim>(server), &claim.name_any(), labels).await?;
        api::relabel(&self.inside::<Deployment>(server), GAME, labels).await?;
        api::relabel(&self.inside::<Service>(server), GAME, labels).await?;
        api::relabel(&self.inside::<Secret>(server), MOVER, labels).await?;
        self.mark_pods(server, labels).await?;
        api::relabel(&self.namespaces(), &self.space(server), labels).await.map(drop)
    }

    pub(super) async fn set_epoch_of_pods(&self, server: ServerId, epoch: Epoch) -> Result<(), AgentError> {
        self.mark_pods(server, &json!({EPOCH: epoch.0.to_string()})).await
    }

    /// On the pods themselves: the same in the template would make new ones.
    async fn mark_pods(&self, server: ServerId, labels: &Value) -> Result<(), AgentError> {
        let pods = self.inside::<Pod>(server);
        for pod in api::list(&pods, &names::pods_of(server)).await? {
            api::relabel(&pods, &pod.name_any(), labels).await?;
        }
        Ok(())
    }
}

/// What its own end may take.
fn grace(deployment: &Deployment) -> Duration {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let seconds = pod.and_then(|pod| pod.termination_grace_period_seconds).unwrap_or(30);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

pub(super) fn not_here(server: ServerId) -> AgentError {
    AgentError::new(ErrorCode::NotFound, format!("nothing of server {server} is in this cluster"))
}
