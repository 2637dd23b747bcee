//! The one-shot pod of an installation script. Pure.
//!
//! It runs as the user that everything in a volume belongs to, under the restricted profile. Scripts that install
//! packages of a distribution need root and fail; the preflight says so before.

use model::{InstallScript, ServerSpec};
use serde_json::{Value, json};

use super::{pod, space_of};
use crate::cluster::objects::config::ObjectsConfig;
use crate::cluster::objects::names::{self, INSTALL, ROLE, SERVER};
use crate::cluster::objects::quantity::{mi, milli};
use crate::runtime::inside::environment;

const SERVER_DIR: &str = "/mnt/server";
const SCRIPT_DIR: &str = "/mnt/install";
const SCRIPT: &str = "install.sh";

/// Script and variables. A secret, because eggs keep passwords among their variables.
pub(in crate::cluster::objects) fn secret(config: &ObjectsConfig, spec: &ServerSpec, script: &InstallScript) -> Value {
    let mut data = environment(spec, SERVER_DIR);
    data.insert(SCRIPT.to_owned(), script.script.replace("\r\n", "\n"));
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": INSTALL, "namespace": space_of(config, spec.id), "labels": names::labels(spec.id),
        },
        "type": "Opaque",
        "stringData": data,
    })
}

/// `beside`: a pod of the server runs, and a volume that one node at a time may attach is on its node.
pub(in crate::cluster::objects) fn pod(
    config: &ObjectsConfig,
    spec: &ServerSpec,
    script: &InstallScript,
    claim: &str,
    beside: bool,
) -> Value {
    let mut labels = names::labels(spec.id);
    labels.insert(ROLE.to_owned(), INSTALL.to_owned());
    let mut body = json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 5,
        "activeDeadlineSeconds": config.patience.install.as_secs(),
        "securityContext": pod::pod_security(config.owner),
        "initContainers": [pod::install_launcher(config, spec.id)],
        "containers": [container(config, spec, script)],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": claim}},
            {"name": "bin", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "script", "secret": {"secretName": INSTALL, "items": [{"key": SCRIPT, "path": SCRIPT}]}},
        ],
    });
    if beside {
        body["affinity"] = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
            "labelSelector": {"matchLabels": {SERVER: spec.id.to_string(), ROLE: names::SERVER_ROLE}},
            "topologyKey": "kubernetes.io/hostname",
        }]}});
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": INSTALL, "namespace": space_of(config, spec.id), "labels": labels},
        "spec": body,
    })
}

fn container(config: &ObjectsConfig, spec: &ServerSpec, script: &InstallScript) -> Value {
    let share = config.install;
    let mut data = pod::mount("data", SERVER_DIR);
    data["subPath"] = json!(format!("servers/{}/data", spec.id));
    let from = |name: &String| json!({"secretKeyRef": {"name": INSTALL, "key": name}});
    let variables: Vec<Value> =
        environment(spec, SERVER_DIR).keys().map(|name| json!({"name": name, "valueFrom": from(name)})).collect();
    json!({
        "name": INSTALL,
        "image": script.container,
        "imagePullPolicy": "IfNotPresent",
        "command": [script.entrypoint, format!("{SCRIPT_DIR}/{SCRIPT}")],
        "workingDir": SERVER_DIR,
        "env": variables,
        "securityContext": pod::container_security(false),
        "resources": {
            "requests": {"cpu": milli(share.cpu_request_m), "memory": mi(share.memory_request_mb)},
            "limits": {"memory": mi(share.memory_limit_mb)},
        },
        "volumeMounts": [data, pod::read_only("script", SCRIPT_DIR), pod::mount("tmp", "/tmp")],
    })
}
