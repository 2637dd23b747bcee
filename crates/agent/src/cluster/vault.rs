//! The orchestrator's identity in a Secret of its namespace, so that an orchestrator that was deleted comes back as
//! itself.
//!
//! The Secret is made, empty, by whoever installs the orchestrator: it may then be bound to that one object and never
//! needs the right to make or list any.

use async_trait::async_trait;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::error::{Error, Result};
use crate::identity::Vault;

pub(super) const NAME: &str = "badger-orchestrator";

/// One Secret.
pub(super) struct Sealed {
    api: Api<Secret>,
    namespace: String,
}

impl Sealed {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), namespace: namespace.to_owned() }
    }

    async fn secret(&self) -> Result<Secret> {
        self.api.get(NAME).await.map_err(|error| self.failed("read", &error))
    }

    fn failed(&self, what: &str, error: &kube::Error) -> Error {
        let (name, namespace) = (NAME, &self.namespace);
        Error::Cluster(format!(
            "cannot {what} the Secret {name} in the namespace {namespace}, where the orchestrator keeps its identity: \
             {error}; apply the manifest that the panel shows again"
        ))
    }
}

#[async_trait]
impl Vault for Sealed {
    async fn get(&self, name: &str) -> Result<Option<String>> {
        let found = self.secret().await?.data.and_then(|mut data| data.remove(name));
        let damaged = |_| Error::Cluster(format!("{name} in the Secret {NAME} is no text: remove it and start again"));
        found.map(|ByteString(bytes)| String::from_utf8(bytes).map_err(damaged)).transpose()
    }

    /// Replaces what was read, by its version: of two orchestrators that begin at once, one fails here and starts again
    /// with what the other has made.
    async fn put(&self, name: &str, text: &str) -> Result<()> {
        let mut secret = self.secret().await?;
        secret.data.get_or_insert_default().insert(name.to_owned(), ByteString(text.as_bytes().to_vec()));
        let replaced = self.api.replace(NAME, &PostParams::default(), &secret).await;
        replaced.map(drop).map_err(|error| self.failed("write", &error))
    }
}
