//! Names in DNS: what can be said without a name server, and with the BIND that scripts/test-services.sh starts.

use std::process::Command;

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::harness::{Panel, until};

const ZONES: &str = "/api/v1/admin/dns-zones";

/// Server, key name and secret of the BIND of the tests.
fn bind() -> (String, String, String) {
    let told = std::env::var("BADGER_TEST_DNS").expect("scripts/test-services.sh says where it is");
    let [server, key, secret] = told.split(' ').collect::<Vec<_>>()[..] else { panic!("{told}") };
    (server.to_owned(), key.to_owned(), secret.to_owned())
}

/// What the name server says, with a tool that is not ours: `TTL TYPE DATA`, sorted.
fn dig(name: &str) -> Vec<String> {
    let (server, ..) = bind();
    let (host, port) = server.split_once(':').unwrap();
    let run = |kind: &str| {
        let at = format!("@{host}");
        let output =
            Command::new("dig").args(["+tcp", "+noall", "+answer", "-p", port, &at, name, kind]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let mut all = Vec::new();
    for line in ["A", "AAAA", "SRV"].map(run).iter().flat_map(|text| text.lines()) {
        let words: Vec<_> = line.split_whitespace().collect();
        all.push([&words[1..2], &words[3..]].concat().join(" "));
    }
    all.sort();
    all
}

/// Changes a record behind the panel's back.
fn nsupdate(lines: &str) {
    let (server, key, secret) = bind();
    let (host, port) = server.split_once(':').unwrap();
    let script = format!("server {host} {port}\nkey hmac-sha256:{key} {secret}\nzone game.test\n{lines}\nsend\n");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("script"), script).unwrap();
    let done = Command::new("nsupdate").arg("-v").arg(dir.path().join("script")).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

async fn zone(panel: &Panel, name: &str, secret: Option<&str>) -> String {
    let (server, key, real) = bind();
    let body = json!({"name": name, "server": server, "key_name": key, "key_secret": secret.unwrap_or(&real)});
    let made = panel.post(ZONES, &body).await.created();
    made["id"].as_str().unwrap().to_owned()
}

async fn until_state(panel: &Panel, path: &str, state: &str) -> Value {
    until(async || {
        let name = panel.get(path).await.ok();
        (name["state"] == state).then_some(name)
    })
    .await
}

async fn name(panel: &Panel, server: &str, zone: &str, label: &str) -> String {
    let path = format!("/api/v1/servers/{server}/dns-names");
    let body = json!({"zone_id": zone, "name": label, "service": "_minecraft._tcp"});
    let made = panel.post(&path, &body).await.created();
    format!("{path}/{}", made["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_zone_is_made_known_changed_and_forgotten_and_its_key_is_never_shown() {
    let panel = Panel::start().await;
    let secret = BASE64.encode(b"a hidden secret");
    let body = json!({"name": "play.example", "server": "127.0.0.1:1", "key_name": "k", "key_secret": secret});
    let made = panel.post(ZONES, &body).await;
    assert_eq!((&made.created()["ttl"], &made.created()["key_algorithm"]), (&json!(300), &json!("hmac-sha256")));
    let path = format!("{ZONES}/{}", made.created()["id"].as_str().unwrap());
    panel.post(ZONES, &body).await.error(409, "dns_zone_exists");
    let changed = panel.patch(&path, &json!({"ttl": 60, "key_secret": secret})).await;
    assert_eq!(changed.ok()["ttl"], 60);
    let tested = panel.post(&format!("{path}/test"), &json!({})).await;
    assert_eq!(tested.ok()["ok"], false);
    assert!(tested.ok()["error"].as_str().unwrap().contains("cannot be reached"), "{tested:?}");
    let audit = panel.get("/api/v1/admin/audit").await;
    assert!([made, changed, tested, audit].iter().all(|answer| !answer.text.contains(&secret)));
    let bad =
        json!({"name": "a..b", "server": "x", "key_name": "", "key_algorithm": "md5", "key_secret": "!", "ttl": 0});
    panel.post(ZONES, &bad).await.invalid(&["key_algorithm", "key_name", "key_secret", "name", "server", "ttl"]);
    panel.delete(&path).await.no_content();
    let (_, token) = panel.user("kim", None).await;
    panel.send_as(&token, "GET", ZONES, &[], "").await.error(403, "forbidden");
}

#[tokio::test]
async fn a_name_server_that_is_down_is_said_and_holds_up_nothing() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565").await;
    let server = panel.server(&node).await;
    let body = json!({"name": "play.example", "server": "127.0.0.1:1", "key_name": "k", "key_secret": "c2VjcmV0"});
    let zone = panel.post(ZONES, &body).await.created()["id"].as_str().unwrap().to_owned();
    let path = name(&panel, &server, &zone, "survival").await;
    let failed = until_state(&panel, &path, "failed").await;
    assert!(failed["error"].as_str().unwrap().contains("cannot be reached"), "{failed}");
    assert_eq!((&failed["name"], &failed["written_address"]), (&json!("survival.play.example"), &json!(null)));
    let names = format!("/api/v1/servers/{server}/dns-names");
    panel.post(&names, &json!({"zone_id": zone, "name": "survival"})).await.error(409, "dns_name_exists");
    panel.post(&names, &json!({"zone_id": zone, "name": "a b", "service": "x"})).await.invalid(&["name", "service"]);
    panel.post(&names, &json!({"zone_id": server, "name": "a"})).await.invalid(&["zone_id"]);
    let found = panel.post(&format!("/api/v1/admin/servers/{server}/transfer/preflight"), &json!({})).await.ok();
    assert_eq!(found, json!([]), "there is no target");
    panel.delete(&format!("{ZONES}/{zone}")).await.error(409, "dns_zone_in_use");
    panel.delete(&format!("/api/v1/admin/servers/{server}")).await.no_content();
    panel.delete(&format!("{ZONES}/{zone}")).await.error(409, "dns_zone_in_use");
}

#[tokio::test]
#[ignore = "it takes the services of scripts/test-services.sh"]
async fn services_a_zone_is_tested_and_a_key_that_is_not_right_is_said() {
    let panel = Panel::start().await;
    let test = async |name: &str, secret: Option<&str>| {
        let zone = zone(&panel, name, secret).await;
        let tested = panel.post(&format!("{ZONES}/{zone}/test"), &json!({})).await.ok();
        panel.delete(&format!("{ZONES}/{zone}")).await.no_content();
        tested
    };
    assert_eq!(test("game.test", None).await, json!({"ok": true, "error": null}));
    let wrong = test("game.test", Some(&BASE64.encode(b"another secret"))).await;
    assert!(wrong["error"].as_str().unwrap().contains("does not know this key"), "{wrong}");
    let closed = test("closed.test", None).await;
    assert!(closed["error"].as_str().unwrap().contains("may not change"), "{closed}");
    let elsewhere = test("elsewhere.test", None).await;
    assert!(elsewhere["error"].as_str().unwrap().contains("not the primary"), "{elsewhere}");
}

#[tokio::test]
#[ignore = "it takes the services of scripts/test-services.sh"]
async fn services_a_name_follows_its_server_and_nobody_elses_record_is_written_over() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565").await;
    let server = panel.server(&node).await;
    let zone = zone(&panel, "game.test", None).await;
    let path = name(&panel, &server, &zone, "follows").await;
    until_state(&panel, &path, "written").await;
    assert_eq!(dig("follows.game.test"), ["300 A 127.0.0.1"]);
    assert_eq!(dig("_minecraft._tcp.follows.game.test"), ["300 SRV 0 0 25565 follows.game.test."]);

    // While it is being moved the address stays and the TTL is low; then it leads where the server is.
    let db = panel.db().await;
    let id: model::ServerId = server.parse().unwrap();
    let sql = async |text: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut *db.acquire().await.unwrap()).await.unwrap();
    };
    sql(format!("UPDATE servers SET locked_by = 't', transfer_state = 'running' WHERE id = '{id}'")).await;
    until(async || (dig("follows.game.test") == ["30 A 127.0.0.1"]).then_some(())).await;
    sql(format!("UPDATE allocations SET ip_alias = '203.0.113.7', port = 25570 WHERE server_id = '{id}'")).await;
    let preflight = until(async || {
        let name = panel.get(&path).await.ok();
        (name["written_ttl"] == 30).then_some(name)
    });
    assert_eq!(preflight.await["address"], "127.0.0.1", "players are not let in yet");
    let now = model::Timestamp::UNIX_EPOCH;
    panel::db::dns_names::names_follow(&mut db.acquire().await.unwrap(), id, now).await.unwrap();
    until(async || (dig("follows.game.test") == ["30 A 203.0.113.7"]).then_some(())).await;
    sql(format!("UPDATE servers SET locked_by = NULL, transfer_state = NULL WHERE id = '{id}'")).await;
    until(async || (dig("follows.game.test") == ["300 A 203.0.113.7"]).then_some(())).await;
    assert_eq!(dig("_minecraft._tcp.follows.game.test"), ["300 SRV 0 0 25570 follows.game.test."]);

    // A person changes it: that stays until it is taken over.
    nsupdate("update delete follows.game.test A\nupdate add follows.game.test 60 A 198.51.100.1");
    sql(format!("UPDATE allocations SET ip_alias = '203.0.113.8' WHERE server_id = '{id}'")).await;
    let failed = until_state(&panel, &path, "failed").await;
    assert!(failed["error"].as_str().unwrap().contains("somebody else has changed"), "{failed}");
    assert_eq!(dig("follows.game.test"), ["60 A 198.51.100.1"]);
    panel.post(&format!("{path}/take-over"), &json!({})).await.ok();
    until_state(&panel, &path, "written").await;
    assert_eq!(dig("follows.game.test"), ["300 A 203.0.113.8"]);

    // A server that is deleted leaves no records.
    db.close().await;
    panel.delete(&format!("/api/v1/admin/servers/{server}")).await.no_content();
    until(async || dig("follows.game.test").is_empty().then_some(())).await;
    assert!(dig("_minecraft._tcp.follows.game.test").is_empty());
    until(async || (panel.delete(&format!("{ZONES}/{zone}")).await.status == 204).then_some(())).await;
}

