//! How players and other agents get in. Pure.

use model::{ServerId, TransferId};
use serde_json::{Value, json};

use super::{Plan, meta, space_of};
use crate::cluster::objects::config::{ObjectsConfig, Players, ServiceType};
use crate::cluster::objects::names::{self, DATA_PORT, FINALIZER, GAME, HELD_ROLE, ROLE, SERVER, SERVER_ROLE};

/// The players' service; none for a server without an allocation.
///
/// Players are let in whatever the pod says of its readiness: a mover that is restarted is no reason to cut them off. While
/// they are held it has all that it will have, but selects what no pod is.
pub(in crate::cluster::objects) fn players(plan: &Plan<'_>) -> Option<Value> {
    let spec = plan.raise.spec;
    let node_ports = plan.config.service_type == ServiceType::NodePort;
    let mut ports = Vec::new();
    for allocation in &spec.allocations {
        for protocol in ["TCP", "UDP"] {
            let name = format!("{}-{}", protocol.to_lowercase(), allocation.port);
            let number = allocation.port;
            let mut port = json!({"name": name, "port": number, "targetPort": number, "protocol": protocol});
            if node_ports {
                port["nodePort"] = json!(number);
            }
            ports.push(port);
        }
    }
    let metadata = meta(plan, GAME);
    (!ports.is_empty()).then(|| {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "type": if node_ports { "NodePort" } else { "LoadBalancer" },
                "selector": selector(spec.id, if plan.players == Players::Held { HELD_ROLE } else { SERVER_ROLE }),
                "publishNotReadyAddresses": true,
                "ports": ports,
            },
        })
    })
}

/// What the temporary objects of a transfer hang on. Our finalizer keeps it, and so them, until we let go: a hand that
/// tidies up in the middle does not cut a copy.
pub(in crate::cluster::objects) fn anchor(config: &ObjectsConfig, server: ServerId, transfer: TransferId) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names::anchor(transfer),
            "namespace": space_of(config, server),
            "labels": of_transfer(server, transfer),
            "finalizers": [FINALIZER],
        },
    })
}

/// The way to the mover's data port, for as long as the anchor `uid` lives. The cluster chooses the port.
pub(in crate::cluster::objects) fn data(
    config: &ObjectsConfig,
    server: ServerId,
    transfer: TransferId,
    uid: &str,
) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": names::data_service(transfer),
            "namespace": space_of(config, server),
            "labels": of_transfer(server, transfer),
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "ConfigMap", "name": names::anchor(transfer), "uid": uid,
            }],
        },
        "spec": {
            "type": "NodePort",
            "selector": selector(server, SERVER_ROLE),
            "publishNotReadyAddresses": true,
            "ports": [{"name": "data", "port": DATA_PORT, "targetPort": DATA_PORT, "protocol": "TCP"}],
        },
    })
}

fn of_transfer(server: ServerId, transfer: TransferId) -> names::Labels {
    let mut labels = names::labels(server);
    labels.insert(names::TRANSFER.to_owned(), transfer.to_string());
    labels
}

fn selector(server: ServerId, role: &str) -> Value {
    json!({SERVER: server.to_string(), ROLE: role})
}
