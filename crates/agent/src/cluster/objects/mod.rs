//! The objects of game servers in a cluster: everything that needs the cluster's API, and nothing else does.
//!
//! It knows namespaces, volumes, pods and services. It does not know permits or files: those are the mover's, inside the
//! pod. Its only caller is the orchestrator's routing. The cluster is the only memory: each call finds out what is there
//! and makes the difference, so a call that was dropped anywhere, by a crash too, is finished by repeating it. Calls for
//! one server come one after the other; calls for different servers at once.
//!
//! ```text
//! Namespace bp-<server>
//! ├ Deployment game           1 replica (0: asleep), Recreate; its pod is drawn in make::pod
//! ├ Service game              players; leads nowhere while they are held
//! ├ Secret mover              what the mover shows the hub
//! ├ PersistentVolumeClaim data-<suffix>       in use, or retained: …/retained=<transfer>, …/expires
//! ├ Pod install, Secret install               while an installation script runs
//! └ ConfigMap transfer-<id> ◄─owns─ Service data-<id>   while other agents may dial the mover
//! ```
//!
//! # What it needs to be allowed
//!
//! | resource | verbs | for |
//! |---|---|---|
//! | namespaces | get list create patch delete | one for each server |
//! | persistentvolumeclaims | get list create patch delete | its volume; growing, retaining, reaping |
//! | services | get list create patch delete | players; data of a transfer; which NodePorts are taken |
//! | configmaps | get list create patch delete | anchors of transfers |
//! | secrets | create patch delete | the mover's credential, an installation's script; never got, never listed |
//! | pods | get list create patch delete | installation; epoch labels; causes; what nodes have left |
//! | pods/log | get | last lines of a failed installation |
//! | deployments (apps) | get list create patch delete | the server |
//! | events, resourcequotas, limitranges | list | causes, preflight |
//! | nodes | list | addresses; what is left |
//! | storageclasses (storage.k8s.io) | get list | is there one; can it grow |
//! | selfsubjectaccessreviews (authorization.k8s.io) | create | everybody may: asks for the above |
//!
//! No `update`, no `watch`, no `deletecollection`, no subresource but `log`. All are needed in namespaces that do not exist
//! yet, so they are a `ClusterRole`. RBAC cannot bound that to our prefix; the manifest's admission policy does, for writes.
//! What remains: pods, events, services, configmaps and claims of the whole cluster can be read, secrets cannot,
//! except that a `patch` answers with the object, which the admission policy lets happen in our namespaces only.

mod api;
mod attention;
mod cause;
mod check;
mod config;
mod error;
mod expose;
mod facts;
mod install;
mod list;
mod make;
mod names;
mod node;
mod quantity;
mod raise;
mod remove;
mod retain;
mod rights;
mod storage;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource};
use model::agent_api::{AgentError, Check, ClusterFacts, ErrorCode};
use model::{Epoch, Resources, ServerId, ServerSpec, TransferId};

pub(crate) use config::{DataService, KnownServer, ObjectsConfig, Patience, Raise, ServiceType, Share, Welcomed};

/// For one answer of the API server. Nothing here streams.
const ANSWER: Duration = Duration::from_secs(20);

/// The cluster's objects.
#[derive(Clone)]
pub(crate) struct Objects {
    client: Client,
    config: Arc<ObjectsConfig>,
}

