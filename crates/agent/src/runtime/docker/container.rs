//! What a server's container is made of. Pure: from a spec to the engine's words.
//!
//! The root file system is read-only on purpose: what a game writes outside its data directory would not move with it.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, PortBinding, PortMap, RestartPolicy,
    RestartPolicyNameEnum,
};
use data_encoding::HEXLOWER;
use model::agent_api::AgentError;
use model::{Allocation, ServerId, ServerSpec};
use ring::digest;

use crate::runtime::{Unit, inside};

pub(super) const SERVER: &str = "io.badgerpanel.server";
pub(super) const AGENT: &str = "io.badgerpanel.agent";
const EPOCH: &str = "io.badgerpanel.epoch";
/// What the container was made from, so that one which was prepared is not taken for another.
pub(super) const MADE_FROM: &str = "io.badgerpanel.spec";

const HOME: &str = "/home/container";
const PIDS: i64 = 512;

pub(super) fn name(server: ServerId) -> String {
    format!("bp-{server}")
}

/// Where another agent on the same engine has the plain name: a server that moves between two of them.
pub(super) fn second_name(server: ServerId, agent: &str) -> String {
    let short: String = agent.chars().take(8).collect();
    format!("bp-{server}-{short}")
}

/// A fingerprint of everything that goes into the container.
pub(super) fn made_from(unit: Unit<'_>, user: &str) -> Result<String, AgentError> {
    let spec = serde_json::to_vec(unit.spec)
        .map_err(|e| crate::disk::failed("spell the spec of", &unit.place.home, &e.into()))?;
    let mut all = digest::Context::new(&digest::SHA256);
    all.update(&spec);
    all.update(format!("\n{}\n{user}\n{}", unit.epoch, unit.place.home.display()).as_bytes());
    Ok(HEXLOWER.encode(all.finish().as_ref()))
}

/// `has_command`: the image says itself what to run, as those made for Pterodactyl do (they read `STARTUP`).
pub(super) fn body(
    unit: Unit<'_>,
    agent: &str,
    user: &str,
    has_command: bool,
) -> Result<ContainerCreateBody, AgentError> {
    let spec = unit.spec;
    let labels = [
        (SERVER, spec.id.to_string()),
        (EPOCH, unit.epoch.to_string()),
        (AGENT, agent.to_owned()),
        (MADE_FROM, made_from(unit, user)?),
    ];
    Ok(ContainerCreateBody {
        image: Some(spec.image.clone()),
        user: Some(user.to_owned()),
        env: Some(environment(spec)),
        cmd: if has_command { None } else { Some(inside::words(spec, HOME)?) },
        working_dir: Some(HOME.to_owned()),
        exposed_ports: Some(ports(&spec.allocations).into_keys().collect()),
        labels: Some(labels.map(|(name, value)| (name.to_owned(), value)).into()),
        open_stdin: Some(true),
        stdin_once: Some(false),
        tty: Some(false),
        host_config: Some(host_config(unit)),
        ..ContainerCreateBody::default()
    })
}

fn host_config(unit: Unit<'_>) -> HostConfig {
    let limits = unit.spec.limits;
    let memory = (limits.memory_mb > 0).then(|| bytes(limits.memory_mb));
    HostConfig {
        mounts: Some(vec![bind(&unit.place.data().to_string_lossy(), HOME, false)]),
        port_bindings: Some(ports(&unit.spec.allocations)),
        memory,
        memory_swap: memory,
        cpu_period: (limits.cpu_percent > 0).then_some(100_000),
        cpu_quota: (limits.cpu_percent > 0).then(|| i64::try_from(limits.cpu_percent * 1000).unwrap_or(i64::MAX)),
        pids_limit: Some(PIDS),
        // Ours, not Docker's: a server that was stopped for a transfer must not come back by itself.
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        log_config: Some(log_config()),
        readonly_rootfs: Some(true),
        tmpfs: Some([("/tmp".to_owned(), "rw,exec,nosuid,size=128m".to_owned())].into()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        ..HostConfig::default()
    }
}

fn log_config() -> HostConfigLogConfig {
    let config = [("max-size", "5m"), ("max-file", "1")];
    let config = config.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(config) }
}

pub(super) fn bind(source: &str, target: &str, read_only: bool) -> Mount {
    Mount {
        source: Some(source.to_owned()),
        target: Some(target.to_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(read_only),
        ..Mount::default()
    }
}

/// Every allocation on TCP and UDP, to the same port inside.
fn ports(allocations: &[Allocation]) -> PortMap {
    let mut ports: PortMap = HashMap::new();
    for allocation in allocations {
        let binding =
            PortBinding { host_ip: Some(allocation.ip_address.clone()), host_port: Some(allocation.port.to_string()) };
        for protocol in ["tcp", "udp"] {
            let of_port = ports.entry(format!("{}/{protocol}", allocation.port)).or_default();
            of_port.get_or_insert_default().push(binding.clone());
        }
    }
    ports
}

pub(super) fn environment(spec: &ServerSpec) -> Vec<String> {
    inside::environment(spec, HOME).into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn bytes(mb: u64) -> i64 {
    i64::try_from(mb << 20).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use model::{AllocationId, Epoch, Limits};

    use super::*;
    use crate::layout::Layout;
    use crate::server::testing::spec;

    #[test]
    fn limits_ports_and_labels_are_spelled_for_the_engine() {
        let mut spec = spec();
        spec.limits = Limits { memory_mb: 512, disk_mb: 0, cpu_percent: 150 };
        spec.allocations =
            vec![Allocation { id: AllocationId::new(), ip_address: "127.0.0.2".to_owned(), port: 25565 }];
        spec.startup = "game --port {{SERVER_PORT}} --ip {{SERVER_IP}}".to_owned();
        spec.environment = [("SERVER_PORT", "25565"), ("SERVER_IP", "127.0.0.2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let place = Layout::new("/d").place(spec.id);
        let unit = Unit { place: &place, spec: &spec, epoch: Epoch(7) };

        let body = body(unit, "me", "1000:1000", false).unwrap();
        let host = body.host_config.unwrap();
        assert_eq!((host.memory, host.cpu_quota), (Some(512 << 20), Some(150_000)));
        assert_eq!(host.port_bindings.unwrap().len(), 2);
        assert_eq!(body.labels.unwrap()[EPOCH], "7");
        assert_eq!(body.cmd.unwrap(), ["game", "--port", "25565", "--ip", "0.0.0.0"]);
        let env = body.env.unwrap();
        assert!(env.contains(&"STARTUP=game --port 25565 --ip 0.0.0.0".to_owned()));
    }
}
