//! Where an agent keeps what. Pure: it names paths and touches nothing.
//!
//! ```text
//! identity/                   agent.pem, secret, enrolled.json           (0700)
//! servers/<id>/               spec.json, ownership.json, permit.json, lease.json, status.json, console.log, …
//! servers/<id>/data/          the only thing that the game sees
//! staging/<transfer>/tree/    what is being delivered; private
//! retained/<transfer>/        data/, ownership.json, expires.json
//! transfers/<transfer>.json   recorded results (I7)
//! ```

use std::path::{Path, PathBuf};

use model::{ServerId, TransferId};

/// The data directory of one agent.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.root.join("identity")
    }

    pub(crate) fn servers(&self) -> PathBuf {
        self.root.join("servers")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(crate) fn retained(&self) -> PathBuf {
        self.root.join("retained")
    }

    pub(crate) fn transfers(&self) -> PathBuf {
        self.root.join("transfers")
    }

    /// Where one server lives.
    pub(crate) fn place(&self, server: ServerId) -> Place {
        Place::new(server, self.servers().join(server.to_string()))
    }

    pub(crate) fn staging_of(&self, transfer: TransferId) -> PathBuf {
        self.staging().join(transfer.to_string())
    }

    /// The tree that becomes the server's `data`.
    pub(crate) fn staging_tree(&self, transfer: TransferId) -> PathBuf {
        self.staging_of(transfer).join("tree")
    }

    pub(crate) fn retained_of(&self, transfer: TransferId) -> PathBuf {
        self.retained().join(transfer.to_string())
    }

    /// The files of that.
    pub(crate) fn retained_data(&self, transfer: TransferId) -> PathBuf {
        self.retained_of(transfer).join("data")
    }

    pub(crate) fn record_of(&self, transfer: TransferId) -> PathBuf {
        self.transfers().join(format!("{transfer}.json"))
    }

    /// Directories that exist for as long as the agent does.
    pub(crate) fn all(&self) -> [PathBuf; 5] {
        [self.identity(), self.servers(), self.staging(), self.retained(), self.transfers()]
    }
}

/// The directory of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Whose.
    pub(crate) server: ServerId,
    /// `servers/<id>`.
    pub(crate) home: PathBuf,
    data: PathBuf,
}

impl Place {
    /// With the data where it usually is.
    pub(crate) fn new(server: ServerId, home: PathBuf) -> Self {
        let data = home.join("data");
        Self { server, home, data }
    }

    /// With the data elsewhere: inside a pod it is mounted where the game expects it.
    pub(crate) fn with_data(server: ServerId, home: PathBuf, data: PathBuf) -> Self {
        Self { server, home, data }
    }

    /// What the game sees.
    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// A file beside the data.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }
}
