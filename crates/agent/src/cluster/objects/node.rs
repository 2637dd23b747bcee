//! What nodes have left, as the scheduler counts: allocatable less what pods ask for, not what they use. Pure but for the
//! two lists at the top.

use k8s_openapi::api::core::v1::{Container, Node, Pod, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use kube::api::Api;
use model::agent_api::AgentError;
use std::collections::BTreeMap;

use super::config::{ObjectsConfig, Raise};
use super::{Objects, api, quantity};

/// Of one node or of one pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) cpu_m: u64,
    pub(super) memory_mb: u64,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) name: String,
    pub(super) total: Amount,
    pub(super) free: Amount,
    /// How many pods more it takes.
    pub(super) pods: u64,
    /// Why it takes none.
    pub(super) closed: Option<String>,
}

/// All nodes.
#[derive(Clone, Debug)]
pub(super) struct Nodes(pub(super) Vec<Room>);

impl Objects {
    pub(super) async fn nodes(&self) -> Result<Nodes, AgentError> {
        let nodes = api::list(&Api::<Node>::all(self.client.clone()), "").await?;
        let pods = api::list(&Api::<Pod>::all(self.client.clone()), "").await?;
        Ok(Nodes::count(&nodes, &pods))
    }
}

impl Nodes {
    pub(super) fn count(nodes: &[Node], pods: &[Pod]) -> Self {
        Self(nodes.iter().map(|node| room(node, pods)).collect())
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Room> {
        self.0.iter().filter(|room| room.closed.is_none())
    }

    /// A node that takes it.
    pub(super) fn fitting(&self, need: Amount) -> Option<&Room> {
        self.open().find(|room| room.pods > 0 && room.free.cpu_m >= need.cpu_m && room.free.memory_mb >= need.memory_mb)
    }

    /// What was asked for and what is there, for people.
    pub(super) fn shortage(&self, raise: &Raise<'_>, config: &ObjectsConfig) -> String {
        self.lack(need(raise.spec.limits, config, !raise.mover_only))
    }

    pub(super) fn lack(&self, need: Amount) -> String {
        let rooms: Vec<String> = self.0.iter().take(8).map(told).collect();
        let more = if self.0.len() > 8 { format!(", and {} nodes more", self.0.len() - 8) } else { String::new() };
        format!(
            "it asks for {} MiB of memory and {}m CPU; {}{more}; lower the server's limits, free a node, or add one",
            need.memory_mb,
            need.cpu_m,
            if rooms.is_empty() { "there is no node".to_owned() } else { rooms.join(", ") },
        )
    }
}

fn told(room: &Room) -> String {
    let Room { name, free, total, closed, .. } = room;
    match closed {
        Some(why) => format!("node {name} {why}"),
        None => format!(
            "node {name} has {} of {} MiB and {}m of {}m left",
            free.memory_mb, total.memory_mb, free.cpu_m, total.cpu_m
        ),
    }
}

/// What the scheduler will look for.
pub(super) fn need(limits: model::Limits, config: &ObjectsConfig, game: bool) -> Amount {
    let demand = quantity::demand(limits);
    let game = if game {
        Amount { cpu_m: demand.cpu_request_m, memory_mb: demand.memory_request_mb }
    } else {
        Amount::default()
    };
    Amount {
        cpu_m: config.mover.cpu_request_m + game.cpu_m,
        memory_mb: config.mover.memory_request_mb + game.memory_mb,
    }
}

fn room(node: &Node, pods: &[Pod]) -> Room {
    let name = node.name_any();
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let total = allocatable.map(amount).unwrap_or_default();
    let (mut free, mut count) = (total, 0);
    for pod in pods.iter().filter(|pod| is_on(pod, &name)) {
        let asked = asked(pod);
        free.cpu_m = free.cpu_m.saturating_sub(asked.cpu_m);
        free.memory_mb = free.memory_mb.saturating_sub(asked.memory_mb);
        count += 1;
    }
    let slots = allocatable.and_then(|all| all.get("pods")).map_or(u64::MAX, |pods| quantity::bytes(&pods.0));
    Room { name, total, free, pods: slots.saturating_sub(count), closed: closed(node) }
}

fn is_on(pod: &Pod, node: &str) -> bool {
    let there = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node);
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    there && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// Containers together, or the largest that prepares them: what the scheduler sets aside.
fn asked(pod: &Pod) -> Amount {
    let Some(spec) = &pod.spec else { return Amount::default() };
    let init = spec.init_containers.iter().flatten();
    let (sidecars, preparing): (Vec<&Container>, Vec<&Container>) =
        init.partition(|container| container.restart_policy.as_deref() == Some("Always"));
    let steady = sum(spec.containers.iter().chain(sidecars));
    let most = preparing.into_iter().map(of_container).fold(Amount::default(), larger);
    let over = spec.overhead.as_ref().map(amount).unwrap_or_default();
    let asked = larger(steady, most);
    Amount { cpu_m: asked.cpu_m + over.cpu_m, memory_mb: asked.memory_mb + over.memory_mb }
}

fn sum<'a>(containers: impl Iterator<Item = &'a Container>) -> Amount {
    containers
        .map(of_container)
        .fold(Amount::default(), |a, b| Amount { cpu_m: a.cpu_m + b.cpu_m, memory_mb: a.memory_mb + b.memory_mb })
}

