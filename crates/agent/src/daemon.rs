//! A machine as the panel's agent: its node speaks for itself.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use model::agent_api::{Hello, Notice, Outcome, Request, VERSION, Welcome};
use model::{Resources, ServerObservation};
use tokio::sync::broadcast;

use crate::error::{Error, Result};
use crate::link::Agent;
use crate::node::Node;
use crate::permit::Verifier;

/// Release of the software, for people.
pub(crate) const SOFTWARE: &str = concat!("badger ", env!("CARGO_PKG_VERSION"));

/// A node, and how it introduces itself.
pub(crate) struct Daemon {
    pub(crate) node: Arc<Node>,
    /// For people.
    pub(crate) name: String,
    /// `host:port` at which other agents reach the listener, where that differs from what the machine sees itself.
    pub(crate) advertise: Option<String>,
}

impl Daemon {
    /// A listener on all addresses is reached, as far as we can know, where the other end sees us.
    fn data_address(&self, ours: IpAddr) -> String {
        let listens = self.node.listener.local_addr();
        let ip = if listens.ip().is_unspecified() { ours } else { listens.ip() };
        self.advertise.clone().unwrap_or_else(|| SocketAddr::new(ip, listens.port()).to_string())
    }
}

#[async_trait]
impl Agent for Daemon {
    async fn hello(&self, ours: IpAddr) -> Hello {
        let address = self.data_address(ours);
        self.node.set_data_address(address.clone());
        Hello {
            version: VERSION,
            software: SOFTWARE.to_owned(),
            host: self.name.clone(),
            runtime: self.node.around.runtime.kind(),
            fingerprint: self.node.key.fingerprint().to_string(),
            data_address: address,
            secret: None,
            resources: self.node.resources().await,
            servers: self.node.observations(),
            cluster: None,
        }
    }

    async fn resources(&self) -> Resources {
        self.node.resources().await
    }

    fn observations(&self) -> Vec<ServerObservation> {
        self.node.observations()
    }

    fn news(&self) -> broadcast::Receiver<Notice> {
        self.node.around.news.subscribe()
    }

    fn obey(self: Arc<Self>, request: Request) -> BoxFuture<'static, Outcome> {
        self.node.obey(request)
    }

    fn welcomed(&self, welcome: &Welcome) -> Result<()> {
        self.node.around.heard.now();
        let verifier = Verifier::new(welcome.agent_id, &welcome.permit_key);
        self.node.around.permits.set(verifier.map_err(|error| Error::Config(error.message))?);
        Ok(())
    }
}
