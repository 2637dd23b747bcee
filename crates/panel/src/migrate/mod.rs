//! Placeholder of the migrations.

use std::sync::Arc;

use crate::agent::Agents;
use crate::db::Db;
use crate::events::Hub;
use crate::permit::PermitSigner;

/// The migrations that run.
pub struct Migrations {}

impl Migrations {
    /// None run yet; see [`Migrations::resume`].
    pub fn new(
        _db: Db,
        _agents: Arc<dyn Agents>,
        _clock: Arc<dyn model::Clock>,
        _permits: Arc<PermitSigner>,
        _events: Arc<Hub>,
    ) -> Arc<Self> {
        Arc::new(Self {})
    }

    /// Goes on with every transfer that is not over. Called once, before the first request is answered.
    pub async fn resume(&self) -> Result<(), crate::db::DbError> {
        Ok(())
    }

    /// Stops driving (nothing is undone: a restart goes on).
    pub async fn shut_down(&self) {}
}
