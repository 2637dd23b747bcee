//! What a move means for a server's databases: they stay, so the target must reach them and their users be let in from
//! there. Asked of the target itself, which really connects.

use std::fmt;
use std::time::Duration;

use model::agent_api::{Check, CheckLevel, DatabaseAnswer, Reply, Request, Secret};
use model::{NodeId, ServerId};
use tokio::time::timeout;

use super::mysql::user;
use super::purpose;
use crate::access::Vault;
use crate::agent::{Agents, CallError};
use crate::api::chain;
use crate::db::{Conn, DbError, database_hosts, databases};

/// For the target to connect.
const PATIENCE: Duration = Duration::from_secs(15);

/// A database of a server, with what it takes to connect to it.
#[derive(Clone)]
pub struct Access {
    name: String,
    host_name: String,
    host: String,
    port: u16,
    node_id: Option<NodeId>,
    username: String,
    remote: String,
    /// None if it cannot be read.
    password: Option<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}:{}", self.name, self.host, self.port)
    }
}

/// The databases of a server.
pub async fn load(conn: &mut Conn, secrets: &Vault, server: ServerId) -> Result<Vec<Access>, DbError> {
    let mut all = Vec::new();
    for database in databases::databases_of(conn, server).await? {
        let host = database_hosts::host_get(conn, database.host_id).await?;
        let password = secrets.open(&purpose(database.id), &database.password);
        if let Err(error) = &password {
            tracing::error!(database = database.name, error = chain(error), "its password cannot be read");
        }
        all.push(Access {
            name: database.name,
            host_name: host.name,
            host: host.host,
            port: host.port,
            node_id: host.node_id,
            username: database.username,
            remote: database.remote,
            password: password.ok(),
        });
    }
    Ok(all)
}

/// What speaks for and against a move of a server with these databases from `source` to `target`.
pub async fn checks(agents: &dyn Agents, all: &[Access], source: NodeId, target: NodeId) -> Vec<Check> {
    let mut found = Vec::new();
    for access in all {
        found.extend(on_the_source(access, source));
        found.extend(from_the_target(agents, access, target).await);
    }
    found
}

fn on_the_source(access: &Access, source: NodeId) -> Option<Check> {
    let here = access.node_id == Some(source);
    let name = access.host.trim_start_matches('[').trim_end_matches(']');
    let loopback = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if !here && !loopback {
        return None;
    }
    let message = format!(
        "The database {} is on the machine that the server leaves ({}), and stays there.",
        access.name, access.host_name
    );
    let remedy = "Keep that machine running, and let the target reach it under an address of the network; or move the \
                  data to another database host first.";
    Some(check("database_on_source", CheckLevel::Warning, message, remedy))
}

async fn from_the_target(agents: &dyn Agents, access: &Access, target: NodeId) -> Option<Check> {
    let Some(password) = access.password.clone() else {
        let message = format!("The password of the database {} cannot be read.", access.name);
        return Some(check("database_unknown", CheckLevel::Warning, message, "Rotate it, and set it in the server."));
    };
    let request = Request::CheckDatabase {
        host: access.host.clone(),
        port: access.port,
        database: access.name.clone(),
        username: access.username.clone(),
        password: Secret(password),
    };
    match timeout(PATIENCE, agents.call(target, request)).await.unwrap_or(Err(CallError::Lost)) {
        Ok(Reply::DatabaseChecked { answer }) => Some(judge(access, &answer)),
        // Admission tells of an agent that is away.
        Err(CallError::Offline) => None,
        Ok(_) | Err(_) => {
            let message = format!("The target could not say whether it reaches the database {}.", access.name);
            let remedy = format!("Connect to {}:{} from there by hand.", access.host, access.port);
            Some(check("database_unknown", CheckLevel::Warning, message, remedy))
        }
    }
}

fn judge(access: &Access, answer: &DatabaseAnswer) -> Check {
    let Access { name, host, port, .. } = access;
    match answer {
        DatabaseAnswer::Reached => {
            let message = format!("The target reaches the database {name}, which stays where it is.");
            check("database_reached", CheckLevel::Info, message, "")
        }
        DatabaseAnswer::Unreachable { message } => {
            let message = format!("The target does not reach the database {name} at {host}:{port}: {message}.");
            let remedy = "Open the way from the target to it (firewall, bind-address), or use another database host.";
            check("database_unreachable", CheckLevel::Warning, message, remedy)
        }
        DatabaseAnswer::Refused { code, message, seen_as } => {
            let message = format!("The database {name} refuses its user from the target (error {code}: {message}).");
            check("database_refused", CheckLevel::Warning, message, statements(access, seen_as.as_deref()))
        }
    }
}

/// Exactly what to say to the database host.
fn statements(access: &Access, seen_as: Option<&str>) -> String {
    let old = user(&access.username, &access.remote);
    let address = seen_as.unwrap_or("<address of the target>");
    let new = user(&access.username, address);
    let grant = super::mysql::grant(&access.name, &access.username, address);
    format!(
        "Set the database's remote to {address} when the server has moved, which runs RENAME USER {old} TO {new}. Or let \
         both in meanwhile: CREATE USER {new} IDENTIFIED BY '<the database's password>'; {grant};"
    )
}

fn check(code: &str, level: CheckLevel, message: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { code: code.to_owned(), level, message: message.into(), remedy: remedy.into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn access() -> Access {
        Access {
            name: "s1_world".to_owned(),
            host_name: "main".to_owned(),
            host: "db.example".to_owned(),
            port: 3306,
            node_id: None,
            username: "u1".to_owned(),
            remote: "10.0.0.5".to_owned(),
            password: Some("p".to_owned()),
        }
    }

    #[test]
    fn a_refusal_says_the_statements_for_the_new_address() {
        let seen_as = Some("10.0.0.6".to_owned());
        let refused = DatabaseAnswer::Refused { code: 1130, message: "not allowed".to_owned(), seen_as };
        let found = judge(&access(), &refused);
        assert_eq!((found.code.as_str(), found.level), ("database_refused", CheckLevel::Warning));
        for part in [
            "RENAME USER 'u1'@'10.0.0.5' TO 'u1'@'10.0.0.6'",
            "CREATE USER 'u1'@'10.0.0.6' IDENTIFIED BY",
            "GRANT ALL PRIVILEGES ON `s1\\_world`.* TO 'u1'@'10.0.0.6'",
        ] {
            assert!(found.remedy.contains(part), "{part}: {}", found.remedy);
        }
    }

    #[test]
    fn a_database_on_the_old_machine_is_recognised() {
        let (source, elsewhere) = (NodeId::new(), NodeId::new());
        let on = |node_id, host: &str| Access { node_id, host: host.to_owned(), ..access() };
        for (it, expected) in [
            (on(Some(source), "db.example"), true),
            (on(None, "127.0.0.1"), true),
            (on(None, "localhost"), true),
            (on(Some(elsewhere), "db.example"), false),
            (on(None, "10.0.0.9"), false),
        ] {
            assert_eq!(on_the_source(&it, source).is_some(), expected, "{it:?}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        assert_eq!(format!("{:?}", access()), "s1_world on db.example:3306");
    }
}
