//! Variables that hold a port: which of them change when a server gets other addresses. Pure.
//!
//! Pterodactyl's eggs have no mark for them, but a convention: a game that needs more ports than its first has variables
//! such as `QUERY_PORT`, `RCON_PORT` or `STEAM_QUERYPORT`, and its owner writes one of the server's further ports into
//! each. So a variable follows a port if both are true: **its name says that it is a port** (a word of it, without digits
//! at its end, ends with `PORT`; or its field is of the type `port`), and **its value is one of the server's own ports**,
//! exactly. A `MAX_PLAYERS` of 27015 stays, and so does a `REMOTE_PORT` of somebody else's server.
//!
//! `SERVER_PORT` is not among them: the panel itself sets it, from the primary address.

use std::collections::BTreeMap;

use super::{Egg, RESERVED, Variable};
use crate::db::transfers::VariableMove;

/// The variables of a server with this `environment` that follow `ports`: each pair is an old port and what it becomes.
/// Of two pairs with the same old port the first counts.
#[must_use]
pub fn moved(egg: &Egg, environment: &BTreeMap<String, String>, ports: &[(u16, u16)]) -> Vec<VariableMove> {
    let follows = |variable: &Variable| {
        let name = variable.env_variable.as_str();
        let value = environment.get(name).unwrap_or(&variable.default_value);
        if RESERVED.contains(&name) || !is_about_a_port(variable) {
            return None;
        }
        let (old, new) = ports.iter().find(|(old, _)| old.to_string() == value.trim())?;
        let moved = VariableMove { name: name.to_owned(), old: value.clone(), new: new.to_string() };
        (old != new).then_some(moved)
    };
    egg.variables.iter().filter_map(follows).collect()
}

fn is_about_a_port(variable: &Variable) -> bool {
    let mut words = variable.env_variable.split('_').map(|word| word.trim_end_matches(|c: char| c.is_ascii_digit()));
    variable.field_type == "port" || words.any(|word| word.to_ascii_uppercase().ends_with("PORT"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn egg(variables: &[(&str, &str, &str)]) -> Egg {
        let variable = |(name, default, kind): &(&str, &str, &str)| serde_json::json!({"env_variable": name, "default_value": default, "rules": "", "field_type": kind});
        let document = serde_json::json!({
            "meta": {"version": "PTDL_v2"}, "name": "N", "author": "a", "startup": "./run",
            "docker_images": {"x": "example.org/x"}, "variables": variables.iter().map(variable).collect::<Vec<_>>(),
        });
        Egg::parse(&document.to_string()).unwrap()
    }

    fn names(egg: &Egg, chosen: &[(&str, &str)], ports: &[(u16, u16)]) -> Vec<String> {
        let chosen = chosen.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        moved(egg, &chosen, ports).into_iter().map(|one| format!("{}: {} {}", one.name, one.old, one.new)).collect()
    }

    #[test]
    fn what_is_called_a_port_and_holds_one_of_the_servers_own_follows_it() {
        let egg = egg(&[
            ("QUERY_PORT", "27016", "text"),
            ("STEAM_QUERYPORT", "1", "text"),
            ("RCON_PORT2", "", "text"),
            ("PORT_3", "27018", "text"),
            ("MARKED", "27019", "port"),
        ]);
        let ports = [(27016, 30001), (27017, 30002), (27018, 30003), (27019, 30004), (25575, 30005)];
        let chosen = [("STEAM_QUERYPORT", "27017"), ("RCON_PORT2", "25575")];
        let expected = [
            "QUERY_PORT: 27016 30001",
            "STEAM_QUERYPORT: 27017 30002",
            "RCON_PORT2: 25575 30005",
            "PORT_3: 27018 30003",
            "MARKED: 27019 30004",
        ];
        assert_eq!(names(&egg, &chosen, &ports), expected);
    }

    #[test]
    fn what_is_no_port_or_not_the_servers_stays() {
        let egg = egg(&[
            ("MAX_PLAYERS", "27016", "text"),
            ("REMOTE_PORT", "9999", "text"),
            ("PORTAL", "27016", "text"),
            ("QUERY_PORT", "27016", "text"),
            ("SERVER_PORT", "27016", "text"),
        ]);
        assert_eq!(names(&egg, &[], &[(27016, 27016)]), Vec::<String>::new(), "the same port is no change");
        assert_eq!(names(&egg, &[("QUERY_PORT", "270160")], &[(27016, 1)]), Vec::<String>::new());
        assert_eq!(names(&egg, &[], &[(27016, 5), (27016, 6)]), ["QUERY_PORT: 27016 5"]);
    }
}
