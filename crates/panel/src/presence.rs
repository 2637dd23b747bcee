//! Tells when a node or cluster comes and goes: webhooks, and administrators of those that go.
//!
//! What was told last is in the database, so that a restart of the panel, or an agent that connects again at once, is no
//! news. Gone is who has been away for [`AWAY`].

use std::collections::HashMap;
use std::time::Duration;

use model::{NodeId, Timestamp};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::api::chain;
use crate::app::App;
use crate::db::nodes::{self, Node};
use crate::db::notifications::{Kind, notify_admins};
use crate::db::{DbError, outbox};

/// How often it is looked who is there.
const EVERY: Duration = Duration::from_secs(2);
/// For how long an agent must be away before that is told.
const AWAY: Duration = Duration::from_mins(1);

/// Looks until the shutdown.
pub(crate) fn begin(app: &App) {
    let task = app.clone();
    app.tasks.spawn(async move {
        task.shutdown.clone().run_until_cancelled(keep(&task)).await;
    });
}

async fn keep(app: &App) {
    let mut away = HashMap::new();
    loop {
        if let Err(error) = look(app, &mut away, AWAY).await {
            tracing::warn!(error = chain(&error), "who is online could not be told");
        }
        sleep(EVERY).await;
    }
}

/// Tells what is new. `away` has since when each node was not seen online.
async fn look(app: &App, away: &mut HashMap<NodeId, Instant>, patience: Duration) -> Result<(), DbError> {
    let all = nodes::nodes_told(&mut *app.db.acquire().await?).await?;
    for (id, told_online) in all {
        let online = app.agents.is_online(id);
        if online {
            away.remove(&id);
        }
        let gone = !online && away.entry(id).or_insert_with(Instant::now).elapsed() >= patience;
        let told = match told_online {
            false if online => tell(app, id, true).await,
            true if gone => tell(app, id, false).await,
            _ => continue,
        };
        match told {
            // Removed meanwhile.
            Ok(()) | Err(DbError::NotFound | DbError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn tell(app: &App, id: NodeId, online: bool) -> Result<(), DbError> {
    let now = app.now();
    let mut tx = app.db.begin().await?;
    nodes::node_told(&mut tx, id, online).await?;
    let node = nodes::node_get(&mut tx, id).await?;
    let event = if online { "node.online" } else { "node.offline" };
    outbox::tell(&mut tx, now, event, &about(&node)).await?;
    if !online {
        notify_admins(&mut tx, now, Kind::NodeOffline, &sentence(&node, now), None).await?;
    }
    tx.commit().await?;
    app.wake.webhooks.notify_one();
    Ok(())
}

fn about(node: &Node) -> serde_json::Value {
    json!({"node": {"id": node.id, "name": node.name, "kind": node.kind}, "last_seen_at": node.last_seen_at})
}

fn sentence(node: &Node, now: Timestamp) -> String {
    let since = node.last_seen_at.unwrap_or(now).strftime("%H:%M UTC");
    format!("The {} {} has been offline since {since}. Look at its agent.", node.kind.noun(), node.name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::testing::Bench;

    #[tokio::test]
    async fn coming_and_going_is_told_once_and_a_short_absence_is_not() {
        let bench = Bench::at("2026-01-01T00:00:00Z").await;
        bench.server("offline").await;
        let told = async || {
            let all = nodes::nodes_told(&mut bench.app.db.acquire().await.unwrap()).await.unwrap();
            all[0].1
        };
        let mut away = HashMap::new();
        look(&bench.app, &mut away, AWAY).await.unwrap();
        assert!(told().await);
        bench.agents.offline.store(true, Ordering::SeqCst);
        look(&bench.app, &mut away, AWAY).await.unwrap();
        assert!(told().await, "it went a moment ago");
        look(&bench.app, &mut away, Duration::ZERO).await.unwrap();
        assert!(!told().await);
        look(&bench.app, &mut away, Duration::ZERO).await.unwrap();
        bench.agents.offline.store(false, Ordering::SeqCst);
        look(&bench.app, &mut away, AWAY).await.unwrap();
        assert!(told().await && away.is_empty());
    }
}
