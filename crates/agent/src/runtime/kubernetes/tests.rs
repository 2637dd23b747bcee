//! A mover and a launcher that is a process of its own: what the contract of all runtimes does not say.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};

use model::{Epoch, ServerId};
use tempfile::TempDir;

use super::*;
use crate::launcher::testing::Stage;
use crate::layout::Layout;
use crate::server::ownership::Ownership;
use crate::server::testing::spec;

const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than a follower takes to conclude that a game is gone, if it wants to.
const SILENCE: Duration = Duration::from_secs(3);
const READY: &str = "echo ready; while read -r line; do [ \"$line\" = stop ] && exit 4; done";

struct House {
    dir: TempDir,
    place: Place,
    spec: ServerSpec,
    stage: Stage,
    pod: Pod,
}

impl House {
    fn new(game: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = spec();
        spec.startup = "sh game.sh".to_owned();
        let place = Layout::new(dir.path().join("volume")).place(spec.id);
        let stage = Stage::new(&place, &dir.path().join("run"));
        fs::write(place.data().join("game.sh"), game).unwrap();
        let pod = Pod::connect(stage.socket(), Owner { uid: 1000, gid: 1000 });
        Self { dir, place, spec, stage, pod }
    }

    fn unit(&self) -> Unit<'_> {
        Unit { place: &self.place, spec: &self.spec, epoch: Epoch(1) }
    }

    async fn start(&self) -> Result<Running, AgentError> {
        self.pod.await_launcher(PATIENCE).await.unwrap();
        self.pod.start(self.unit()).await
    }

    async fn ready(&self) -> Running {
        let mut running = self.start().await.unwrap();
        heard(&mut running, "ready").await;
        running
    }

    fn written(&self, name: &str) -> bool {
        self.place.data().join(name).exists()
    }
}

