//! For unit tests: a panel without sockets, whose clock and agents belong to the test.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use model::agent_api::{Reply, Request};
use model::{EggId, ManualClock, NodeId, ServerId, Timestamp};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::access::{Access, AccessConfig};
use crate::agent::{Agents, CallError};
use crate::app::App;
use crate::run::assemble;

/// Agents that do whatever they are asked and remember it; offline until they are let in.
#[derive(Default)]
pub(crate) struct Obedient {
    asked: Mutex<Vec<Request>>,
    pub(crate) offline: std::sync::atomic::AtomicBool,
}

impl Obedient {
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Agents for Obedient {
    async fn call(&self, node: NodeId, request: Request) -> Result<Reply, CallError> {
        if !self.is_online(node) {
            return Err(CallError::Offline);
        }
        self.asked.lock().unwrap().push(request);
        Ok(Reply::Done)
    }

    fn is_online(&self, _node: NodeId) -> bool {
        !self.offline.load(std::sync::atomic::Ordering::SeqCst)
    }

    async fn wait_online(&self, _node: NodeId) {}
}

/// A panel on a database of its own.
pub(crate) struct Bench {
    pub(crate) app: App,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) agents: Arc<Obedient>,
    _dir: TempDir,
}

impl Bench {
    /// Its clock shows `now` and stands still.
    pub(crate) async fn at(now: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = crate::db::testing::open(dir.path()).await.unwrap();
        let access = Access::open(dir.path(), AccessConfig::default()).unwrap();
        let clock = Arc::new(ManualClock::new(now.parse::<Timestamp>().unwrap()));
        let shutdown = CancellationToken::new();
        let (mut app, _) = assemble(db, access, clock.clone(), dir.path(), "http://panel", "image", &shutdown).unwrap();
        let agents = Arc::new(Obedient::default());
        app.agents = agents.clone();
        Self { app, clock, agents, _dir: dir }
    }

    /// A server that does `status`, on a node of its own.
    pub(crate) async fn server(&self, status: &str) -> ServerId {
        let (server, node, egg) = (ServerId::new(), NodeId::new(), EggId::new());
        let mut conn = self.app.db.acquire().await.unwrap();
        for sql in [
            format!(
                "INSERT INTO nodes (id, name, memory_mb, disk_mb, cpu_percent, created_at)
                 VALUES ('{node}', '{node}', 0, 0, 0, 0)"
            ),
            format!("INSERT INTO eggs (id, name, author, document, created_at) VALUES ('{egg}', 'e', '', '{{}}', 0)"),
            format!(
                "INSERT INTO servers (id, name, egg_id, node_id, epoch, status, memory_limit, disk_limit, cpu_limit,
                 startup, image, environment, created_at)
                 VALUES ('{server}', 's', '{egg}', '{node}', 1, '{status}', 0, 0, 0, '', '', '{{}}', 0)"
            ),
        ] {
            self.sql(&mut conn, &sql).await;
        }
        server
    }

    async fn sql(&self, conn: &mut crate::db::Conn, sql: &str) {
        crate::db::execute(conn, sql).await.unwrap();
    }
}
