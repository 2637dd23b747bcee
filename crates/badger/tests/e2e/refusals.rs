//! What a caller can get wrong: each has its documented answer, and the server never notices.

use serde_json::{Value, json};

use crate::harness::api::Answer;
use crate::harness::{House, Setup, eventually};

const NOWHERE: &str = "01900000-0000-7000-8000-000000000000";

fn start(house: &House, body: &Value) -> Answer {
    house.api.post(&format!("/admin/servers/{}/transfer", house.server), body)
}

#[test]
fn every_wrong_start_is_refused_with_its_reason_and_changes_nothing() {
    let (house, player) = House::playing(Setup::default());
    let before = house.server();
    let target = json!(house.nodes[1].id);
    malformed(&house);
    let invalid = |body: Value| start(&house, &body).refused(400, "validation_error")["details"].clone();
    assert!(invalid(json!({}))["target_node_id"].is_array(), "a target is needed");
    assert!(invalid(json!({"target_node_id": "node-1"}))["target_node_id"].is_array());
    assert!(invalid(json!({"target_node_id": 7}))["target_node_id"].is_array());
    assert!(invalid(json!({"target_node_id": target, "mode": "warm"}))["mode"].is_array());
    assert!(invalid(json!({"target_node_id": target, "max_freeze_s": -1}))["max_freeze_s"].is_array());
    assert!(invalid(json!({"target_node_id": target, "allocation_id": "1"}))["allocation_id"].is_array());
    assert!(invalid(json!({"target_node_id": target, "target_nod_id": "typo"}))["target_nod_id"].is_array());
    targets(&house);
    allocations(&house);
    assert_eq!(house.server(), before);
    house.assert_settled();
    player.plays_on();
    player.assert_all_there(&house.nodes[0].addresses[0]);
}

fn malformed(house: &House) {
    let path = format!("/admin/servers/{}/transfer", house.server);
    for body in ["", "{", "[]", "null", "\"x\"", "{\"target_node_id\": }", "\u{0}"] {
        house.api.post_text(&path, body).refused(400, "validation_error");
    }
}

fn targets(house: &House) {
    let unknown = start(house, &json!({"target_node_id": NOWHERE}));
    assert!(matches!(unknown.status, 404 | 422), "{unknown:?}");
    start(house, &json!({"target_node_id": house.nodes[0].id})).refused(422, "same_target");
    let server = |id: &str| {
        house.api.post(&format!("/admin/servers/{id}/transfer"), &json!({"target_node_id": house.nodes[1].id}))
    };
    server(NOWHERE).refused(404, "not_found");
    assert!(matches!(server("not-an-id").status, 400 | 404));
}

fn allocations(house: &House) {
    let with =
        |allocation: &str| start(house, &json!({"target_node_id": house.nodes[1].id, "allocation_id": allocation}));
    let unknown = with(NOWHERE);
    assert!(matches!(unknown.status, 404 | 422), "{unknown:?}");
    // The server's own, and a free one, of the source.
    for foreign in &house.nodes[0].allocations {
        let answer = with(foreign);
        let code = answer.body["error"]["code"].as_str().unwrap_or_default().to_owned();
        assert!(matches!(answer.status, 409 | 422) && code.starts_with("allocation_"), "{answer:?}");
    }
}

#[test]
fn a_taken_allocation_is_refused() {
    let house = House::build(Setup::default());
    let other = &house.nodes[1];
    let egg = &house.server()["egg_id"];
    let body = json!({
        "name": "another", "egg_id": egg, "node_id": other.id, "allocation_id": other.allocations[0],
        "memory_limit": 64, "disk_limit": 64, "cpu_limit": 10, "environment": {},
    });
    house.api.post("/admin/servers", &body).expect(201);
    let answer = start(&house, &json!({"target_node_id": other.id, "allocation_id": other.allocations[0]}));
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.body["error"]["code"].as_str().unwrap().starts_with("allocation_"), "{answer:?}");
}

#[test]
fn too_little_room_on_the_target_is_refused_with_the_numbers() {
    let house = House::build(Setup::default());
    let small = json!({"name": "small", "memory_mb": 256, "disk_mb": 100_000, "cpu_percent": 400});
    let node = house.api.post("/admin/nodes", &small).expect(201);
    house
        .api
        .post("/admin/allocations", &json!({"node_id": node["id"], "ip_address": "127.0.0.1", "ports": ["19999"]}))
        .expect(201);
    let answer = start(&house, &json!({"target_node_id": node["id"]}));
    // Its agent has never been there either: whichever is said first, it is one of the documented refusals.
    if answer.status == 503 {
        answer.refused(503, "agent_offline");
        return;
    }
    let error = answer.refused(422, "insufficient_resources");
    assert!(error["message"].as_str().unwrap().starts_with("Insufficient Resources"), "{error}");
    assert!(error["details"].to_string().contains("512") && error["details"].to_string().contains("256"), "{error}");
}

#[test]
fn insufficient_memory_on_a_node_that_is_there_is_refused_with_the_numbers() {
    let house = House::build(Setup::default());
    let (egg, other) = (house.server()["egg_id"].clone(), &house.nodes[1]);
    let big = json!({
        "name": "big", "egg_id": egg, "node_id": other.id, "allocation_id": other.allocations[0],
        "memory_limit": 4000, "disk_limit": 64, "cpu_limit": 10, "environment": {},
    });
    house.api.post("/admin/servers", &big).expect(201);
    let answer = start(&house, &json!({"target_node_id": other.id}));
    let error = answer.refused(422, "insufficient_resources");
    assert!(error["message"].as_str().unwrap().starts_with("Insufficient Resources"), "{error}");
    assert!(error["details"].to_string().contains("512") && error["details"].to_string().contains("96"), "{error}");
}