impl Objects {
    /// Dials nothing yet. `kubeconfig`: none inside a cluster.
    pub(crate) async fn open(kubeconfig: Option<&Path>, config: ObjectsConfig) -> Result<Self, AgentError> {
        let unusable =
            |why: String| AgentError::new(ErrorCode::Conflict, format!("cannot use the cluster's API: {why}"));
        let mut how = match kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| unusable(error.to_string()))?;
                let read = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
                read.map_err(|error| unusable(error.to_string()))?
            }
            None => Config::incluster().map_err(|error| unusable(error.to_string()))?,
        };
        (how.connect_timeout, how.read_timeout, how.write_timeout) = (Some(ANSWER), Some(ANSWER), Some(ANSWER));
        let client = Client::try_from(how).map_err(|error| unusable(error.to_string()))?;
        Ok(Self { client, config: Arc::new(config) })
    }

    /// Makes of a server what is missing and waits until its mover runs and its game's image is there.
    pub(crate) async fn raise(&self, raise: &Raise<'_>) -> Result<(), AgentError> {
        self.do_raise(raise).await
    }

    /// Gives a server that is here the ports and the volume of this spec, and remembers it for the next raise. Its pod stays.
    pub(crate) async fn configure(&self, raise: &Raise<'_>) -> Result<(), AgentError> {
        self.do_configure(raise).await
    }

    /// The spec with which it was last raised, as far as a pod depends on it: without environment, startup line and script,
    /// which are on the volume and nobody's business here. None if nothing of it is here.
    pub(crate) async fn recall(&self, server: ServerId) -> Result<Option<ServerSpec>, AgentError> {
        self.do_recall(server).await
    }

    /// Runs the egg's installation script in the volume of a server that was raised.
    pub(crate) async fn install(&self, spec: &ServerSpec) -> Result<(), AgentError> {
        self.do_install(spec).await
    }

    /// No pod any more; answers when it is gone.
    pub(crate) async fn rest(&self, server: ServerId) -> Result<(), AgentError> {
        self.do_rest(server).await
    }

    /// Removes all but retained volumes; answers when it is gone.
    pub(crate) async fn remove(&self, server: ServerId) -> Result<(), AgentError> {
        self.do_remove(server).await
    }

    /// Removes what `transfer` brought and nobody adopted; answers when it is gone.
    pub(crate) async fn remove_target(&self, server: ServerId, transfer: TransferId) -> Result<(), AgentError> {
        self.do_remove_target(server, transfer).await
    }

    /// What `transfer` brought is the server's for good, in `epoch`.
    pub(crate) async fn adopt(&self, server: ServerId, transfer: TransferId, epoch: Epoch) -> Result<(), AgentError> {
        self.do_adopt(server, transfer, epoch).await
    }

    /// Writes the epoch on what people look at.
    pub(crate) async fn set_epoch(&self, server: ServerId, epoch: Epoch) -> Result<(), AgentError> {
        self.do_set_epoch(server, epoch).await
    }

    /// Takes a server away except its volume, which is kept until `expires_at`.
    pub(crate) async fn retain(
        &self,
        server: ServerId,
        transfer: TransferId,
        expires_at: Timestamp,
        bytes: u64,
    ) -> Result<(), AgentError> {
        self.do_retain(server, transfer, expires_at, bytes).await
    }

    /// How many bytes `transfer` retained; none if it did not, or not yet.
    pub(crate) async fn retained(&self, server: ServerId, transfer: TransferId) -> Result<Option<u64>, AgentError> {
        self.do_retained(server, transfer).await
    }

    /// Destroys what `transfer` left behind.
    pub(crate) async fn free(&self, transfer: TransferId) -> Result<(), AgentError> {
        self.do_free(transfer).await
    }

    /// Destroys every retained volume whose time is up.
    pub(crate) async fn reap(&self, now: Timestamp) -> Result<(), AgentError> {
        self.do_reap(now).await
    }

    /// Opens the mover's data port to other agents; `host:port`, or none where the configuration wants none.
    pub(crate) async fn expose_data(
        &self,
        server: ServerId,
        transfer: TransferId,
    ) -> Result<Option<String>, AgentError> {
        self.do_expose_data(server, transfer).await
    }

    /// Closes it.
    pub(crate) async fn conceal_data(&self, server: ServerId, transfer: TransferId) -> Result<(), AgentError> {
        self.do_conceal_data(server, transfer).await
    }

    /// Lets players in who were held: from a raise for a transfer on until this its Service leads nowhere.
    pub(crate) async fn admit(&self, raise: &Raise<'_>) -> Result<(), AgentError> {
        self.do_admit(raise).await
    }

    /// Where a load balancer lets players in; none where they use NodePorts, or as long as it has not said.
    pub(crate) async fn player_address(&self, server: ServerId) -> Result<Option<String>, AgentError> {
        self.do_player_address(server).await
    }

    /// Could this server be taken in? Changes nothing.
    pub(crate) async fn check(&self, spec: &ServerSpec, bytes: u64, files: u64) -> Vec<Check> {
        self.do_check(spec, bytes, files).await
    }

    /// What the cluster is like.
    pub(crate) async fn facts(&self) -> Result<ClusterFacts, AgentError> {
        self.do_facts().await
    }

    /// What its schedulable nodes have, and what of it no pod has asked for.
    pub(crate) async fn resources(&self) -> Result<Resources, AgentError> {
        self.do_resources().await
    }

    /// Every server that is here, with what a person changed by hand.
    pub(crate) async fn list(&self) -> Result<Vec<KnownServer>, AgentError> {
        self.do_list().await
    }

    /// The namespace of a server.
    fn space(&self, server: ServerId) -> String {
        make::space_of(&self.config, server)
    }

    fn inside<K: api::Thing + Resource<Scope = NamespaceResourceScope>>(&self, server: ServerId) -> Api<K> {
        api::inside(&self.client, &self.space(server))
    }
}
