//! The contract of [`Runtime`], run against every implementation that this machine can start.
//!
//! The Docker runtime needs an engine (`DOCKER_HOST`) and an image on it with a `/bin/sh` and `nc` or `perl`
//! (`BADGER_TEST_IMAGE`): its tests are ignored unless they are asked for, `make test-docker` does. So is that of a real
//! pod (`make test-kubernetes`); the same launcher as a process of this machine is tested always.

#![allow(clippy::unwrap_used)]

mod cluster;

use std::any::Any;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use model::agent_api::{ErrorCode, Owner};
use model::{Epoch, ServerSpec, StopHow, SystemClock};
use tempfile::TempDir;

use super::docker::Containers;
use super::kubernetes::Pod;
use super::process::Processes;
use super::{Exit, Running, Runtime, Unit};
use crate::disk;
use crate::launcher::testing::Stage;
use crate::layout::{Layout, Place};
use crate::server::testing::spec;

const PATIENCE: Duration = Duration::from_secs(30);
/// A game: says where it is and what it was given, then echoes its console until it is told to stop.
const GAME: &str = r#"echo "in $(pwd) as $NAME"; echo state >> world.txt; echo ready
while read -r line; do echo "got $line"; [ "$line" = stop ] && exit 7; done"#;

/// A runtime with one server in a directory of its own.
struct Ground {
    dir: Arc<TempDir>,
    runtime: Arc<dyn Runtime>,
    /// The same runtime, as an agent that was started anew would have it.
    anew: Arc<dyn Runtime>,
    place: Place,
    spec: ServerSpec,
    /// The launcher and its surroundings, where there is one.
    stage: Option<Arc<dyn Any + Send + Sync>>,
}

impl Ground {
    /// A pod as far as this machine can be one: its launcher is a process.
    fn pod() -> Self {
        let unplayed = Self::new(processes(), processes(), "none");
        let stage = Stage::new(&unplayed.place, &unplayed.dir.path().join("run"));
        let connect = || Arc::new(Pod::connect(stage.socket(), Owner { uid: 1000, gid: 1000 }));
        Self { runtime: connect(), anew: connect(), stage: Some(Arc::new(stage)), ..unplayed }
    }

    fn new(runtime: Arc<dyn Runtime>, anew: Arc<dyn Runtime>, image: &str) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let mut spec = spec();
        spec.image = image.to_owned();
        spec.startup = "/bin/sh game.sh '{{NAME}}'".to_owned();
        spec.environment = [("NAME".to_owned(), "a b".to_owned())].into();
        let place = Layout::new(dir.path()).place(spec.id);
        disk::private_dir(&place.home).unwrap();
        Self { dir, runtime, anew, place, spec, stage: None }
    }

    fn twin(&self) -> Self {
        let (runtime, anew) = (Arc::clone(&self.runtime), Arc::clone(&self.anew));
        let (dir, stage) = (Arc::clone(&self.dir), self.stage.clone());
        Self { dir, runtime, anew, place: self.place.clone(), spec: self.spec.clone(), stage }
    }

    fn unit(&self) -> Unit<'_> {
        Unit { place: &self.place, spec: &self.spec, epoch: Epoch(1) }
    }

    async fn install(&self, game: &str) {
        self.runtime.install(self.unit()).await.unwrap();
        fs::write(self.place.data().join("game.sh"), game).unwrap();
    }

    async fn tidy(&self) {
        self.runtime.kill(&self.place).await.unwrap();
        if let Some(running) = self.runtime.find(&self.place).await.unwrap() {
            ended(running).await;
        }
        self.runtime.destroy(&self.place).await.unwrap();
    }
}

async fn line(running: &mut Running, wanted: &str) {
    let seen = async {
        while let Some(line) = running.lines.recv().await {
            if line.contains(wanted) {
                return true;
            }
        }
        false
    };
    assert_eq!(tokio::time::timeout(PATIENCE, seen).await, Ok(true), "no line with {wanted}");
}

async fn ended(running: Running) -> Exit {
    tokio::time::timeout(PATIENCE, running.exit).await.unwrap()
}

/// Everything that the server's task relies on.
async fn keeps_the_contract(mut ground: Ground) {
    runs_and_ends_when_asked(&ground).await;
    outlives_the_agent(&ground).await;
    ends_by_signal_and_by_force(&ground).await;
    refuses_what_cannot_run(&mut ground).await;
    leaves_nothing(&ground).await;
}

