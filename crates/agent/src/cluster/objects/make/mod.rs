//! What the objects of a server look like. Pure: from a spec to what is applied; nothing here asks the cluster.
//!
//! They are spelled as the cluster's own JSON, because that is what people compare them with, and because a
//! server-side apply must name exactly the fields that we own and no other. Tests read them back into the typed
//! objects, and the API server validates strictly, so a misspelt field does not survive.

pub(super) mod install;
pub(super) mod pod;
pub(super) mod service;

use std::collections::BTreeMap;

use model::{ServerId, ServerSpec, TransferId};
use serde_json::{Value, json};

use super::config::{ObjectsConfig, Players, Raise, Welcomed};
use super::names::{self, GAME, HELD, MADE_FROM, ROLE, SERVER, SERVER_ROLE, SPEC};

/// A label has to have a value.
pub(super) const HELD_YES: &str = "yes";

/// What everything of one raise is made from.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) config: &'a ObjectsConfig,
    pub(super) welcomed: &'a Welcomed,
    pub(super) raise: &'a Raise<'a>,
    /// The transfer that the objects belong to, which is not always the one that asks.
    pub(super) transfer: Option<TransferId>,
    /// Name of the volume's claim.
    pub(super) claim: &'a str,
    pub(super) players: Players,
}

pub(super) fn space_of(config: &ObjectsConfig, server: ServerId) -> String {
    format!("{}{server}", config.namespace_prefix)
}

/// The restricted profile is enforced on ourselves too: what would break it fails at once and not at a customer's.
pub(super) fn namespace(plan: &Plan<'_>, transfer: Option<TransferId>) -> Value {
    let server = plan.raise.spec.id;
    let mut labels = names::owned(server, plan.raise.epoch, transfer);
    labels.insert("pod-security.kubernetes.io/enforce".to_owned(), "restricted".to_owned());
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": space_of(plan.config, server),
            "labels": labels,
            "annotations": {names::DISPLAY_NAME: plan.raise.spec.name},
        },
    })
}

/// What the mover shows the hub.
pub(super) fn secret(plan: &Plan<'_>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": meta(plan, names::MOVER),
        "type": "Opaque",
        "stringData": {"token": plan.raise.token},
    })
}

/// Applied only where there is none: class and mode of a claim cannot be changed.
pub(super) fn claim(plan: &Plan<'_>, size_mb: u64) -> Value {
    let mut spec = json!({
        "accessModes": [plan.config.access_mode],
        "resources": {"requests": {"storage": super::quantity::mi(size_mb)}},
    });
    if let Some(class) = &plan.config.storage_class {
        spec["storageClassName"] = json!(class);
    }
    let mut metadata = meta(plan, plan.claim);
    metadata["annotations"] = json!({SPEC: remembered(plan.raise.spec)});
    metadata["finalizers"] = json!([names::FILES]);
    if plan.players == Players::Held {
        metadata["labels"][HELD] = json!(HELD_YES);
    }
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
}

/// What a pod depends on. Variables and scripts may hold passwords, and claims can be read by more people than volumes.
pub(super) fn remembered(spec: &ServerSpec) -> String {
    let bare = ServerSpec {
        environment: BTreeMap::new(),
        startup: String::new(),
        done: Vec::new(),
        configs: Vec::new(),
        install: None,
        ..spec.clone()
    };
    serde_json::to_string(&bare).expect("a spec has only keys that are text")
}

pub(super) fn deployment(plan: &Plan<'_>) -> Value {
    let server = plan.raise.spec.id;
    let mut metadata = meta(plan, GAME);
    metadata["annotations"] = annotations(plan);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            // Two pods of one server at once are what must never be. See also the pod's affinity.
            "strategy": {"type": "Recreate"},
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": plan.config.patience.raise.as_secs(),
            "selector": {"matchLabels": {SERVER: server.to_string(), ROLE: SERVER_ROLE}},
            "template": pod::template(plan),
        },
    })
}

pub(super) fn annotations(plan: &Plan<'_>) -> Value {
    let spec = plan.raise.spec;
    json!({
        MADE_FROM: made_from(plan),
        names::SERVED: (!spec.allocations.is_empty()).to_string(),
        names::DISPLAY_NAME: spec.name,
    })
}

/// Fingerprint of what a running pod must agree with. Our own image and the mover's share are left out on purpose: a new
/// release of ours is no reason to restart somebody's game, and takes effect when the pod is next made.
pub(super) fn made_from(plan: &Plan<'_>) -> String {
    let mut config = plan.config.clone();
    config.image = String::new();
    config.mover = super::config::Share { cpu_request_m: 0, memory_request_mb: 0, memory_limit_mb: 0 };
    let template = pod::template(&Plan { config: &config, ..*plan }).to_string();
    let digest = ring::digest::digest(&ring::digest::SHA256, template.as_bytes());
    data_encoding::HEXLOWER.encode(&digest.as_ref()[..8])
}

fn meta(plan: &Plan<'_>, name: &str) -> Value {
    let server = plan.raise.spec.id;
    json!({
        "name": name,
        "namespace": space_of(plan.config, server),
        "labels": names::owned(server, plan.raise.epoch, plan.transfer),
    })
}

#[cfg(test)]
pub(super) mod tests;
