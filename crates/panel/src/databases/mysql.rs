//! What is said to a MySQL or MariaDB server. Every identifier and text is quoted here, whatever it is.

use std::fmt;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::time::timeout;

/// For everything that is said in one connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why it was not done, by what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum MysqlError {
    /// It does not answer. Time may help.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It answers, and will not. Something about the account or its rights.
    #[error("it answers with error {code}: {message}")]
    Refused {
        /// As MySQL numbers them.
        code: u16,
        /// As it says.
        message: String,
    },
}

impl From<mysql_async::Error> for MysqlError {
    fn from(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Server(error) => Self::Refused { code: error.code, message: error.message },
            other => Self::Unreachable(other.to_string()),
        }
    }
}

/// A server, and the account by which to speak to it.
#[derive(Clone)]
pub struct Server {
    /// Address or name.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Who.
    pub username: String,
    /// With which password.
    pub password: String,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.username, self.host, self.port)
    }
}

/// A database and its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The database.
    pub database: String,
    /// The user.
    pub username: String,
}

impl Server {
    /// Its version, if it answers and the account may make databases and users.
    pub async fn test(&self) -> Result<String, MysqlError> {
        self.with(async |conn| {
            let version: Option<String> = conn.query_first("SELECT VERSION()").await?;
            // A user that is made and dropped at once is the only proof that covers roles and plugins.
            let probe = user("badgerpanel_probe", "192.0.2.1");
            conn.query_drop(format!("DROP USER IF EXISTS {probe}")).await?;
            conn.query_drop(format!("CREATE USER {probe} IDENTIFIED BY {}", text("J7!probe-of-the-panel"))).await?;
            conn.query_drop(format!("DROP USER {probe}")).await?;
            conn.query_drop("CREATE DATABASE IF NOT EXISTS `badgerpanel_probe`").await?;
            conn.query_drop("DROP DATABASE `badgerpanel_probe`").await?;
            Ok(version.unwrap_or_default())
        })
        .await
    }

    /// Makes a database and a user that may do everything in it, from addresses that fit `remote`.
    pub async fn create(&self, names: &Names, remote: &str, password: &str) -> Result<(), MysqlError> {
        self.with(async |conn| {
            let database = identifier(&names.database);
            conn.query_drop(format!("CREATE DATABASE {database} CHARACTER SET utf8mb4")).await?;
            let user = user(&names.username, remote);
            conn.query_drop(format!("CREATE USER {user} IDENTIFIED BY {}", text(password))).await?;
            conn.query_drop(grant(&names.database, &names.username, remote)).await?;
            Ok(())
        })
        .await
    }

    /// Gives a user another password.
    pub async fn set_password(&self, username: &str, remote: &str, password: &str) -> Result<(), MysqlError> {
        let sql = format!("ALTER USER {} IDENTIFIED BY {}", user(username, remote), text(password));
        self.with(async |conn| conn.query_drop(sql.as_str()).await).await
    }

    /// Lets a user connect from elsewhere, and from nowhere else. What it may do goes with it.
    pub async fn set_remote(&self, username: &str, from: &str, to: &str) -> Result<(), MysqlError> {
        let sql = format!("RENAME USER {} TO {}", user(username, from), user(username, to));
        self.with(async |conn| conn.query_drop(sql.as_str()).await).await
    }

    /// Drops a database and its user, from wherever it may connect. Again is the same.
    pub async fn drop(&self, names: &Names) -> Result<(), MysqlError> {
        self.with(async |conn| {
            conn.query_drop(format!("DROP DATABASE IF EXISTS {}", identifier(&names.database))).await?;
            let sql = format!("SELECT Host FROM mysql.user WHERE User = {}", text(&names.username));
            let hosts: Vec<String> = conn.query(sql).await?;
            for host in hosts {
                conn.query_drop(format!("DROP USER IF EXISTS {}", user(&names.username, &host))).await?;
            }
            Ok(())
        })
        .await
    }

    async fn with<T>(&self, say: impl AsyncFnOnce(&mut Conn) -> mysql_async::Result<T>) -> Result<T, MysqlError> {
        let talk = async {
            let mut conn = Conn::new(self.options()).await?;
            let said = say(&mut conn).await?;
            // What was said is done; a goodbye that is not heard changes nothing of it.
            if let Err(error) = conn.disconnect().await {
                tracing::debug!(%error, "a database host did not hear the goodbye");
            }
            Ok(said)
        };
        let late = |_| MysqlError::Unreachable(format!("no answer within {} s", PATIENCE.as_secs()));
        timeout(PATIENCE, talk).await.map_err(late)?.map_err(|error: mysql_async::Error| error.into())
    }

    fn options(&self) -> Opts {
        OptsBuilder::default()
            .ip_or_hostname(self.host.clone())
            .tcp_port(self.port)
            .user(Some(self.username.clone()))
            .pass(Some(self.password.clone()))
            // A socket of this machine may be another server's.
            .prefer_socket(false)
            .into()
    }
}

/// The statement that lets a user do everything in a database.
pub(super) fn grant(database: &str, username: &str, remote: &str) -> String {
    // In this place `_` and `%` are wildcards.
    let database = identifier(&database.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%"));
    format!("GRANT ALL PRIVILEGES ON {database}.* TO {}", user(username, remote))
}

/// `'user'@'address'`.
pub(super) fn user(username: &str, remote: &str) -> String {
    format!("{}@{}", text(username), text(remote))
}

fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn text(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_name_is_it_stays_a_name() {
        assert_eq!(identifier("a`; DROP DATABASE x; --"), "`a``; DROP DATABASE x; --`");
        assert_eq!(text("it's \\ 'x'"), "'it''s \\\\ ''x'''");
        assert_eq!(grant("s1_w%", "u1", "10.0.0.%"), "GRANT ALL PRIVILEGES ON `s1\\_w\\%`.* TO 'u1'@'10.0.0.%'");
    }

    #[test]
    fn a_server_is_shown_without_its_password() {
        let server = Server { host: "h".into(), port: 3306, username: "root".into(), password: "hidden".into() };
        assert_eq!(format!("{server:?}"), "root@h:3306");
    }
}
