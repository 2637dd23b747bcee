//! The pod of a server. Pure.
//!
//! ```text
//! init  install-launcher   our image   /pod/bin ← badger; servers/<id>/data on the volume
//!       mover              our image   /volume (all of it), /pod/run, /pod/token
//!       game               any image   /home/container ← servers/<id>/data, /badger/place ← servers/<id> (read only),
//!                                      /badger/bin = /pod/bin (read only), /badger/run = /pod/run, /tmp
//! ```
//!
//! Our image has a file `/badger`, the executable, so nothing can be mounted below that name there.
//!
//! Whatever changes here restarts games at the next raise: what may change while a game runs (epoch, environment, ports)
//! is kept out of it.

use model::agent_api::Owner;
use model::{ServerId, ServerSpec};
use serde_json::{Value, json};

use super::Plan;
use crate::cluster::objects::config::ObjectsConfig;
use crate::cluster::objects::names::{self, GAME, INIT, MOVER, ROLE, SERVER, SERVER_ROLE};
use crate::cluster::objects::quantity::{demand, mi, milli};

/// Beyond the game's own patience: for the launcher to see it end, and for the mover to write down that it did.
const GRACE_MARGIN_S: u32 = 30;
const VOLUME: &str = "/volume";
const POD_BIN: &str = "/pod/bin";
const POD_RUN: &str = "/pod/run";
const TOKEN: &str = "/pod/token";
const BIN: &str = "/badger/bin";
const RUN: &str = "/badger/run";
const PLACE: &str = "/badger/place";
const HOME: &str = "/home/container";
/// As Docker's runtime has it.
const TMP_MB: u64 = 128;

pub(super) fn template(plan: &Plan<'_>) -> Value {
    let spec = plan.raise.spec;
    let mut labels = names::labels(spec.id);
    labels.insert(ROLE.to_owned(), SERVER_ROLE.to_owned());
    let mut containers = vec![mover(plan)];
    if !plan.raise.mover_only {
        containers.push(game(plan));
    }
    json!({
        "metadata": {"labels": labels},
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": spec.stop_patience_s.saturating_add(GRACE_MARGIN_S),
            "securityContext": pod_security(plan.config.owner),
            "affinity": alone(spec.id),
            "initContainers": [install_launcher(plan.config, spec.id)],
            "containers": containers,
            "volumes": volumes(plan),
        },
    })
}

/// A Deployment makes the next pod as soon as the last one is told to end, and a game may take a minute to save. The
/// scheduler holds the next one back until the last is gone: not on the same node, nor on any other, because all
/// nodes are one domain of this key. This is a `StatefulSet`'s promise, with a Deployment.
fn alone(server: ServerId) -> Value {
    json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
        "labelSelector": {"matchLabels": {SERVER: server.to_string(), ROLE: SERVER_ROLE}},
        "topologyKey": "kubernetes.io/os",
    }]}})
}

/// The restricted profile. `OnRootMismatch`: the group is given to a volume once, not to a million files at each start.
pub(super) fn pod_security(owner: Owner) -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": owner.uid,
        "runAsGroup": owner.gid,
        "fsGroup": owner.gid,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// `read_only`: what is written outside the data directory would not move with the server.
pub(super) fn container_security(read_only: bool) -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": read_only,
        "capabilities": {"drop": ["ALL"]},
    })
}

/// Makes the directories too: one that the kubelet has to make for a `subPath` belongs to root.
pub(super) fn install_launcher(config: &ObjectsConfig, server: ServerId) -> Value {
    json!({
        "name": INIT,
        "image": config.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["install-launcher", "--into", POD_BIN, "--volume", VOLUME, "--server", server.to_string()],
        "securityContext": container_security(true),
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}},
        "volumeMounts": [mount("data", VOLUME), mount("bin", POD_BIN)],
    })
}

