//! What is applied, read back into the cluster's own types: a field that they do not know would be lost on the way.

#![allow(clippy::unwrap_used)]

use std::fmt::Debug;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Secret, Service};
use model::agent_api::Owner;
use model::{Allocation, AllocationId, Epoch, InstallScript, Limits, NodeId, ServerSpec, TransferId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::cluster::objects::config::{DataService, Patience, ServiceType, Share};
use crate::server::testing;

pub(in crate::cluster::objects) fn config() -> ObjectsConfig {
    let welcomed = Welcomed { agent_id: NodeId::new(), permit_key: "key".to_owned() };
    ObjectsConfig {
        namespace_prefix: "bp-".to_owned(),
        storage_class: None,
        access_mode: "ReadWriteOnce".to_owned(),
        service_type: ServiceType::NodePort,
        node_ports: (30000, 32767),
        external_address: None,
        data_service: DataService::NodePort,
        image: "badger.local/badgerpanel:test".to_owned(),
        hub_address: "10.96.0.7:8444".to_owned(),
        hub_fingerprint: "ab".repeat(32),
        welcome: watch::channel(Some(welcomed)).1,
        mover: Share { cpu_request_m: 50, memory_request_mb: 64, memory_limit_mb: 512 },
        install: Share { cpu_request_m: 100, memory_request_mb: 128, memory_limit_mb: 1024 },
        owner: Owner { uid: 1000, gid: 1000 },
        patience: Patience::default(),
    }
}

fn spec() -> ServerSpec {
    let mut spec = testing::spec();
    spec.image = "badger.local/ledger:test".to_owned();
    spec.limits = Limits { memory_mb: 512, disk_mb: 2048, cpu_percent: 150 };
    spec.allocations = vec![Allocation { id: AllocationId::new(), ip_address: "10.0.0.1".to_owned(), port: 30565 }];
    spec.stop_patience_s = 60;
    spec.environment.insert("RCON_PASSWORD".to_owned(), "hunter2".to_owned());
    spec.startup = "game --rcon hunter2".to_owned();
    spec
}

/// Builds something from a plan for that spec.
fn made(change: impl FnOnce(&mut ObjectsConfig, &mut ServerSpec), build: impl FnOnce(&Plan<'_>) -> Value) -> Value {
    let (mut config, mut spec) = (config(), spec());
    change(&mut config, &mut spec);
    let welcomed = config.welcome.borrow().clone().unwrap();
    let raise = Raise { spec: &spec, epoch: Epoch(7), transfer: None, bytes: 0, mover_only: false, token: "bearer" };
    build(&Plan {
        config: &config,
        welcomed: &welcomed,
        raise: &raise,
        transfer: None,
        claim: "data-1",
        players: Players::Admitted,
    })
}

fn whole(build: impl FnOnce(&Plan<'_>) -> Value) -> Value {
    made(|_, _| {}, build)
}

/// Everything in it is a field of `K`.
fn is_a<K: DeserializeOwned + Serialize + Debug>(value: &Value) {
    let typed: K = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(&serde_json::to_value(&typed).unwrap(), value);
}

#[test]
fn every_object_is_what_the_cluster_takes() {
    let transfer = TransferId::new();
    is_a::<Namespace>(&whole(|plan| namespace(plan, Some(transfer))));
    is_a::<PersistentVolumeClaim>(&whole(|plan| claim(plan, 1024)));
    is_a::<Secret>(&whole(secret));
    is_a::<Deployment>(&whole(deployment));
    is_a::<Service>(&whole(|plan| service::players(plan).unwrap()));
    is_a::<ConfigMap>(&whole(|plan| service::anchor(plan.config, plan.raise.spec.id, transfer)));
    is_a::<Service>(&whole(|plan| service::data(plan.config, plan.raise.spec.id, transfer, "uid")));
    let script =
        InstallScript { container: "i".to_owned(), entrypoint: "sh".to_owned(), script: "true\r\n".to_owned() };
    is_a::<Pod>(&whole(|plan| install::pod(plan.config, plan.raise.spec, &script, "data-1", true)));
    is_a::<Secret>(&whole(|plan| install::secret(plan.config, plan.raise.spec, &script)));
}

#[test]
fn a_pod_has_limits_and_no_rights() {
    let pod = &whole(deployment)["spec"]["template"]["spec"];
    let game = &pod["containers"][1];
    assert_eq!(game["resources"]["limits"], json!({"memory": "512Mi", "cpu": "1500m"}));
    assert_eq!(game["resources"]["requests"], json!({"memory": "512Mi", "cpu": "375m"}));
    assert_eq!(pod["terminationGracePeriodSeconds"], 90);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["fsGroupChangePolicy"], "OnRootMismatch");
    let all = pod["initContainers"].as_array().unwrap().iter().chain(pod["containers"].as_array().unwrap());
    for container in all {
        let may = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(container["securityContext"], may, "{}", container["name"]);
        assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    }
}

#[test]
fn the_game_sees_its_data_and_only_reads_what_lies_beside() {
    let game = whole(deployment)["spec"]["template"]["spec"]["containers"][1].clone();
    let mounts = game["volumeMounts"].as_array().unwrap();
    let of = |path: &str| mounts.iter().find(|mount| mount["mountPath"] == path).unwrap();
    assert!(of("/home/container")["subPath"].as_str().unwrap().ends_with("/data"));
    assert_eq!(of("/badger/place")["readOnly"], true);
    assert_eq!(of("/badger/bin")["readOnly"], true);
    assert!(!mounts.iter().any(|mount| mount["name"] == "token"), "the mover's credential is not the game's");
    assert_eq!(game["command"][0], "/badger/bin/badger");
}

#[test]
fn a_volume_is_held_by_us_and_hangs_on_nothing() {
    let claim = whole(|plan| claim(plan, 1024));
    assert_eq!(claim["metadata"]["finalizers"], json!([names::FILES]));
    assert!(claim["metadata"]["ownerReferences"].is_null(), "{claim}");
}

#[test]
fn passwords_are_in_no_object_that_is_readable() {
    for value in [whole(deployment), whole(|plan| claim(plan, 1024)), whole(|plan| namespace(plan, None))] {
        assert!(!value.to_string().contains("hunter2"), "{value}");
        assert!(!value.to_string().contains("--rcon"), "{value}");
    }
}

#[test]
fn what_may_change_while_a_game_runs_does_not_change_its_pod() {
    let plain = whole(|plan| json!(made_from(plan)));
    let same = |change: fn(&mut ObjectsConfig, &mut ServerSpec)| made(change, |plan| json!(made_from(plan)));
    let fixed = |config: &mut ObjectsConfig, spec: &mut ServerSpec| {
        spec.id = "0197a5b4-0000-7000-8000-000000000001".parse().unwrap();
        config.welcome = watch::channel(Some(Welcomed {
            agent_id: "0197a5b4-0000-7000-8000-000000000002".parse().unwrap(),
            permit_key: "key".to_owned(),
        }))
        .1;
    };
    let fixed_plain = made(fixed, |plan| json!(made_from(plan)));
    let with = |change: fn(&mut ObjectsConfig, &mut ServerSpec)| {
        made(
            |config, spec| {
                fixed(config, spec);
                change(config, spec);
            },
            |plan| json!(made_from(plan)),
        )
    };
    assert_ne!(plain, same(|_, _| {}), "another server has another pod");
    assert_eq!(fixed_plain, with(|config, _| config.image = "badger.local/badgerpanel:next".to_owned()));
    assert_eq!(fixed_plain, with(|_, spec| spec.allocations.clear()));
    assert_eq!(fixed_plain, with(|_, spec| spec.environment.clear()));
    assert_ne!(fixed_plain, with(|_, spec| spec.limits.memory_mb = 1024));
    assert_ne!(fixed_plain, with(|config, _| config.hub_address = "10.96.0.8:8444".to_owned()), "it would not find us");
}

#[test]
fn a_server_that_is_only_read_has_no_game() {
    let (config, spec) = (config(), spec());
    let welcomed = config.welcome.borrow().clone().unwrap();
    let raise = Raise { spec: &spec, epoch: Epoch(1), transfer: None, bytes: 0, mover_only: true, token: "t" };
    let plan = Plan {
        config: &config,
        welcomed: &welcomed,
        raise: &raise,
        transfer: None,
        claim: "data-1",
        players: Players::Admitted,
    };
    assert_eq!(deployment(&plan)["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(), 1);
}

#[test]
fn players_get_in_by_tcp_and_udp_on_the_port_of_the_allocation() {
    let service = whole(|plan| service::players(plan).unwrap());
    let ports = service["spec"]["ports"].as_array().unwrap();
    assert_eq!(ports.len(), 2);
    assert!(ports.iter().all(|port| port["nodePort"] == 30565 && port["targetPort"] == 30565));
    let balanced =
        made(|config, _| config.service_type = ServiceType::LoadBalancer, |plan| service::players(plan).unwrap());
    assert_eq!(balanced["spec"]["type"], "LoadBalancer");
    assert_eq!(balanced["spec"]["ports"][0].get("nodePort"), None);
}

#[test]
fn while_players_are_held_their_service_has_its_ports_and_selects_no_pod() {
    let (open, held) = (whole(|plan| service::players(plan).unwrap()), |plan: &Plan<'_>| {
        service::players(&Plan { players: Players::Held, ..*plan }).unwrap()
    });
    let held = whole(held);
    assert_eq!(held["spec"]["ports"], open["spec"]["ports"]);
    let pod = &whole(deployment)["spec"]["template"]["metadata"]["labels"];
    let selects = |service: &Value| service["spec"]["selector"][ROLE] == pod[ROLE];
    assert!(selects(&open) && !selects(&held));
    let kept = |players| whole(|plan| claim(&Plan { players, ..*plan }, 1024))["metadata"]["labels"].clone();
    assert!(kept(Players::Held)[names::HELD].is_string(), "an orchestrator that comes back knows");
    assert!(kept(Players::Admitted).get(names::HELD).is_none());
}

#[test]
fn a_transfer_is_named_only_while_it_is_one() {
    let transfer = TransferId::new();
    let named = whole(|plan| namespace(plan, Some(transfer)));
    assert_eq!(named["metadata"]["labels"][names::TRANSFER], transfer.to_string());
    let adopted = whole(|plan| namespace(plan, None));
    assert_eq!(adopted["metadata"]["labels"].get(names::TRANSFER), None);
    assert_eq!(adopted["metadata"]["labels"][names::EPOCH], "7");
    let data = whole(|plan| service::data(plan.config, plan.raise.spec.id, transfer, "uid"));
    assert_eq!(data["metadata"]["ownerReferences"][0]["uid"], "uid");
}
