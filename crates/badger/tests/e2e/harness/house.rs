//! A house: a panel, two nodes with a daemon each, and one server on the first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::api::{Answer, Api};
use super::node::{MEMORY_MB, NewNode, Node, free_ports};
use super::player::Player;
use super::process::{BADGER, Process};
use super::wait::{eventually, within};
use super::witness::{Witness, games};

/// Longest that a migration of these small worlds may take, kills included.
pub(crate) const MIGRATION: Duration = Duration::from_mins(2);

/// The stages in the order in which they come.
pub(crate) const STAGES: [&str; 8] = [
    "preparing",
    "copying_while_running",
    "stopping",
    "compressing",
    "transferring",
    "extracting",
    "starting",
    "cleanup",
];

/// What a house is made with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Size of the ledger's world.
    pub(crate) world: &'static str,
    /// One engine for each node; none for the process runtime.
    pub(crate) docker_hosts: Option<[String; 2]>,
    /// Where the second node keeps its data, if not in the house's directory.
    pub(crate) target_data: Option<PathBuf>,
    /// The egg, if not the ledger's.
    pub(crate) egg: Option<Value>,
    /// The panel's PostgreSQL database; none for SQLite.
    pub(crate) database: Option<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { world: "4M", docker_hosts: None, target_data: None, egg: None, database: None }
    }
}

/// A panel with two nodes and a server.
#[derive(Debug)]
pub(crate) struct House {
    /// The API, as its admin.
    pub(crate) api: Api,
    /// The panel's process.
    pub(crate) panel: Option<Process>,
    /// Both nodes.
    pub(crate) nodes: [Node; 2],
    /// The server's id.
    pub(crate) server: String,
    witness: Witness,
    listen: String,
    docker_hosts: Option<[String; 2]>,
    /// What the panel is started with beyond the usual.
    panel_args: Vec<String>,
    // Last: everything above works in it.
    dir: tempfile::TempDir,
}

impl House {
    /// Builds it. The server is installed and offline.
    pub(crate) fn build(setup: Setup) -> Self {
        let dir = tempfile::Builder::new().prefix("badger-e2e.").tempdir().unwrap();
        let [port] = free_ports();
        let listen = format!("127.0.0.1:{port}");
        let panel_args: Vec<String> = setup.database.map(|url| format!("--database={url}")).into_iter().collect();
        let mut panel = start_panel(dir.path(), &listen, &args(&panel_args));
        let key = wait_panel(&mut panel, dir.path(), &listen);
        let api = Api::new(&format!("http://{listen}"), &key);
        let node = |n: usize, data: Option<PathBuf>| {
            let host = setup.docker_hosts.as_ref().map(|hosts| hosts[n].as_str());
            let data = data.unwrap_or_else(|| dir.path().join(format!("node-{n}")));
            let log = dir.path().join(format!("daemon-{n}.log"));
            let name = &format!("node-{n}");
            let (memory_mb, ports) = (MEMORY_MB, 2);
            Node::enrol(&api, NewNode { name, ip: "127.0.0.1", memory_mb, ports, data, log, docker_host: host })
        };
        let nodes = [node(0, None), node(1, setup.target_data.clone())];
        let egg = setup.egg.unwrap_or_else(|| ledger_egg(setup.world));
        let server = create_server(&api, &nodes[0], &egg);
        let witness = Witness::start(dir.path());
        let docker_hosts = setup.docker_hosts;
        Self { api, panel: Some(panel), nodes, server, witness, listen, docker_hosts, panel_args, dir }
    }

    /// Builds one with the ledger running, and a player who has already played.
    pub(crate) fn playing(setup: Setup) -> (Self, Player) {
        let house = Self::build(setup);
        house.power("start");
        house.wait_status("running");
        let player = Player::start(house.nodes.iter().flat_map(|node| node.addresses.clone()).collect());
        player.plays_on();
        (house, player)
    }

    /// The server as the API gives it.
    pub(crate) fn server(&self) -> Value {
        self.api.get(&format!("/admin/servers/{}", self.server)).expect(200)
    }

    /// `host:port` of its primary allocation.
    pub(crate) fn address(&self) -> String {
        let allocation = &self.server()["allocation"];
        format!("{}:{}", allocation["ip_address"].as_str().unwrap(), allocation["port"])
    }

    /// Sends a power signal.
    pub(crate) fn power(&self, signal: &str) {
        self.api.post(&format!("/servers/{}/power", self.server), &json!({"signal": signal})).expect(202);
    }

    /// Waits for a status.
    pub(crate) fn wait_status(&self, status: &str) {
        eventually(&format!("the server is {status}"), Duration::from_mins(1), || {
            (self.server()["status"] == status).then_some(())
        });
    }

