//! The orchestrator's configuration file, `/etc/badgerpanel/config.yml`.
//!
//! ```yaml
//! panel_url: https://panel.example
//! token: bpe_…                      # or BADGER_TOKEN; not needed once enrolled
//! image: ghcr.io/badgerpanel/badgerpanel:1.0
//! namespace_prefix: bp-
//! storage: {storage_class: "", access_mode: ReadWriteOnce}
//! networking:
//!   service_type: NodePort          # or LoadBalancer
//!   nodeport_range_start: 30000
//!   nodeport_range_end: 32767
//!   external_address: ""            # how players reach the nodes; empty: what the nodes say of themselves
//!   data_service: nodeport          # or none: this cluster dials out only
//! resources:
//!   mover: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 256Mi}}
//!   install: {requests: {cpu: 250m, memory: 512Mi}, limits: {memory: 4Gi}}
//! ```
//!
//! A key that is not known is an error that names it and the one that was probably meant: a typing error in an optional
//! key would otherwise be found out by players.

use serde::Deserialize;
use serde_json::Value;

use super::objects::{DataService, ServiceType, Share};
use crate::error::{Error, Result};

/// Which keys there are, by the section that they are in.
const KEYS: &[(&str, &[&str])] = &[
    ("", &["panel_url", "token", "image", "namespace_prefix", "storage", "networking", "resources"]),
    ("storage", &["storage_class", "access_mode"]),
    ("networking", &["service_type", "nodeport_range_start", "nodeport_range_end", "external_address", "data_service"]),
    ("resources", &["mover", "install"]),
    ("resources.mover", &["requests", "limits"]),
    ("resources.install", &["requests", "limits"]),
    ("resources.mover.requests", &["cpu", "memory"]),
    ("resources.mover.limits", &["memory"]),
    ("resources.install.requests", &["cpu", "memory"]),
    ("resources.install.limits", &["memory"]),
];

const ACCESS_MODES: [&str; 4] = ["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany", "ReadOnlyMany"];
const MOVER: Share = Share { cpu_request_m: 50, memory_request_mb: 64, memory_limit_mb: 256 };
const INSTALL: Share = Share { cpu_request_m: 250, memory_request_mb: 512, memory_limit_mb: 4096 };

/// What the file says, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the panel is.
    pub panel_url: String,
    /// Single-use enrolment token.
    pub token: Option<String>,
    /// Of `badger` itself.
    pub image: String,
    pub(super) namespace_prefix: String,
    pub(super) storage_class: Option<String>,
    pub(super) access_mode: String,
    pub(super) service_type: ServiceType,
    pub(super) node_ports: (u16, u16),
    pub(super) external_address: Option<String>,
    pub(super) data_service: DataService,
    pub(super) mover: Share,
    pub(super) install: Share,
}

#[derive(Deserialize)]
#[serde(default)]
struct File {
    panel_url: String,
    token: String,
    image: String,
    namespace_prefix: String,
    storage: Storage,
    networking: Networking,
    resources: Resources,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Storage {
    storage_class: String,
    access_mode: String,
}

#[derive(Deserialize)]
#[serde(default)]
struct Networking {
    service_type: String,
    nodeport_range_start: u16,
    nodeport_range_end: u16,
    external_address: String,
    data_service: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    mover: Container,
    install: Container,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    requests: Amounts,
    limits: Amounts,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Amounts {
    cpu: Option<Value>,
    memory: Option<Value>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            panel_url: String::new(),
            token: String::new(),
            image: String::new(),
            namespace_prefix: "bp-".to_owned(),
            storage: Storage::default(),
            networking: Networking::default(),
            resources: Resources::default(),
        }
    }
}

impl Default for Networking {
    fn default() -> Self {
        Self {
            service_type: "NodePort".to_owned(),
            nodeport_range_start: 30_000,
            nodeport_range_end: 32_767,
            external_address: String::new(),
            data_service: "nodeport".to_owned(),
        }
    }
}

impl Settings {
    /// Reads the text of the file.
    ///
    /// # Errors
    ///
    /// Names the key that is wrong and what it may be.
    pub fn parse(text: &str) -> Result<Self> {
        let tree: Option<Value> =
            serde_saphyr::from_str(text).map_err(|error| wrong(format!("it is no YAML: {error}")))?;
        // An empty file has no value at all; nor has a section of which only the name is there.
        let tree = without_nothings(tree.unwrap_or(Value::Null));
        check_keys("", &tree)?;
        let file: File = serde_json::from_value(tree).map_err(|error| wrong(error.to_string()))?;
        file.checked()
    }
}