async fn heard(running: &mut Running, wanted: &str) -> String {
    let line = async {
        loop {
            match running.lines.recv().await {
                Some(line) if line.contains(wanted) => return line,
                Some(_) => {}
                None => panic!("no line with {wanted}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, line).await.unwrap()
}

async fn ended(running: Running) -> Exit {
    tokio::time::timeout(PATIENCE, running.exit).await.unwrap()
}

async fn until(mut holds: impl FnMut() -> bool) {
    let holding = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, holding).await.unwrap();
}

#[tokio::test]
async fn a_launcher_starts_nothing_that_the_volumes_records_do_not_allow() {
    let house = House::new("echo ran > ran; echo ready");
    house.stage.record(&Ownership::new(Epoch(1)).fence(), 1);
    assert_eq!(house.start().await.err().unwrap().code, ErrorCode::StaleEpoch);
    house.stage.record(&Ownership::new(Epoch(3)), 1);
    assert_eq!(house.start().await.err().unwrap().code, ErrorCode::StaleEpoch);
    fs::remove_file(house.place.beside("permit.json")).unwrap();
    assert_eq!(house.start().await.err().unwrap().code, ErrorCode::BadPermit);
    assert!(!house.written("ran"));
    house.stage.record(&Ownership::new(Epoch(3)), 3);
    ended(house.ready().await).await;
    assert!(house.written("ran"));
}

#[tokio::test]
async fn a_launcher_runs_no_other_server() {
    let mut house = House::new(READY);
    house.spec.id = ServerId::new();
    assert_eq!(house.start().await.err().unwrap().code, ErrorCode::Conflict);
}

#[tokio::test]
async fn an_evicted_pod_ends_its_game_as_the_egg_says_and_nobody_meant_the_server() {
    let mut house =
        House::new("trap 'echo killed; exit 9' TERM; echo ready; read -r line; echo \"saved on $line\"; exit 4");
    let mut running = house.ready().await;
    house.stage.terminate();
    heard(&mut running, "saved on stop").await;
    assert_eq!(ended(running).await, Exit { code: Some(4), evicted: true });
    assert!(house.stage.ended(), "it ends in good order");
    assert!(house.pod.find(&house.place).await.unwrap().is_none());
}

#[tokio::test]
async fn a_container_that_is_killed_takes_the_game_with_it_and_the_next_one_starts_it_again() {
    let mut house = House::new(READY);
    let running = house.ready().await;
    house.stage.kill_container();
    assert_eq!(ended(running).await, Exit::with(None));
    assert!(house.pod.find(&house.place).await.unwrap().is_none());
    assert!(house.pod.kill(&house.place).await.is_ok(), "there is nothing to kill");
    house.stage.launch_again();
    let running = house.ready().await;
    house.pod.kill(&house.place).await.unwrap();
    assert_eq!(ended(running).await.code, Some(137));
}

#[tokio::test]
async fn a_lost_connection_is_not_the_end_of_a_game() {
    let house = House::new(READY);
    let running = house.ready().await;
    // Somebody takes the socket away and hangs up on everybody; the launcher still holds the server's directory.
    let away = house.dir.path().join("away");
    fs::rename(house.stage.socket(), &away).unwrap();
    let attached = Attached {
        socket: house.stage.socket(),
        home: house.place.home.clone(),
        run: Uuid::now_v7(),
        next: 0,
        lines: mpsc::channel(1).0,
    };
    let (near, far) = tokio::net::UnixStream::pair().unwrap();
    drop(far);
    let (sender, mut exit) = oneshot::channel();
    let following = tokio::spawn(attached.follow(Wire::over(near), sender));
    let silent = tokio::time::timeout(SILENCE, &mut exit).await;
    assert!(silent.is_err(), "it was taken for gone: {silent:?}");
    fs::rename(&away, house.stage.socket()).unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, exit).await.unwrap().unwrap(), Exit::with(None), "another run by now");
    following.await.unwrap();
    house.pod.ask_to_end(&house.place, &StopHow::Command("stop".to_owned())).await.unwrap();
    assert_eq!(ended(running).await, Exit::with(Some(4)));
}

#[tokio::test]
async fn what_a_game_leaves_behind_ends_with_it() {
    let house = House::new(
        "setsid sh -c 'trap \"echo asked > asked; exit\" TERM; echo > up; while true; do sleep 0.05; done' &
         until [ -e up ]; do sleep 0.01; done; echo ready; exit 5",
    );
    let running = house.ready().await;
    assert_eq!(ended(running).await.code, Some(5));
    assert!(house.written("asked"), "it was asked, and had ended before the game was said to have");
}

#[tokio::test]
async fn a_kill_reaches_those_who_left_the_games_group() {
    let house = House::new(
        "setsid sh -c 'trap \"\" TERM; echo $$ > up; while true; do sleep 0.05; done' &
         until [ -e up ]; do sleep 0.01; done; echo ready; trap '' TERM; while true; do sleep 0.05; done",
    );
    let running = house.ready().await;
    house.pod.kill(&house.place).await.unwrap();
    assert_eq!(ended(running).await.code, Some(137));
    let pid = fs::read_to_string(house.place.data().join("up")).unwrap();
    assert!(!std::path::Path::new("/proc").join(pid.trim()).exists());
}

#[tokio::test]
async fn orphans_are_collected_while_the_game_runs() {
    let house = House::new("(sh -c 'echo $$ > orphan; exit 0' &); echo ready; while read -r line; do exit 0; done");
    let running = house.ready().await;
    until(|| house.written("orphan")).await;
    let pid = fs::read_to_string(house.place.data().join("orphan")).unwrap();
    let zombie = std::path::Path::new("/proc").join(pid.trim());
    until(|| !zombie.exists()).await;
    house.pod.kill(&house.place).await.unwrap();
    ended(running).await;
}

#[tokio::test]
async fn two_pods_with_one_volume_never_run_the_game_at_once() {
    let house = House::new("echo run >> runs; echo ready; while read -r line; do [ $line = stop ] && exit 4; done");
    let running = house.ready().await;
    let second = Stage::beside(&house.stage, &house.dir.path().join("second"));
    let other = Pod::connect(second.socket(), house.pod.owner);
    other.await_launcher(PATIENCE).await.unwrap();
    assert_eq!(other.start(house.unit()).await.err().unwrap().code, ErrorCode::Conflict);
    house.pod.ask_to_end(&house.place, &StopHow::Command("stop".to_owned())).await.unwrap();
    ended(running).await;
    let mut running = other.start(house.unit()).await.unwrap();
    heard(&mut running, "ready").await;
    other.kill(&house.place).await.unwrap();
    ended(running).await;
    assert_eq!(fs::read_to_string(house.place.data().join("runs")).unwrap(), "run\nrun\n");
}

#[tokio::test]
async fn a_game_sees_nothing_of_the_pod_around_it() {
    let house = House::new("env | sort > variables; echo ready");
    ended(house.ready().await).await;
    let variables = fs::read_to_string(house.place.data().join("variables")).unwrap();
    let ours = |line: &&str| line.starts_with("BADGER_") || line.starts_with("KUBERNETES_");
    let seen: Vec<&str> = variables.lines().filter(ours).collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].starts_with("BADGER_RUN="));
    assert!(variables.contains("\nSTARTUP=sh game.sh\n"), "{variables}");
    assert!(variables.contains(&format!("HOME={}\n", house.place.data().display())));
}