    /// Lines of the server's console.
    pub(crate) fn console(&self) -> Vec<String> {
        let answer = self.api.get(&format!("/servers/{}/console?lines=500", self.server)).expect(200);
        answer["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
    }

    /// Index of the node that owns the server now.
    pub(crate) fn owner(&self) -> usize {
        let id = self.server()["node_id"].as_str().unwrap().to_owned();
        self.nodes.iter().position(|node| node.id == id).unwrap()
    }

    /// Starts a migration to the other node with `options`; its id.
    pub(crate) fn migrate(&self, options: &Value) -> String {
        let answer = self.try_migrate(options);
        let location = answer.location.clone();
        let transfer = answer.expect(202);
        let id = transfer["id"].as_str().unwrap().to_owned();
        assert!(location.is_some_and(|l| l.ends_with(&id)), "Location leads to the transfer");
        id
    }

    /// The same, where it may be refused.
    pub(crate) fn try_migrate(&self, options: &Value) -> super::api::Answer {
        let mut body = json!({"target_node_id": self.nodes[1 - self.owner()].id});
        body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        self.api.post(&format!("/admin/servers/{}/transfer", self.server), &body)
    }

    /// A transfer as the API gives it.
    pub(crate) fn transfer(&self, id: &str) -> Value {
        self.api.get(&format!("/admin/transfers/{id}")).expect(200)
    }

    /// Waits until a transfer is over, whatever happens to the panel meanwhile; how it ended.
    pub(crate) fn wait_final(&self, id: &str) -> Value {
        let mut last = Value::Null;
        let over = within(MIGRATION, || {
            last = self.api.try_get(&format!("/admin/transfers/{id}")).ok()?.expect(200);
            is_over(&last).then_some(())
        });
        assert!(over.is_some(), "the transfer is not over after {MIGRATION:?}: {last}");
        last
    }

    /// Waits until a transfer has come to `stage`, or past it, or is over; whether it is there.
    pub(crate) fn wait_stage(&self, id: &str, stage: &str) -> bool {
        let rank = |name: &str| STAGES.iter().position(|s| *s == name).unwrap_or_else(|| panic!("no stage {name}"));
        eventually(&format!("stage {stage}"), MIGRATION, || {
            let transfer = self.transfer(id);
            let now = transfer["stage"].as_str().unwrap();
            (rank(now) >= rank(stage) || is_over(&transfer)).then_some(now == stage)
        })
    }

    /// Waits until a transfer has written something on the target, so that it is in the middle of its copy.
    pub(crate) fn wait_copying(&self, id: &str) {
        eventually("bytes flow", MIGRATION, || {
            (self.transfer(id)["progress"]["bytes_written"].as_u64()? > 0).then_some(())
        });
    }

    /// Migrates and expects it to complete; the transfer.
    pub(crate) fn migrated(&self, options: &Value) -> Value {
        let transfer = self.wait_final(&self.migrate(options));
        assert_eq!(transfer["state"], "completed", "{transfer}");
        self.assert_settled();
        transfer
    }

    /// `kill -9` of the panel.
    pub(crate) fn kill_panel(&mut self) {
        self.panel.take().expect("the panel runs").kill();
    }

    /// Starts the panel again on the same data and address.
    pub(crate) fn start_panel(&mut self) {
        let mut panel = start_panel(self.dir.path(), &self.listen, &args(&self.panel_args));
        wait_panel(&mut panel, self.dir.path(), &self.listen);
        self.panel = Some(panel);
    }

    /// Starts another panel on the same database, with a data directory of its own: how it ended, and what it said.
    pub(crate) fn second_panel(&self) -> (ExitStatus, String) {
        let dir = tempfile::tempdir().unwrap();
        let mut second = start_panel(dir.path(), "127.0.0.1:0", &args(&self.panel_args));
        let ended = eventually("the second panel has ended", Duration::from_secs(30), || second.ended());
        (ended, fs::read_to_string(dir.path().join("panel.log")).unwrap())
    }

    /// What the panel says of itself to load balancers.
    pub(crate) fn readiness(&self) -> Answer {
        self.api.get_raw("/readyz")
    }

    /// What must be true whenever no transfer runs: nothing is locked or reserved, nothing is left on the node that
    /// does not own the server, its game runs at most once and only at the owner's (I1, I4, I9).
    pub(crate) fn assert_settled(&self) {
        self.witness.assert_never_two();
        let server = self.server();
        assert_eq!((&server["locked"], &server["transfer_state"]), (&json!(false), &Value::Null), "{server}");
        let owner = self.owner();
        // The agent removes what it has to in the same step; the answer to the panel may be a moment earlier.
        eventually("the other node lets go", Duration::from_secs(10), || {
            let other = &self.nodes[1 - owner];
            (!other.data.join("servers").join(&self.server).join("data").exists()).then_some(())
        });
        self.nodes
            .iter()
            .for_each(|node| assert!(super::tree::is_empty(&node.data.join("staging")), "staging is left"));
        for game in games(self.dir.path()) {
            assert_eq!(game.dir, self.nodes[owner].server_data(&self.server), "{game:?} runs where the server is not");
        }
        self.assert_books(owner);
    }

    /// The other node's books show nothing, and exactly one allocation is in use.
    fn assert_books(&self, owner: usize) {
        let capacity = self.nodes[1 - owner].capacity(&self.api);
        for what in ["memory_mb", "disk_mb", "cpu_percent"] {
            assert_eq!(capacity[what]["allocated"], 0, "{what} is reserved on the other node: {capacity}");
        }
        let in_use: Vec<Value> = self.nodes.iter().flat_map(|node| self.allocations_in_use(node)).collect();
        assert_eq!(in_use.len(), 1, "{in_use:?}");
        assert_eq!(in_use[0]["node_id"], json!(self.nodes[owner].id), "{in_use:?}");
    }

    fn allocations_in_use(&self, node: &Node) -> Vec<Value> {
        let list = self.api.get(&format!("/admin/allocations?filter[node_id]={}", node.id)).expect(200);
        let used = |a: &&Value| !a["server_id"].is_null() || !a["reserved_by"].is_null();
        list.as_array().unwrap().iter().filter(used).cloned().collect()
    }

    /// Where the source keeps its copy after a migration.
    pub(crate) fn retained(&self, node: usize, transfer: &str) -> PathBuf {
        self.nodes[node].data.join("retained").join(transfer).join("data")
    }

    /// The panel's log.
    pub(crate) fn panel_log(&self) -> String {
        fs::read_to_string(self.dir.path().join("panel.log")).unwrap()
    }
}

impl Drop for House {
    /// Processes of games outlive their daemons by design, so they are ended here, and containers likewise.
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(|node| drop(node.process.take()));
        drop(self.panel.take());
        let roots = self.nodes.iter().map(|node| node.data.as_path()).chain([self.dir.path()]);
        for game in roots.flat_map(games) {
            if let Some(pid) = i32::try_from(game.pid).ok().and_then(Pid::from_raw) {
                let killed = kill_process(pid, Signal::KILL);
                assert!(std::thread::panicking() || matches!(killed, Ok(()) | Err(Errno::SRCH)), "{killed:?}");
            }
        }
        for host in self.docker_hosts.iter().flatten() {
            super::super::docker::remove_containers(host, &self.server);
        }
    }
}

