//! Is the game up on the target? The egg's word on the console, TCP if it answered before, and a minimum time.

use std::time::Duration;

use model::ServerStatus;
use model::agent_api::{AgentError, ErrorCode, Reply};
use tokio::time::Instant;

use super::Transfer;
use super::progress::millis;
use super::source::answers_tcp;
use crate::node::Node;
use crate::server::{Seen, Server};

const PROBE_EVERY: Duration = Duration::from_millis(50);

impl Transfer {
    pub(super) async fn check_health(
        &self,
        node: &Node,
        tcp_probe: bool,
        min_uptime: Duration,
        timeout: Duration,
    ) -> Result<Reply, AgentError> {
        let server = node.server(self.server)?;
        match tokio::time::timeout(timeout, is_up(node, &server, tcp_probe, min_uptime)).await {
            Ok(Ok(boot)) => Ok(Reply::Healthy { boot_ms: millis(boot) }),
            Ok(Err(why)) => Err(unhealthy(&server, why).await),
            Err(_) => {
                let why = format!("it was not up within {} s", timeout.as_secs());
                Err(unhealthy(&server, why).await)
            }
        }
    }
}

/// Resolves with the time from the start of its process until it was up, once it has been so for long enough.
async fn is_up(node: &Node, server: &Server, tcp_probe: bool, min_uptime: Duration) -> Result<Duration, String> {
    let mut seen = server.seen();
    let began = seen.borrow().began.ok_or("no process of it runs")?;
    let state = seen.wait_for(|seen| seen.up.is_some() || has_ended(seen)).await;
    let mut up = state.ok().and_then(|seen| seen.up).ok_or("it ended instead of coming up")?;
    while tcp_probe && !answers_tcp(node, server).await {
        if has_ended(&seen.borrow()) {
            return Err("it ended before it answered on its port".to_owned());
        }
        tokio::time::sleep(PROBE_EVERY).await;
        up = Instant::now();
    }
    tokio::select! {
        ended = seen.wait_for(has_ended) => {
            drop(ended);
            Err("it ended soon after it had come up".to_owned())
        }
        () = tokio::time::sleep_until(began + min_uptime) => Ok(up.saturating_duration_since(began)),
    }
}

fn has_ended(seen: &Seen) -> bool {
    matches!(seen.observation.status, ServerStatus::Crashed | ServerStatus::Offline)
}

async fn unhealthy(server: &Server, why: String) -> AgentError {
    let last = server.console(5).await.unwrap_or_default().join(" | ");
    AgentError::new(ErrorCode::Unhealthy, format!("the game did not come up: {why}; its last words: {last}"))
}
