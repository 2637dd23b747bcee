//! Whether a server here could use a database: by connecting to it, as the server would. Changes nothing there.

use std::time::Duration;

use model::agent_api::{DatabaseAnswer, Secret};
use mysql_async::{Conn, Error, Opts, OptsBuilder, ServerError};
use tokio::time::timeout;

/// For the database to let somebody in.
const PATIENCE: Duration = Duration::from_secs(8);

/// Connects, and says what came of it.
pub(crate) async fn look(host: &str, port: u16, database: &str, username: &str, password: &Secret) -> DatabaseAnswer {
    let options: Opts = OptsBuilder::default()
        .ip_or_hostname(host)
        .tcp_port(port)
        .user(Some(username))
        .pass(Some(password.0.as_str()))
        .db_name(Some(database))
        // A socket of this machine may be another database's.
        .prefer_socket(false)
        .into();
    match timeout(PATIENCE, Conn::new(options)).await {
        Err(_) => DatabaseAnswer::Unreachable { message: format!("no answer within {} s", PATIENCE.as_secs()) },
        Ok(Ok(conn)) => {
            if let Err(error) = conn.disconnect().await {
                tracing::debug!(%error, "a database did not hear the goodbye");
            }
            DatabaseAnswer::Reached
        }
        Ok(Err(Error::Server(error))) => refused(error),
        Ok(Err(error)) => DatabaseAnswer::Unreachable { message: error.to_string() },
    }
}

fn refused(error: ServerError) -> DatabaseAnswer {
    let seen_as = seen_as(&error.message);
    DatabaseAnswer::Refused { code: error.code, message: error.message, seen_as }
}

/// The address in `… 'user'@'10.0.0.5' …` or `Host '10.0.0.5' …`: who connects sees it nowhere else.
fn seen_as(message: &str) -> Option<String> {
    let (_, behind) = message.split_once("'@'").or_else(|| message.split_once("Host '"))?;
    let (address, _) = behind.split_once('\'')?;
    (!address.is_empty() && address != "%").then(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_the_database_saw_is_read_from_what_it_says() {
        for (message, expected) in [
            ("Access denied for user 'u1'@'10.0.0.5' (using password: YES)", Some("10.0.0.5")),
            ("Host '10.0.0.6' is not allowed to connect to this MariaDB server", Some("10.0.0.6")),
            ("Access denied for user 'u1'@'%' to database 'x'", None),
            ("Too many connections", None),
        ] {
            assert_eq!(seen_as(message).as_deref(), expected, "{message}");
        }
    }

    /// What a statement of the administrator does on the MariaDB that scripts/test-services.sh starts.
    async fn admin(sql: &str) -> (String, u16) {
        let told = std::env::var("BADGER_TEST_MYSQL").expect("scripts/test-services.sh says where it is");
        let [host, port, user, password] = told.split(' ').collect::<Vec<_>>()[..] else { panic!("{told}") };
        let port = port.parse().expect("a port");
        let options = OptsBuilder::default().ip_or_hostname(host).tcp_port(port).user(Some(user));
        let options: Opts = options.pass(Some(password)).prefer_socket(false).into();
        let mut conn = Conn::new(options).await.expect("the administrator is let in");
        for statement in sql.split(';').filter(|statement| !statement.trim().is_empty()) {
            mysql_async::prelude::Queryable::query_drop(&mut conn, statement).await.expect(statement);
        }
        (host.to_owned(), port)
    }

    #[tokio::test]
    #[ignore = "it takes the services of scripts/test-services.sh"]
    async fn services_a_grant_for_another_address_is_told_from_one_for_this() {
        let (host, port) = admin(
            "CREATE DATABASE IF NOT EXISTS look; CREATE DATABASE IF NOT EXISTS other;
             DROP USER IF EXISTS 'here'@'127.0.0.1', 'there'@'127.0.0.9';
             CREATE USER 'here'@'127.0.0.1' IDENTIFIED BY 'p'; GRANT ALL ON look.* TO 'here'@'127.0.0.1';
             CREATE USER 'there'@'127.0.0.9' IDENTIFIED BY 'p'; GRANT ALL ON look.* TO 'there'@'127.0.0.9'",
        )
        .await;
        let look = async |database: &'static str, user: &'static str, password: &str| {
            look(&host, port, database, user, &Secret(password.to_owned())).await
        };
        assert_eq!(look("look", "here", "p").await, DatabaseAnswer::Reached);
        let refused = |answer| match answer {
            DatabaseAnswer::Refused { code, seen_as, .. } => (code, seen_as),
            other => panic!("{other:?}"),
        };
        let here = Some("127.0.0.1".to_owned());
        assert_eq!(refused(look("look", "there", "p").await), (1045, here.clone()), "it may come from 127.0.0.9 alone");
        assert_eq!(refused(look("look", "here", "wrong").await), (1045, here.clone()));
        assert_eq!(refused(look("other", "here", "p").await), (1044, here));
    }

    #[tokio::test]
    async fn nobody_there_is_said_to_be_unreachable() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let port = socket.local_addr().expect("it is bound").port();
        drop(socket);
        let answer = look("127.0.0.1", port, "d", "u", &Secret("p".to_owned())).await;
        assert!(matches!(answer, DatabaseAnswer::Unreachable { .. }), "{answer:?}");
    }
}