fn larger(a: Amount, b: Amount) -> Amount {
    Amount { cpu_m: a.cpu_m.max(b.cpu_m), memory_mb: a.memory_mb.max(b.memory_mb) }
}

fn of_container(container: &Container) -> Amount {
    container.resources.as_ref().and_then(|resources| resources.requests.as_ref()).map(amount).unwrap_or_default()
}

fn amount(all: &BTreeMap<String, Quantity>) -> Amount {
    let of = |name: &str| all.get(name).map_or("", |quantity| quantity.0.as_str());
    Amount { cpu_m: quantity::cpu_m(of("cpu")), memory_mb: quantity::mb(of("memory")) }
}

fn closed(node: &Node) -> Option<String> {
    let spec = node.spec.as_ref();
    if spec.and_then(|spec| spec.unschedulable) == Some(true) {
        return Some("is cordoned".to_owned());
    }
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    if !ready {
        return Some("is not ready".to_owned());
    }
    let taints = spec.and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    taints.into_iter().find(|taint| repels(taint)).map(|taint| format!("has the taint {}", taint.key))
}

fn repels(taint: &Taint) -> bool {
    matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, spec: &Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec, "status": {
            "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "3"},
            "conditions": [{"type": "Ready", "status": "True"}],
        }}))
        .unwrap()
    }

    fn pod(node: &str, phase: &str, memory: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": {"phase": phase}, "spec": {
            "nodeName": node,
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "1500m"}}}],
            "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "100m", "memory": memory}}},
                {"name": "b", "resources": {"requests": {"cpu": "0.1"}}},
            ],
        }}))
        .unwrap()
    }

    #[test]
    fn requests_are_counted_as_the_scheduler_does() {
        let pods = [pod("a", "Running", "1Gi"), pod("a", "Succeeded", "1Gi"), pod("b", "Running", "1Gi")];
        let nodes = Nodes::count(&[node("a", &json!({}))], &pods);
        assert_eq!(nodes.0[0].free, Amount { cpu_m: 500, memory_mb: 3072 });
        assert_eq!(nodes.0[0].pods, 2);
        assert!(nodes.fitting(Amount { cpu_m: 500, memory_mb: 3072 }).is_some());
        assert!(nodes.fitting(Amount { cpu_m: 100, memory_mb: 3073 }).is_none());
        let lack = nodes.lack(Amount { cpu_m: 100, memory_mb: 9999 });
        assert!(lack.contains("9999 MiB") && lack.contains("node a has 3072 of 4096 MiB"), "{lack}");
    }

    #[test]
    fn a_node_that_takes_no_pods_is_no_room() {
        let cordoned = node("a", &json!({"unschedulable": true}));
        let tainted = node("b", &json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]}));
        let nodes = Nodes::count(&[cordoned, tainted], &[]);
        assert!(nodes.fitting(Amount::default()).is_none());
        let lack = nodes.lack(Amount::default());
        assert!(lack.contains("node a is cordoned") && lack.contains("node b has the taint gpu"), "{lack}");
    }
}