#[test]
fn the_feature_flag_switches_migrations_off_and_on() {
    let house = House::build(Setup::default());
    let set = |enabled: bool| {
        house.api.patch("/admin/feature-flags/server_transfers", &json!({"enabled": enabled})).expect(200)
    };
    set(false);
    house.try_migrate(&json!({})).refused(403, "feature_disabled");
    set(true);
    house.migrated(&json!({}));
}

#[test]
fn an_agent_that_is_offline_is_named() {
    let mut house = House::build(Setup::default());
    house.nodes[1].kill();
    eventually("the panel has noticed", std::time::Duration::from_mins(1), || {
        let node = house.api.get(&format!("/admin/nodes/{}", house.nodes[1].id)).expect(200);
        (node["status"] == "offline").then_some(())
    });
    house.try_migrate(&json!({})).refused(503, "agent_offline");
    assert_eq!(house.server()["locked"], false);
    let api = house.api.clone();
    house.nodes[1].start();
    house.nodes[1].wait_online(&api);
    house.migrated(&json!({}));
}

#[test]
fn of_two_starts_at_once_one_is_refused() {
    let (house, player) = House::playing(Setup::default());
    let target = house.nodes[1].id.clone();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| start(&house, &json!({"target_node_id": target})))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|a| a.status == 202);
    assert_eq!(accepted.len(), 1, "{refused:?}");
    for answer in &refused {
        answer.refused(409, "server_locked");
    }
    let ended = house.wait_final(accepted[0].body["data"]["id"].as_str().unwrap());
    assert_eq!(ended["state"], "completed", "{ended}");
    house.assert_settled();
    player.plays_on();
}

#[test]
fn the_same_idempotency_key_starts_one_migration() {
    let (house, _player) = House::playing(Setup::default());
    let body = json!({"target_node_id": house.nodes[1].id}).to_string();
    let call = || {
        let response = ureq::post(format!("{}/api/v1/admin/servers/{}/transfer", house.api.url, house.server))
            .header("Authorization", format!("Bearer {}", house.api.key))
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", "once")
            .send(&body);
        serde_json::from_str::<Value>(&response.unwrap().body_mut().read_to_string().unwrap()).unwrap()
    };
    let (first, second) = (call(), call());
    assert_eq!(first["data"]["id"], second["data"]["id"]);
    house.wait_final(first["data"]["id"].as_str().unwrap());
    assert_eq!(call()["data"]["id"], first["data"]["id"], "also when it is over");
    let page = house.api.get("/admin/transfers");
    assert_eq!(page.body["meta"]["total"], 1, "{}", page.body);
}

#[test]
fn without_a_valid_key_nothing_is_told_or_done() {
    let house = House::build(Setup::default());
    let (server, node) = (&house.server, &house.nodes[1].id);
    for key in ["", "bp_wrong", "Bearer", "bpe_x"] {
        let api = house.api.with_key(key);
        api.post(&format!("/admin/servers/{server}/transfer"), &json!({"target_node_id": node}))
            .refused(401, "unauthorized");
        for path in [
            "/admin/servers",
            "/admin/nodes",
            "/admin/transfers",
            "/admin/eggs",
            "/admin/api-keys",
            "/admin/feature-flags",
        ] {
            api.get(path).refused(401, "unauthorized");
        }
        api.get(&format!("/admin/transfers/{NOWHERE}/events")).refused(401, "unauthorized");
    }
    assert!(house.api.get("/admin/transfers").expect(200).as_array().unwrap().is_empty());
}

#[test]
fn unknown_transfers_are_not_found() {
    let house = House::build(Setup::default());
    let at = |rest: &str| format!("/admin/transfers/{NOWHERE}{rest}");
    house.api.get(&at("")).refused(404, "not_found");
    house.api.get(&at("/events")).refused(404, "not_found");
    house.api.post(&at("/cancel"), &json!({})).refused(404, "not_found");
    house.api.delete(&at("/retained")).refused(404, "not_found");
    house.api.get(&format!("/admin/servers/{}/transfer", house.server)).refused(404, "not_found");
}

#[test]
fn an_enrolment_token_works_once() {
    let house = House::build(Setup::default());
    let body = json!({"name": "third", "memory_mb": 1024, "disk_mb": 1024, "cpu_percent": 100});
    let node = house.api.post("/admin/nodes", &body).expect(201);
    let token = node["enrolment"]["token"].as_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let daemon = |n: u8| {
        let data = dir.path().join(n.to_string());
        let args = [
            "daemon",
            "--panel",
            &house.api.url,
            "--data",
            data.to_str().unwrap(),
            "--data-listen",
            "127.0.0.1:0",
            "--token",
            token,
        ];
        crate::harness::process::Process::start("thief", &args, &[], &dir.path().join(format!("{n}.log")))
    };
    let _first = daemon(1);
    let online = || {
        (house.api.get(&format!("/admin/nodes/{}", node["id"].as_str().unwrap())).expect(200)["status"] == "online")
            .then_some(())
    };
    eventually("the first is enrolled", std::time::Duration::from_secs(30), online);
    let mut second = daemon(2);
    let ended = eventually("the second is refused", std::time::Duration::from_secs(30), || second.ended());
    assert!(!ended.success());
}
