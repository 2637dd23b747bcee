//! What a cluster cannot take is refused before anything stops, with the cause; nothing is left of the attempt.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};

use super::fleet::SLOW;
use super::{Company, Fleet, Game, Place};
use crate::docker::{docker, hosts};
use crate::harness::eventually;

/// Migrates to cluster a and expects a rollback that says `why`, without a moment's pause for players.
pub(super) fn refused(fleet: &Fleet, why: &[&str]) -> Value {
    let transfer = fleet.migrate(Place::Cluster(0), &json!({}));
    let ended = fleet.wait_final(&transfer);
    assert_eq!(ended["state"], "rolled_back", "{ended}");
    assert_eq!(ended["failure"]["step"], "prepare_target", "{ended}");
    let message = ended["failure"]["message"].as_str().unwrap();
    for word in why {
        assert!(message.contains(word), "{word}: {message}");
    }
    assert_eq!(fleet.owner(), Place::Node(0));
    fleet.assert_settled();
    fleet.clusters[0].wait_empty(&fleet.server);
    ended
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_memory_that_no_node_has_and_an_image_that_no_node_can_get_are_said_with_numbers_and_name() {
    const IMAGE: &str = "badger.local/only-on-engines:1";
    for host in hosts() {
        docker(&host, &["tag", &super::kubectl::given("BADGER_TEST_LEDGER_IMAGE"), IMAGE]);
    }
    let mut fleet = Fleet::new(Company::Others);
    let made = fleet.try_create(Game::Ledger, Place::Node(0), &json!({"memory_limit": 1_000_000})).expect(201);
    fleet.adopt(Game::Ledger, &made);
    // The game's and the mover's.
    refused(&fleet, &["Insufficient memory", "1000064 MiB"]);
    fleet.api.delete(&format!("/admin/servers/{}", fleet.server)).expect(204);

    let made = fleet.try_create(Game::Ledger, Place::Node(0), &json!({"docker_image": IMAGE})).expect(201);
    fleet.adopt(Game::Ledger, &made);
    refused(&fleet, &[IMAGE]);
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_quota_that_keeps_a_pod_from_coming_is_told() {
    let fleet = Fleet::playing(Place::Cluster(0));
    fleet.power("stop");
    fleet.wait_status("offline");
    let (kubectl, namespace) = (&fleet.clusters[0].kubectl, format!("bp-{}", fleet.server));
    kubectl.ok(&["create", "quota", "none", "--hard=pods=0", "--namespace", &namespace]);
    kubectl.ok(&["delete", "pods", "--all", "--namespace", &namespace]);
    let said = eventually("the panel tells", SLOW, || {
        let server = fleet.server();
        let said = server["attention"].as_array().unwrap().iter().any(|it| it.to_string().contains("quota"));
        said.then_some(server)
    });
    assert_ne!(said["status"], "running", "{said}");
    kubectl.ok(&["delete", "quota", "none", "--namespace", &namespace]);
    // The API server's own view of quotas is a moment behind. Whenever the start comes, it is not refused for an old reason.
    eventually("a start is accepted", Duration::from_secs(20), || {
        (fleet.try_power("start").status == 202).then_some(())
    });
    fleet.wait_status("running");
    fleet.player().plays_on_within(SLOW);
    fleet.player().assert_all_there(&fleet.address());
}

#[test]
#[ignore = "needs clusters: make test-kubernetes"]
fn kubernetes_a_path_that_a_pod_cannot_read_is_named_before_anything_stops() {
    let fleet = Fleet::playing(Place::Cluster(0));
    let data = fleet.clusters[0].server_data(&fleet.server);
    // A person with access to the machine put it there: the pod's user is not its owner.
    let hidden = data.join("hidden.key");
    std::fs::write(&hidden, "secret").unwrap();
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600)).unwrap();
    let asked = fleet.api.post(
        &format!("/admin/servers/{}/transfer/preflight", fleet.server),
        &json!({"target_cluster_id": fleet.clusters[1].id}),
    );
    let found = asked.expect(200);
    let checks = found[0]["checks"].as_array().unwrap().iter();
    let errors: Vec<&Value> = checks.filter(|check| check["level"] == "error").collect();
    assert!(
        errors.iter().any(|it| it["code"] == "cannot_carry" && it["message"].to_string().contains("hidden.key")),
        "{found}"
    );
    assert!(errors.iter().all(|it| !it["remedy"].as_str().unwrap_or_default().is_empty()), "{found}");
    let ended = fleet.wait_final(&fleet.migrate(Place::Cluster(1), &json!({})));
    assert_eq!(
        (&ended["state"], &ended["failure"]["code"]),
        (&json!("rolled_back"), &json!("cannot_carry")),
        "{ended}"
    );
    assert!(ended["failure"]["message"].to_string().contains("hidden.key"), "{ended}");
    assert!(ended["freeze_ms"].is_null(), "nobody waited for it: {ended}");
    fleet.assert_settled();

    std::fs::remove_file(&hidden).unwrap();
    fleet.migrated(Place::Cluster(1), &json!({}));
    fleet.player().plays_on_within(SLOW);
    fleet.player().assert_all_there(&fleet.address());
}
