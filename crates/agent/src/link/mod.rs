//! The link of an agent to whoever tells it what to do: dialled by the agent, kept for ever, its only ears.
//!
//! ```text
//! connect ─ 401, 403 or a refusing close ─► another credential, if there is one and it is not the one refused
//!    │    ─ anything else ────────────────► wait (jittered, bounded; long if another took our place), connect
//!    ▼
//! hello ─► welcome ─► requests, replies, notices ─ lost ─► connect
//! ```
//!
//! Who speaks is an [`Agent`]: a node, a whole cluster, the mover of one pod. Where to and with what right is an
//! [`Address`] and a [`Credential`]: a panel with an enrolment, or an orchestrator with a standing bearer.

mod address;
mod backoff;
mod connect;
pub(crate) mod enrolment;
mod session;
pub(crate) mod standing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use model::agent_api::{Hello, Notice, Outcome, Request, Welcome};
use model::{Resources, ServerId, ServerObservation};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
pub(crate) use address::Address;
use backoff::Backoff;
use connect::connect;
use session::Session;

/// Who speaks on a link.
///
/// # Guarantees
///
/// [`Agent::obey`] has put what must keep its order in order when it returns; the rest is the future. Dropping that
/// loses the answer and stops nothing.
///
/// # Assumptions
///
/// One link at a time, and requests come in the order in which they were sent.
#[async_trait]
pub(crate) trait Agent: Send + Sync + 'static {
    /// What it says of itself. `ours` is the address at which the other end sees this machine.
    async fn hello(&self, ours: IpAddr) -> Hello;

    /// What is left, for heartbeats.
    async fn resources(&self) -> Resources;

    /// Every server that it holds, for heartbeats.
    fn observations(&self) -> Vec<ServerObservation>;

    /// Addresses that somebody else gave out for its servers, for heartbeats.
    fn player_addresses(&self) -> BTreeMap<ServerId, String> {
        BTreeMap::new()
    }

    /// What happens from now on.
    fn news(&self) -> broadcast::Receiver<Notice>;

    /// Does what is asked.
    fn obey(self: Arc<Self>, request: Request) -> BoxFuture<'static, Outcome>;

    /// The other end knows it by this id, and signs permits with this key.
    fn welcomed(&self, welcome: &Welcome) -> Result<()>;

    /// Nobody listens any more, until the next welcome.
    fn cut_off(&self) {}
}

/// With what right an agent connects.
#[async_trait]
pub(crate) trait Credential: Send {
    /// What to show this time.
    fn show(&mut self) -> Result<Shown, End>;

    /// It was good.
    async fn welcomed(&mut self, welcome: &Welcome) -> Result<()>;

    /// It was refused. An error ends the link for good.
    fn refused(&mut self, reason: String) -> Result<()>;
}

/// What is shown at the other end's door.
pub(crate) struct Shown {
    pub(crate) bearer: String,
    /// What will be shown from now on; only with an enrolment token.
    pub(crate) secret: Option<String>,
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Time may help.
    Lost(String),
    /// Another connection of the same agent is newer than this one, and it is to stay.
    Displaced(String),
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

/// What the link is made of.
pub(crate) struct Link {
    agent: Arc<dyn Agent>,
    address: Address,
    credential: Box<dyn Credential>,
    shutdown: CancellationToken,
    backoff: Backoff,
}

impl Link {
    pub(crate) fn new(
        agent: Arc<dyn Agent>,
        address: Address,
        credential: Box<dyn Credential>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { agent, address, credential, shutdown, backoff: Backoff::default() }
    }

    /// Keeps the link until the agent ends or is refused for good.
    pub(crate) async fn keep(mut self) -> Result<()> {
        loop {
            let end = Box::pin(self.connection()).await;
            let wait = self.backoff.after(&end);
            let reason = match end {
                End::Shutdown => return Ok(()),
                End::Refused(reason) => {
                    self.credential.refused(reason.clone())?;
                    reason
                }
                End::Lost(reason) | End::Displaced(reason) => reason,
            };
            tracing::warn!(reason, ?wait, to = %self.address, "no link");
            if self.shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn connection(&mut self) -> End {
        let shutdown = self.shutdown.clone();
        match shutdown.run_until_cancelled(Box::pin(self.open())).await {
            None => End::Shutdown,
            Some(Err(end)) => end,
            Some(Ok((session, welcome))) => {
                self.backoff.reset();
                tracing::info!(to = %self.address, agent = %welcome.agent_id, "linked");
                let end = session.serve(welcome.heartbeat_ms).await;
                self.agent.cut_off();
                end
            }
        }
    }

    async fn open(&mut self) -> Result<(Session, Welcome), End> {
        let shown = self.credential.show()?;
        let (socket, ours) = connect(&self.address, &shown.bearer).await?;
        let mut session = Session::new(socket, Arc::clone(&self.agent), self.shutdown.clone());
        let welcome = session.introduce(shown.secret, ours).await?;
        self.agent.welcomed(&welcome).map_err(End::lost)?;
        self.credential.welcomed(&welcome).await.map_err(End::lost)?;
        Ok((session, welcome))
    }
}