impl File {
    fn checked(self) -> Result<Settings> {
        required("panel_url", &self.panel_url, "the address of the panel as this cluster reaches it")?;
        required("image", &self.image, "the image that the orchestrator itself runs from")?;
        check_prefix(&self.namespace_prefix)?;
        let network = self.networking;
        let ports = (network.nodeport_range_start, network.nodeport_range_end);
        if ports.0 == 0 || ports.0 > ports.1 {
            return Err(wrong(format!(
                "nodeport_range_start ({}) is behind nodeport_range_end ({})",
                ports.0, ports.1
            )));
        }
        Ok(Settings {
            panel_url: self.panel_url,
            token: some(self.token),
            image: self.image,
            namespace_prefix: self.namespace_prefix,
            storage_class: some(self.storage.storage_class),
            access_mode: access_mode(&self.storage.access_mode)?,
            service_type: service_type(&network.service_type)?,
            node_ports: ports,
            external_address: some(network.external_address),
            data_service: data_service(&network.data_service)?,
            mover: share("resources.mover", &self.resources.mover, MOVER)?,
            install: share("resources.install", &self.resources.install, INSTALL)?,
        })
    }
}

fn wrong(why: impl Into<String>) -> Error {
    Error::Config(format!("the configuration file is wrong: {}", why.into()))
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn required(key: &str, value: &str, what: &str) -> Result<()> {
    if value.is_empty() { Err(wrong(format!("{key} is missing: {what}"))) } else { Ok(()) }
}

/// A namespace is a DNS label of 63 characters, and a server's id takes 36 of them.
fn check_prefix(prefix: &str) -> Result<()> {
    let letter = |c: char| c.is_ascii_lowercase();
    let inside = |c: char| letter(c) || c.is_ascii_digit() || c == '-';
    if prefix.len() <= 27 && prefix.starts_with(letter) && prefix.chars().all(inside) {
        return Ok(());
    }
    Err(wrong(format!(
        "namespace_prefix {prefix:?} cannot begin a namespace: at most 27 lower-case letters, digits and dashes, a \
         letter first"
    )))
}

fn access_mode(word: &str) -> Result<String> {
    match word {
        "" => Ok(ACCESS_MODES[0].to_owned()),
        "ReadOnlyMany" => Err(wrong("storage.access_mode ReadOnlyMany: a game has to write")),
        word if ACCESS_MODES.contains(&word) => Ok(word.to_owned()),
        word => Err(no_such("storage.access_mode", word, &ACCESS_MODES[..3])),
    }
}

fn service_type(word: &str) -> Result<ServiceType> {
    match word {
        "NodePort" => Ok(ServiceType::NodePort),
        "LoadBalancer" => Ok(ServiceType::LoadBalancer),
        word => Err(no_such("networking.service_type", word, &["NodePort", "LoadBalancer"])),
    }
}

fn data_service(word: &str) -> Result<DataService> {
    match word {
        "nodeport" => Ok(DataService::NodePort),
        "none" => Ok(DataService::None),
        word => Err(no_such("networking.data_service", word, &["nodeport", "none"])),
    }
}

fn no_such(key: &str, word: &str, known: &[&str]) -> Error {
    wrong(format!("{key} cannot be {word:?}: it is one of {}", known.join(", ")))
}

fn share(section: &str, wanted: &Container, default: Share) -> Result<Share> {
    let amount = |key: &str, value: &Option<Value>, read: fn(&str) -> Option<u64>, default| {
        let Some(value) = value else { return Ok(default) };
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        read(&text).ok_or_else(|| wrong(format!("{section}.{key}: {text} is no quantity (500m, 64Mi, 2Gi)")))
    };
    let share = Share {
        cpu_request_m: amount("requests.cpu", &wanted.requests.cpu, millicores, default.cpu_request_m)?,
        memory_request_mb: amount("requests.memory", &wanted.requests.memory, mebibytes, default.memory_request_mb)?,
        memory_limit_mb: amount("limits.memory", &wanted.limits.memory, mebibytes, default.memory_limit_mb)?,
    };
    if share.memory_request_mb > share.memory_limit_mb {
        return Err(wrong(format!("{section} requests more memory than its limit")));
    }
    Ok(share)
}

/// `500m`, `2`.
fn millicores(text: &str) -> Option<u64> {
    match text.strip_suffix('m') {
        Some(number) => number.parse().ok(),
        None => text.parse::<u64>().ok()?.checked_mul(1000),
    }
}

/// `64Mi`, `2Gi`.
fn mebibytes(text: &str) -> Option<u64> {
    match text.strip_suffix("Gi") {
        Some(number) => number.parse::<u64>().ok()?.checked_mul(1024),
        None => text.strip_suffix("Mi")?.parse().ok(),
    }
}

/// A key without a value is a key that was not given.
fn without_nothings(tree: Value) -> Value {
    match tree {
        Value::Null => Value::Object(serde_json::Map::new()),
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nothings(value))).collect())
        }
        other => other,
    }
}

