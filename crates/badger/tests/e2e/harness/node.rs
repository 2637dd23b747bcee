//! One node of a house: its daemon, its directory, its addresses.

use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::api::Api;
use super::process::Process;
use super::tree;
use super::wait::eventually;

/// What a node has in the panel's books.
pub(crate) const MEMORY_MB: u64 = 4096;
const DISK_MB: u64 = 20_000;
const CPU_PERCENT: u64 = 400;

/// What a node is made with.
#[derive(Debug)]
pub(crate) struct NewNode<'a> {
    /// For people.
    pub(crate) name: &'a str,
    /// Where its servers and its daemon listen.
    pub(crate) ip: &'a str,
    /// In the panel's books.
    pub(crate) memory_mb: u64,
    /// How many addresses it has for servers.
    pub(crate) ports: usize,
    /// Its data directory.
    pub(crate) data: PathBuf,
    /// Where its daemon's output goes.
    pub(crate) log: PathBuf,
    /// Its engine; none for the process runtime.
    pub(crate) docker_host: Option<&'a str>,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its id.
    pub(crate) id: String,
    /// Its data directory.
    pub(crate) data: PathBuf,
    /// Ids of its allocations.
    pub(crate) allocations: Vec<String>,
    /// `host:port` of each.
    pub(crate) addresses: Vec<String>,
    /// Its daemon.
    pub(crate) process: Option<Process>,
    start_args: Vec<String>,
    env: Vec<(&'static str, String)>,
    log: PathBuf,
}

impl Node {
    /// Makes it in the panel, gives it its ports, and starts its daemon with the one-time token.
    pub(crate) fn enrol(api: &Api, new: NewNode<'_>) -> Self {
        let NewNode { name, ip, memory_mb, ports, data, log, docker_host } = new;
        let body = json!({"name": name, "memory_mb": memory_mb, "disk_mb": DISK_MB, "cpu_percent": CPU_PERCENT});
        let node = api.post("/admin/nodes", &body).expect(201);
        let id = node["id"].as_str().unwrap().to_owned();
        let token = node["enrolment"]["token"].as_str().unwrap().to_owned();
        let ports: Vec<String> = (0..ports).flat_map(|_| free_ports::<1>()).map(|port| port.to_string()).collect();
        let body = json!({"node_id": id, "ip_address": ip, "ports": ports});
        let allocations = api.post("/admin/allocations", &body).expect(201);
        let of = |field: &str| -> Vec<String> {
            let one = |a: &Value| a[field].as_str().map_or_else(|| a[field].to_string(), ToOwned::to_owned);
            allocations.as_array().unwrap().iter().map(one).collect()
        };
        let [data_port] = free_ports();
        let runtime = if docker_host.is_some() { "docker" } else { "process" };
        let mut start_args: Vec<String> =
            ["daemon", "--panel", &api.url, "--runtime", runtime, "--data"].map(ToOwned::to_owned).into();
        start_args.extend([data.display().to_string(), "--data-listen".into(), format!("{ip}:{data_port}")]);
        let mut node = Self {
            id,
            data,
            addresses: of("port").iter().map(|port| format!("{ip}:{port}")).collect(),
            allocations: of("id"),
            process: None,
            start_args,
            env: docker_host.map(|host| ("DOCKER_HOST", host.to_owned())).into_iter().collect(),
            log,
        };
        node.run(&["--token".to_owned(), token]);
        node.wait_online(api);
        node
    }

    /// Starts the daemon again, as the machine would after a reset.
    pub(crate) fn start(&mut self) {
        self.run(&[]);
    }

    fn run(&mut self, more: &[String]) {
        let args = [&self.start_args[..], more].concat();
        self.process = Some(Process::start("daemon", &args, &self.env, &self.log));
    }

    /// `kill -9` of its daemon. What it started goes on without it.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("the daemon runs").kill();
    }

    /// Waits until the panel says that it is there.
    pub(crate) fn wait_online(&mut self, api: &Api) {
        eventually("the node is online", Duration::from_secs(30), || {
            if let Some(status) = self.process.as_mut().and_then(Process::ended) {
                panic!("the daemon has ended with {status}");
            }
            (api.get(&format!("/admin/nodes/{}", self.id)).expect(200)["status"] == "online").then_some(())
        });
    }

    /// What is free on it, by the panel's books.
    pub(crate) fn capacity(&self, api: &Api) -> Value {
        api.get(&format!("/admin/nodes/{}/capacity", self.id)).expect(200)
    }

    /// Where a server's files are on it.
    pub(crate) fn server_data(&self, server: &str) -> PathBuf {
        self.data.join("servers").join(server).join("data")
    }

    /// Fails if anything of a server or of a transfer is left here (I9).
    pub(crate) fn assert_nothing_of(&self, server: &str) {
        let left = self.data.join("servers").join(server);
        assert!(!left.exists(), "{} is left", left.display());
        assert!(tree::is_empty(&self.data.join("staging")), "staging is left in {}", self.data.display());
    }

    /// What its daemons have written.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

/// Ports that nothing uses, below those that the kernel hands out, each given once in this process.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    std::array::from_fn(|_| {
        loop {
            let offset = u16::try_from(std::process::id() % 100).unwrap() * 100;
            let port = 20_000 + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
            if TcpListener::bind(("0.0.0.0", port)).is_ok() && UdpSocket::bind(("0.0.0.0", port)).is_ok() {
                break port;
            }
        }
    })
}
