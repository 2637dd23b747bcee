//! Sets the demo up through the panel's public API, as a user would: nodes, addresses, egg, server.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

use super::house::House;
use crate::client::{api::Api, field};

const EGG: &str = include_str!("ledger-egg.json");
const PATIENCE: Duration = Duration::from_mins(1);
const ADDRESSES_PER_NODE: usize = 2;

/// A node of the demo.
#[derive(Clone, Debug, Serialize)]
#[allow(clippy::struct_field_names, reason = "the names are those of the API, and of `--json`")]
pub(crate) struct Node {
    /// Its id.
    pub(crate) node_id: String,
    /// Its addresses' ids.
    pub(crate) allocation_ids: Vec<String>,
    /// Where its daemon keeps everything.
    pub(crate) data_dir: String,
    /// Its daemon.
    pub(crate) pid: u32,
    /// Its name.
    #[serde(skip)]
    pub(crate) name: String,
}

/// What is up; as `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Up {
    /// The panel's.
    pub(crate) url: String,
    /// With all rights.
    pub(crate) api_key: String,
    /// The game server.
    pub(crate) server_id: String,
    /// The first has the server.
    pub(crate) nodes: Vec<Node>,
    /// The panel's process.
    pub(crate) panel_pid: u32,
    /// Where players reach the server.
    pub(crate) game_address: String,
}

/// Adds a node, starts its daemon, waits until it has joined, and gives it addresses.
pub(crate) fn node(house: &mut House, api: &Api, name: &str, disk_mb: u64) -> Result<Node> {
    let body = json!({"name": name, "memory_mb": 8192, "disk_mb": disk_mb, "cpu_percent": 800});
    let node = api.post("/admin/nodes", &body).with_context(|| format!("cannot add node {name}"))?;
    let id = text(&node, "id")?;
    let pid = house.start_daemon(name, api.url(), &text(&node["enrolment"], "token")?)?;
    let path = format!("/admin/nodes/{id}");
    house.wait_for(&format!("the daemon of {name}"), PATIENCE, || {
        Ok((api.get(&path)?["status"] == "online").then_some(()))
    })?;
    let ports: Vec<String> = free_ports(ADDRESSES_PER_NODE)?.iter().map(u16::to_string).collect();
    let body = json!({"node_id": id, "ip_address": "127.0.0.1", "ports": ports});
    let made = api.post("/admin/allocations", &body).with_context(|| format!("cannot add addresses to {name}"))?;
    let allocation_ids = made.as_array().into_iter().flatten().map(|a| text(a, "id")).collect::<Result<Vec<_>>>()?;
    let data_dir = house.data_of(name).display().to_string();
    Ok(Node { node_id: id, allocation_ids, data_dir, pid, name: name.to_owned() })
}

/// Makes the game server on `node` and waits until it is up. Returns its id and its address.
pub(crate) fn server(house: &mut House, api: &Api, node: &Node, size: u64, dirty: u64) -> Result<(String, String)> {
    let egg: Value = serde_json::from_str(EGG).context("the egg in this executable is damaged")?;
    let egg = api.post("/admin/eggs/import", &egg).context("cannot import the egg")?;
    let body = json!({
        "name": "ledger",
        "egg_id": egg["id"],
        "node_id": node.node_id,
        "allocation_id": node.allocation_ids.first(),
        "memory_limit": 512,
        "disk_limit": disk_mb(size),
        "cpu_limit": 100,
        "environment": environment(house.executable(), size, dirty),
    });
    let made = api.post("/admin/servers", &body).context("cannot make the server")?;
    let (id, address) = (text(&made, "id")?, field(&made, "allocation"));
    let path = format!("/admin/servers/{id}");
    let status = |house: &mut House, wanted: &str| {
        house.wait_for(&format!("the server (to be {wanted})"), PATIENCE, || {
            let status = text(&api.get(&path)?, "status")?;
            anyhow::ensure!(!matches!(&*status, "install_failed" | "crashed"), "the server is {status}");
            Ok((status == wanted).then_some(()))
        })
    };
    status(house, "offline")?;
    house.set_game(api.clone(), &id);
    api.post(&format!("/servers/{id}/power"), &json!({"signal": "start"})).context("cannot start the server")?;
    status(house, "running")?;
    Ok((id, address))
}

fn environment(executable: &Path, size: u64, dirty: u64) -> Value {
    json!({
        "BADGER": executable.display().to_string(),
        "WORLD_SIZE": size.to_string(),
        "DIRTY_RATE": dirty.to_string(),
        "END_WITH": std::process::id().to_string(),
    })
}

/// Disk that a world of `size` bytes needs: itself, what it grows by, and its databases' logs.
pub(crate) fn disk_mb(size: u64) -> u64 {
    (size >> 20) * 5 / 4 + 512
}

/// A field of an answer that must be there.
pub(crate) fn text(value: &Value, name: &str) -> Result<String> {
    value[name].as_str().map(str::to_owned).with_context(|| format!("the panel's answer has no `{name}`: {value}"))
}

/// Ports of loopback that nobody listens on, below those that the kernel gives to outgoing connections.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let seed = uuid::Uuid::now_v7().as_u128();
    let first = 20_000 + u16::try_from(seed % 10_000).expect("less than ten thousand");
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let ports: Vec<u16> = (first..32_000).filter(is_free).take(count).collect();
    anyhow::ensure!(ports.len() == count, "no free ports between {first} and 32000 on 127.0.0.1");
    Ok(ports)
}
