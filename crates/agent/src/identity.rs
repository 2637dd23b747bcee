//! Who this agent is: its key for data connections, its secret for the panel, and what the panel made of it.
//!
//! ```text
//! agent.pem       certificate and key          made at the first start
//! secret          proof to the panel           made at the first start, before anybody sees it
//! enrolled.json   agent id, permit key         written when the panel has welcomed it
//! ```
//!
//! The secret exists before the enrolment does, so an enrolment whose answer was lost is simply repeated. It all lies in
//! a [`Vault`]: a directory of the machine, or a Secret of the cluster.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use data_encoding::BASE64URL_NOPAD;
use model::NodeId;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::error::{Error, Result};

const PEM: &str = "agent.pem";
const SECRET: &str = "secret";
const ENROLLED: &str = "enrolled.json";

/// Where an identity lies: a few named texts, each durable when `put` has returned, readable by us alone.
#[async_trait]
pub(crate) trait Vault: Send + Sync + 'static {
    async fn get(&self, name: &str) -> Result<Option<String>>;

    async fn put(&self, name: &str, text: &str) -> Result<()>;
}

/// An identity, loaded.
pub(crate) struct Identity {
    /// Certificate and key for data connections.
    pub(crate) key: Arc<::transfer::Identity>,
    pub(crate) secret: String,
    pub(crate) enrolled: Option<Enrolled>,
}

/// What the panel said in its welcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Enrolled {
    pub(crate) panel_url: String,
    pub(crate) agent_id: NodeId,
    /// Base64.
    pub(crate) permit_key: String,
}

impl Identity {
    /// Loads it, making what is not there yet.
    pub(crate) async fn open(vault: &dyn Vault, name: &str) -> Result<Self> {
        let pem = get_or_make(vault, PEM, || new_key(name)).await?;
        let secret = get_or_make(vault, SECRET, new_secret).await?;
        let enrolled = vault.get(ENROLLED).await?;
        let enrolled = enrolled.map(|text| serde_json::from_str(&text)).transpose();
        let enrolled = enrolled.map_err(|error| damaged(ENROLLED, &error))?;
        let key = ::transfer::Identity::from_pem(&pem).map_err(|error| damaged(PEM, &error))?;
        Ok(Self { key: Arc::new(key), secret, enrolled })
    }
}

impl Enrolled {
    /// Remembers the panel's welcome.
    pub(crate) async fn keep(&self, vault: &dyn Vault) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|error| damaged(ENROLLED, &error))?;
        vault.put(ENROLLED, &text).await
    }
}

/// What is there, or what `make` makes, put there first.
pub(crate) async fn get_or_make(
    vault: &dyn Vault,
    name: &str,
    make: impl FnOnce() -> Result<String> + Send,
) -> Result<String> {
    if let Some(text) = vault.get(name).await? {
        return Ok(text);
    }
    let text = make()?;
    vault.put(name, &text).await?;
    Ok(text)
}

/// 32 random bytes.
pub(crate) fn new_secret() -> Result<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Config("the system has no randomness".to_owned()))?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}

fn new_key(name: &str) -> Result<String> {
    let key = ::transfer::Identity::generate(name);
    key.map(|key| key.to_pem()).map_err(|error| Error::Config(format!("cannot make a key: {error}")))
}

fn damaged(name: &str, error: &dyn std::error::Error) -> Error {
    Error::Config(format!("the agent's identity is damaged, {name} cannot be used: {error}"))
}

/// A directory that only we can read.
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Makes it if it is not there.
    pub(crate) fn open(dir: PathBuf) -> Result<Self> {
        disk::private_dir(&dir).map_err(|source| Error::Disk { path: dir.clone(), source })?;
        Ok(Self(dir))
    }
}

#[async_trait]
impl Vault for Directory {
    async fn get(&self, name: &str) -> Result<Option<String>> {
        let path = self.0.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Disk { path, source }),
        }
    }

    async fn put(&self, name: &str, text: &str) -> Result<()> {
        let (path, text) = (self.0.join(name), text.to_owned());
        let to = path.clone();
        let written = disk::blocking(move || disk::write_secret(&to, text.as_bytes())).await;
        written.map_err(|source| Error::Disk { path, source })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn it_stays_the_same_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Directory::open(dir.path().join("identity")).unwrap();
        let first = Identity::open(&vault, "a").await.unwrap();
        let enrolled =
            Enrolled { panel_url: "http://p".to_owned(), agent_id: NodeId::new(), permit_key: String::new() };
        enrolled.keep(&vault).await.unwrap();
        let second = Identity::open(&vault, "a").await.unwrap();
        assert_eq!((&first.secret, first.key.fingerprint()), (&second.secret, second.key.fingerprint()));
        assert_eq!((first.enrolled, second.enrolled), (None, Some(enrolled)));
        for entry in fs::read_dir(dir.path().join("identity")).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o077, 0);
        }
    }

    #[tokio::test]
    async fn a_damaged_one_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Directory::open(dir.path().to_owned()).unwrap();
        vault.put(PEM, "nonsense").await.unwrap();
        let error = Identity::open(&vault, "a").await.err().unwrap();
        assert!(error.to_string().contains(PEM), "{error}");
    }
}
