//! Could a server be taken in? Asks the cluster, changes nothing, and says of each obstacle how to get it out of the way.
//!
//! What counts in the end is `prepare_target`, which schedules the real pod before anything stops. This is for the person who
//! looks at targets before: it finds in a second what that would find in minutes.

mod judge;

use k8s_openapi::api::core::v1::{LimitRange, Namespace, Node, ResourceQuota, Service};
use kube::api::Api;
use model::ServerSpec;
use model::agent_api::{AgentError, Check};

use super::config::ServiceType;
use super::node::need;
use super::{Objects, api, quantity};

impl Objects {
    /// Every part says for itself that it could not be looked at.
    pub(super) async fn do_check(&self, spec: &ServerSpec, bytes: u64, files: u64) -> Vec<Check> {
        let (nodes, image, storage, free, rights, quota) = tokio::join!(
            self.check_nodes(spec),
            self.check_image(spec),
            self.check_storage(spec, bytes, files),
            self.check_ports(spec),
            self.check_rights(spec),
            self.check_namespace(spec, bytes),
        );
        let found = [
            ("nodes", nodes),
            ("image", image),
            ("storage", storage),
            ("ports", free),
            ("rights", rights),
            ("quota", quota),
        ];
        let all = found.into_iter().flat_map(|(part, found)| match found {
            Ok(checks) => checks,
            Err(error) => vec![judge::not_seen(part, &error)],
        });
        all.chain(judge::pod_security(spec)).collect()
    }

    async fn check_nodes(&self, spec: &ServerSpec) -> Result<Vec<Check>, AgentError> {
        let need = need(spec.limits, &self.config, true);
        Ok(vec![judge::nodes(&self.nodes().await?, need)])
    }

    async fn check_image(&self, spec: &ServerSpec) -> Result<Vec<Check>, AgentError> {
        let nodes = api::list(&Api::<Node>::all(self.client.clone()), "").await?;
        Ok(vec![judge::image(&nodes, &spec.image)])
    }

    async fn check_storage(&self, spec: &ServerSpec, bytes: u64, files: u64) -> Result<Vec<Check>, AgentError> {
        let class = match self.storage_class().await {
            Ok(class) => class,
            Err(error) if error.code == model::agent_api::ErrorCode::Conflict => {
                return Ok(vec![judge::no_class(&error)]);
            }
            Err(error) => return Err(error),
        };
        let size_mb = quantity::volume_mb(spec.limits, bytes);
        Ok(judge::storage(&class, &self.config.access_mode, size_mb, files, spec.install.is_some()))
    }

    async fn check_ports(&self, spec: &ServerSpec) -> Result<Vec<Check>, AgentError> {
        if self.config.service_type == ServiceType::LoadBalancer {
            return Ok(judge::balanced(spec));
        }
        let all = api::list(&Api::<Service>::all(self.client.clone()), "").await?;
        Ok(judge::node_ports(spec, self.config.node_ports, &all))
    }

    async fn check_rights(&self, spec: &ServerSpec) -> Result<Vec<Check>, AgentError> {
        Ok(vec![judge::rights(&self.missing_rights(&self.space(spec.id)).await?)])
    }

    /// A namespace that does not exist has no quota yet.
    async fn check_namespace(&self, spec: &ServerSpec, bytes: u64) -> Result<Vec<Check>, AgentError> {
        let space: Option<Namespace> = api::get(&self.namespaces(), &self.space(spec.id)).await?;
        if space.is_none() {
            return Ok(vec![judge::new_namespace()]);
        }
        let quotas = api::list(&self.inside::<ResourceQuota>(spec.id), "").await?;
        let ranges = api::list(&self.inside::<LimitRange>(spec.id), "").await?;
        let wants = judge::Wants::of(spec, &self.config, quantity::volume_mb(spec.limits, bytes));
        Ok(judge::quotas(&quotas, &wants).into_iter().chain(judge::ranges(&ranges, &wants)).collect())
    }
}