pub(crate) fn is_over(transfer: &Value) -> bool {
    matches!(transfer["state"].as_str(), Some("completed" | "rolled_back" | "stuck"))
}

fn args(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

/// Starts a panel in `dir`, with `more` arguments.
pub(crate) fn start_panel(dir: &Path, listen: &str, more: &[&str]) -> Process {
    let data = dir.join("panel");
    let args = [&["panel", "--data", data.to_str().unwrap(), "--listen", listen], more].concat();
    Process::start("panel", &args, &[], &dir.join("panel.log"))
}

/// Waits until the panel is ready; its first admin key.
pub(crate) fn wait_panel(panel: &mut Process, dir: &Path, listen: &str) -> String {
    let log = dir.join("panel.log");
    eventually("the panel is ready", Duration::from_secs(30), || {
        if let Some(status) = panel.ended() {
            panic!("the panel has ended with {status}: {}", fs::read_to_string(&log).unwrap_or_default());
        }
        let key = fs::read_to_string(dir.join("panel/admin.key")).ok()?.trim().to_owned();
        let ready = ureq::get(format!("http://{listen}/readyz")).call().is_ok();
        (ready && !key.is_empty()).then_some(key)
    })
}

fn create_server(api: &Api, node: &Node, egg: &Value) -> String {
    let egg = api.post("/admin/eggs/import", egg).expect(201);
    let body = json!({
        "name": "a ledger", "egg_id": egg["id"], "node_id": node.id, "allocation_id": node.allocations[0],
        "memory_limit": 512, "disk_limit": 2048, "cpu_limit": 100, "environment": {},
    });
    let server = api.post("/admin/servers", &body).expect(201);
    let id = server["id"].as_str().unwrap().to_owned();
    eventually("the server is installed", Duration::from_mins(1), || {
        let server = api.get(&format!("/admin/servers/{id}")).expect(200);
        assert_ne!(server["status"], "install_failed", "{server}");
        (server["status"] == "offline").then_some(())
    });
    id
}

/// Our own game as an egg: what it runs is the executable under test.
fn ledger_egg(world: &str) -> Value {
    json!({
        "meta": {"version": "PTDL_v2"}, "name": "Ledger", "author": "eggs@badgerpanel.example", "description": "",
        "docker_images": {"none": "none"},
        "startup": format!("{BADGER} ledger serve --listen {{{{SERVER_IP}}}}:{{{{SERVER_PORT}}}} --world . --size {world} --dirty 64K"),
        "config": {"files": "{}", "startup": "{\"done\": \"The ledger is open on\"}", "logs": "{}", "stop": "stop"},
        "scripts": {"installation": {"script": null, "container": "", "entrypoint": ""}},
        "variables": [],
    })
}
