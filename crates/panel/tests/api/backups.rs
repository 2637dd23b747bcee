//! Backups and the places where they go. What the agent does is a script's; what the storage does is MinIO's, where it takes
//! one (`scripts/test-backups.sh`).

use std::sync::{Arc, Mutex};

use model::agent_api::{Outcome, Reply, Request};
use model::{BackupAction, BackupContents, BackupResult, BackupStand, UploadedPart};
use serde_json::{Value, json};

use crate::agent::{Script, TestAgent, done, hello};
use crate::harness::{Panel, until};
use crate::minio::Minio;

const STORAGES: &str = "/api/v1/admin/backup-storages";
/// SHA-256 of `hello`.
const SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const ROOT: &str = "root";

fn nowhere() -> Value {
    json!({
        "name": "nowhere", "endpoint": "http://127.0.0.1:1", "bucket": "backups", "access_key": "k",
        "secret_key": "very secret",
    })
}

fn stand(result: BackupResult, parts: Vec<UploadedPart>) -> Outcome {
    let stand = BackupStand { parts, result: Some(result), ..BackupStand::default() };
    Outcome::Ok(Reply::Backup { stand })
}

/// An agent whose servers hold `hello`. It really uploads it, in one part.
fn script() -> Script {
    Arc::new(|request| match request {
        Request::MeasureServer { .. } => Some(Outcome::Ok(Reply::Measured {
            bytes: 5,
            files: 1,
            running: false,
            answers_tcp: false,
            fingerprint: String::new(),
        })),
        Request::Backup { action: BackupAction::Upload { parts, .. }, .. } => {
            let put = ureq::put(&parts[0].url).send("hello").unwrap();
            let etag = put.headers()["etag"].to_str().unwrap().to_owned();
            let contents = BackupContents { sha256: SHA256.to_owned(), root: ROOT.to_owned(), files: 1, tree_bytes: 5 };
            let (changed, left_out) = (vec!["log".to_owned()], vec!["socket".to_owned()]);
            let result = BackupResult::Uploaded { contents, bytes: 5, changed, changed_count: 1, left_out };
            Some(stand(result, vec![UploadedPart { number: 1, etag }]))
        }
        Request::Backup { action: BackupAction::Verify { object, .. }, .. } => {
            let read = ureq::get(&object.url).call().unwrap().body_mut().read_to_string().unwrap();
            let sha256 = if read == "hello" { SHA256 } else { "another" };
            Some(stand(BackupResult::Read { sha256: sha256.to_owned() }, Vec::new()))
        }
        Request::Backup { action: BackupAction::Restore { object, contents, .. }, .. } => {
            let read = ureq::get(&object.url).call().unwrap().body_mut().read_to_string().unwrap();
            assert_eq!((read.as_str(), contents.sha256.as_str()), ("hello", SHA256));
            Some(stand(BackupResult::Restored { root: ROOT.to_owned() }, Vec::new()))
        }
        _ => done(),
    })
}

async fn house() -> (Panel, TestAgent, String) {
    house_with(script()).await
}

async fn house_with(script: Script) -> (Panel, TestAgent, String) {
    let panel = Panel::start().await;
    let (node, agent) = panel.node("n", "25565-25570").await;
    let server = panel.server(&node).await;
    let id = agent.node;
    agent.cut().await;
    panel.until_node(&node, "offline").await;
    let agent = TestAgent::back(panel.address, id, &hello(None), script).await;
    panel.until_node(&node, "online").await;
    (panel, agent, server)
}

async fn until_over(panel: &Panel, path: &str) -> Value {
    until(async || {
        let backup = panel.get(path).await.ok();
        matches!(backup["state"].as_str(), Some("completed" | "failed")).then_some(backup)
    })
    .await
}