#[tokio::test]
async fn rubbish_on_the_socket_does_no_harm() {
    let house = House::new(READY);
    house.pod.await_launcher(PATIENCE).await.unwrap();
    for rubbish in ["", "{\n", "{\"version\":1,\"call\":\"fly\"}\n", "{\"version\":9,\"call\":\"kill\"}\n"] {
        UnixStream::connect(house.stage.socket()).unwrap().write_all(rubbish.as_bytes()).unwrap();
    }
    let mut endless = UnixStream::connect(house.stage.socket()).unwrap();
    let flood = vec![b'x'; protocol::CALL_BYTES + 1];
    drop(endless.write_all(&flood));
    let running = house.ready().await;
    house.pod.kill(&house.place).await.unwrap();
    ended(running).await;
}

/// Something in the launcher's place that says `said` to whoever asks.
fn impostor(dir: &TempDir, said: &'static [u8]) -> Pod {
    let socket = dir.path().join("launcher.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            drop(stream.write_all(said));
        }
    });
    Pod::connect(socket, Owner { uid: 1000, gid: 1000 })
}

#[tokio::test]
async fn what_is_said_in_the_launchers_place_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let place = Layout::new(dir.path()).place(ServerId::new());
    let endless: &'static [u8] = vec![b'x'; protocol::ANSWER_BYTES * 2].leak();
    assert_eq!(impostor(&dir, endless).find(&place).await.err().unwrap().code, ErrorCode::Internal);

    let line = format!("{{\"answer\":\"line\",\"n\":0,\"line\":\"{}\"}}\n", "x".repeat(60_000));
    let dir = tempfile::tempdir().unwrap();
    let talkative = impostor(&dir, line.repeat(HISTORY_LINES + 10).into_bytes().leak());
    let lines = talkative.history(&place).await;
    assert_eq!((lines.len(), lines[0].len()), (HISTORY_LINES, crate::runtime::lines::LINE_BYTES));
}

#[tokio::test]
async fn a_pod_without_a_launcher_has_a_game_that_does_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec();
    let place = Layout::new(dir.path()).place(spec.id);
    disk::private_dir(&place.home).unwrap();
    let pod = Pod::connect(dir.path().join("nobody/launcher.sock"), Owner { uid: 1000, gid: 1000 });
    let unit = Unit { place: &place, spec: &spec, epoch: Epoch(1) };
    pod.install(unit).await.unwrap();
    assert!(pod.find(&place).await.unwrap().is_none());
    assert!(pod.history(&place).await.is_empty());
    let refused = pod.start(unit).await.err().unwrap();
    assert_eq!(refused.code, ErrorCode::Conflict);
    assert!(refused.message.contains("no game container"), "{refused}");
    pod.kill(&place).await.unwrap();
    pod.destroy(&place).await.unwrap();
    assert!(pod.house().data_is_mounted && !pod.house().binds_ports);
}
