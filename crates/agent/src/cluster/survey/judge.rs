//! What follows from what a cluster answered: one finding each, with its cure. Pure.

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::StorageClass;
use model::agent_api::{Check, CheckLevel};

/// First version with admission policies, which bound what the orchestrator may write.
const OLDEST: (u32, u32) = (1, 30);
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

fn finding(code: &str, level: CheckLevel, message: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { code: code.to_owned(), level, message: message.into(), remedy: remedy.into() }
}

fn fine(code: &str, message: impl Into<String>) -> Check {
    finding(code, CheckLevel::Info, message, "")
}

pub(super) fn unreachable(reason: &str) -> Check {
    let remedy = "see whether `kubectl get nodes` works here, or name another file with --kubeconfig";
    finding("api", CheckLevel::Error, format!("the cluster's API does not answer: {reason}"), remedy)
}

/// A question that this user may not ask.
pub(super) fn unknown(code: &str, reason: &str) -> Check {
    finding(code, CheckLevel::Warning, format!("could not be looked at: {reason}"), "run this as the cluster's admin")
}

pub(super) fn version(major: &str, minor: &str, shown: &str) -> Check {
    // Some distributions write `30+`.
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().ok();
    match (number(major), number(minor)) {
        (Some(a), Some(b)) if (a, b) >= OLDEST => fine("version", format!("Kubernetes {shown}")),
        _ => finding(
            "version",
            CheckLevel::Error,
            format!("Kubernetes {shown} is older than {}.{}", OLDEST.0, OLDEST.1),
            "upgrade the cluster: what the orchestrator may write is bounded by an admission policy, which it lacks",
        ),
    }
}

pub(super) fn rights(missing: &[String]) -> Check {
    if missing.is_empty() {
        return fine("rights", "this user may install the orchestrator");
    }
    let message = format!("this user may not {}, which the installation needs", missing.join(", "));
    finding("rights", CheckLevel::Error, message, "install with the credentials of a cluster admin")
}

/// How many take pods, and under which addresses players will reach them.
pub(super) fn nodes(all: &[Node]) -> Vec<Check> {
    let usable: Vec<&Node> = all.iter().filter(|node| takes_pods(node)).collect();
    if usable.is_empty() {
        let message = format!("none of {} nodes is ready and takes pods", all.len());
        let remedy = "see `kubectl get nodes` and uncordon or repair one";
        return vec![finding("nodes", CheckLevel::Error, message, remedy)];
    }
    let counted = fine("nodes", format!("{} of {} nodes take pods", usable.len(), all.len()));
    vec![counted, addresses(&usable)]
}

