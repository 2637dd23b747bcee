//! Where the database is, and how a connection to it is set up. A password in it is shown to nobody.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file of SQLite, made if it is not there.
    Sqlite(PathBuf),
    /// A database of a PostgreSQL server, which must be there.
    Postgres(PostgresUrl),
}

impl Location {
    /// As sqlx wants it.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => sqlite_url(path),
            Self::Postgres(url) => url.secret(),
        }
    }

    /// What is said once on every connection.
    pub(super) fn settings(&self) -> &'static str {
        match self {
            // FULL: a promise that a transfer acted on must survive a power cut as well (I2).
            Self::Sqlite(_) => {
                "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"
            }
            // The server may be set up for speed rather than for I2: a commit that was answered is on its disk. And a
            // panel that vanished in the middle of a transaction must not keep its successor waiting.
            Self::Postgres(_) => {
                "SET synchronous_commit = on; SET lock_timeout = '10s'; SET statement_timeout = '60s';
                 SET idle_in_transaction_session_timeout = '60s'"
            }
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

/// `postgres://user@host:port/database?sslmode=…`, as libpq takes it. `PGPASSWORD`, `~/.pgpass` and the other variables
/// of libpq fill in what it does not say.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    url: String,
    password: Option<String>,
}

/// Why a text is no such URL. It does not repeat the text: there may be a password in it.
#[derive(Debug, thiserror::Error)]
pub enum BadUrl {
    /// Another scheme, or none.
    #[error("it must begin with postgres:// (SQLite needs no URL: its file is in the data directory)")]
    Scheme,
    /// It cannot be taken apart. A password with special characters in it is the usual reason.
    #[error(
        "it is not postgres://user@host:port/database (write special characters of a password as %XX, or keep it out)"
    )]
    Parts,
}

impl PostgresUrl {
    /// The same with this password.
    #[must_use]
    pub fn with_password(self, password: String) -> Self {
        Self { password: Some(password), ..self }
    }

    fn secret(&self) -> String {
        let mut url = self.url.clone();
        let mut add = |name: &str, value: &str| {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(name);
            url.push('=');
            percent(&mut url, value.as_bytes(), b"");
        };
        if !self.url.contains("application_name=") {
            add("application_name", "badgerpanel");
        }
        if let Some(password) = &self.password {
            add("password", password);
        }
        url
    }
}

impl FromStr for PostgresUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let text = text.trim();
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(BadUrl::Scheme);
        }
        if text.contains('#') || PgConnectOptions::from_str(text).is_err() {
            return Err(BadUrl::Parts);
        }
        Ok(Self { url: text.to_owned(), password: None })
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It was parsed before, so this does not fail; if it ever does, nothing is the right thing to show.
        let Ok(options) = PgConnectOptions::from_str(&self.url) else { return f.write_str("postgres://…") };
        let user = options.get_username();
        match options.get_socket() {
            Some(socket) => write!(f, "postgres://{user}@{}", socket.display())?,
            None => write!(f, "postgres://{user}@{}:{}", options.get_host(), options.get_port())?,
        }
        write!(f, "/{}", options.get_database().unwrap_or(user))
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn sqlite_url(path: &Path) -> String {
    let mut url = String::from("sqlite://");
    percent(&mut url, path.as_os_str().as_encoded_bytes(), b"/");
    url + "?mode=rwc"
}

/// Appends `bytes` with everything but letters, digits, `.-_` and `kept` as `%XX`.
fn percent(url: &mut String, bytes: &[u8], kept: &[u8]) {
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => url.push(char::from(*byte)),
            byte if kept.contains(byte) => url.push(char::from(*byte)),
            byte => url.extend(['%', hex(byte >> 4), hex(byte & 15)]),
        }
    }
}

fn hex(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_password_is_handed_on_and_never_shown() {
        let url: PostgresUrl = "postgres://badger:s3cret@db.example:5433/panel?sslmode=require".parse().unwrap();
        assert_eq!(url.to_string(), "postgres://badger@db.example:5433/panel");
        assert_eq!(
            format!("{:?}", Location::Postgres(url.clone())),
            "Postgres(postgres://badger@db.example:5433/panel)"
        );
        assert!(url.secret().starts_with("postgres://badger:s3cret@db.example:5433/panel?sslmode=require&"));
        let url: PostgresUrl = "postgres://badger@db.example/panel".parse().unwrap();
        let url = url.with_password("a b&c=d%/?#ä".to_owned());
        assert!(!format!("{url} {url:?}").contains("a b"));
        assert!(url.secret().ends_with("/panel?application_name=badgerpanel&password=a%20b%26c%3dd%25%2f%3f%23%c3%a4"));
        assert!(PgConnectOptions::from_str(&url.secret()).is_ok());
    }

    #[test]
    fn what_is_no_url_of_postgres_is_refused_without_being_repeated() {
        for text in ["", "panel.db", "mysql://u:s3cret@h/d", "postgres://u:s3#cret@h/d", "postgres://u:s3cret@h:port/d"]
        {
            let refused = text.parse::<PostgresUrl>().unwrap_err().to_string();
            assert!(!refused.contains("cret"), "{refused}");
        }
    }

    #[test]
    fn a_socket_is_a_place_too() {
        let url: PostgresUrl = "postgres:///panel?host=/run/postgresql&user=badger".parse().unwrap();
        assert_eq!(url.to_string(), "postgres://badger@/run/postgresql/panel");
    }
}