async fn runs_and_ends_when_asked(ground: &Ground) {
    ground.install(GAME).await;
    ground.runtime.fetch(&ground.spec).await.unwrap();
    ground.runtime.prepare(ground.unit()).await.unwrap();
    ground.runtime.prepare(ground.unit()).await.unwrap();
    assert!(ground.runtime.find(&ground.place).await.unwrap().is_none(), "preparing starts nothing");
    let mut running = ground.runtime.start(ground.unit()).await.unwrap();
    line(&mut running, "as a b").await;
    line(&mut running, "ready").await;
    ground.runtime.send(&ground.place, "hello there").await.unwrap();
    line(&mut running, "got hello there").await;
    ground.runtime.ask_to_end(&ground.place, &StopHow::Command("stop".to_owned())).await.unwrap();
    line(&mut running, "got stop").await;
    assert_eq!(ended(running).await, Exit::with(Some(7)));
    assert!(ground.runtime.find(&ground.place).await.unwrap().is_none());
    assert!(ground.runtime.history(&ground.place).await.contains(&"got stop".to_owned()));
    assert_eq!(fs::read_to_string(ground.place.data().join("world.txt")).unwrap(), "state\n");
}

async fn outlives_the_agent(ground: &Ground) {
    let mut running = ground.runtime.start(ground.unit()).await.unwrap();
    line(&mut running, "ready").await;
    let began = running.since;
    drop(running);
    let mut adopted = ground.anew.find(&ground.place).await.unwrap().unwrap();
    let apart = adopted.since.max(began) - adopted.since.min(began);
    assert!(apart < Duration::from_secs(2), "it began when it began: {apart:?}");
    line(&mut adopted, "ready").await;
    ground.anew.send(&ground.place, "again").await.unwrap();
    line(&mut adopted, "got again").await;
    let same = ground.anew.start(ground.unit()).await;
    assert!(same.is_ok(), "what runs is left alone");
    ground.anew.ask_to_end(&ground.place, &StopHow::Command("stop".to_owned())).await.unwrap();
    ended(adopted).await;
    let world = fs::read_to_string(ground.place.data().join("world.txt")).unwrap();
    assert_eq!(world, "state\nstate\n", "two runs, not three");
}

async fn ends_by_signal_and_by_force(ground: &Ground) {
    let traps = "trap 'echo caught; exit 3' TERM; echo ready; while true; do sleep 0.1; done";
    ground.install(traps).await;
    let mut running = ground.runtime.start(ground.unit()).await.unwrap();
    line(&mut running, "ready").await;
    ground.runtime.ask_to_end(&ground.place, &StopHow::Signal("SIGTERM".to_owned())).await.unwrap();
    line(&mut running, "caught").await;
    assert_eq!(ended(running).await.code, Some(3));

    ground.install("trap '' TERM; echo ready; while true; do sleep 0.1; done").await;
    let mut running = ground.runtime.start(ground.unit()).await.unwrap();
    line(&mut running, "ready").await;
    ground.runtime.kill(&ground.place).await.unwrap();
    assert_eq!(ended(running).await.code, Some(137));
    ground.runtime.kill(&ground.place).await.unwrap();
}

async fn refuses_what_cannot_run(ground: &mut Ground) {
    let startup = std::mem::replace(&mut ground.spec.startup, "'unclosed".to_owned());
    let image = ground.spec.image.clone();
    if image == "none" {
        assert_eq!(ground.runtime.prepare(ground.unit()).await.unwrap_err().code, ErrorCode::Conflict);
        ground.spec.startup = "no-such-program".to_owned();
        assert_eq!(ground.runtime.prepare(ground.unit()).await.unwrap_err().code, ErrorCode::Conflict);
    } else {
        ground.spec.image = "badgerpanel.invalid/no-such-image:1".to_owned();
        assert_eq!(ground.runtime.fetch(&ground.spec).await.unwrap_err().code, ErrorCode::ImageMissing);
        assert_eq!(ground.runtime.prepare(ground.unit()).await.unwrap_err().code, ErrorCode::ImageMissing);
    }
    (ground.spec.startup, ground.spec.image) = (startup, image);
}

async fn leaves_nothing(ground: &Ground) {
    ground.runtime.destroy(&ground.place).await.unwrap();
    ground.runtime.destroy(&ground.place).await.unwrap();
    assert!(!ground.runtime.list().await.unwrap().contains(&ground.spec.id));
}

/// Does something on a ground and tidies up, whether it held or not.
async fn on<F: Future<Output = ()> + Send>(ground: Ground, work: impl FnOnce(Ground) -> F + Send + 'static) {
    let keeper = ground.twin();
    let held = tokio::spawn(async move { work(ground).await }).await;
    keeper.tidy().await;
    held.unwrap();
}

