//! What follows from what the cluster answered: findings with their cures. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem, Node, ResourceQuota, Service};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use model::ServerSpec;
use model::agent_api::{AgentError, Check, CheckLevel};

use crate::cluster::objects::config::ObjectsConfig;
use crate::cluster::objects::names::{DATA_PORT, GAME, SERVER};
use crate::cluster::objects::node::{Amount, Nodes, need};
use crate::cluster::objects::quantity;

/// Of the usual file systems' inodes, one for each 16 KiB.
const FILES_PER_MB: u64 = 64;

fn finding(code: &str, level: CheckLevel, message: impl Into<String>, remedy: &str) -> Check {
    Check { code: format!("cluster_{code}"), level, message: message.into(), remedy: remedy.to_owned() }
}

fn error(code: &str, message: impl Into<String>, remedy: &str) -> Check {
    finding(code, CheckLevel::Error, message, remedy)
}

fn warning(code: &str, message: impl Into<String>, remedy: &str) -> Check {
    finding(code, CheckLevel::Warning, message, remedy)
}

fn fine(code: &str, message: impl Into<String>) -> Check {
    finding(code, CheckLevel::Info, message, "")
}

pub(super) fn not_seen(part: &str, why: &AgentError) -> Check {
    error(part, format!("could not be looked at: {why}"), "repair that first; `kubectl get nodes` should work there")
}

pub(super) fn nodes(nodes: &Nodes, need: Amount) -> Check {
    match nodes.fitting(need) {
        Some(room) => fine(
            "nodes",
            format!(
                "node {} has room: {} MiB of memory and {}m CPU left",
                room.name, room.free.memory_mb, room.free.cpu_m
            ),
        ),
        None => {
            error("nodes", format!("no node can take its pod: {}", nodes.lack(need)), "lower its limits, or add a node")
        }
    }
}

/// Where a name without a registry comes from, as nodes write it.
const USUAL_REGISTRY: [&str; 2] = ["docker.io/", "docker.io/library/"];

/// Whether it can be pulled shows when it is, which is before anything stops; that it need not be can be seen now. Nodes name
/// their fifty largest images only, hence what they do not name is no error.
pub(super) fn image(nodes: &[Node], image: &str) -> Check {
    let is_it = |name: &String| {
        name == image || USUAL_REGISTRY.iter().any(|registry| name.strip_prefix(registry) == Some(image))
    };
    let names = |node: &Node| {
        let images = node.status.as_ref().and_then(|status| status.images.as_ref()).into_iter().flatten();
        images.filter_map(|image| image.names.as_ref()).flatten().any(is_it)
    };
    match nodes.iter().find(|node| names(node)) {
        Some(node) => fine("image", format!("node {} has the image {image}", node.name_any())),
        None => warning(
            "image",
            format!("no node says that it has the image {image}: it will be pulled before anything stops"),
            "if its registry cannot be reached from the cluster or wants credentials, load it onto the nodes beforehand",
        ),
    }
}

pub(super) fn no_class(why: &AgentError) -> Check {
    error("storage", why.message.clone(), "correct storage.storage_class of the orchestrator")
}

pub(super) fn storage(class: &StorageClass, mode: &str, size_mb: u64, files: u64, installs: bool) -> Vec<Check> {
    let name = class.name_any();
    let binding = class.volume_binding_mode.as_deref().unwrap_or("Immediate");
    let mut found =
        vec![fine("storage", format!("its volume will be {size_mb} MiB of {name}, {mode}, bound {binding}"))];
    if binding == "Immediate" {
        found.push(warning(
            "storage_binding",
            format!("{name} makes volumes before it is known which node will run the pod"),
            "in a cluster with zones, use a class with volumeBindingMode: WaitForFirstConsumer",
        ));
    }
    if class.allow_volume_expansion != Some(true) {
        found.push(fine("storage_growth", format!("{name} cannot grow volumes: this size is for good")));
    }
    if files > size_mb * FILES_PER_MB {
        let message = format!("{files} files may be more than a volume of {size_mb} MiB has inodes for");
        found.push(warning("storage_inodes", message, "raise the server's disk limit"));
    }
    if installs && mode == "ReadWriteOncePod" {
        let message = "its installation runs in a second pod, which ReadWriteOncePod does not let in";
        found.push(error("storage_mode", message, "set storage.access_mode to ReadWriteOnce"));
    }
    found
}

pub(super) fn balanced(spec: &ServerSpec) -> Vec<Check> {
    let mut found = Vec::new();
    for port in spec.allocations.iter().map(|allocation| allocation.port) {
        if port == DATA_PORT {
            let message = format!("port {port} is the mover's in every pod");
            found.push(error("ports", message, "choose another port for the server"));
        } else if port < 1024 {
            let message = format!("port {port} is below 1024, and games in pods are not root");
            found.push(warning("ports", message, "choose a port above 1023 if the game cannot open it"));
        }
    }
    found
}

pub(super) fn node_ports(spec: &ServerSpec, (first, last): (u16, u16), all: &[Service]) -> Vec<Check> {
    let mut found = Vec::new();
    for port in spec.allocations.iter().map(|allocation| allocation.port) {
        if port < first || port > last {
            let message = format!("port {port} is outside of {first} to {last}, the NodePorts of this cluster");
            found.push(error("ports", message, "choose an allocation in that range"));
        } else if let Some(other) = all.iter().find(|service| has(service, port) && !is_its(service, spec)) {
            let who = format!("{}/{}", other.namespace().unwrap_or_default(), other.name_any());
            let message = format!("port {port} is taken by the service {who}");
            let remedy =
                "another port is taken by itself; if this one was asked for, choose another or remove that service";
            found.push(warning("ports", message, remedy));
        }
    }
    if found.is_empty() && !spec.allocations.is_empty() {
        found.push(fine("ports", "its ports are free"));
    }
    found
}

