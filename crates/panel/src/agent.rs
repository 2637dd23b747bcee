//! The seam between the panel and its agents: ask one to do something, get its answer.
//!
//! Two implementations: `link` (the WebSocket that the agent opened) and the fake of the `sim` crate.

use async_trait::async_trait;
use model::agent_api::{AgentError, Reply, Request};
use model::{NodeId, Resources};

/// All agents, by the node that they speak for.
///
/// # Guarantees
///
/// A call ends with the agent's answer or with a reason why there is none; it does not wait for an agent to come
/// back. It does not retry: whether to ask again is the caller's decision, and safe because requests are idempotent.
///
/// # Assumptions
///
/// Callers bound the time themselves where an answer may take long (a copy has no natural bound); dropping the future
/// forgets the answer, it does not stop the agent.
#[async_trait]
pub trait Agents: Send + Sync + 'static {
    /// Sends `request` to the agent of `node` and waits for its answer.
    async fn call(&self, node: NodeId, request: Request) -> Result<Reply, CallError>;

    /// Whether the agent of `node` is connected now.
    fn is_online(&self, node: NodeId) -> bool;

    /// What the machine of `node` has left, as its agent said last; none while that is not connected.
    fn measured(&self, _node: NodeId) -> Option<Resources> {
        None
    }

    /// Returns when the agent of `node` is connected (at once if it is).
    async fn wait_online(&self, node: NodeId);
}

/// Why a call has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// It is not connected; nothing was sent.
    #[error("the agent is not connected")]
    Offline,
    /// The connection went away before the answer came: it may have been done or not.
    #[error("the connection to the agent was lost before it answered")]
    Lost,
    /// It answered with an error.
    #[error("the agent refused")]
    Refused(#[source] AgentError),
}
