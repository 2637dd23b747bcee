//! The link to the panel: dialled by the agent, kept for ever, the only way in which it is told what to do.
//!
//! ```text
//! connect ─ 401, 403 or a refusing close ─► the token, if one was given and is not the one refused, else the end
//!    │    ─ anything else ────────────────► wait (jittered, bounded), connect
//!    ▼
//! hello ─► welcome ─► requests, replies, notices ─ lost ─► connect
//! ```

mod backoff;
mod connect;
mod session;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use model::agent_api::{AgentError, Welcome};

use crate::error::{Error, Result};
use crate::identity::{Enrolled, Identity, remember};
use crate::node::Node;
use crate::permit::Verifier;
use backoff::Backoff;
use connect::{Address, connect};
use session::Session;

/// Why a connection ended.
#[derive(Debug)]
enum End {
    /// Time may help.
    Lost(String),
    /// It will not.
    Refused(String),
    /// The agent ends.
    Shutdown,
}

impl End {
    fn lost(why: impl Display) -> Self {
        Self::Lost(why.to_string())
    }

    fn refused(why: impl Display) -> Self {
        Self::Refused(why.to_string())
    }
}

/// How this agent introduces itself.
struct Introduction {
    name: String,
    /// Only with an enrolment token.
    secret: Option<String>,
    advertise: Option<String>,
    listens: SocketAddr,
}

impl Introduction {
    /// A listener on all addresses is reached, as far as we can know, where the panel sees us.
    fn data_address(&self, ours: IpAddr) -> String {
        let ip = if self.listens.ip().is_unspecified() { ours } else { self.listens.ip() };
        self.advertise.clone().unwrap_or_else(|| SocketAddr::new(ip, self.listens.port()).to_string())
    }
}

/// What the link is made of.
pub(crate) struct Link {
    node: Arc<Node>,
    address: Address,
    panel_url: String,
    token: Option<String>,
    secret: String,
    enrolled: Option<Enrolled>,
    introduction: Introduction,
    backoff: Backoff,
}

impl Link {
    pub(crate) fn new(node: Arc<Node>, identity: Identity, config: &crate::Config) -> Result<Self> {
        if identity.enrolled.is_none() && config.enrolment_token.is_none() {
            let message = "this machine has not joined a panel: make a node there and run the command that it shows";
            return Err(Error::Config(message.to_owned()));
        }
        let introduction = Introduction {
            name: config.name.clone(),
            secret: None,
            advertise: config.advertise.clone(),
            listens: node.listener.local_addr(),
        };
        Ok(Self {
            address: Address::parse(&config.panel_url)?,
            panel_url: config.panel_url.clone(),
            token: config.enrolment_token.clone(),
            secret: identity.secret,
            enrolled: identity.enrolled,
            introduction,
            backoff: Backoff::default(),
            node,
        })
    }

    /// Keeps the link until the agent ends or the panel refuses it.
    pub(crate) async fn keep(mut self) -> Result<()> {
        let shutdown = self.node.around.shutdown.clone();
        loop {
            match Box::pin(self.connection()).await {
                End::Shutdown => return Ok(()),
                End::Refused(reason) => self.refused(reason)?,
                End::Lost(reason) => {
                    let wait = self.backoff.next();
                    tracing::warn!(reason, ?wait, "no link to the panel");
                    if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn connection(&mut self) -> End {
        let shutdown = self.node.around.shutdown.clone();
        match shutdown.run_until_cancelled(Box::pin(self.open())).await {
            None => End::Shutdown,
            Some(Err(end)) => end,
            Some(Ok((session, welcome))) => {
                self.backoff.reset();
                tracing::info!(panel = self.panel_url, agent = %welcome.agent_id, "linked with the panel");
                session.serve(welcome.heartbeat_ms).await
            }
        }
    }

    async fn open(&mut self) -> Result<(Session, Welcome), End> {
        let credential = self.credential()?;
        let (socket, ours) = connect(&self.address, &credential).await?;
        let mut session = Session::new(socket, Arc::clone(&self.node));
        let welcome = session.introduce(&self.introduction, ours).await?;
        self.welcomed(&welcome).map_err(End::lost)?;
        Ok((session, welcome))
    }

    /// What is shown to the panel; the secret itself goes along only with a token.
    fn credential(&mut self) -> Result<String, End> {
        if let Some(enrolled) = &self.enrolled {
            self.introduction.secret = None;
            return Ok(format!("{}.{}", enrolled.agent_id, self.secret));
        }
        self.introduction.secret = Some(self.secret.clone());
        self.token.clone().ok_or_else(|| End::refused("it does not know this agent"))
    }

    fn welcomed(&mut self, welcome: &Welcome) -> Result<()> {
        let verifier = Verifier::new(welcome.agent_id, &welcome.permit_key);
        self.node.around.permits.set(verifier.map_err(|AgentError { message, .. }| Error::Config(message))?);
        let enrolled = Enrolled {
            panel_url: self.panel_url.clone(),
            agent_id: welcome.agent_id,
            permit_key: welcome.permit_key.clone(),
        };
        if self.enrolled.as_ref() != Some(&enrolled) {
            remember(&self.node.layout, &enrolled)?;
            self.enrolled = Some(enrolled);
        }
        Ok(())
    }

    /// An agent that the panel has forgotten joins again if it was given a new token.
    fn refused(&mut self, reason: String) -> Result<()> {
        let forgotten = self.enrolled.take().is_some();
        if forgotten && self.token.is_some() {
            tracing::warn!(reason, "the panel does not know this agent any more: trying the enrolment token");
            return Ok(());
        }
        Err(Error::Refused { reason })
    }
}