#[tokio::test]
#[ignore = "it takes the services of scripts/test-services.sh"]
async fn services_a_preflight_says_whether_the_name_will_follow() {
    let panel = Panel::start().await;
    let (node, _agent) = panel.node("n", "25565").await;
    let (target, _there) = panel.node("t", "25565").await;
    let server = panel.server(&node).await;
    let zone = zone(&panel, "game.test", None).await;
    let path = name(&panel, &server, &zone, "asked").await;
    until_state(&panel, &path, "written").await;
    let code = async || {
        let preflight = format!("/api/v1/admin/servers/{server}/transfer/preflight");
        let found = panel.post(&preflight, &json!({"target_node_id": target})).await.ok();
        let checks = found[0]["checks"].as_array().unwrap();
        let of_dns = checks.iter().find(|check| check["code"].as_str().unwrap().starts_with("dns_"));
        of_dns.unwrap_or_else(|| panic!("{found}"))["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(code().await, "dns_ready");
    nsupdate("update add asked.game.test 60 A 198.51.100.2");
    assert_eq!(code().await, "dns_changed");
    assert_eq!(dig("asked.game.test").len(), 2, "a question changes nothing");
    panel.patch(&format!("{ZONES}/{zone}"), &json!({"key_secret": BASE64.encode(b"another")})).await.ok();
    assert_eq!(code().await, "dns_not_ready");
}
