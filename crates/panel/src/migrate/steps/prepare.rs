//! `prepare_target`: whatever can fail for want of something fails here, while the game runs.

use async_trait::async_trait;
use model::ServerSpec;
use model::agent_api::{Reply, TransferAction};
use saga::{Call, Cause, Failure, Step};
use serde_json::Value;

use super::outputs::{Prepared, to_output};
use crate::db::transfers::{Owed, owed_insert};
use crate::db::{DbError, allocations, nodes, servers};
use crate::egg;
use crate::migrate::Move;
use crate::migrate::ask::{AGENT_LOST, AGENT_OFFLINE, unexpected};
use crate::migrate::context::db_failure;

/// Looks at the source, then has the target make room, image, container and staging for what was seen.
pub(super) struct PrepareTarget;

#[async_trait]
impl Step<Move> for PrepareTarget {
    fn name(&self) -> &'static str {
        "prepare_target"
    }

    async fn run(&self, it: &Move, call: &Call<'_>) -> Result<Value, Failure> {
        let about = it.load_about().await.map_err(db_failure)?;
        let measure =
            it.ask(call, self.name(), it.source(), TransferAction::Measure, it.patient().within(it.pace.prepare));
        let Reply::Measured { bytes, files, running, answers_tcp, fingerprint: _ } = measure.await? else {
            return Err(Failure::Undo(Cause::new("unexpected_reply", "the source did not say how big the server is")));
        };
        let stop_patience_s = about.spec.stop_patience_s;
        let prepare = TransferAction::PrepareTarget {
            spec: Box::new(about.spec),
            epoch: it.epoch_there(),
            source_fingerprint: about.source_fingerprint,
            ticket: it.permits.ticket(it.transfer.id),
            bytes,
            files,
        };
        let patience = it.patient().within(it.pace.prepare);
        match it.ask(call, self.name(), it.target(), prepare, patience).await? {
            Reply::TargetReady { address: Some(address), .. } => to_output(&Prepared {
                running,
                answers_tcp,
                address,
                fingerprint: about.target_fingerprint,
                stop_patience_s,
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// The source runs again by now and nobody waits for this: a target that does not come back is tidied up later.
    async fn undo(&self, it: &Move, call: &Call<'_>) -> Result<(), Failure> {
        let mut patience = it.onward();
        patience.away = it.pace.tidy;
        match it.ask(call, "undo_prepare_target", it.target(), TransferAction::AbortTarget, patience).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.cause().code == "not_found" => Ok(()),
            Err(Failure::Retry(cause)) if cause.code == AGENT_OFFLINE || cause.code == AGENT_LOST => {
                tracing::warn!(transfer = %it.transfer.id, node = %it.target(), "the target is tidied up later");
                it.owe().await.map_err(db_failure)
            }
            Err(failure) => Err(failure),
        }
    }
}

/// What the database knows about the server and the two nodes.
struct About {
    spec: ServerSpec,
    source_fingerprint: String,
    target_fingerprint: String,
}

impl Move {
    async fn load_about(&self) -> Result<About, DbError> {
        let mut conn = self.db.acquire().await?;
        let server = servers::server_get(&mut conn, self.transfer.server_id).await?;
        let mut addresses = vec![];
        if let Some(id) = self.transfer.target_allocation_id {
            addresses.push(allocations::allocation_get(&mut conn, id).await?);
        }
        let spec = egg::load_spec(&mut conn, &server, &addresses).await?;
        let fingerprint = |node: nodes::Node| node.agent.map(|agent| agent.fingerprint).ok_or(DbError::NotFound);
        let source_fingerprint = fingerprint(nodes::node_get(&mut conn, self.source()).await?)?;
        let target_fingerprint = fingerprint(nodes::node_get(&mut conn, self.target()).await?)?;
        Ok(About { spec, source_fingerprint, target_fingerprint })
    }

    async fn owe(&self) -> Result<(), DbError> {
        let owed = Owed {
            transfer_id: self.transfer.id,
            server_id: self.transfer.server_id,
            node_id: self.target(),
            epoch: self.epoch(),
        };
        owed_insert(&mut *self.db.acquire().await?, &owed).await
    }
}
