//! A launcher as a process of its own, for tests of both sides of its socket.
//!
//! It cannot run inside the test's process: it makes itself the parent of every orphan below it. So the test executable
//! is started once more and plays the launcher in [`plays_the_launcher`].

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use model::{NodeId, ServerId};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::layout::Place;
use crate::permit::testing::Signer;
use crate::server::ownership::Ownership;
use crate::server::{OWNERSHIP, PERMIT};

/// Says to a child of the tests that it is to be a launcher, and in which directory.
const STAGE: &str = "BADGER_TEST_LAUNCHER";
const PATIENCE: Duration = Duration::from_secs(30);

/// The directories of a pod, and the launcher in it.
pub(crate) struct Stage {
    pub(crate) place: Place,
    run: PathBuf,
    panel: Arc<Signer>,
    cluster: NodeId,
    launcher: Child,
}

impl Stage {
    /// With an empty volume, and the permit for epoch 1 on it.
    pub(crate) fn new(place: &Place, run: &Path) -> Self {
        let (panel, cluster) = (Arc::new(Signer::new()), NodeId::new());
        disk::private_dir(&place.home).unwrap();
        std::fs::create_dir_all(place.data()).unwrap();
        disk::private_dir(run).unwrap();
        let launcher = launch(place, run, &panel.public(), cluster);
        let stage = Self { place: place.clone(), run: run.to_owned(), panel, cluster, launcher };
        stage.record(&Ownership::new(model::Epoch(1)), 1);
        stage
    }

    /// Another pod with the same volume.
    pub(crate) fn beside(first: &Self, run: &Path) -> Self {
        disk::private_dir(run).unwrap();
        let launcher = launch(&first.place, run, &first.panel.public(), first.cluster);
        Self {
            place: first.place.clone(),
            run: run.to_owned(),
            panel: Arc::clone(&first.panel),
            cluster: first.cluster,
            launcher,
        }
    }

    /// What a mover writes when it admits a permit.
    pub(crate) fn record(&self, ownership: &Ownership, permit: u64) {
        let permit = self.panel.permit(self.place.server, permit, self.cluster);
        disk::write_json(&self.place.beside(OWNERSHIP), ownership).unwrap();
        disk::write_json(&self.place.beside(PERMIT), &permit).unwrap();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.run.join("launcher.sock")
    }

    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.launcher);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end; says whether it was a good one.
    pub(crate) fn ended(&mut self) -> bool {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.launcher.try_wait().unwrap() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the launcher does not end");
    }

    /// As the kernel does when a container's first process is killed: everything in it goes at once.
    pub(crate) fn kill_container(&mut self) {
        let family = descendants(self.launcher.id());
        self.launcher.kill().unwrap();
        self.launcher.wait().unwrap();
        for pid in family {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            // One that has ended meanwhile is as good.
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap_or_default();
        }
    }

    pub(crate) fn launch_again(&mut self) {
        self.launcher = launch(&self.place, &self.run, &self.panel.public(), self.cluster);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.launcher.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.kill_container();
        }
    }
}

fn descendants(pid: u32) -> Vec<i32> {
    let pid = i32::try_from(pid).unwrap();
    crate::runtime::process::descendants(pid).into_iter().collect()
}

fn launch(place: &Place, run: &Path, permit_key: &str, agent_id: NodeId) -> Child {
    let words = [run.to_str().unwrap(), place.home.to_str().unwrap(), place.data().to_str().unwrap()].join("\n");
    let stage = [words, place.server.to_string(), agent_id.to_string(), permit_key.to_owned()].join("\n");
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "launcher::testing::plays_the_launcher", "--nocapture"])
        .env(STAGE, stage)
        .env("KUBERNETES_SERVICE_HOST", "192.0.2.1")
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test, unless it was started by one.
#[test]
fn plays_the_launcher() {
    let Ok(stage) = std::env::var(STAGE) else { return };
    let mut words = stage.lines();
    let mut next = || words.next().unwrap().to_owned();
    let run = PathBuf::from(next());
    let config = Config {
        socket: run.join("launcher.sock"),
        place: next().into(),
        data: next().into(),
        run: run.join("game"),
        server_id: next().parse::<ServerId>().unwrap(),
        agent_id: next().parse::<NodeId>().unwrap(),
        permit_key: next(),
        echo: Box::new(|_| {}),
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut term = signal(SignalKind::terminate()).unwrap();
        let shutdown = CancellationToken::new();
        let asked = shutdown.clone();
        tokio::spawn(async move {
            term.recv().await;
            asked.cancel();
        });
        super::run(config, shutdown).await.unwrap();
    });
}
