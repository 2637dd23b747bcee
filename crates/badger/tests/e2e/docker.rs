//! A real game server that nobody here wrote, in containers of two engines.
//!
//! `scripts/test-docker.sh` starts the engines, makes the image and runs these tests; alone they are ignored.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::harness::random::Random;
use crate::harness::{House, Setup, eventually, tree};

/// The engines.
pub(crate) fn hosts() -> [String; 2] {
    let hosts =
        std::env::var("BADGER_TEST_DOCKER_HOSTS").expect("scripts/test-docker.sh sets BADGER_TEST_DOCKER_HOSTS");
    let hosts: Vec<String> = hosts.split_whitespace().map(ToOwned::to_owned).collect();
    hosts.try_into().expect("two engines")
}

/// The output of the engine's own client.
pub(crate) fn docker(host: &str, args: &[&str]) -> String {
    let output = Command::new("docker").args(["-H", host]).args(args).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Removes what a server has on an engine. Called at the end of each test, failed or not.
pub(crate) fn remove_containers(host: &str, server: &str) {
    let filter = format!("label=io.badgerpanel.server={server}");
    let list = Command::new("docker").args(["-H", host, "ps", "-aq", "--filter", &filter]).output();
    let ids = list.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    for id in ids.split_whitespace() {
        // The engine itself may be going down.
        drop(Command::new("docker").args(["-H", host, "rm", "-f", id]).output());
    }
}

fn running(host: &str, server: &str) -> Vec<String> {
    let filter = format!("label=io.badgerpanel.server={server}");
    docker(host, &["ps", "-q", "--filter", &filter]).split_whitespace().map(ToOwned::to_owned).collect()
}

/// How many containers a server has on an engine, running or not.
pub(crate) fn all(host: &str, server: &str) -> usize {
    let filter = format!("label=io.badgerpanel.server={server}");
    docker(host, &["ps", "-aq", "--filter", &filter]).split_whitespace().count()
}

fn egg() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/eggs/minetest.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The same with another image.
pub(crate) fn egg_with(image: &str) -> Value {
    let mut egg = egg();
    egg["docker_images"] = json!({"test": image});
    egg["scripts"]["installation"]["container"] = json!(image);
    egg
}

fn minetest() -> House {
    let house = House::build(Setup { docker_hosts: Some(hosts()), egg: Some(egg()), ..Setup::default() });
    house.power("start");
    house.wait_status("running");
    // The mod storage is committed every ten seconds: a few records are in the files then. The console is asked, not the
    // files: a reader's lock could get into the game's way.
    eventually("the world is written", Duration::from_mins(1), || (ticked(&house).last()? > &12).then_some(()));
    house
}

/// The last record that the ticker has put into the world's files on a node; 0 without one.
fn stored_record(house: &House, node: usize) -> u64 {
    let path = house.nodes[node].server_data(&house.server).join("world/mod_storage.sqlite");
    let read = || -> rusqlite::Result<String> {
        let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let sql = "SELECT CAST(value AS TEXT) FROM entries WHERE modname = 'ticker' AND CAST(key AS TEXT) = 'record'";
        db.query_row(sql, [], |row| row.get(0))
    };
    read().ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The ticker's records on the console of the present container, oldest first.
fn ticked(house: &House) -> Vec<u64> {
    let number = |line: &String| line.split("[ticker] record ").nth(1)?.split(' ').next()?.parse().ok();
    house.console().iter().filter_map(number).collect()
}

fn assert_databases_whole(world: &Path) {
    for name in ["map.sqlite", "mod_storage.sqlite"] {
        let db = Connection::open_with_flags(world.join(name), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok", "{name}");
    }
}

#[test]
#[ignore = "needs two Docker engines: make test-docker"]
fn docker_a_real_game_server_arrives_byte_for_byte() {
    let (house, hosts) = (minetest(), hosts());
    let transfer = house.migrated(&json!({"start_after": "no"}));
    let id = transfer["id"].as_str().unwrap();
    assert_eq!(transfer["roots"]["source"], transfer["roots"]["target"], "{transfer}");
    let (left, arrived) = (house.retained(0, id), house.nodes[1].server_data(&house.server));
    assert!(arrived.join("world/map.sqlite").metadata().unwrap().len() > 0);
    tree::assert_equal(&left, &arrived);
    assert_databases_whole(&arrived.join("world"));
    assert_eq!(all(&hosts[0], &house.server), 0, "no container is left on the source");
    let before = stored_record(&house, 1);
    assert!(before > 3);

    house.power("start");
    house.wait_status("running");
    let first = eventually("the ticker goes on", Duration::from_mins(1), || {
        ticked(&house).last().copied().filter(|n| *n > before)
    });
    assert!(first > before);
    assert_eq!(running(&hosts[1], &house.server).len(), 1);
}

#[test]
#[ignore = "needs two Docker engines: make test-docker"]
fn docker_a_real_game_server_moves_while_it_runs_and_goes_on() {
    let (house, hosts) = (minetest(), hosts());
    for turn in 0..3 {
        let (source, target) = (turn % 2, 1 - turn % 2);
        let before = *ticked(&house).last().unwrap();
        let transfer = house.migrated(&json!({}));
        assert!(transfer["freeze_ms"].as_u64().unwrap() > 0, "{transfer}");
        assert_eq!((running(&hosts[source], &house.server).len(), all(&hosts[source], &house.server)), (0, 0));
        assert_eq!(running(&hosts[target], &house.server).len(), 1);
        let after = eventually("the ticker goes on", Duration::from_mins(1), || {
            ticked(&house).last().copied().filter(|n| *n > before)
        });
        assert!(after > before);
        assert_answers(&house.address());
    }
}

/// The game loop answers a player who knocks, not only the port.
pub(crate) fn assert_answers(address: &str) {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket.connect(address).unwrap();
    // Protocol id, no peer yet, channel 0, an empty packet; the server answers with the id that it gives to us.
    let knock = [0x4f, 0x45, 0x74, 0x03, 0, 0, 0, 1];
    eventually("the game answers", Duration::from_secs(20), || {
        socket.send(&knock).ok()?;
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer).ok()?;
        (length >= 14 && answer[..4] == knock[..4] && answer[10..12] == [0, 1]).then_some(())
    });
}

#[test]
#[ignore = "needs two Docker engines: make test-docker"]
fn docker_a_server_that_was_offline_stays_offline() {
    let (house, hosts) = (minetest(), hosts());
    house.power("stop");
    house.wait_status("offline");
    let transfer = house.migrated(&json!({}));
    assert_eq!(house.server()["status"], "offline");
    assert_eq!(running(&hosts[0], &house.server).len() + running(&hosts[1], &house.server).len(), 0);
    tree::assert_equal(
        &house.retained(0, transfer["id"].as_str().unwrap()),
        &house.nodes[1].server_data(&house.server),
    );
}

#[test]
#[ignore = "needs two Docker engines: make test-docker"]
fn docker_daemons_killed_in_the_middle_harm_nobody() {
    let (mut house, hosts) = (minetest(), hosts());
    let mut random = Random::new("docker_daemons_killed");
    for turn in 0..6 {
        let source = house.owner();
        let before = *ticked(&house).last().unwrap();
        let transfer = house.migrate(&json!({}));
        thread::sleep(Duration::from_millis(random.below(2_500)));
        let victim = (source + turn) % 2;
        house.nodes[victim].kill();
        house.nodes[victim].start();
        let ended = house.wait_final(&transfer);
        eprintln!("{} after the {} was killed", ended["state"], if victim == source { "source" } else { "target" });
        let owner = match ended["state"].as_str() {
            Some("completed") => 1 - source,
            Some("rolled_back") => source,
            _ => panic!("{ended}"),
        };
        house.wait_status("running");
        house.assert_settled();
        assert_eq!(running(&hosts[owner], &house.server).len(), 1, "{ended}");
        assert_eq!(all(&hosts[1 - owner], &house.server), 0, "{ended}");
        eventually("the ticker goes on", Duration::from_mins(1), || {
            ticked(&house).last().copied().filter(|n| *n > before)
        });
    }
    house.power("stop");
    house.wait_status("offline");
    assert_databases_whole(&house.nodes[house.owner()].server_data(&house.server).join("world"));
}
