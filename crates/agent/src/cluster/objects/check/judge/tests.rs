#![allow(clippy::unwrap_used)]

use model::{Allocation, AllocationId, Limits};
use serde_json::{Value, json};

use super::*;
use crate::cluster::objects::make::tests::config;
use crate::server::testing;

fn spec() -> ServerSpec {
    let mut spec = testing::spec();
    spec.limits = Limits { memory_mb: 512, disk_mb: 1024, cpu_percent: 200 };
    spec.allocations = vec![Allocation { id: AllocationId::new(), ip_address: String::new(), port: 30565 }];
    spec
}

fn errors(checks: &[Check]) -> Vec<&str> {
    checks.iter().filter(|check| check.level == CheckLevel::Error).map(|check| check.message.as_str()).collect()
}

fn service(name: &str, labels: &Value) -> Service {
    let meta = json!({"name": name, "namespace": "shop", "labels": labels});
    serde_json::from_value(json!({"metadata": meta, "spec": {"ports": [{"port": 80, "nodePort": 30565}]}})).unwrap()
}

#[test]
fn a_port_that_another_service_has_is_named_with_it() {
    let spec = spec();
    let taken = node_ports(&spec, (30000, 32767), &[service("web", &json!({}))]);
    assert_eq!(errors(&taken), Vec::<&str>::new(), "there are others");
    assert_eq!(taken[0].level, CheckLevel::Warning);
    assert_eq!(taken[0].message, "port 30565 is taken by the service shop/web");
    let own = service(GAME, &json!({SERVER: spec.id.to_string()}));
    assert_eq!(errors(&node_ports(&spec, (30000, 32767), &[own])), Vec::<&str>::new());
    assert_eq!(errors(&node_ports(&spec, (31000, 32767), &[])).len(), 1, "outside of the range");
}

#[test]
fn what_a_quota_leaves_is_compared_with_what_is_needed() {
    let quota: ResourceQuota = serde_json::from_value(json!({
        "metadata": {"name": "small"},
        "status": {
            "hard": {"requests.memory": "1Gi", "limits.memory": "8Gi", "requests.cpu": "1", "pods": "1"},
            "used": {"requests.memory": "512Mi", "requests.cpu": "100m", "pods": "0"},
        },
    }))
    .unwrap();
    let wants = Wants::of(&spec(), &config(), 1024);
    let found = quotas(&[quota], &wants);
    assert_eq!(errors(&found).len(), 1, "{found:?}");
    assert!(found[0].message.contains("requests.memory"), "{found:?}");
}

#[test]
fn a_limit_range_is_compared_with_the_largest_container_and_the_volume() {
    let range: LimitRange = serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": {"limits": [
        {"type": "Container", "max": {"memory": "256Mi"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "512Mi"}},
        {"type": "Container", "max": {"memory": "1Gi", "cpu": "4"}},
    ]}}))
    .unwrap();
    let found = ranges(&[range], &Wants::of(&spec(), &config(), 1024));
    assert_eq!(errors(&found), ["a container may have 256 MiB of memory at most", "a volume may have 512Mi at most"]);
}

#[test]
fn a_class_says_how_it_binds_and_whether_it_grows() {
    let class: StorageClass = serde_json::from_value(json!({
        "metadata": {"name": "fast"}, "provisioner": "x", "volumeBindingMode": "WaitForFirstConsumer",
    }))
    .unwrap();
    let found = storage(&class, "ReadWriteOnce", 1024, 10, false);
    assert!(found.iter().all(|check| check.level == CheckLevel::Info), "{found:?}");
    let full = storage(&class, "ReadWriteOnce", 1024, 1_000_000, false);
    assert!(full.iter().any(|check| check.code == "cluster_storage_inodes"));
    assert_eq!(errors(&storage(&class, "ReadWriteOncePod", 1024, 10, true)).len(), 1);
}

#[test]
fn every_finding_that_forbids_or_warns_says_what_to_do() {
    let lacking = rights(&["create services".to_owned()]);
    let nowhere = nodes(&Nodes(Vec::new()), Amount { cpu_m: 1, memory_mb: 1 });
    let unseen = not_seen("nodes", &AgentError::new(model::agent_api::ErrorCode::Unreachable, "away"));
    for check in [lacking, nowhere, unseen] {
        assert_eq!(check.level, CheckLevel::Error);
        assert!(!check.remedy.is_empty(), "{check:?}");
    }
}

#[test]
fn an_image_that_a_node_has_is_known_by_its_short_name_too() {
    let status = json!({"images": [{"names": ["docker.io/library/nginx:1.25", "badger.local/ledger:test"]}]});
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "a"}, "status": status})).unwrap();
    for known in ["nginx:1.25", "library/nginx:1.25", "docker.io/library/nginx:1.25", "badger.local/ledger:test"] {
        assert_eq!(image(std::slice::from_ref(&node), known).level, CheckLevel::Info, "{known}");
    }
    for unknown in ["nginx:1.26", "ginx:1.25", "example.org/ledger:test"] {
        let found = image(std::slice::from_ref(&node), unknown);
        assert!(found.level == CheckLevel::Warning && !found.remedy.is_empty(), "{found:?}");
        assert!(found.message.contains(unknown), "{found:?}");
    }
}