fn takes_pods(node: &Node) -> bool {
    let cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    !cordoned && conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn addresses(nodes: &[&Node]) -> Check {
    let of = |kind: &str| {
        let all = nodes.iter().flat_map(|node| node.status.iter()).flat_map(|s| s.addresses.iter().flatten());
        all.filter(|address| address.type_ == kind).map(|address| address.address.clone()).collect::<Vec<_>>()
    };
    let (external, internal) = (of("ExternalIP"), of("InternalIP"));
    if !external.is_empty() {
        return fine("address", format!("players reach the nodes at {}", external.join(", ")));
    }
    finding(
        "address",
        CheckLevel::Warning,
        format!("no node tells an external address; players would be sent to {}", internal.join(", ")),
        "if players cannot reach that, set networking.external_address to what they can reach",
    )
}

pub(super) fn storage(classes: &[StorageClass], wanted: Option<&str>) -> Check {
    let name = |class: &StorageClass| class.metadata.name.clone().unwrap_or_default();
    let is_default = |class: &&StorageClass| {
        class.metadata.annotations.iter().flatten().any(|(key, value)| key == DEFAULT_CLASS && value == "true")
    };
    let found = match wanted {
        Some(wanted) => classes.iter().find(|class| name(class) == wanted),
        None => classes.iter().find(is_default),
    };
    let Some(class) = found else { return no_class(wanted, &classes.iter().map(name).collect::<Vec<_>>()) };
    let message = format!("volumes come from {} ({})", name(class), class.provisioner);
    if class.allow_volume_expansion == Some(true) {
        return fine("storage", message);
    }
    let message = format!("{message}, which cannot grow them");
    let remedy = "a server that outgrows its volume has to move; if the class can, set allowVolumeExpansion: true";
    finding("storage", CheckLevel::Warning, message, remedy)
}

fn no_class(wanted: Option<&str>, there: &[String]) -> Check {
    let message = match wanted {
        Some(wanted) => format!("there is no storage class {wanted}"),
        None => "no storage class is the default".to_owned(),
    };
    let remedy = if there.is_empty() {
        "install a provisioner of volumes, for example your cloud's CSI driver or local-path-provisioner".to_owned()
    } else {
        format!("set storage.storage_class to one of {}", there.join(", "))
    };
    finding("storage", CheckLevel::Error, message, remedy)
}

/// From the refusal of a port outside the range: "… The range of valid ports is 30000-32767".
pub(super) fn ports(refusal: &str, wanted: (u16, u16)) -> Check {
    let Some((first, last)) = valid_range(refusal) else { return unknown("node ports", refusal) };
    if wanted.0 >= first && wanted.1 <= last {
        return any_port(wanted);
    }
    finding(
        "node ports",
        CheckLevel::Error,
        format!("{} to {} is not within the cluster's range, {first} to {last}", wanted.0, wanted.1),
        "set networking.nodeport_range_start and nodeport_range_end to ports of the cluster's range",
    )
}

fn valid_range(refusal: &str) -> Option<(u16, u16)> {
    let text = refusal.split_once("range of valid ports is ")?.1;
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    let (first, last) = text[..end].split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

pub(super) fn any_port((first, last): (u16, u16)) -> Check {
    fine("node ports", format!("{first} to {last} can be given to servers"))
}

pub(super) fn left(service: &str, reason: &str) -> Check {
    let message = format!("the service {service}, made to learn the range of ports, could not be removed: {reason}");
    finding("node ports", CheckLevel::Warning, message, format!("kubectl --namespace default delete service {service}"))
}

pub(super) fn pod_security(answer: Result<(), String>) -> Check {
    match answer {
        Err(reason) if reason.contains("pod-security.kubernetes.io/enforce") => {
            fine("pod security", "the restricted profile is enforced where it is asked for")
        }
        Ok(()) => finding(
            "pod security",
            CheckLevel::Warning,
            "the admission plugin PodSecurity is off",
            "games run without privileges anyway; to have the cluster enforce it, enable the plugin",
        ),
        Err(reason) => unknown("pod security", &reason),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn class(name: &str, more: &Value) -> StorageClass {
        let mut value = json!({"metadata": {"name": name}, "provisioner": "p"});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    fn node(ready: &str, cordoned: bool, addresses: &Value) -> Node {
        serde_json::from_value(json!({
            "spec": {"unschedulable": cordoned},
            "status": {"conditions": [{"type": "Ready", "status": ready}], "addresses": addresses},
        }))
        .unwrap()
    }

    #[test]
    fn a_version_with_a_plus_is_read_and_an_old_one_is_refused() {
        for (minor, level) in
            [("34", CheckLevel::Info), ("30+", CheckLevel::Info), ("29", CheckLevel::Error), ("", CheckLevel::Error)]
        {
            assert_eq!(version("1", minor, "v").level, level, "{minor}");
        }
    }

    #[test]
    fn only_nodes_that_are_ready_and_not_cordoned_count() {
        let none = json!([]);
        assert_eq!(nodes(&[node("False", false, &none), node("True", true, &none)])[0].level, CheckLevel::Error);
        let outside = json!([{"type": "ExternalIP", "address": "192.0.2.1"}]);
        let found = nodes(&[node("True", false, &outside), node("False", false, &none)]);
        assert!(found.iter().all(|check| check.level == CheckLevel::Info), "{found:?}");
        assert!(found[0].message.contains("1 of 2") && found[1].message.contains("192.0.2.1"), "{found:?}");
    }

    #[test]
    fn nodes_without_an_external_address_are_said_with_what_players_would_get() {
        let inside = json!([{"type": "InternalIP", "address": "10.0.0.1"}]);
        let found = nodes(&[node("True", false, &inside)]);
        assert!(found[1].level == CheckLevel::Warning && found[1].message.contains("10.0.0.1"), "{found:?}");
    }

    #[test]
    fn a_storage_class_that_is_not_there_is_an_error_that_names_the_others() {
        let fast = class("fast", &json!({"allowVolumeExpansion": true}));
        let usual = class("usual", &json!({"metadata": {"name": "usual", "annotations": {DEFAULT_CLASS: "true"}}}));
        let classes = [fast, usual];
        assert_eq!(storage(&classes, Some("fast")).level, CheckLevel::Info);
        assert_eq!(storage(&classes, None).level, CheckLevel::Warning, "it cannot grow");
        let missing = storage(&classes, Some("gone"));
        assert!(missing.level == CheckLevel::Error && missing.remedy.contains("fast, usual"), "{missing:?}");
        assert_eq!(storage(&classes[..1], None).level, CheckLevel::Error);
    }

    #[test]
    fn ports_are_compared_with_the_range_that_the_cluster_names() {
        let refusal =
            "Invalid value: 1: provided port is not in the valid range. The range of valid ports is 30000-32767";
        assert_eq!(ports(refusal, (30_000, 32_767)).level, CheckLevel::Info);
        assert_eq!(ports(refusal, (20_000, 32_767)).level, CheckLevel::Error);
        assert_eq!(ports(refusal, (30_000, 40_000)).level, CheckLevel::Error);
        assert_eq!(ports("services is forbidden", (30_000, 32_767)).level, CheckLevel::Warning);
    }

    #[test]
    fn whatever_is_not_in_order_has_a_cure() {
        for check in [
            unreachable("x"),
            unknown("c", "x"),
            version("1", "20", "v1.20"),
            rights(&["create namespaces".to_owned()]),
            storage(&[], None),
            ports("The range of valid ports is 1-2", (3, 4)),
            left("x", "y"),
            pod_security(Ok(())),
        ] {
            assert!(check.level != CheckLevel::Info && !check.remedy.is_empty(), "{check:?}");
        }
    }
}