fn check_keys(section: &str, tree: &Value) -> Result<()> {
    let Some((_, known)) = KEYS.iter().find(|(name, _)| *name == section) else { return Ok(()) };
    let map = tree.as_object().ok_or_else(|| {
        let place = if section.is_empty() { "the file" } else { section };
        wrong(format!("{place} must hold keys: {}", known.join(", ")))
    })?;
    for (key, value) in map {
        let path = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
        if !known.contains(&key.as_str()) {
            let meant = nearest(key, known);
            return Err(wrong(format!("there is no key {path}; the nearest that there is: {meant}")));
        }
        check_keys(&path, value)?;
    }
    Ok(())
}

fn nearest<'a>(word: &str, known: &[&'a str]) -> &'a str {
    known.iter().min_by_key(|candidate| distance(word, candidate)).copied().unwrap_or_default()
}

/// Levenshtein's, by rows.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SHORT: &str = "panel_url: http://10.77.0.1:8080\nimage: badger.local/badgerpanel:test\n";

    #[test]
    fn what_is_not_said_has_a_sensible_value() {
        let settings = Settings::parse(SHORT).unwrap();
        assert_eq!((settings.namespace_prefix.as_str(), settings.access_mode.as_str()), ("bp-", "ReadWriteOnce"));
        assert_eq!((settings.storage_class, settings.token, settings.external_address), (None, None, None));
        assert_eq!((settings.service_type, settings.node_ports), (ServiceType::NodePort, (30_000, 32_767)));
        assert_eq!((settings.data_service, settings.mover), (DataService::NodePort, MOVER));
    }

    #[test]
    fn what_is_said_counts() {
        let text = format!(
            "{SHORT}token: bpe_x\nnamespace_prefix: game-\nstorage: {{storage_class: fast, access_mode: ReadWriteMany}}\n\
             networking:\n  service_type: LoadBalancer\n  data_service: none\n  external_address: play.example\n\
             resources:\n  mover: {{requests: {{cpu: 1, memory: 128Mi}}, limits: {{memory: 1Gi}}}}\n"
        );
        let settings = Settings::parse(&text).unwrap();
        assert_eq!((settings.storage_class.as_deref(), settings.token.as_deref()), (Some("fast"), Some("bpe_x")));
        assert_eq!((settings.service_type, settings.data_service), (ServiceType::LoadBalancer, DataService::None));
        let share = Share { cpu_request_m: 1000, memory_request_mb: 128, memory_limit_mb: 1024 };
        assert_eq!((settings.mover, settings.install), (share, INSTALL));
    }

    #[test]
    fn a_wrong_file_says_what_is_wrong_and_what_was_meant() {
        for (line, said) in [
            ("panel_ulr: x", "there is no key panel_ulr; the nearest that there is: panel_url"),
            (
                "networking: {nodeport_start: 1}",
                "networking.nodeport_start; the nearest that there is: nodeport_range_start",
            ),
            ("storage: fast", "storage must hold keys"),
            ("networking: {service_type: ClusterIP}", "one of NodePort, LoadBalancer"),
            ("networking: {nodeport_range_start: 32767, nodeport_range_end: 30000}", "behind nodeport_range_end"),
            ("networking: {nodeport_range_start: 99999}", "invalid value"),
            ("namespace_prefix: Bp_", "cannot begin a namespace"),
            ("resources: {mover: {requests: {memory: lots}}}", "resources.mover.requests.memory: lots"),
            ("resources: {mover: {limits: {memory: 1Mi}}}", "more memory than its limit"),
            ("storage: {access_mode: ReadOnlyMany}", "has to write"),
            ("storage: [", "no YAML"),
        ] {
            let error = Settings::parse(&format!("{SHORT}{line}\n")).unwrap_err().to_string();
            assert!(error.contains(said), "{line}: {error}");
        }
        assert!(Settings::parse("").unwrap_err().to_string().contains("panel_url is missing"));
        assert!(Settings::parse("panel_url: x").unwrap_err().to_string().contains("image is missing"));
    }

    #[test]
    fn a_section_without_content_is_no_error() {
        assert!(Settings::parse(&format!("{SHORT}storage:\nresources: {{}}\ntoken:\n")).is_ok());
    }
}
