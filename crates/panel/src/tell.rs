//! Telling agents what their servers are, when that has changed.
//!
//! The change is committed first; that is what counts. Then its agent is told, at once if it is there, and else before the
//! server's next start ([`crate::db::specs`] remembers). A server that moves is told by the transfer itself.

use std::collections::BTreeSet;
use std::time::Duration;

use model::agent_api::{ErrorCode, Request};
use model::{NodeId, ServerId, ServerSpec};

use crate::agent::CallError;
use crate::app::App;
use crate::db::{DbError, allocations, on_demand, servers, specs};
use crate::egg;

/// Why an agent was not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TellError {
    /// The agent is away, or would not.
    #[error(transparent)]
    Agent(CallError),
    /// The database failed.
    #[error("the database failed")]
    Db(#[from] DbError),
}

/// Tells the agent of a server what that is, unless it knows. On a cluster a port may turn out to be somebody else's there:
/// then another one is taken, as long as the cluster's ports are ours to choose.
pub(crate) async fn tell(app: &App, id: ServerId, patience: Duration) -> Result<(), TellError> {
    let mut tried = BTreeSet::new();
    loop {
        let Some((node, version, spec)) = load(app, id).await? else { return Ok(()) };
        let request = Request::ConfigureServer { spec: Box::new(spec) };
        let asked = tokio::time::timeout(patience, app.agents.call(node, request)).await;
        match asked.unwrap_or(Err(CallError::Lost)) {
            Ok(_) => return Ok(specs::spec_told(&mut *app.db.acquire().await?, id, node, version).await?),
            Err(CallError::Refused(error))
                if error.code == ErrorCode::PortTaken && another_port(app, id, &error.message, &mut tried).await? => {}
            Err(CallError::Refused(error)) if error.code == ErrorCode::Unsupported => {
                tracing::warn!(server = %id, "its agent is too old to be told of changes: upgrade it");
                return Ok(());
            }
            Err(error) => return Err(TellError::Agent(error)),
        }
    }
}

/// [`tell`] after a change that is committed. What fails now is told before the next start; the log says why.
pub(crate) async fn tell_of_change(app: &App, id: ServerId) {
    match tell(app, id, crate::api::QUICK).await {
        Ok(()) => {}
        Err(TellError::Agent(CallError::Offline)) => tracing::debug!(server = %id, "its agent is told when it is back"),
        Err(error) => {
            tracing::warn!(server = %id, error = crate::api::chain(&error), "its agent is told before its next start");
        }
    }
}

/// What to tell, and whom; none if it is known, if a transfer sees to it, or if it is not there yet.
async fn load(app: &App, id: ServerId) -> Result<Option<(NodeId, u64, ServerSpec)>, DbError> {
    if specs::spec_untold(&mut *app.db.acquire().await?, id).await?.is_none() {
        return Ok(None);
    }
    // One transaction: the count and what it stands for.
    let mut tx = app.db.begin().await?;
    let Some(version) = specs::spec_untold(&mut tx, id).await? else { return Ok(None) };
    let server = servers::server_get(&mut tx, id).await?;
    let addresses = allocations::allocations_of(&mut tx, id).await?;
    let spec = egg::load_spec(&mut tx, &server, &addresses).await?;
    Ok(Some((server.node_id, version, spec)))
}

/// Somebody who is not ours has a port of the server in its cluster. Answers whether there is another.
async fn another_port(app: &App, id: ServerId, said: &str, tried: &mut BTreeSet<u16>) -> Result<bool, DbError> {
    let mut tx = app.db.begin().await?;
    let rows = allocations::allocations_of(&mut tx, id).await?;
    let Some((had, port)) = on_demand::another_port(&mut tx, &rows, said, tried).await? else { return Ok(false) };
    specs::spec_changed(&mut tx, id).await?;
    tx.commit().await?;
    tracing::info!(server = %id, taken = had, port, "its port is taken in the cluster: another is tried");
    Ok(true)
}
