//! Who this agent is: its key for data connections, its secret for the panel, and what the panel made of it.
//!
//! ```text
//! identity/agent.pem       certificate and key          made at the first start
//! identity/secret          proof to the panel           made at the first start, before anybody sees it
//! identity/enrolled.json   agent id, permit key         written when the panel has welcomed it
//! ```
//!
//! The secret exists before the enrolment does, so an enrolment whose answer was lost is simply repeated.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use model::NodeId;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::disk;
use crate::error::{Error, Result};
use crate::layout::Layout;

/// `identity/`, loaded.
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
    pub(crate) fn open(layout: &Layout, name: &str) -> Result<Self> {
        let dir = layout.identity();
        let at = |path: &Path, source| Error::Disk { path: path.to_owned(), source };
        disk::private_dir(&dir).map_err(|e| at(&dir, e))?;
        let pem = load_or_make(&dir.join("agent.pem"), || {
            ::transfer::Identity::generate(name).map(|key| key.to_pem()).map_err(io::Error::other)
        });
        let pem = pem.map_err(|e| at(&dir.join("agent.pem"), e))?;
        let secret = load_or_make(&dir.join("secret"), new_secret).map_err(|e| at(&dir.join("secret"), e))?;
        let enrolled = disk::read_json(&enrolled_path(layout)).map_err(|e| at(&enrolled_path(layout), e))?;
        let key = ::transfer::Identity::from_pem(&pem).map_err(|e| at(&dir.join("agent.pem"), io::Error::other(e)))?;
        Ok(Self { key: Arc::new(key), secret, enrolled })
    }
}

/// Remembers the panel's welcome.
pub(crate) fn remember(layout: &Layout, enrolled: &Enrolled) -> Result<()> {
    let path = enrolled_path(layout);
    disk::write_json(&path, enrolled).map_err(|source| Error::Disk { path, source })
}

fn enrolled_path(layout: &Layout) -> std::path::PathBuf {
    layout.identity().join("enrolled.json")
}

fn load_or_make(path: &Path, make: impl FnOnce() -> io::Result<String>) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let text = make()?;
            disk::write_secret(path, text.as_bytes())?;
            Ok(text)
        }
        Err(e) => Err(e),
    }
}

fn new_secret() -> io::Result<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system has no randomness"))?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_stays_the_same_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let first = Identity::open(&layout, "a").unwrap();
        let enrolled =
            Enrolled { panel_url: "http://p".to_owned(), agent_id: NodeId::new(), permit_key: String::new() };
        remember(&layout, &enrolled).unwrap();
        let second = Identity::open(&layout, "a").unwrap();
        assert_eq!((&first.secret, first.key.fingerprint()), (&second.secret, second.key.fingerprint()));
        assert_eq!((first.enrolled, second.enrolled), (None, Some(enrolled)));
        for entry in fs::read_dir(layout.identity()).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o077, 0);
        }
    }
}
