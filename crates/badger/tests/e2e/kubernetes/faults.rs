//! Whatever is killed, deleted, evicted or called off, at whatever step: the migration ends completed or rolled back with
//! no human, the server is in one place, every acknowledged record is there, and nothing is left of the attempt.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::fleet::SLOW;
use super::{Fleet, Place};
use crate::harness::{eventually, within};

/// Slow enough that the copying of a world of 4 MiB lasts some seconds, so that every phase can be hit.
const BANDWIDTH: u64 = 2 << 20;
/// Phases at whose beginning something happens, one after the other.
const PHASES: [&str; 6] = ["preparing", "copying_while_running", "stopping", "transferring", "starting", "cleanup"];

/// Between the clusters, wherever the server is.
fn other(place: Place) -> Place {
    match place {
        Place::Cluster(n) => Place::Cluster(1 - n),
        Place::Node(_) => Place::Cluster(0),
    }
}

fn cluster(fleet: &Fleet, place: Place) -> &Cluster {
    match place {
        Place::Cluster(n) => &fleet.clusters[n],
        Place::Node(_) => panic!("a node is no cluster"),
    }
}

/// Migrates between the clusters and lets `fault` happen at the beginning of `phase`; whether it hit a migration that was
/// going on.
fn migrate_with(fleet: &Fleet, phase: &str, fault: impl FnOnce(Place, Place)) -> bool {
    let source = fleet.owner();
    let target = other(source);
    let transfer = fleet.migrate(target, &json!({"bandwidth_limit": BANDWIDTH}));
    fleet.wait_stage(&transfer, phase);
    let going_on = fleet.transfer(&transfer)["finished_at"].is_null();
    let began = Instant::now();
    fault(source, target);
    let ended = fleet.wait_final(&transfer);
    eprintln!("{phase}: {} after {:?}, failure {}", ended["state"], began.elapsed(), ended["failure"]);
    assert_outcome(fleet, &ended, source, target);
    going_on
}

fn assert_outcome(fleet: &Fleet, ended: &Value, source: Place, target: Place) {
    let owner = match ended["state"].as_str().unwrap() {
        "completed" => target,
        "rolled_back" => source,
        state => panic!("{state}: {ended}"),
    };
    fleet.wait_status("running");
    assert_eq!(fleet.owner(), owner, "{ended}");
    fleet.player().plays_on_within(SLOW);
    fleet.assert_settled();
    fleet.player().assert_all_there(&fleet.address());
    if owner == target {
        fleet.free_retained(ended);
    }
    cluster(fleet, other(owner)).wait_empty(&fleet.server);
}

/// A phase may be over before the fault comes; but if most are, nothing was tested. The fault is told its turn: each phase
/// sees an even and an odd one.
fn in_every_phase(fleet: &Fleet, fault: impl Fn(usize, Place, Place)) {
    for pass in 0..2 {
        let turns = PHASES.iter().zip(pass..);
        let hit = turns.filter(|(phase, turn)| migrate_with(fleet, phase, |a, b| fault(*turn, a, b))).count();
        assert!(hit >= 4, "{hit} faults hit a migration that was going on");
    }
}

