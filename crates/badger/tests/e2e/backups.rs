//! Backups with real object storage: made while people play, restored wherever the server is, cut off by whatever can be.
//! All take MinIO: `scripts/test-backups.sh`.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use crate::full_disk::SmallDisk;
use crate::harness::minio::{Minio, wait_backup, wait_restore};
use crate::harness::{House, Setup, eventually, tree};

const BACKUP: Duration = Duration::from_mins(2);

fn begin(house: &House, body: &Value) -> Value {
    house.api.post(&format!("/servers/{}/backups", house.server), body).expect(202)["id"].clone()
}

fn made(house: &House, body: &Value) -> Value {
    let backup = wait_backup(&house.api, &house.server, &begin(house, body), BACKUP);
    assert_eq!((&backup["state"], &backup["failure"]), (&json!("completed"), &Value::Null), "{backup}");
    backup
}

fn path(house: &House, backup: &Value) -> String {
    let id = backup["id"].as_str().or_else(|| backup.as_str()).unwrap();
    format!("/servers/{}/backups/{id}", house.server)
}

fn restored(house: &House, backup: &Value, body: &Value) -> Value {
    house.api.post(&format!("{}/restore", path(house, backup)), body).expect(202);
    wait_restore(&house.api, &house.server, &backup["id"], BACKUP)
}

fn assert_free(house: &House) {
    let server = house.server();
    assert_eq!(server["locked"], false, "{server}");
    assert!(house.nodes.iter().all(|node| tree::is_empty(&node.data.join("staging"))), "staging is left");
}

#[test]
#[ignore = "takes MinIO"]
fn minio_a_backup_is_restored_where_the_server_has_moved_with_every_record_of_its_moment() {
    let minio = Minio::start();
    let (house, player) = House::playing(Setup::default());
    minio.join(&house.api);
    let there = player.acknowledged();
    let backup = made(&house, &json!({"name": "before the move"}));
    assert_eq!(minio.objects(), [backup["object_key"].as_str().unwrap()]);
    assert!(!minio.has_uploads());
    let preflight =
        house.api.post(&format!("/admin/servers/{}/transfer/preflight", house.server), &json!({})).expect(200);
    let told = preflight[0]["checks"].as_array().unwrap().iter().any(|check| check["code"] == "backups_stay");
    assert!(told, "{preflight}");
    house.migrated(&json!({}));
    player.plays_on();
    house.api.post(&format!("{}/restore", path(&house, &backup)), &json!({})).refused(409, "server_running");
    let restore = restored(&house, &backup, &json!({"stop": true}));
    assert_eq!((&restore["state"], &restore["was_running"]), (&json!("completed"), &json!(true)), "{restore}");
    house.wait_status("running");
    player.assert_first_there(&house.address(), there);
    house.assert_settled();
    assert_free(&house);

    let download = house.api.get(&format!("{}/download", path(&house, &backup))).expect(200);
    let mut magic = [0; 4];
    let mut body = ureq::get(download["url"].as_str().unwrap()).call().unwrap().into_body().into_reader();
    body.read_exact(&mut magic).unwrap();
    assert_eq!(magic, [0x28, 0xb5, 0x2f, 0xfd], "zstd");

    house.api.patch(&path(&house, &backup), &json!({"locked": true})).expect(200);
    house.api.delete(&path(&house, &backup)).refused(409, "backup_locked");
    house.api.patch(&path(&house, &backup), &json!({"locked": false})).expect(200);
    house.api.delete(&path(&house, &backup)).expect(204);
    assert_eq!(minio.objects(), Vec::<String>::new());
}

#[test]
#[ignore = "takes MinIO"]
fn minio_a_transfer_backs_up_first_or_does_not_move() {
    let mut minio = Minio::start();
    let (house, player) = House::playing(Setup::default());
    house.try_migrate(&json!({"backup_first": true})).refused(422, "no_backup_storage");
    minio.join(&house.api);
    let transfer = house.migrated(&json!({"backup_first": true}));
    let backups = house.api.get(&format!("/servers/{}/backups", house.server)).expect(200);
    assert_eq!((&backups[0]["transfer_id"], &backups[0]["state"]), (&transfer["id"], &json!("completed")), "{backups}");
    minio.kill();
    let ended = house.wait_final(&house.migrate(&json!({"backup_first": true})));
    assert_eq!((&ended["state"], &ended["failure"]["code"]), (&json!("rolled_back"), &json!("storage_unreachable")));
    assert_eq!(ended["failure"]["step"], "back_up", "{ended}");
    house.assert_settled();
    player.plays_on();
}

