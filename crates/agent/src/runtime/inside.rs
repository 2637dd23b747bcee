//! What a game inside a container is given, whoever runs the container: its environment, and what is executed where the
//! image does not say. Pure; for the Docker runtime and for the launcher of a pod.
//!
//! Inside, a game binds to all addresses: those of the node do not exist there.

use std::collections::BTreeMap;

use model::agent_api::AgentError;
use model::{ServerSpec, fill_in};

use super::process::startup_words;

/// The server's variables as a container has them. The startup line is filled in already; an image that fills it in
/// itself finds nothing left to do.
pub(crate) fn environment(spec: &ServerSpec, home: &str) -> BTreeMap<String, String> {
    let mut all = spec.environment.clone();
    all.insert("SERVER_IP".to_owned(), "0.0.0.0".to_owned());
    all.entry("HOME".to_owned()).or_insert_with(|| home.to_owned());
    all.insert("P_SERVER_UUID".to_owned(), spec.id.to_string());
    let startup = fill_in(&spec.startup, &all);
    all.insert("STARTUP".to_owned(), startup);
    all
}

/// The words of the startup line, filled in from that environment.
pub(super) fn words(spec: &ServerSpec, home: &str) -> Result<Vec<String>, AgentError> {
    startup_words(&ServerSpec { environment: environment(spec, home), ..spec.clone() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::server::testing::spec;

    #[test]
    fn the_address_of_the_node_is_not_known_inside() {
        let mut spec = spec();
        spec.startup = "game {{SERVER_IP}}:{{SERVER_PORT}} {{HOME}}".to_owned();
        spec.environment = [("SERVER_IP", "192.0.2.1"), ("SERVER_PORT", "25565")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let given = environment(&spec, "/home/container");
        assert_eq!(given["STARTUP"], "game 0.0.0.0:25565 /home/container");
        assert_eq!(given["P_SERVER_UUID"], spec.id.to_string());
        assert_eq!(words(&spec, "/home/container").unwrap(), ["game", "0.0.0.0:25565", "/home/container"]);
        spec.environment.insert("HOME".to_owned(), "/srv".to_owned());
        assert_eq!(environment(&spec, "/home/container")["HOME"], "/srv", "what the egg says goes first");
    }
}