fn processes() -> Arc<dyn Runtime> {
    Arc::new(Processes::new(Arc::new(SystemClock)))
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_keep_the_contract() {
    on(Ground::new(processes(), processes(), "none"), keeps_the_contract).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pods_launcher_keeps_the_contract() {
    on(Ground::pod(), keeps_the_contract).await;
}

/// Socket of an engine, and an image on it.
pub(crate) fn engine() -> (String, String) {
    let wanted = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} must be set: make test-docker does"));
    (wanted("DOCKER_HOST"), wanted("BADGER_TEST_IMAGE"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Docker engine: make test-docker"]
async fn docker_containers_keep_the_contract() {
    let (socket, image) = engine();
    let agent = format!("contract-{}", std::process::id());
    let connect = || Containers::connect(&socket, "1000:1000", agent.clone(), Arc::new(SystemClock));
    let (runtime, anew) = (connect().await.unwrap(), connect().await.unwrap());
    on(Ground::new(Arc::new(runtime), Arc::new(anew), &image), keeps_the_contract).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Docker engine: make test-docker"]
async fn docker_containers_install_publish_and_know_whose_they_are() {
    let (socket, image) = engine();
    let connect = |agent: &str| Containers::connect(&socket, "1000:1000", agent.to_owned(), Arc::new(SystemClock));
    let (mine, other) = (Arc::new(connect("mine-0").await.unwrap()), Arc::new(connect("other-0").await.unwrap()));
    let mut ground = Ground::new(mine, Arc::clone(&other) as _, &image);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    ground.spec.allocations =
        vec![model::Allocation { id: model::AllocationId::new(), ip_address: "127.0.0.1".to_owned(), port }];
    ground.spec.install = Some(model::InstallScript {
        container: image,
        entrypoint: "sh".to_owned(),
        script: "echo for $NAME > /mnt/server/installed.txt\n".to_owned(),
    });
    on(ground, async move |ground| publishes_and_is_not_mistaken(ground, other, port).await).await;
}

async fn publishes_and_is_not_mistaken(ground: Ground, other: Arc<Containers>, port: u16) {
    let listen = format!("my $s = IO::Socket::INET->new(Listen => 1, LocalPort => {port}) or die; sleep 60");
    let game =
        format!("echo ready; command -v nc && exec nc -l -p {port} -e cat; exec perl -MIO::Socket::INET -e '{listen}'");
    ground.install(&game).await;
    let installed = ground.place.data().join("installed.txt");
    assert_eq!(fs::read_to_string(&installed).unwrap(), "for a b\n");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(&installed).unwrap()), 1000);

    let mut running = ground.runtime.start(ground.unit()).await.unwrap();
    line(&mut running, "ready").await;
    let address = ground.runtime.game_address(ground.unit()).await.unwrap();
    assert_eq!(address.port(), port);
    assert!(other.find(&ground.place).await.unwrap().is_none(), "another agent's container is not ours");
    other.kill(&ground.place).await.unwrap();
    other.destroy(&ground.place).await.unwrap();
    other.prepare(ground.unit()).await.unwrap();
    assert!(ground.runtime.find(&ground.place).await.unwrap().is_some());
    other.destroy(&ground.place).await.unwrap();
    let listening = async { while tokio::net::TcpStream::connect(address).await.is_err() {} };
    tokio::time::timeout(PATIENCE, listening).await.unwrap();
}

#[tokio::test]
async fn processes_refuse_an_installation_script() {
    let mut ground = Ground::new(processes(), processes(), "none");
    let script = |text: &str| model::InstallScript {
        container: "debian".to_owned(),
        entrypoint: "bash".to_owned(),
        script: text.to_owned(),
    };
    ground.spec.install = Some(script("curl …"));
    assert_eq!(ground.runtime.install(ground.unit()).await.unwrap_err().code, ErrorCode::Unsupported);
    ground.spec.install = Some(script(" \n"));
    ground.runtime.install(ground.unit()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_not_over_while_a_child_of_it_still_writes() {
    on(Ground::new(processes(), processes(), "none"), async |ground| {
        ground.install("(sleep 0.5; echo late > late.txt) & echo ready; exit 0").await;
        let mut running = ground.runtime.start(ground.unit()).await.unwrap();
        line(&mut running, "ready").await;
        ended(running).await;
        assert!(ground.place.data().join("late.txt").exists(), "its last writer had ended");
    })
    .await;
}