fn has(service: &Service, port: u16) -> bool {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).into_iter().flatten();
    ports.into_iter().any(|p| p.node_port == Some(i32::from(port)))
}

fn is_its(service: &Service, spec: &ServerSpec) -> bool {
    service.name_any() == GAME && service.labels().get(SERVER) == Some(&spec.id.to_string())
}

pub(super) fn rights(missing: &[String]) -> Check {
    if missing.is_empty() {
        return fine("rights", "the orchestrator may do all that it needs to");
    }
    let message = format!("the orchestrator may not {}", missing.join(", "));
    error("rights", message, "apply the orchestrator's manifest again, as the panel shows it")
}

/// The restricted profile is ours; an image that wants more is the egg's.
pub(super) fn pod_security(spec: &ServerSpec) -> Vec<Check> {
    let mut found = vec![fine(
        "pod_security",
        "it will run as a user without rights, on a read-only image, in the restricted profile",
    )];
    if spec.install.is_some() {
        let message = "its installation script will not be root, as it is on a node";
        let remedy = "a script that installs packages fails: use an installer image that has them already";
        found.push(warning("pod_security", message, remedy));
    }
    found
}

pub(super) fn new_namespace() -> Check {
    fine(
        "quota",
        "its namespace will be new: quotas and limit ranges that the cluster gives to new namespaces are seen when it is made",
    )
}

/// What the server's objects add up to, by the names that quotas have for it.
pub(super) struct Wants {
    all: BTreeMap<&'static str, u64>,
    /// Of the game's container.
    game: quantity::Demand,
    volume_mb: u64,
}

impl Wants {
    pub(super) fn of(spec: &ServerSpec, config: &ObjectsConfig, volume_mb: u64) -> Self {
        let game = quantity::demand(spec.limits);
        let need = need(spec.limits, config, true);
        let mut all = BTreeMap::from([
            ("requests.memory", need.memory_mb << 20),
            ("memory", need.memory_mb << 20),
            ("requests.cpu", need.cpu_m),
            ("cpu", need.cpu_m),
            ("requests.storage", volume_mb << 20),
            ("pods", 1),
            ("persistentvolumeclaims", 1),
        ]);
        if let Some(mb) = game.memory_limit_mb {
            all.insert("limits.memory", (mb + config.mover.memory_limit_mb) << 20);
        }
        Self { all, game, volume_mb }
    }
}

pub(super) fn quotas(quotas: &[ResourceQuota], wants: &Wants) -> Vec<Check> {
    quotas.iter().flat_map(|quota| over(quota, wants)).collect()
}

fn over(quota: &ResourceQuota, wants: &Wants) -> Vec<Check> {
    let status = quota.status.as_ref();
    let hard = status.and_then(|status| status.hard.as_ref()).into_iter().flatten();
    let used = |what: &str| status.and_then(|s| s.used.as_ref()).and_then(|used| used.get(what));
    let exceeded = hard.into_iter().filter_map(|(what, hard)| {
        let read = |quantity: &Quantity| {
            if what.contains("cpu") { quantity::cpu_m(&quantity.0) } else { quantity::bytes(&quantity.0) }
        };
        let left = read(hard).saturating_sub(used(what).map_or(0, read));
        let wanted = wants.all.get(what.as_str())?;
        (*wanted > left).then(|| {
            let message = format!("the quota {} leaves {left} of {what}, and {wanted} are needed", quota.name_any());
            error("quota", message, "raise the ResourceQuota, or lower the server's limits")
        })
    });
    exceeded.collect()
}

pub(super) fn ranges(ranges: &[LimitRange], wants: &Wants) -> Vec<Check> {
    let items = ranges.iter().filter_map(|range| range.spec.as_ref()).flat_map(|spec| spec.limits.iter());
    items.filter_map(|item| out_of(item, wants)).collect()
}

fn out_of(item: &LimitRangeItem, wants: &Wants) -> Option<Check> {
    let most = |what: &str| item.max.as_ref().and_then(|max| max.get(what)).map(|quantity| quantity.0.as_str());
    let mut said = None;
    if item.type_ == "Container" {
        let memory = most("memory").map(quantity::mb);
        if memory.zip(wants.game.memory_limit_mb).is_some_and(|(max, limit)| limit > max) {
            said = memory.map(|max| format!("a container may have {max} MiB of memory at most"));
        }
        let cpu = most("cpu").map(quantity::cpu_m);
        if cpu.zip(wants.game.cpu_limit_m).is_some_and(|(max, limit)| limit > max) {
            said = cpu.map(|max| format!("a container may have {max}m CPU at most"));
        }
    }
    if item.type_ == "PersistentVolumeClaim"
        && most("storage").map(quantity::mb).is_some_and(|max| wants.volume_mb > max)
    {
        said = Some(format!("a volume may have {} at most", most("storage").unwrap_or_default()));
    }
    said.map(|message| error("limit_range", message, "change the LimitRange, or lower the server's limits"))
}

#[cfg(test)]
mod tests;