fn mover(plan: &Plan<'_>) -> Value {
    let (config, server) = (plan.config, plan.raise.spec.id);
    let share = config.mover;
    json!({
        "name": MOVER,
        "image": config.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["mover"],
        "env": environment(&[
            ("BADGER_SERVER_ID", server.to_string()),
            ("BADGER_ORCHESTRATOR", config.hub_address.clone()),
            ("BADGER_ORCHESTRATOR_FINGERPRINT", config.hub_fingerprint.clone()),
            ("BADGER_TOKEN_FILE", format!("{TOKEN}/token")),
            ("BADGER_DATA", VOLUME.to_owned()),
            ("BADGER_LAUNCHER", format!("{POD_RUN}/launcher.sock")),
            ("BADGER_UID", config.owner.uid.to_string()),
            ("BADGER_GID", config.owner.gid.to_string()),
        ]),
        "securityContext": container_security(true),
        "resources": {
            "requests": {"cpu": milli(share.cpu_request_m), "memory": mi(share.memory_request_mb)},
            "limits": {"memory": mi(share.memory_limit_mb)},
        },
        "volumeMounts": [mount("data", VOLUME), mount("run", POD_RUN), read_only("token", TOKEN)],
    })
}

/// The variables of the game itself come with each start, through the launcher: they change without a new pod, and they
/// are not there for everybody to read who may list pods.
fn game(plan: &Plan<'_>) -> Value {
    let spec = plan.raise.spec;
    let place = format!("servers/{}", spec.id);
    let mut data = mount("data", HOME);
    data["subPath"] = json!(format!("{place}/data"));
    let mut beside = read_only("data", PLACE);
    beside["subPath"] = json!(place);
    json!({
        "name": GAME,
        "image": spec.image,
        "imagePullPolicy": "IfNotPresent",
        "command": [
            format!("{BIN}/badger"), "launcher", "--socket", format!("{RUN}/launcher.sock"),
            "--place", PLACE, "--data", HOME, "--run", format!("{RUN}/game"),
        ],
        "workingDir": HOME,
        "env": environment(&[
            ("BADGER_SERVER_ID", spec.id.to_string()),
            ("BADGER_AGENT_ID", plan.welcomed.agent_id.to_string()),
            ("BADGER_PERMIT_KEY", plan.welcomed.permit_key.clone()),
        ]),
        "securityContext": container_security(true),
        "resources": share(spec),
        "volumeMounts": [data, beside, read_only("bin", BIN), mount("run", RUN), mount("tmp", "/tmp")],
    })
}

/// Ephemeral storage is left alone: a limit on it evicts the pod, and a full disk inside it is only an error of the game.
fn share(spec: &ServerSpec) -> Value {
    let demand = demand(spec.limits);
    let mut limits = json!({});
    if let Some(mb) = demand.memory_limit_mb {
        limits["memory"] = json!(mi(mb));
    }
    if let Some(m) = demand.cpu_limit_m {
        limits["cpu"] = json!(milli(m));
    }
    json!({
        "requests": {"cpu": milli(demand.cpu_request_m), "memory": mi(demand.memory_request_mb)},
        "limits": limits,
    })
}

/// `/tmp` is in memory, so that a game that fills it gets an error; a full `emptyDir` on disk gets its pod evicted.
fn volumes(plan: &Plan<'_>) -> Value {
    json!([
        {"name": "data", "persistentVolumeClaim": {"claimName": plan.claim}},
        {"name": "bin", "emptyDir": {}},
        {"name": "run", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": mi(TMP_MB)}},
        {"name": "token", "secret": {"secretName": MOVER, "defaultMode": 0o440}},
    ])
}

pub(super) fn environment(pairs: &[(&str, String)]) -> Value {
    pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

pub(super) fn mount(volume: &str, path: &str) -> Value {
    json!({"name": volume, "mountPath": path})
}

pub(super) fn read_only(volume: &str, path: &str) -> Value {
    json!({"name": volume, "mountPath": path, "readOnly": true})
}
