//! From a server's row and its egg to what an agent is told.

use std::collections::BTreeMap;

use model::{EggId, ServerSpec};

use super::{Egg, moved};
use crate::db::allocations::Allocation;
use crate::db::servers::Server;
use crate::db::transfers::VariableMove;
use crate::db::{Conn, DbError, eggs};

/// Seconds that a game is given to end. Generous: large worlds are saved on the way out, and nobody is killed here.
const STOP_PATIENCE_S: u32 = 120;

/// Variables that the panel sets; neither an egg nor a user can.
pub const RESERVED: &[&str] =
    &["SERVER_IP", "SERVER_PORT", "SERVER_MEMORY", "P_SERVER_UUID", "STARTUP", "HOME", "USER", "ENV"];

/// Checks the values that somebody chose for a server of this egg, and the defaults where nobody did. Each problem is a
/// field (`environment.NAME`) and what to say about it.
#[must_use]
pub fn check_environment(egg: &Egg, chosen: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let field = |name: &str| format!("environment.{name}");
    let known = |name: &str| egg.variables.iter().any(|variable| variable.env_variable == name);
    let mut problems = Vec::new();
    for (name, value) in chosen {
        if RESERVED.contains(&name.as_str()) {
            problems.push((field(name), "is set by the panel".to_owned()));
        } else if !known(name) {
            problems.push((field(name), "is not a variable of this egg".to_owned()));
        } else if value.contains('\0') {
            problems.push((field(name), "contains a NUL character".to_owned()));
        }
    }
    for variable in egg.variables.iter().filter(|variable| !RESERVED.contains(&variable.env_variable.as_str())) {
        let value = chosen.get(&variable.env_variable).unwrap_or(&variable.default_value);
        if let Err(problem) = variable.rules.check(value) {
            problems.push((field(&variable.env_variable), problem));
        }
    }
    problems
}

/// What an agent is told about `server` if it has `allocations` (the first is the primary one). For the target of a
/// transfer, the same with the target's allocations.
#[must_use]
pub fn build_spec(server: &Server, egg: &Egg, allocations: &[Allocation]) -> ServerSpec {
    ServerSpec {
        id: server.id,
        name: server.name.clone(),
        image: server.image.clone(),
        startup: server.startup.clone(),
        environment: environment(server, egg, allocations.first()),
        limits: server.limits,
        allocations: allocations.iter().map(Allocation::to_model).collect(),
        stop: egg.stop.clone(),
        stop_patience_s: STOP_PATIENCE_S,
        done: egg.done.clone(),
        configs: egg.configs.clone(),
        install: egg.install.clone(),
    }
}

fn environment(server: &Server, egg: &Egg, primary: Option<&Allocation>) -> BTreeMap<String, String> {
    let mut environment: BTreeMap<String, String> =
        egg.variables.iter().map(|variable| (variable.env_variable.clone(), variable.default_value.clone())).collect();
    environment.extend(server.environment.clone());
    if let Some(primary) = primary {
        environment.insert("SERVER_IP".to_owned(), primary.ip_address.clone());
        environment.insert("SERVER_PORT".to_owned(), primary.port.to_string());
    }
    environment.insert("SERVER_MEMORY".to_owned(), server.limits.memory_mb.to_string());
    environment.insert("P_SERVER_UUID".to_owned(), server.id.to_string());
    environment
}

/// [`build_spec`] with the egg out of the database.
pub async fn load_spec(conn: &mut Conn, server: &Server, allocations: &[Allocation]) -> Result<ServerSpec, DbError> {
    Ok(build_spec(server, &load_egg(conn, server.egg_id).await?, allocations))
}

/// The variables of `server` that follow its ports, each pair of which is an old one and what it becomes.
pub async fn moved_variables(
    conn: &mut Conn,
    server: &Server,
    ports: &[(u16, u16)],
) -> Result<Vec<VariableMove>, DbError> {
    Ok(moved(&load_egg(conn, server.egg_id).await?, &server.environment, ports))
}

/// An egg out of the database, read.
pub async fn load_egg(conn: &mut Conn, id: EggId) -> Result<Egg, DbError> {
    let stored = eggs::egg_get(conn, id).await?;
    Egg::parse(&stored.document).map_err(|error| DbError::Corrupt { column: "eggs.document", why: error.to_string() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use model::{EggId, Epoch, Limits, NodeId, ServerId, ServerStatus, Timestamp};

    use super::*;
    use crate::db::nodes::NodeKind;

    fn egg() -> Egg {
        let document = serde_json::json!({
            "meta": {"version": "PTDL_v2"}, "name": "N", "author": "a", "startup": "./run {{SERVER_PORT}} {{MODE}}",
            "docker_images": {"x": "example.org/x"}, "config": {"stop": "quit", "startup": {"done": "up"}},
            "variables": [
                {"env_variable": "MODE", "default_value": "easy", "rules": "required|in:easy,hard"},
                {"env_variable": "TOKEN", "default_value": "", "rules": "required|string"},
            ],
        });
        Egg::parse(&document.to_string()).unwrap()
    }

    fn server(environment: &[(&str, &str)]) -> Server {
        Server {
            id: ServerId::new(),
            name: "s".to_owned(),
            egg_id: EggId::new(),
            node_id: NodeId::new(),
            node_kind: NodeKind::Node,
            epoch: Epoch::FIRST,
            status: ServerStatus::Offline,
            locked_by: None,
            transfer_state: None,
            limits: Limits { memory_mb: 512, disk_mb: 0, cpu_percent: 0 },
            startup: "./run".to_owned(),
            image: "example.org/x".to_owned(),
            environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            install_error: None,
            attention: vec![],
            owner_id: None,
            allocation_limit: 0,
            backup_limit: None,
            created_at: Timestamp::UNIX_EPOCH,
            primary: None,
            others: vec![],
        }
    }

    #[test]
    fn the_environment_has_defaults_choices_and_what_the_panel_knows() {
        let server = server(&[("MODE", "hard"), ("TOKEN", "t")]);
        let allocation = Allocation::new(server.node_id, "10.0.0.5", 25565);
        let spec = build_spec(&server, &egg(), &[allocation]);
        for (name, value) in [
            ("MODE", "hard"),
            ("TOKEN", "t"),
            ("SERVER_IP", "10.0.0.5"),
            ("SERVER_PORT", "25565"),
            ("SERVER_MEMORY", "512"),
            ("P_SERVER_UUID", &server.id.to_string()),
        ] {
            assert_eq!(spec.environment.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert_eq!(spec.done, ["up"]);
    }

    #[test]
    fn choices_are_checked_and_so_are_defaults() {
        let problems = |environment: &[(&str, &str)]| {
            let server = server(environment);
            check_environment(&egg(), &server.environment).into_iter().map(|(field, _)| field).collect::<Vec<_>>()
        };
        assert_eq!(problems(&[("TOKEN", "t")]), Vec::<String>::new());
        assert_eq!(problems(&[]), ["environment.TOKEN"]);
        assert_eq!(problems(&[("TOKEN", "t"), ("MODE", "x")]), ["environment.MODE"]);
        assert_eq!(problems(&[("TOKEN", "t"), ("OTHER", "x")]), ["environment.OTHER"]);
        assert_eq!(problems(&[("TOKEN", "t"), ("SERVER_PORT", "1")]), ["environment.SERVER_PORT"]);
    }
}
