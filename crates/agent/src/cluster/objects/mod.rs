//! The objects of game servers in a cluster: everything that needs the cluster's API, and nothing else does.
//!
//! It knows namespaces, volumes, pods and services. It does not know permits or files: those are the mover's, inside the
//! pod. Its only caller is the orchestrator's routing. The cluster is the only memory: each call finds out what is there
//! and makes the difference, so a call that was dropped anywhere, by a crash too, is finished by repeating it.

#![allow(
    dead_code,
    unused_imports,
    unused_variables,
    reason = "the routing that calls this is being written beside it"
)]

mod config;
mod names;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use model::agent_api::{AgentError, Check, ClusterFacts, ErrorCode};
use model::{Epoch, Resources, ServerId, ServerSpec, TransferId};

pub(crate) use config::{DataService, KnownServer, ObjectsConfig, Patience, Raise, ServiceType, Share, Welcomed};

/// The cluster's objects.
#[derive(Clone)]
pub(crate) struct Objects {
    client: kube::Client,
    config: Arc<ObjectsConfig>,
}

impl Objects {
    /// Dials nothing yet. `kubeconfig`: none inside a cluster.
    pub(crate) async fn open(kubeconfig: Option<&Path>, config: ObjectsConfig) -> Result<Self, AgentError> {
        Err(unfinished())
    }

    /// Makes of a server what is missing and waits until its mover runs and its game's image is there.
    pub(crate) async fn raise(&self, raise: &Raise<'_>) -> Result<(), AgentError> {
        Err(unfinished())
    }

    /// Runs the egg's installation script in the volume of a server that was raised.
    pub(crate) async fn install(&self, spec: &ServerSpec) -> Result<(), AgentError> {
        Err(unfinished())
    }

    /// No pod any more; answers when it is gone.
    pub(crate) async fn rest(&self, server: ServerId) -> Result<(), AgentError> {
        Err(unfinished())
    }

    /// Removes all but retained volumes; answers when it is gone.
    pub(crate) async fn remove(&self, server: ServerId) -> Result<(), AgentError> {
        Err(unfinished())
    }

    /// Removes what `transfer` brought and nobody adopted; answers when it is gone.
    pub(crate) async fn remove_target(&self, server: ServerId, transfer: TransferId) -> Result<(), AgentError> {
        Err(unfinished())
    }

    /// What `transfer` brought is the server's for good, in `epoch`.
    pub(crate) async fn adopt(&self, server: ServerId, transfer: TransferId, epoch: Epoch) -> Result<(), AgentError> {
        Err(unfinished())
    }

    /// Writes the epoch on what people look at.
    pub(crate) async fn set_epoch(&self, server: ServerId, epoch: Epoch) -> Result<(), AgentError> {
        Err(unfinished())
    }

    /// Takes a server away except its volume, which is kept until `expires_at`.
    pub(crate) async fn retain(
        &self,
        server: ServerId,
        transfer: TransferId,
        expires_at: Timestamp,
        bytes: u64,
    ) -> Result<(), AgentError> {
        Err(unfinished())
    }

    /// Destroys what `transfer` left behind.
    pub(crate) async fn free(&self, transfer: TransferId) -> Result<(), AgentError> {
        Err(unfinished())
    }

    /// Destroys every retained volume whose time is up.
    pub(crate) async fn reap(&self, now: Timestamp) -> Result<(), AgentError> {
        Err(unfinished())
    }

    /// Opens the mover's data port to other agents; `host:port`, or none where the configuration wants none.
    pub(crate) async fn expose_data(
        &self,
        server: ServerId,
        transfer: TransferId,
    ) -> Result<Option<String>, AgentError> {
        Err(unfinished())
    }

    /// Closes it.
    pub(crate) async fn conceal_data(&self, server: ServerId, transfer: TransferId) -> Result<(), AgentError> {
        Err(unfinished())
    }

    /// Where a load balancer lets players in; none where they use NodePorts, or as long as it has not said.
    pub(crate) async fn player_address(&self, server: ServerId) -> Result<Option<String>, AgentError> {
        Err(unfinished())
    }

    /// Could this server be taken in? Changes nothing.
    pub(crate) async fn check(&self, spec: &ServerSpec, bytes: u64, files: u64) -> Vec<Check> {
        Vec::new()
    }

    /// What the cluster is like.
    pub(crate) async fn facts(&self) -> Result<ClusterFacts, AgentError> {
        Err(unfinished())
    }

    /// What its schedulable nodes have, and what of it no pod has asked for.
    pub(crate) async fn resources(&self) -> Result<Resources, AgentError> {
        Err(unfinished())
    }

    /// Every server that is here, with what a person changed by hand.
    pub(crate) async fn list(&self) -> Result<Vec<KnownServer>, AgentError> {
        Err(unfinished())
    }
}

fn unfinished() -> AgentError {
    AgentError::new(ErrorCode::Unsupported, "not there yet")
}