#[tokio::test]
async fn storages_are_kept_and_their_secrets_never_shown() {
    let panel = Panel::start().await;
    let first = panel.post(STORAGES, &nowhere()).await.created();
    assert_eq!(
        (&first["is_default"], &first["region"], &first["prefix"]),
        (&json!(true), &json!("us-east-1"), &json!(""))
    );
    panel.post(STORAGES, &nowhere()).await.error(409, "name_taken");
    let mut second = nowhere();
    second["name"] = json!("second");
    second["prefix"] = json!("/a/b");
    let second = panel.post(STORAGES, &second).await.created();
    assert_eq!((&second["is_default"], &second["prefix"]), (&json!(false), &json!("a/b/")));
    let path = format!("{STORAGES}/{}", second["id"].as_str().unwrap());
    let changed = panel.patch(&path, &json!({"is_default": true, "secret_key": "other secret"})).await.ok();
    assert_eq!((&changed["is_default"], &changed["access_key"]), (&json!(true), &json!("k")));
    let all = panel.get(STORAGES).await;
    let defaults: Vec<_> = all.ok().as_array().unwrap().iter().map(|it| it["is_default"].clone()).collect();
    assert_eq!(defaults, [json!(false), json!(true)]);
    let log = panel.get("/api/v1/admin/audit").await;
    for text in [&all.text, &log.text, &first.to_string(), &changed.to_string()] {
        assert!(!text.contains("very secret") && !text.contains("other secret"), "{text}");
    }
    // On PostgreSQL it has no file that one could look into.
    if let Ok(database) = std::fs::read(panel.data().join("panel/panel.db")) {
        assert!(!database.windows(11).any(|bytes| bytes == b"very secret"), "it is sealed");
    }
    panel.delete(&path).await.no_content();
    panel.get(&path).await.error(404, "not_found");

    let bad = json!({
        "name": "", "endpoint": "ftp://x", "bucket": "a/b", "prefix": "../x", "access_key": "", "secret_key": "",
    });
    panel.post(STORAGES, &bad).await.invalid(&["access_key", "bucket", "endpoint", "name", "prefix", "secret_key"]);
    let tested = panel.post(&format!("{STORAGES}/{}/test", first["id"].as_str().unwrap()), &json!({})).await.ok();
    assert_eq!((&tested["ok"], &tested["code"]), (&json!(false), &json!("storage_unreachable")));
    assert!(tested["message"].as_str().unwrap().contains("Check its endpoint"), "{tested}");
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_backup_is_told() {
    let (panel, agent, server) = house().await;
    let path = format!("/api/v1/servers/{server}/backups");
    panel.post(&path, &json!({})).await.error(422, "no_backup_storage");
    panel.post(STORAGES, &nowhere()).await.created();
    panel.post(&path, &json!({"name": ""})).await.invalid(&["name"]);
    let other = uuid::Uuid::now_v7();
    panel.post(&path, &json!({"storage_id": other})).await.error(404, "not_found");
    panel.post(&format!("/api/v1/servers/{other}/backups"), &json!({})).await.error(404, "not_found");
    let set = panel.patch(&format!("/api/v1/admin/servers/{server}"), &json!({"backup_limit": 0})).await.ok();
    assert_eq!(set["backup_limit"], 0);
    let details = panel.post(&path, &json!({})).await.error(422, "backup_limit_reached");
    assert_eq!((&details["have"], &details["limit"]), (&json!(0), &json!(0)));
    panel.patch(&format!("/api/v1/admin/servers/{server}"), &json!({"backup_limit": null})).await.ok();
    let (_, stranger) = panel.user("kim", None).await;
    panel.send_as(&stranger, "POST", &path, &[], "{}").await.error(404, "not_found");
    panel.send_as(&stranger, "GET", "/api/v1/admin/backups", &[], "").await.error(403, "forbidden");
    agent.cut().await;
    let node = panel.get("/api/v1/admin/nodes").await.ok()[0]["id"].as_str().unwrap().to_owned();
    panel.until_node(&node, "offline").await;
    panel.post(&path, &json!({})).await.error(503, "agent_offline");
}

#[tokio::test]
async fn a_backup_to_a_storage_that_is_not_there_fails_and_lets_the_server_go() {
    let (panel, agent, server) = house().await;
    panel.post(STORAGES, &nowhere()).await.created();
    let path = format!("/api/v1/servers/{server}/backups");
    let headers = [("Idempotency-Key", "once")];
    let begun = panel.send("POST", &path, &headers, r#"{"name": "b"}"#).await;
    let (begun, location) = (begun.accepted(), begun.headers["location"].clone());
    assert_eq!(panel.send("POST", &path, &headers, r#"{"name": "b"}"#).await.accepted()["id"], begun["id"]);
    let over = until_over(&panel, &location).await;
    assert_eq!((&over["state"], &over["failure"]["code"]), (&json!("failed"), &json!("storage_unreachable")));
    assert_eq!(panel.get(&format!("/api/v1/servers/{server}")).await.ok()["locked"], false);
    agent
        .until_asked(|request| matches!(request, Request::Backup { action: BackupAction::Cancel, .. }).then_some(()))
        .await;
    let log = panel.get("/api/v1/admin/audit?filter[action]=backup").await.ok();
    let actions: Vec<_> = log.as_array().unwrap().iter().map(|it| it["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["backup.failed", "backup.create"]);
    panel.post(&format!("{location}/restore"), &json!({})).await.error(409, "backup_not_completed");
    panel.get(&format!("{location}/download")).await.error(409, "backup_not_completed");
    panel.delete(&location).await.error(503, "storage_unreachable");
    let storage = panel.get(STORAGES).await.ok()[0]["id"].as_str().unwrap().to_owned();
    panel.delete(&format!("{STORAGES}/{storage}")).await.error(409, "backup_storage_in_use");
}

#[tokio::test]
#[ignore = "takes MinIO"]
async fn minio_tests_of_a_storage_say_what_is_wrong() {
    let (panel, minio) = (Panel::start().await, Minio::start());
    let tested = async |change: Value| {
        let mut body = minio.settings();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let made = panel.post(STORAGES, &body).await.created();
        let path = format!("{STORAGES}/{}", made["id"].as_str().unwrap());
        let tested = panel.post(&format!("{path}/test"), &json!({})).await.ok();
        panel.delete(&path).await.no_content();
        tested["code"].clone()
    };
    assert_eq!(tested(json!({})).await, Value::Null);
    assert_eq!(minio.objects(), Vec::<String>::new(), "nothing is left of it");
    assert_eq!(tested(json!({"bucket": "none"})).await, "storage_no_bucket");
    assert_eq!(tested(json!({"secret_key": "wrong"})).await, "storage_denied");
    assert_eq!(tested(json!({"access_key": "nobody"})).await, "storage_denied");
    assert_eq!(tested(json!({"endpoint": "http://127.0.0.1:1"})).await, "storage_unreachable");
}

#[tokio::test]
#[ignore = "takes MinIO"]
async fn minio_a_backup_is_made_verified_restored_and_deleted() {
    let ((panel, agent, server), minio) = (house().await, Minio::start());
    panel.post(STORAGES, &minio.settings()).await.created();
    let begun = panel.post(&format!("/api/v1/servers/{server}/backups"), &json!({"name": "b", "locked": true})).await;
    begun.accepted();
    let path = begun.headers["location"].clone();
    let made = until_over(&panel, &path).await;
    assert_eq!((&made["state"], &made["bytes"], &made["sha256"]), (&json!("completed"), &json!(5), &json!(SHA256)));
    assert_eq!((&made["changed"], &made["left_out"]), (&json!(["log"]), &json!(["socket"])));
    assert_eq!(minio.objects(), [made["object_key"].as_str().unwrap()]);
    let download = panel.get(&format!("{path}/download")).await.ok();
    let url = download["url"].as_str().unwrap();
    assert!(!url.contains("minio secret"));
    let mut got = ureq::get(url).call().unwrap();
    let disposition = got.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert_eq!(
        (got.body_mut().read_to_string().unwrap().as_str(), disposition.starts_with("attachment")),
        ("hello", true)
    );

    let restore = panel.post(&format!("{path}/restore"), &json!({})).await.accepted();
    assert_eq!((&restore["state"], &restore["was_running"]), (&json!("running"), &json!(false)));
    let restored = until(async || {
        let restore = panel.get(&path).await.ok()["restore"].clone();
        (restore["state"] != "running").then_some(restore)
    })
    .await;
    assert_eq!((&restored["state"], &restored["failure"]), (&json!("completed"), &Value::Null));
    let now = panel.until_status(&server, "offline").await;
    assert_eq!(now["locked"], false);
    let asked_to_restore = agent
        .asked()
        .iter()
        .filter(|it| matches!(it, Request::Backup { action: BackupAction::Restore { .. }, .. }))
        .count();
    assert_eq!(asked_to_restore, 1);

    panel.delete(&path).await.error(409, "backup_locked");
    panel.patch(&path, &json!({"locked": false, "name": "c"})).await.ok();
    panel.delete(&path).await.no_content();
    assert_eq!(minio.objects(), Vec::<String>::new());
    assert_eq!(panel.get("/api/v1/admin/backups").await.body()["meta"]["total"], 0);
}

#[tokio::test]
#[ignore = "takes MinIO"]
async fn minio_backups_outlive_their_server_unless_they_are_deleted_with_it() {
    let ((panel, _agent, server), minio) = (house().await, Minio::start());
    panel.post(STORAGES, &minio.settings()).await.created();
    let begun = panel.post(&format!("/api/v1/servers/{server}/backups"), &json!({})).await;
    begun.accepted();
    until_over(&panel, &begun.headers["location"]).await;
    panel.delete(&format!("/api/v1/admin/servers/{server}?delete_backups=perhaps")).await.invalid(&["delete_backups"]);
    panel.delete(&format!("/api/v1/admin/servers/{server}")).await.no_content();
    let left = panel.get(&format!("/api/v1/admin/backups?filter[server_id]={server}")).await.ok();
    let path = format!("/api/v1/admin/backups/{}", left[0]["id"].as_str().unwrap());
    assert_eq!(panel.get(&path).await.ok()["server_name"], "survival");
    panel.get(&format!("{path}/download")).await.ok();
    panel.delete(&path).await.no_content();

    let node = panel.get("/api/v1/admin/nodes").await.ok()[0]["id"].as_str().unwrap().to_owned();
    let server = panel.server(&node).await;
    let begun = panel.post(&format!("/api/v1/servers/{server}/backups"), &json!({})).await;
    begun.accepted();
    until_over(&panel, &begun.headers["location"]).await;
    panel.delete(&format!("/api/v1/admin/servers/{server}?delete_backups=true")).await.no_content();
    assert_eq!(
        (panel.get("/api/v1/admin/backups").await.body()["meta"]["total"].clone(), minio.objects().len()),
        (json!(0), 0)
    );
}

#[tokio::test]
#[ignore = "takes MinIO"]
async fn minio_what_comes_back_changed_is_no_backup_and_a_stuck_one_can_be_cancelled() {
    let hangs = Arc::new(Mutex::new(false));
    let (good, waits) = (script(), Arc::clone(&hangs));
    let script: Script = Arc::new(move |request| match request {
        Request::Backup { action: BackupAction::Upload { .. }, .. } if *waits.lock().unwrap() => None,
        Request::Backup { action: BackupAction::Verify { .. }, .. } => {
            Some(stand(BackupResult::Read { sha256: "another".to_owned() }, Vec::new()))
        }
        request => good(request),
    });
    let ((panel, agent, server), minio) = (house_with(script).await, Minio::start());
    panel.post(STORAGES, &minio.settings()).await.created();
    let path = format!("/api/v1/servers/{server}/backups");
    let begun = panel.post(&path, &json!({})).await;
    begun.accepted();
    let over = until_over(&panel, &begun.headers["location"]).await;
    assert_eq!((&over["state"], &over["failure"]["code"]), (&json!("failed"), &json!("roots_differ")));
    until(async || minio.objects().is_empty().then_some(())).await;

    *hangs.lock().unwrap() = true;
    let begun = panel.post(&path, &json!({})).await;
    begun.accepted();
    let count = async || {
        agent
            .asked()
            .iter()
            .filter(|it| matches!(it, Request::Backup { action: BackupAction::Upload { .. }, .. }))
            .count()
    };
    until(async || (count().await == 2).then_some(())).await;
    panel.post(&path, &json!({})).await.error(409, "server_locked");
    let transfer = json!({"target_node_id": uuid::Uuid::now_v7()});
    panel.post(&format!("/api/v1/admin/servers/{server}/transfer"), &transfer).await.error(404, "not_found");
    panel
        .post(&format!("/api/v1/servers/{server}/power"), &json!({"signal": "start"}))
        .await
        .error(409, "server_locked");
    panel.post(&format!("/api/v1/servers/{server}/power"), &json!({"signal": "stop"})).await.accepted();
    panel.delete(&begun.headers["location"]).await.no_content();
    assert_eq!(panel.get(&format!("/api/v1/servers/{server}")).await.ok()["locked"], false);
    assert!(!minio.has_uploads(), "nothing is left of it");
}
