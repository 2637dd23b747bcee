//! The source's side of a way: opening it, and finding out how good it is.

use std::time::Duration;

use ::transfer::{BoxedStream, Dialled, Error, Rendezvous};
use model::agent_api::{AgentError, Door, ErrorCode, Reply, Route};
use tokio::time::{Instant, timeout_at};

use super::fault::{conflict, of_engine};
use super::{Transfer, way};
use crate::node::Node;

/// For a try of a door: whoever asks waits hardly longer.
const TRY: Duration = Duration::from_secs(5);
/// For the first words of a copy on a way that was tried before.
const COPY: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);

/// How long a way is tried. A connection that waited for us may have died of that: then there is, or soon will be, a
/// newer one. Where we dial ourselves, a failure is one.
pub(super) struct Tries {
    pub(super) until: Instant,
    once: bool,
}

impl Tries {
    pub(super) fn of_copy(route: &Route) -> Self {
        Self::within(COPY, route)
    }

    fn within(patience: Duration, route: &Route) -> Self {
        Self { until: Instant::now() + patience, once: matches!(route, Route::Direct { .. }) }
    }

    /// Whether another connection may do better.
    pub(super) async fn again(&self, error: &Error) -> bool {
        let again = !self.once && matches!(error, Error::Unreachable(_)) && Instant::now() + PAUSE < self.until;
        if again {
            tracing::debug!(%error, "transfer: trying the way once more");
            tokio::time::sleep(PAUSE).await;
        }
        again
    }
}

impl Transfer {
    /// From now on a target that shows `rendezvous` is let in, until the copy ends.
    pub(super) async fn expect_target(&self, node: &Node, rendezvous: &str) -> Result<Reply, AgentError> {
        node.server(self.server)?;
        let rendezvous = rendezvous.parse().map_err(|_| conflict("the rendezvous is not one"))?;
        self.expect(node, rendezvous, &mut *self.meeting.lock().await);
        Ok(Reply::Listening { address: Some(node.data_address()) })
    }

    fn expect<'a>(&self, node: &Node, rendezvous: Rendezvous, slot: &'a mut Option<Dialled>) -> &'a mut Dialled {
        if slot.as_ref().is_none_or(|dialled| *dialled.rendezvous() != rendezvous) {
            tracing::info!(transfer = %self.id, "transfer: the target may dial us");
            *slot = None;
        }
        slot.get_or_insert_with(|| node.listener.expect_dialled(rendezvous))
    }

    /// How good is the way to this door? No copy notices.
    pub(super) async fn try_door(&self, node: &Node, door: Door) -> Result<Reply, AgentError> {
        let peer = door.fingerprint.parse().map_err(|_| conflict("the target's fingerprint is not one"))?;
        let ticket = door.ticket.parse().map_err(|_| conflict("the ticket is not one"))?;
        let tries = Tries::within(TRY, &door.route);
        let found = loop {
            let stream = match self.stream(node, &door.route, tries.until).await {
                Ok(stream) => stream,
                Err(error) if tries.again(&error).await => continue,
                Err(error) => break Err(error),
            };
            let left = tries.until.saturating_duration_since(Instant::now());
            match ::transfer::probe(stream, &node.key, peer, &ticket, left).await {
                Err(error) if tries.again(&error).await => {}
                other => break other,
            }
        };
        let found = found.map_err(|error| match error {
            // A receiver of an earlier release does not know the words.
            Error::Protocol(_) => {
                AgentError::new(ErrorCode::Unsupported, "the target cannot be asked how good the way is")
            }
            error => of_engine(&error),
        })?;
        tracing::info!(transfer = %self.id, way = way::shown(&door.route), ?found, "transfer: the door answers");
        let rtt_us = u64::try_from(found.rtt.as_micros()).unwrap_or(u64::MAX);
        Ok(Reply::Reached { rtt_us, bandwidth: found.bytes_per_s })
    }

    /// A connection on this way. After a restart nobody is expected yet: whoever uses a way opens it.
    pub(super) async fn stream(&self, node: &Node, route: &Route, until: Instant) -> Result<BoxedStream, Error> {
        let Route::Reverse { rendezvous, .. } = route else {
            let late = |_| way::unreachable("nobody answered in time");
            return timeout_at(until, way::dial(route, &node.transfers.panel())).await.map_err(late)?;
        };
        let mut slot = self.meeting.lock().await;
        let dialled = self.expect(node, rendezvous.parse()?, &mut slot);
        let late = |_| way::unreachable("the target has not dialled the source in time");
        timeout_at(until, dialled.next()).await.map_err(late)
    }
}
