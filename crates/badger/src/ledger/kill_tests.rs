//! The ledger's promise under `kill -9`: what was acknowledged is there.
//!
//! The server must be a process of its own to be killed. The test binary starts itself again with one test selected,
//! which serves when the environment says so.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::background::Random;
use super::play::{Config, Player};
use super::verify::{self, Acknowledged};
use super::{record::ClientName, serve};
use crate::signals::Stop;

const WORLD: &str = "LEDGER_TEST_WORLD";
const PATIENCE: Duration = Duration::from_secs(30);

/// Not a test of its own: the server of the tests below.
#[test]
fn serves_when_the_environment_says_so() {
    let Some(world) = std::env::var_os(WORLD) else { return };
    let stop = Stop::on_signals().unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    serve::run(&serve::Config { listen, world: world.into(), size_bytes: 2 << 20, dirty_rate: 1 << 20 }, &stop)
        .unwrap();
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    #[allow(clippy::zombie_processes, reason = "`Drop` waits for it")]
    fn start(world: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "ledger::kill_tests::serves_when_the_environment_says_so"])
            .env(WORLD, world)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, seen) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        let until = Instant::now() + PATIENCE;
        loop {
            let line = seen.recv_timeout(until.saturating_duration_since(Instant::now())).unwrap();
            if let Some((_, address)) = line.split_once("! The ledger is open on ") {
                // The reader thread goes on and throws away what follows, so that the pipe never fills.
                std::thread::spawn(move || for _line in seen {});
                return Self { child, address: address.to_owned() };
            }
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen in time");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn no_acknowledged_record_is_lost_when_the_server_is_killed_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let client: ClientName = "survivor".parse().unwrap();
    let mut server = Server::start(dir.path());
    let player = Player::start(Config {
        client: client.clone(),
        addresses: vec![server.address.clone()],
        rate: 2000,
        count: None,
        patience: PATIENCE,
    })
    .unwrap();
    let mut random = Random(42);
    for _ in 0..6 {
        // A random number of further records, so that the kill falls anywhere in the writing of a batch.
        let goal = player.stats().acknowledged + 1 + random.below(120);
        until("progress", || player.stats().acknowledged >= goal);
        server.kill();
        server = Server::start(dir.path());
        player.add_address(&server.address);
    }
    let goal = player.stats().acknowledged + 20;
    until("progress after the last kill", || player.stats().acknowledged >= goal);
    let (outcome, acknowledged) = player.finish().unwrap();
    server.kill();

    assert!(outcome.stats.reconnects >= 6, "the kills were not felt: {outcome:?}");
    assert!(outcome.is_whole(), "{outcome:?}");
    let acknowledged: Vec<_> =
        acknowledged.into_iter().map(|(seq, sum)| Acknowledged { client: client.clone(), seq, sum }).collect();
    let found = verify::world(dir.path(), Some(&acknowledged)).unwrap();
    assert_eq!(found.problems, Vec::<String>::new());
    assert_eq!(found.acknowledged_found, acknowledged.len() as u64);
}

#[test]
fn the_stop_command_saves_the_world_and_exits_with_zero() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let player = Player::start(Config {
        client: "one".parse().unwrap(),
        addresses: vec![server.address.clone()],
        rate: 1000,
        count: Some(50),
        patience: PATIENCE,
    })
    .unwrap();
    until("fifty records", || player.is_over());
    assert!(player.finish().unwrap().0.is_whole());
    server.child.stdin.take().unwrap().write_all(b"stop\n").unwrap();
    let mut status = None;
    until("the end of the server", || {
        status = server.child.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success());
    assert!(!dir.path().join("db/ledger.db-wal").exists(), "the write-ahead log was not folded in");
    assert_eq!(verify::world(dir.path(), None).unwrap().problem_count, 0);
}

#[test]
fn a_second_server_in_the_same_world_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let config = serve::Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        world: dir.path().to_owned(),
        size_bytes: 1 << 20,
        dirty_rate: 0,
    };
    let refused = serve::run(&config, &Stop::default()).unwrap_err();
    assert!(refused.to_string().contains("another ledger server"), "{refused:#}");
    server.kill();
}
