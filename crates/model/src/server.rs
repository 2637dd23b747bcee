//! A game server as an agent needs to know it, and as an agent sees it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AllocationId, Epoch, ServerId};

/// Everything that an agent needs to make and run a server. The panel is its only author.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSpec {
    /// Whose spec this is.
    pub id: ServerId,
    /// Name for people; not unique.
    pub name: String,
    /// Container image. The process runtime ignores it.
    pub image: String,
    /// Command line of the game with `{{VARIABLE}}` placeholders, filled from `environment`.
    pub startup: String,
    /// Egg variables, plus `SERVER_IP`, `SERVER_PORT` and `SERVER_MEMORY`.
    pub environment: BTreeMap<String, String>,
    /// What it may use.
    pub limits: Limits,
    /// Its addresses on this agent; the first is the primary one.
    pub allocations: Vec<Allocation>,
    /// How to ask the game to end.
    pub stop: StopHow,
    /// Seconds that the game is given to end after it was asked. It is never killed without consent.
    pub stop_patience_s: u32,
    /// A console line that contains one of these, or matches what is behind `regex:`, says that the game is up. Empty: the
    /// egg does not say, and staying up is all that can be observed.
    pub done: Vec<String>,
    /// Files of the game that are brought in line with all of this before each start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configs: Vec<ConfigFile>,
    /// What to run once before the first start.
    #[serde(default)]
    pub install: Option<InstallScript>,
}

/// A file of the game that is brought in line with the server before each start (an egg's `config.files`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFile {
    /// Path beneath the server's directory.
    pub path: String,
    /// How it is read: `file`, `properties`, `ini`, `json`, `yaml`; another word is reported and nothing is done.
    pub parser: String,
    /// What to set in it, in this order.
    pub rules: Vec<ConfigRule>,
}

/// One value of a [`ConfigFile`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigRule {
    /// Which: the beginning of a line (`file`), a key (`properties`), `section.key` (`ini`), or a path with dots, in which
    /// `*` is every child.
    pub find: String,
    /// Only where this is its value; `regex:` in front replaces what matches in it.
    #[serde(default)]
    pub if_value: Option<String>,
    /// What it becomes, with `{{server.build.default.port}}`, `{{env.NAME}}` and the like in it.
    pub value: serde_json::Value,
}

/// Limits of one server. Zero means no limit, as in Pterodactyl's panels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in MiB.
    pub memory_mb: u64,
    /// Disk in MiB.
    pub disk_mb: u64,
    /// CPU in percent of one core.
    pub cpu_percent: u64,
}

/// An address at which players reach a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// The row in the panel's database.
    pub id: AllocationId,
    /// Address on the node to bind to.
    pub ip_address: String,
    /// TCP and UDP port.
    pub port: u16,
}

/// How a game is asked to end (an egg's `config.stop`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopHow {
    /// A line on its console.
    Command(String),
    /// A signal: `SIGINT`, `SIGTERM` or `SIGQUIT`.
    Signal(String),
}

/// An egg's installation script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallScript {
    /// Image to run it in; the server's directory is `/mnt/server` there.
    pub container: String,
    /// Interpreter, for example `bash`.
    pub entrypoint: String,
    /// The script.
    pub script: String,
}

/// What a server is doing. Stable strings of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerStatus {
    /// Its installation script runs.
    Installing,
    /// The installation ended with an error.
    InstallFailed,
    /// Not running, and not meant to.
    Offline,
    /// The process runs; the game has not said yet that it is up.
    Starting,
    /// Up.
    Running,
    /// Asked to end, still running.
    Stopping,
    /// Ended without being asked.
    Crashed,
    /// Its files are being replaced by those of a backup. Only the panel says so.
    RestoringBackup,
}

impl ServerStatus {
    /// Whether a process of this server exists.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping)
    }
}

/// What an agent sees of a server at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerObservation {
    /// Which server.
    pub server_id: ServerId,
    /// What it does.
    pub status: ServerStatus,
    /// The highest epoch recorded beside its data.
    pub epoch: Epoch,
    /// Whether a tombstone forbids to start that epoch.
    pub fenced: bool,
    /// Since when the status holds, by the agent's clock.
    pub since: Timestamp,
    /// Exit code of the last process, where it is known.
    pub exit_code: Option<i32>,
    /// What a person should look at: objects of it that were changed by hand, a pod that cannot be scheduled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attention: Vec<String>,
}

/// Which kind of runtime an agent has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeKind {
    /// Child processes.
    Process,
    /// A Docker engine.
    Docker,
    /// A Kubernetes cluster.
    Kubernetes,
}

/// What a machine has left, as its agent measures it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// MiB of memory in all.
    pub memory_total_mb: u64,
    /// MiB of memory that the kernel calls available.
    pub memory_available_mb: u64,
    /// Bytes of the file system with the servers' data.
    pub disk_total_bytes: u64,
    /// Bytes that are free there for us.
    pub disk_free_bytes: u64,
    /// Free inodes there; 0 where the file system does not count them.
    pub inodes_free: u64,
    /// Load average of the last minute, times 100.
    pub load_1m_percent: u64,
}

/// `line` with every `{{NAME}}` replaced by that variable, or by nothing where there is none.
#[must_use]
pub fn fill_in(line: &str, environment: &BTreeMap<String, String>) -> String {
    let mut filled = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, behind)) = after.split_once("}}") else { break };
        filled.push_str(before);
        filled.push_str(environment.get(name.trim()).map_or("", String::as_str));
        rest = behind;
    }
    filled.push_str(rest);
    filled
}
