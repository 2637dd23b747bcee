//! A panel, two clusters and two nodes with an engine each: where the tests' servers live.
//!
//! It takes longer to build than most tests take, so tests share one: the first to come builds it, the last to go takes it
//! down. Tests that look after their own server only are there beside each other. A test that kills, holds, cuts off or
//! configures what others use is there [alone](Company::Nobody), and leaves everything as it was; where such a test failed,
//! nobody trusts the site any more, and the next one builds another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use super::cluster::{Cluster, Installer, host_ip};
use super::kubectl::given;
use crate::docker::hosts;
use crate::harness::api::Api;
use crate::harness::house::{start_panel, wait_panel};
use crate::harness::node::{NewNode, Node, free_ports};
use crate::harness::process::Process;

/// More than any cluster has, so that what a cluster refuses is not refused by the books before.
const MEMORY_MB: u64 = 2_000_000;
/// Of each node: a port for every server that may be there, or come there, at the same time.
const PORTS: usize = 12;

/// Who else may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// Other tests, with servers of their own.
    Others,
    /// Nobody.
    Nobody,
}

/// The whole of it.
#[derive(Debug)]
pub(super) struct Site {
    /// The API, as its admin.
    pub(super) api: Api,
    /// Clusters a and b.
    pub(super) clusters: [Cluster; 2],
    /// The nodes.
    pub(super) nodes: [Mutex<Node>; 2],
    panel: Mutex<Option<Process>>,
    listen: String,
    damaged: AtomicBool,
    // Last: everything above works in it.
    dir: tempfile::TempDir,
}

/// The site that tests share, for as long as one of them is there or waits for its turn.
static SHARED: Mutex<Weak<Site>> = Mutex::new(Weak::new());
/// Many beside each other, or one alone.
static TURN: RwLock<()> = RwLock::new(());

fn shared() -> MutexGuard<'static, Weak<Site>> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A test's turn at the site.
#[derive(Debug)]
pub(super) struct Stay {
    site: Option<Arc<Site>>,
    // Last: it lets the next one in.
    turn: Turn,
}

/// Held only.
#[derive(Debug)]
enum Turn {
    Beside { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl Turn {
    fn wait(company: Company) -> Self {
        match company {
            Company::Others => Self::Beside { _guard: TURN.read().unwrap_or_else(PoisonError::into_inner) },
            Company::Nobody => Self::Alone { _guard: TURN.write().unwrap_or_else(PoisonError::into_inner) },
        }
    }
}

impl Stay {
    /// Waits for its turn. Whoever waits has the site already, so that it is there for him when the one before goes.
    pub(super) fn begin(company: Company) -> Self {
        loop {
            let site = Site::shared();
            let turn = Turn::wait(company);
            let stay = Self { site: Some(site), turn };
            if !stay.site().damaged.load(Ordering::SeqCst) {
                return stay;
            }
        }
    }

    /// Where it is.
    pub(super) fn site(&self) -> &Site {
        self.site.as_ref().expect("until it is dropped")
    }
}

impl Drop for Stay {
    /// The last one takes the site down, and nobody builds another before that is done.
    fn drop(&mut self) {
        let mut shared = shared();
        if std::thread::panicking() && matches!(self.turn, Turn::Alone { .. }) {
            self.site().damaged.store(true, Ordering::SeqCst);
            *shared = Weak::new();
        }
        drop(self.site.take());
    }
}

impl Site {
    fn shared() -> Arc<Self> {
        let mut shared = shared();
        shared.upgrade().unwrap_or_else(|| {
            let site = Arc::new(Self::build());
            *shared = Arc::downgrade(&site);
            site
        })
    }

    fn build() -> Self {
        let dir = tempfile::Builder::new().prefix("badger-e2e.").tempdir().unwrap();
        let [port] = free_ports();
        let listen = format!("{}:{port}", host_ip());
        let mut panel = start_panel(dir.path(), &listen, &["--image", &given("BADGER_TEST_BADGER_IMAGE")]);
        let api = Api::new(&format!("http://{listen}"), &wait_panel(&mut panel, dir.path(), &listen));
        let clusters = std::thread::scope(|scope| {
            let a = scope.spawn(|| Cluster::join(&api, "a", Installer::Kubectl));
            let b = scope.spawn(|| Cluster::join(&api, "b", Installer::Helm));
            [a.join().unwrap(), b.join().unwrap()]
        });
        let engines = hosts();
        let nodes = [0, 1].map(|n| {
            let (data, log) = (dir.path().join(format!("node-{n}")), dir.path().join(format!("daemon-{n}.log")));
            let (name, ip, docker_host) = (&format!("node-{n}"), &host_ip(), Some(engines[n].as_str()));
            let new = NewNode { name, ip, memory_mb: MEMORY_MB, ports: PORTS, data, log, docker_host };
            Mutex::new(Node::enrol(&api, new))
        });
        let damaged = AtomicBool::new(false);
        Self { api, clusters, nodes, panel: Mutex::new(Some(panel)), listen, damaged, dir }
    }

    /// A node. A test that failed with it in its hands is no reason for others to fail as well.
    pub(super) fn node(&self, n: usize) -> MutexGuard<'_, Node> {
        self.nodes[n].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn panel(&self) -> MutexGuard<'_, Option<Process>> {
        self.panel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a person would look at after a failure with a server.
    pub(super) fn print_state(&self, server: &str) {
        self.clusters.iter().for_each(|cluster| cluster.print_state(server));
        self.panel().iter().for_each(Process::print_tail);
        for n in [0, 1] {
            self.node(n).process.iter().for_each(Process::print_tail);
        }
    }

    /// Holds the panel still, or lets it go on.
    pub(super) fn hold_panel(&self, still: bool) {
        self.panel().as_ref().expect("the panel runs").hold(still);
    }

    /// `kill -9` of the panel, and a new one on the same data and address.
    pub(super) fn restart_panel(&self) {
        let mut running = self.panel();
        running.take().expect("the panel runs").kill();
        let mut panel = start_panel(self.dir.path(), &self.listen, &["--image", &given("BADGER_TEST_BADGER_IMAGE")]);
        wait_panel(&mut panel, self.dir.path(), &self.listen);
        *running = Some(panel);
    }
}

impl Drop for Site {
    /// The orchestrators of one that is damaged are left to its successor, which may have installed its own by now.
    fn drop(&mut self) {
        for n in [0, 1] {
            drop(self.node(n).process.take());
        }
        drop(self.panel().take());
        if self.damaged.load(Ordering::SeqCst) {
            return;
        }
        std::thread::scope(|scope| {
            for cluster in &self.clusters {
                scope.spawn(|| cluster.leave());
            }
        });
    }
}