#[test]
#[ignore = "takes MinIO"]
fn minio_that_goes_away_in_the_middle_is_waited_for_and_then_given_up() {
    let mut minio = Minio::start();
    let (house, player) = House::playing(Setup { world: "96M", ..Setup::default() });
    minio.join(&house.api);
    let id = begin(&house, &json!({}));
    eventually("an upload is under way", BACKUP, || minio.has_uploads().then_some(()));
    minio.kill();
    minio.start_again();
    let backup = wait_backup(&house.api, &house.server, &id, BACKUP);
    assert_eq!(backup["state"], "completed", "a storage that comes back is no reason to give up: {backup}");

    let id = begin(&house, &json!({}));
    eventually("an upload is under way", BACKUP, || minio.has_uploads().then_some(()));
    minio.kill();
    let backup = wait_backup(&house.api, &house.server, &id, Duration::from_mins(3));
    assert_eq!((&backup["state"], &backup["failure"]["code"]), (&json!("failed"), &json!("storage_unreachable")));
    assert_free(&house);
    player.plays_on();
    house.api.delete(&path(&house, &backup)).refused(503, "storage_unreachable");
    minio.start_again();
    eventually("what was uploaded is cleared", BACKUP, || (!minio.has_uploads()).then_some(()));
    house.api.delete(&path(&house, &backup)).expect(204);
    assert_eq!(minio.objects().len(), 1);
}

#[test]
#[ignore = "takes MinIO"]
fn minio_a_panel_and_a_daemon_that_die_in_the_middle_leave_nothing_that_hangs() {
    let minio = Minio::start();
    let (mut house, player) = House::playing(Setup { world: "96M", ..Setup::default() });
    minio.join(&house.api);
    let complete = made(&house, &json!({}));
    let there = player.acknowledged();

    let id = begin(&house, &json!({}));
    eventually("an upload is under way", BACKUP, || minio.has_uploads().then_some(()));
    house.kill_panel();
    house.start_panel();
    let backup = wait_backup(&house.api, &house.server, &id, BACKUP);
    assert_eq!((&backup["state"], &backup["failure"]["code"]), (&json!("failed"), &json!("panel_restarted")));
    eventually("what was uploaded is cleared", BACKUP, || (!minio.has_uploads()).then_some(()));

    house.nodes[0].wait_online(&house.api);
    let id = begin(&house, &json!({}));
    eventually("an upload is under way", BACKUP, || minio.has_uploads().then_some(()));
    house.nodes[0].kill();
    house.nodes[0].start();
    let backup = wait_backup(&house.api, &house.server, &id, BACKUP);
    // What the daemon had read is gone: it begins anew, or, if a part was there already, it is over.
    assert!(backup["finished_at"].is_string(), "{backup}");
    eventually("what was uploaded is cleared", BACKUP, || (!minio.has_uploads()).then_some(()));
    player.plays_on();

    house.nodes[0].wait_online(&house.api);
    let staging = house.nodes[0].data.join("staging");
    house.api.post(&format!("{}/restore", path(&house, &complete)), &json!({"stop": true})).expect(202);
    eventually("files arrive", BACKUP, || (!tree::is_empty(&staging)).then_some(()));
    house.nodes[0].kill();
    house.kill_panel();
    house.nodes[0].start();
    house.start_panel();
    let restore = wait_restore(&house.api, &house.server, &complete["id"], BACKUP);
    assert_eq!(restore["state"], "completed", "a restore goes on: {restore}");
    house.wait_status("running");
    assert!(there > 0);
    player.assert_first_there(&house.address(), 1);
    assert_free(&house);
}

#[test]
#[ignore = "takes MinIO, and root: it mounts a small file system"]
fn minio_a_small_disk_that_is_full_leaves_the_server_as_it_was() {
    let minio = Minio::start();
    let disk = SmallDisk::mount(192);
    let (house, player) =
        House::playing(Setup { world: "16M", target_data: Some(disk.path().into()), ..Setup::default() });
    minio.join(&house.api);
    house.migrated(&json!({}));
    let backup = made(&house, &json!({}));
    house.power("stop");
    house.wait_status("offline");
    let before = player.acknowledged();
    let mut filler = File::create(disk.path().join("filler")).unwrap();
    let block = vec![1; 64 << 10];
    while filler.write_all(&block).is_ok() {}
    // A little is left: the panel and the daemon go on, the world does not fit a second time.
    filler.set_len(filler.metadata().unwrap().len() - (4 << 20)).unwrap();
    house.api.post(&format!("{}/restore", path(&house, &backup)), &json!({})).expect(202);
    let restore = wait_restore(&house.api, &house.server, &backup["id"], BACKUP);
    assert_eq!(restore["state"], "failed", "{restore}");
    assert_eq!(restore["failure"]["code"], "insufficient_disk", "{restore}");
    fs::remove_file(disk.path().join("filler")).unwrap();
    assert_free(&house);
    assert_eq!(house.server()["status"], "offline");
    house.power("start");
    house.wait_status("running");
    assert!(player.acknowledged() >= before);
    player.plays_on();
    player.assert_all_there(&house.address());
}
