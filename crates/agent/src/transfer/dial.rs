//! The target that dials: to the source or the relay, and again whenever that connection has ended, for as long as its
//! door is open. What it does is in the record, so that a restart of the agent goes on with it.

use std::sync::Arc;
use std::time::Duration;

use model::TransferId;
use model::agent_api::{AgentError, Reply, Route};
use tokio_util::task::AbortOnDropHandle;

use super::fault::{conflict, explain};
use super::{Transfer, way};
use crate::node::Node;

/// Between a connection that ended and the next one.
const AGAIN: Duration = Duration::from_millis(50);
/// A source that waits for us waits for longer.
const LONGEST: Duration = Duration::from_secs(2);

/// Dials until it is dropped.
pub(super) struct Dial {
    #[cfg_attr(not(test), expect(dead_code, reason = "kept for its drop"))]
    pub(super) task: AbortOnDropHandle<Option<()>>,
}

impl Transfer {
    /// Another route takes the place of the one before.
    pub(super) async fn dial_source(&self, node: &Arc<Node>, route: Route) -> Result<Reply, AgentError> {
        if matches!(route, Route::Direct { .. }) {
            return Err(conflict("on the direct way it is the source that dials"));
        }
        let mut slot = self.door.lock().await;
        let door = slot.as_mut().ok_or_else(|| conflict("no door is open here that a source could come to"))?;
        self.update(node, |record| record.dial(Some(route.clone()))).await?;
        door.dial = Some(Dial::start(self.id, node, route));
        Ok(Reply::Done)
    }
}

impl Dial {
    pub(super) fn start(transfer: TransferId, node: &Arc<Node>, route: Route) -> Self {
        let (node, shutdown) = (Arc::clone(node), node.around.shutdown.clone());
        let dialling =
            async move { shutdown.run_until_cancelled(Box::pin(dial_for_ever(transfer, &node, &route))).await };
        Self { task: AbortOnDropHandle::new(tokio::spawn(dialling)) }
    }
}

async fn dial_for_ever(transfer: TransferId, node: &Node, route: &Route) {
    tracing::info!(%transfer, to = way::shown(route), "transfer: dialling for the source's copy");
    let mut pause = AGAIN;
    loop {
        match dial_once(node, route).await {
            Ok(()) => pause = AGAIN,
            Err(error) => {
                let error = explain(&error);
                if pause == AGAIN {
                    tracing::info!(%transfer, to = way::shown(route), error, "transfer: this way leads nowhere now");
                }
                pause = (pause * 2).min(LONGEST);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

async fn dial_once(node: &Node, route: &Route) -> ::transfer::Result<()> {
    let stream = way::dial(route, &node.transfers.panel()).await?;
    node.listener.admit(stream).await
}
