//! Placeholders of rules: `{{server.build.default.port}}`, `{{server.build.env.NAME}}`, `{{env.NAME}}`,
//! `{{config.docker.interface}}` and their later spellings. Pure.
//!
//! A name of the server's that is not known becomes nothing, as in Pterodactyl; one of the machine's configuration stays, so
//! that whoever reads the file sees what was meant.

use model::{ConfigRule, ServerSpec};
use serde_json::Value;

use super::Rule;

/// Where a container reaches the machine that it runs on, as Docker sets its networks up.
const INTERFACE: &str = "172.17.0.1";

pub(super) fn rule(rule: &ConfigRule, spec: &ServerSpec, inside_container: bool) -> Rule {
    let value = match &rule.value {
        Value::String(text) => Value::String(filled(text, spec, inside_container)),
        other => other.clone(),
    };
    let find = filled(&rule.find, spec, inside_container);
    Rule { find, if_value: rule.if_value.clone(), value }
}

fn filled(text: &str, spec: &ServerSpec, inside_container: bool) -> String {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, behind)) = after.split_once("}}") else { break };
        filled.push_str(before);
        match value(name.trim(), spec, inside_container) {
            Some(value) => filled.push_str(&value),
            None => filled.extend(["{{", name, "}}"]),
        }
        rest = behind;
    }
    filled + rest
}

/// None: it is not a placeholder of ours, and stays.
fn value(name: &str, spec: &ServerSpec, inside_container: bool) -> Option<String> {
    let (world, rest) = name.split_once('.')?;
    let variable = |name: &str| spec.environment.get(name).cloned().unwrap_or_default();
    match (world, rest) {
        ("env", name) => Some(variable(name)),
        ("config", "docker.interface" | "docker.network.interface") => {
            Some(if inside_container { INTERFACE } else { "127.0.0.1" }.to_owned())
        }
        ("server", rest) => {
            let of_environment = ["build.env.", "build.environment.", "environment.", "env."];
            let named = of_environment.iter().find_map(|before| rest.strip_prefix(before));
            Some(named.map_or_else(|| of_server(rest, spec, inside_container), variable))
        }
        _ => None,
    }
}

fn of_server(name: &str, spec: &ServerSpec, inside_container: bool) -> String {
    let first = spec.allocations.first();
    match name {
        "build.default.port" | "allocations.default.port" => first.map(|it| it.port.to_string()),
        // A container has no address of its machine to bind to.
        "build.default.ip" | "allocations.default.ip" if inside_container => Some("0.0.0.0".to_owned()),
        "build.default.ip" | "allocations.default.ip" => first.map(|it| it.ip_address.clone()),
        "build.memory" | "build.memory_limit" => Some(spec.limits.memory_mb.to_string()),
        "build.disk" | "build.disk_space" => Some(spec.limits.disk_mb.to_string()),
        "build.cpu" | "build.cpu_limit" => Some(spec.limits.cpu_percent.to_string()),
        "build.image" | "container.image" => Some(spec.image.clone()),
        "uuid" => Some(spec.id.to_string()),
        "name" | "meta.name" => Some(spec.name.clone()),
        _ => None,
    }
    .unwrap_or_default()
}
