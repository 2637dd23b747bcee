//! What a server that runs is made of, and how it is reached.

use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams};
use model::InstallScript;
use model::agent_api::CheckLevel;
use serde_json::json;

use super::*;

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_are_raised_again_without_a_new_pod() {
    let mut stage = Stage::new().await;
    stage.raise(None).await.unwrap();
    let pod = stage.pod().await;
    let containers = pod.spec.as_ref().unwrap().containers.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
    assert_eq!(containers, ["mover", "game"]);
    assert_eq!(pod.labels()[names::EPOCH], "3", "shown to people, and not a part of the template");

    stage.spec.environment.insert("MOTD".to_owned(), "hello".to_owned());
    stage.spec.allocations[0].port = NEXT_PORT.fetch_add(1, Ordering::SeqCst);
    stage.objects.raise(&Raise { epoch: Epoch(4), ..stage.asked(None) }).await.unwrap();
    let again = stage.pod().await;
    assert_eq!(again.uid(), pod.uid(), "neither epoch nor port nor environment is a reason to restart a game");
    assert_eq!(again.labels()[names::EPOCH], "4");
    let service: Service = api::get(&stage.api(), names::GAME).await.unwrap().unwrap();
    let ports = service.spec.unwrap().ports.unwrap();
    assert_eq!(ports.len(), 2, "the old ports are gone");
    assert!(ports.iter().all(|port| port.node_port == Some(i32::from(stage.spec.allocations[0].port))));

    let known = stage.known().await.unwrap();
    assert_eq!((known.epoch, known.asleep, known.transfer), (Epoch(4), false, None));
    assert_eq!(known.attention, Vec::<String>::new());
    let recalled = stage.objects.recall(stage.server()).await.unwrap().unwrap();
    assert_eq!((recalled.image, recalled.limits), (stage.spec.image.clone(), stage.spec.limits));
    assert!(recalled.environment.is_empty(), "claims can be read by people who may not read volumes");
    stage.leave_nothing().await;
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_rest_and_wake_with_their_volume() {
    let stage = Stage::new().await;
    stage.raise(None).await.unwrap();
    let claim = stage.objects.claim(stage.server()).await.unwrap().unwrap().uid();
    stage.objects.rest(stage.server()).await.unwrap();
    assert!(stage.known().await.unwrap().asleep);
    assert!(api::list(&stage.api::<Pod>(), "").await.unwrap().is_empty());

    stage.objects.raise(&Raise { mover_only: true, ..stage.asked(None) }).await.unwrap();
    assert_eq!(stage.pod().await.spec.unwrap().containers.len(), 1, "only read");
    stage.raise(None).await.unwrap();
    assert_eq!(stage.pod().await.spec.unwrap().containers.len(), 2, "and then played");
    let both = stage.pod().await.uid();
    stage.objects.raise(&Raise { mover_only: true, ..stage.asked(None) }).await.unwrap();
    assert_eq!(stage.pod().await.uid(), both, "a game is not taken down to read its files");
    assert_eq!(stage.objects.claim(stage.server()).await.unwrap().unwrap().uid(), claim);
    stage.leave_nothing().await;
}

/// To whom the players' Service leads: addresses of pods.
async fn led_to(stage: &Stage) -> Vec<String> {
    let slices = stage.api::<EndpointSlice>();
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={}", names::GAME));
    let all = slices.list(&of_service).await.unwrap();
    all.items.into_iter().flat_map(|slice| slice.endpoints).flat_map(|endpoint| endpoint.addresses).collect()
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_let_nobody_in_before_they_are_told_to() {
    let stage = Stage::new().await;
    let transfer = TransferId::new();
    stage.raise(Some(transfer)).await.unwrap();
    let service: Service = api::get(&stage.api(), names::GAME).await.unwrap().unwrap();
    let port = service.spec.unwrap().ports.unwrap()[0].node_port;
    assert_eq!(port, Some(i32::from(stage.spec.allocations[0].port)), "the port is taken already");
    // The controller of endpoints has seen the Service: a slice is there, and nothing in it.
    let slices = stage.api::<EndpointSlice>();
    until("the slice of the Service", || async {
        !slices.list(&ListParams::default()).await.unwrap().items.is_empty()
    })
    .await;
    stage.objects.adopt(stage.server(), transfer, Epoch(4)).await.unwrap();
    stage.raise(None).await.unwrap();
    assert_eq!(led_to(&stage).await, Vec::<String>::new(), "neither its start nor another raise opens it");

    let recalled = stage.objects.recall(stage.server()).await.unwrap().unwrap();
    let raise = Raise { spec: &recalled, ..stage.asked(None) };
    stage.objects.admit(&raise).await.unwrap();
    stage.objects.admit(&raise).await.unwrap();
    until("the way to its pod", || async { led_to(&stage).await.len() == 1 }).await;
    stage.objects.rest(stage.server()).await.unwrap();
    stage.raise(None).await.unwrap();
    until("the way to its next pod", || async { led_to(&stage).await.len() == 1 }).await;
    let claim = stage.objects.claim(stage.server()).await.unwrap().unwrap();
    assert!(!claim.labels().contains_key(names::HELD));
    stage.leave_nothing().await;
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_open_a_way_for_data_that_hangs_on_its_anchor() {
    let stage = Stage::new().await;
    let transfer = TransferId::new();
    stage.raise(Some(transfer)).await.unwrap();
    let address = stage.objects.expose_data(stage.server(), transfer).await.unwrap().unwrap();
    assert_eq!(stage.objects.expose_data(stage.server(), transfer).await.unwrap().unwrap(), address, "a repeat");
    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
    assert!((30000..=32767).contains(&port), "{address}");
    let anchors = stage.api::<ConfigMap>();
    let anchor = api::get(&anchors, &names::anchor(transfer)).await.unwrap().unwrap();
    assert_eq!(anchor.finalizers(), [names::FINALIZER]);
    let data: Service = api::get(&stage.api(), &names::data_service(transfer)).await.unwrap().unwrap();
    assert_eq!(data.owner_references()[0].uid, anchor.uid().unwrap());

    stage.kubectl(&["delete", "configmap", &names::anchor(transfer), "--wait=false"]);
    let held = api::get(&anchors, &names::anchor(transfer)).await.unwrap();
    assert!(held.is_some(), "a hand that tidies up does not cut a copy");
    stage.objects.conceal_data(stage.server(), transfer).await.unwrap();
    stage.objects.conceal_data(stage.server(), transfer).await.unwrap();
    assert!(api::get(&anchors, &names::anchor(transfer)).await.unwrap().is_none());
    assert!(api::get(&stage.api::<Service>(), &names::data_service(transfer)).await.unwrap().is_none());
    stage.leave_nothing().await;
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_say_where_a_load_balancer_lets_players_in() {
    let stage = Stage::with(|config| config.service_type = ServiceType::LoadBalancer).await;
    stage.raise(None).await.unwrap();
    assert_eq!(stage.objects.player_address(stage.server()).await.unwrap(), None, "nobody balances here");
    // This cluster has none, so its word is put there as one would.
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}});
    let services = stage.api::<Service>();
    services.patch_status(names::GAME, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    assert_eq!(stage.objects.player_address(stage.server()).await.unwrap().as_deref(), Some("192.0.2.7"));
    assert_eq!(stage.known().await.unwrap().player_address.as_deref(), Some("192.0.2.7"));
    stage.leave_nothing().await;
}

fn script(text: &str) -> InstallScript {
    let (container, entrypoint) = (ledger_image(), "sh".to_owned());
    InstallScript { container, entrypoint, script: text.to_owned() }
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_install_once_and_show_why_not() {
    let mut stage = Stage::new().await;
    stage.raise(None).await.unwrap();
    stage.spec.environment.insert("WORLD".to_owned(), "badlands".to_owned());
    stage.spec.install = Some(script("echo cannot find the $WORLD\r\nexit 3\n"));
    let error = stage.objects.install(&stage.spec).await.unwrap_err();
    assert!(error.message.contains("code 3") && error.message.contains("cannot find the badlands"), "{error}");

    // Fails if it is run a second time: `mkdir` without -p.
    stage.spec.install = Some(script("mkdir world && echo made\n"));
    stage.objects.install(&stage.spec).await.unwrap();
    stage.objects.install(&stage.spec).await.unwrap();
    stage.spec.install = Some(script("mkdir world/nether && echo made\n"));
    stage.objects.install(&stage.spec).await.unwrap();
    assert!(api::get(&stage.api::<Pod>(), names::INSTALL).await.unwrap().is_none(), "no pod is left of it");
    stage.leave_nothing().await;
}

#[tokio::test]
#[ignore = "needs clusters: make test-kubernetes"]
async fn kubernetes_objects_tell_what_the_cluster_has() {
    let stage = Stage::new().await;
    let facts = stage.objects.facts().await.unwrap();
    assert!(facts.version.starts_with("v1."), "{facts:?}");
    assert_eq!((facts.nodes, facts.storage_class.as_str()), (1, "local-path"));
    assert_eq!(facts.node_ports, Some((30000, 32767)));
    assert!(facts.address.parse::<std::net::IpAddr>().is_ok(), "{facts:?}");
    let resources = stage.objects.resources().await.unwrap();
    assert!(resources.memory_available_mb > 64 && resources.memory_available_mb <= resources.memory_total_mb);

    let checks = stage.objects.check(&stage.spec, 1 << 20, 10).await;
    assert!(checks.iter().all(|check| check.level != CheckLevel::Error), "{checks:?}");
    for part in ["cluster_nodes", "cluster_storage", "cluster_ports", "cluster_rights", "cluster_quota"] {
        assert!(checks.iter().any(|check| check.code == part), "{part} of {checks:?}");
    }
}
