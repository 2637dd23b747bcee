//! Whatever is killed or evicted, in whatever step, on either side: the migration ends completed or rolled back with no
//! human, the server is in one place, every acknowledged record is there, and nothing is left of the attempt.
//!
//! One test hits every part twice, in the freeze and after the switch-over. Those named `thorough` hit one part in every
//! step on both sides, which takes minutes for each.

use serde_json::json;

use super::super::cluster::Cluster;
use super::{Fleet, Moment, Place, STEPS};

/// A side of a migration.
#[derive(Clone, Copy, Debug)]
enum Side {
    Source,
    Target,
}

const SIDES: [Side; 2] = [Side::Source, Side::Target];

fn cluster<'a>(fleet: &'a Fleet, moment: &Moment<'_>, side: Side) -> &'a Cluster {
    fleet.cluster(match side {
        Side::Source => moment.source,
        Side::Target => moment.target,
    })
}

fn restart_panel(moment: &Moment<'_>) {
    moment.restart_panel();
}

/// Crashes a component of both clusters, and starts it again.
fn crash_component(fleet: &Fleet, moment: &Moment<'_>, component: &str) {
    let both = SIDES.map(|side| cluster(fleet, moment, side));
    for cluster in both {
        cluster.component("kill", component);
    }
    moment.go_on();
    for cluster in both {
        cluster.component("start", component);
    }
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_every_part_killed_in_the_freeze_and_after_the_switch_over_harms_nobody() {
    let fleet = Fleet::playing_alone(Place::Cluster(0));
    for (step, side) in [("final_copy", Side::Source), ("start_target", Side::Target)] {
        fleet.strike(step, &json!({}), restart_panel);
        fleet.strike(step, &json!({}), |it| cluster(&fleet, it, side).crash_orchestrator());
        fleet.strike(step, &json!({}), |it| cluster(&fleet, it, side).kill_in_pod(&fleet.server, "mover"));
    }
    fleet.strike("final_copy", &json!({}), |it| crash_component(&fleet, it, "kube-apiserver"));
    fleet.strike("check_health", &json!({}), |it| crash_component(&fleet, it, "kubelet"));
}

#[test]
#[ignore = "needs clusters and patience: make test-kubernetes THOROUGH=1"]
fn kubernetes_thorough_the_panel_killed_in_any_step_goes_on_by_itself() {
    let fleet = Fleet::playing_alone(Place::Cluster(0));
    for step in STEPS {
        fleet.strike(step, &json!({}), restart_panel);
    }
    fleet.strike("final_copy", &json!({"mode": "cold"}), restart_panel);
}

/// In every step, on both sides; the copy in the freeze once with little and once with all to copy. The source's pod is
/// ended by the last step itself.
fn in_every_step(fault: impl Fn(&Cluster, &str)) {
    let fleet = Fleet::playing_alone(Place::Cluster(0));
    for side in SIDES {
        let fault = |it: &Moment<'_>| fault(cluster(&fleet, it, side), &fleet.server);
        for step in STEPS.into_iter().filter(|step| *step != "release_source" || matches!(side, Side::Target)) {
            eprintln!("{step} at the {side:?}");
            fleet.strike(step, &json!({}), fault);
        }
        fleet.strike("final_copy", &json!({"mode": "cold"}), fault);
    }
}

#[test]
#[ignore = "needs clusters and patience: make test-kubernetes THOROUGH=1"]
fn kubernetes_thorough_orchestrators_killed_in_any_step_come_back_and_go_on() {
    in_every_step(|cluster, _| cluster.crash_orchestrator());
    let fleet = Fleet::playing_alone(Place::Cluster(0));
    fleet.strike("release_source", &json!({}), |it| cluster(&fleet, it, Side::Source).crash_orchestrator());
}

#[test]
#[ignore = "needs clusters and patience: make test-kubernetes THOROUGH=1"]
fn kubernetes_thorough_movers_killed_in_any_step_harm_nobody() {
    in_every_step(|cluster, server| cluster.kill_in_pod(server, "mover"));
}

#[test]
#[ignore = "needs clusters and patience: make test-kubernetes THOROUGH=1"]
fn kubernetes_thorough_pods_evicted_in_any_step_end_in_a_rollback_or_a_completion() {
    in_every_step(Cluster::evict);
}

#[test]
#[ignore = "needs clusters and patience: make test-kubernetes THOROUGH=1"]
fn kubernetes_thorough_kubelets_killed_in_any_step_harm_nobody() {
    let fleet = Fleet::playing_alone(Place::Cluster(0));
    for step in STEPS {
        fleet.strike(step, &json!({}), |it| crash_component(&fleet, it, "kubelet"));
    }
}

#[test]
#[ignore = "needs clusters and patience: make test-kubernetes THOROUGH=1"]
fn kubernetes_thorough_api_servers_killed_in_any_step_harm_nobody() {
    let fleet = Fleet::playing_alone(Place::Cluster(0));
    for step in STEPS {
        fleet.strike(step, &json!({}), |it| crash_component(&fleet, it, "kube-apiserver"));
    }
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_node_that_is_drained_in_the_middle_ends_the_migration_one_way_or_the_other() {
    let fleet = Fleet::playing_alone(Place::Cluster(0));
    for side in [Side::Target, Side::Source] {
        fleet.strike("precopy", &json!({}), |it| {
            let kubectl = &cluster(&fleet, it, side).kubectl;
            it.go_on();
            let node = kubectl.list(&["nodes"])[0]["metadata"]["name"].as_str().unwrap().to_owned();
            let selector = format!("--pod-selector=badgerpanel.io/server={}", fleet.server);
            let drain = ["drain", &node, "--delete-emptydir-data", "--ignore-daemonsets", "--timeout=180s", &selector];
            let drained = kubectl.run(&drain);
            kubectl.ok(&["uncordon", &node]);
            assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
        });
    }
}