/// The source in even turns, the target in odd ones.
fn side(turn: usize, source: Place, target: Place) -> Place {
    if turn.is_multiple_of(2) { source } else { target }
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_migration_that_is_called_off_leaves_no_object_behind() {
    let fleet = Fleet::playing(Place::Cluster(0));
    let mut called_off = 0;
    for phase in PHASES {
        let (source, target) = (fleet.owner(), other(fleet.owner()));
        let transfer = fleet.migrate(target, &json!({"bandwidth_limit": BANDWIDTH}));
        fleet.wait_stage(&transfer, phase);
        // From the start of the target on it is refused, and goes on: players may be there.
        let answer = fleet.api.post(&format!("/admin/transfers/{transfer}/cancel"), &json!({}));
        let ended = fleet.wait_final(&transfer);
        let accepted = matches!(answer.status, 200 | 202);
        assert_eq!(ended["state"] == "rolled_back", accepted, "{answer:?}: {ended}");
        called_off += usize::from(accepted);
        assert_outcome(&fleet, &ended, source, target);
    }
    assert!(called_off >= 3, "{called_off} were called off in time");
}

#[test]
#[ignore = "needs clusters and patience: BADGER_TEST_THOROUGH=1 make test-kubernetes"]
fn kubernetes_thorough_orchestrators_deleted_in_any_phase_come_back_and_go_on() {
    let fleet = Fleet::playing(Place::Cluster(0));
    in_every_phase(&fleet, |turn, a, b| cluster(&fleet, side(turn, a, b)).kill_orchestrator());
}

#[test]
#[ignore = "needs clusters and patience: BADGER_TEST_THOROUGH=1 make test-kubernetes"]
fn kubernetes_thorough_the_panel_killed_in_any_phase_goes_on_by_itself() {
    let fleet = Fleet::playing(Place::Cluster(0));
    in_every_phase(&fleet, |_, _, _| fleet.restart_panel());
}

/// Kills the process of `role` in a pod of the server, of the first place that has one.
fn kill_in_pod(fleet: &Fleet, places: &[Place], role: &str) {
    let find = |place: &Place| {
        let pods = cluster(fleet, *place).kubectl.list(&["pods", "--namespace", &format!("bp-{}", fleet.server)]);
        pods.iter().find_map(|pod| process_in_pod(pod["metadata"]["uid"].as_str()?, role))
    };
    let pid = eventually(&format!("a {role} in {places:?}"), SLOW, || places.iter().find_map(find));
    let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    assert!(killed.success(), "{role} {pid}");
}

/// The process `badger ROLE` in the control group of a pod.
fn process_in_pod(uid: &str, role: &str) -> Option<u32> {
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|it| it.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let read = |pid: u32, what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
    let is_it = |pid: &u32| {
        let arguments = read(*pid, "cmdline");
        let mut words = arguments.split('\0');
        let is_ours = words.next().is_some_and(|word| word.ends_with("badger")) && words.next() == Some(role);
        is_ours && read(*pid, "cgroup").contains(&format!("pod{uid}"))
    };
    pids.into_iter().find(is_it)
}

#[test]
#[ignore = "needs clusters and patience: BADGER_TEST_THOROUGH=1 make test-kubernetes"]
fn kubernetes_thorough_movers_killed_in_any_phase_harm_nobody() {
    let fleet = Fleet::playing(Place::Cluster(0));
    in_every_phase(&fleet, |turn, source, target| {
        // One of the two may have no pod yet, or none any more.
        kill_in_pod(&fleet, &[side(turn, source, target), side(turn + 1, source, target)], "mover");
    });
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_launcher_that_is_killed_takes_its_game_along_and_the_panel_is_told() {
    let fleet = Fleet::playing(Place::Cluster(0));
    kill_in_pod(&fleet, &[Place::Cluster(0)], "launcher");
    eventually("the game is seen to be down", SLOW, || (fleet.server()["status"] != "running").then_some(()));
    within(Duration::from_secs(5), || (fleet.server()["status"] == "running").then_some(()))
        .unwrap_or_else(|| fleet.power("start"));
    fleet.wait_status("running");
    fleet.player().plays_on_within(SLOW);
    fleet.player().assert_all_there(&fleet.address());
    fleet.assert_settled();
}

#[test]
#[ignore = "needs clusters and patience: BADGER_TEST_THOROUGH=1 make test-kubernetes"]
fn kubernetes_thorough_kubelets_and_api_servers_killed_in_any_phase_harm_nobody() {
    let fleet = Fleet::playing(Place::Cluster(0));
    in_every_phase(&fleet, |turn, source, target| {
        let component = ["kubelet", "kube-apiserver"][turn % 2];
        for place in [source, target] {
            cluster(&fleet, place).component("kill", component);
            cluster(&fleet, place).component("start", component);
        }
    });
}

/// As a drain does it, politely.
fn evict(cluster: &Cluster, server: &str) {
    let (namespace, pod) = (format!("bp-{server}"), cluster.pod(server));
    let name = pod["metadata"]["name"].as_str().unwrap();
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace},
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
    cluster.kubectl.fed(&["create", "--raw", &path, "-f", "-"], &eviction.to_string());
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_pod_that_is_evicted_comes_back_with_its_game() {
    let fleet = Fleet::playing(Place::Cluster(0));
    evict(&fleet.clusters[0], &fleet.server);
    fleet.player().plays_on_within(SLOW);
    fleet.wait_status("running");
    fleet.player().assert_all_there(&fleet.address());
    fleet.assert_settled();
}

#[test]
#[ignore = "needs clusters and patience: BADGER_TEST_THOROUGH=1 make test-kubernetes"]
fn kubernetes_thorough_pods_evicted_in_any_phase_end_in_a_rollback_or_a_completion() {
    let fleet = Fleet::playing(Place::Cluster(0));
    in_every_phase(&fleet, |turn, source, target| {
        let victim = cluster(&fleet, side(turn, source, target));
        let has_pod = || {
            let namespace = format!("bp-{}", fleet.server);
            (!victim.kubectl.list(&["pods", "--namespace", &namespace]).is_empty()).then_some(())
        };
        if within(Duration::from_secs(10), has_pod).is_some() {
            evict(victim, &fleet.server);
        }
    });
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_node_that_is_drained_in_the_middle_ends_the_migration_one_way_or_the_other() {
    let fleet = Fleet::playing(Place::Cluster(0));
    for of_target in [true, false] {
        migrate_with(&fleet, "copying_while_running", |source, target| {
            let kubectl = &cluster(&fleet, if of_target { target } else { source }).kubectl;
            let node = kubectl.list(&["nodes"])[0]["metadata"]["name"].as_str().unwrap().to_owned();
            let selector = format!("--pod-selector=badgerpanel.io/server={}", fleet.server);
            let drain = ["drain", &node, "--delete-emptydir-data", "--ignore-daemonsets", "--timeout=180s", &selector];
            let drained = kubectl.run(&drain);
            kubectl.ok(&["uncordon", &node]);
            assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
        });
    }
}
