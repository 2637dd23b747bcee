//! `prepare_target`: whatever can fail for want of something fails here, while the game runs.

use std::collections::BTreeSet;

use async_trait::async_trait;
use model::ServerSpec;
use model::agent_api::{Reply, TransferAction};
use saga::{Call, Cause, Failure, Pausing, Phase, Retries, Step};
use serde_json::Value;

use super::ladder::{Goal, final_word};
use super::outputs::{Prepared, to_output};
use crate::db::transfers::{Owed, owed_insert};
use crate::db::{DbError, allocations, on_demand, servers, transfers};
use crate::egg;
use crate::migrate::Move;
use crate::migrate::ask::{AGENT_LOST, AGENT_OFFLINE, unexpected};
use crate::migrate::context::db_failure;

/// Looks at the source, has the target make room, image, container and staging for what was seen, and finds a way there.
pub(super) struct PrepareTarget;

#[async_trait]
impl Step<Move> for PrepareTarget {
    fn name(&self) -> &'static str {
        "prepare_target"
    }

    /// Fewer than usual: on a cluster each may wait for minutes until a pod is scheduled.
    fn retries(&self) -> Retries {
        Retries { attempts: 3, ..Retries::DEFAULT }
    }

    fn pausing(&self) -> Pausing {
        Pausing::Around
    }

    async fn run(&self, it: &Move, call: &Call<'_>) -> Result<Value, Failure> {
        let patience = it.patient().within(it.pace.prepare);
        let measured = it.ask(call, self.name(), it.source(), TransferAction::Measure, patience).await?;
        let Reply::Measured { bytes, files, running, answers_tcp, fingerprint: source_fingerprint } = measured else {
            return Err(unexpected(&measured));
        };
        let mut tried = BTreeSet::new();
        let (ready, stop_patience_s) = loop {
            let spec = it.load_spec().await.map_err(db_failure)?;
            let stop_patience_s = spec.stop_patience_s;
            let prepare = TransferAction::PrepareTarget {
                spec: Box::new(spec),
                epoch: it.epoch_there(),
                source_fingerprint: source_fingerprint.clone(),
                ticket: it.permits.ticket(it.transfer.id),
                bytes,
                files,
                basis: it.transfer.undo_of,
            };
            match it.ask(call, self.name(), it.target(), prepare, patience).await {
                Err(failure) if it.takes_another_port(&failure, &mut tried).await.map_err(db_failure)? => {}
                asked => break (asked?, stop_patience_s),
            }
        };
        let Reply::TargetReady { address, fingerprint, owner, player_address, holds_players } = ready else {
            return Err(unexpected(&ready));
        };
        if let Some(address) = player_address {
            it.note_address(&address).await.map_err(db_failure)?;
        }
        let goal = Goal { address, fingerprint, owner: owner.filter(|_| it.changes_owners()) };
        // Before anything is stopped: a copy that cannot get there is better known now.
        let way = it.walk(call, self.name(), &goal, it.patient(), None).await.map_err(final_word)?;
        to_output(&Prepared { running, answers_tcp, goal, stop_patience_s, way: Some(way), holds_players })
    }

    /// The source runs again by now and nobody waits for this: a target that does not come back is tidied up later.
    async fn undo(&self, it: &Move, call: &Call<'_>) -> Result<(), Failure> {
        let mut patience = it.onward().within(it.pace.clear);
        patience.away = it.pace.tidy;
        match it.ask(call, "undo_prepare_target", it.target(), TransferAction::AbortTarget, patience).await {
            Ok(_) => {}
            Err(failure) if failure.cause().code == "not_found" => {}
            Err(Failure::Retry(cause)) if is_away(&cause) => {
                tracing::warn!(transfer = %it.transfer.id, node = %it.target(), "the target is tidied up later");
                it.owe().await.map_err(db_failure)?;
            }
            Err(failure) => return Err(failure),
        }
        // The source may expect the target still: where a copy was begun, taking that back has ended it.
        if call.log().phase("precopy") != Some(Phase::Idle) {
            return Ok(());
        }
        match it.end_copy(call, "undo_prepare_target", patience).await {
            Err(Failure::Retry(cause)) if is_away(&cause) => {
                tracing::warn!(transfer = %it.transfer.id, node = %it.source(), "the source was not told that it is over");
                Ok(())
            }
            told => told,
        }
    }
}

fn is_away(cause: &Cause) -> bool {
    cause.code == AGENT_OFFLINE || cause.code == AGENT_LOST
}

impl Move {
    /// The server as it will be on the target: with its addresses there, and the variables that follow them.
    async fn load_spec(&self) -> Result<ServerSpec, DbError> {
        let mut conn = self.db.acquire().await?;
        let mut server = servers::server_get(&mut conn, self.transfer.server_id).await?;
        let moves = self.variables_there(&mut conn, &server).await?;
        server.environment.extend(moves.into_iter().map(|one| (one.name, one.new)));
        let targets = transfers::targets_of(&mut conn, self.transfer.id).await?;
        let addresses: Vec<_> = targets.into_iter().map(|(_, allocation)| allocation).collect();
        egg::load_spec(&mut conn, &server, &addresses).await
    }

    /// Somebody who is not ours has a port in the target's cluster, which is known by trying only. Nothing was recorded
    /// under the key of that try, so it can be asked again.
    async fn takes_another_port(&self, failure: &Failure, tried: &mut BTreeSet<u16>) -> Result<bool, DbError> {
        if failure.cause().code != "port_taken" {
            return Ok(false);
        }
        let mut tx = self.db.begin().await?;
        let targets = transfers::targets_of(&mut tx, self.transfer.id).await?;
        let rows: Vec<_> = targets.into_iter().map(|(_, allocation)| allocation).collect();
        let moved = on_demand::another_port(&mut tx, &rows, &failure.cause().message, tried).await?;
        if moved.is_some() {
            tx.commit().await?;
        }
        let Some((had, port)) = moved else { return Ok(false) };
        tracing::info!(transfer = %self.transfer.id, taken = had, port, "another port is tried");
        Ok(true)
    }

    /// Between nodes the numbers of owners are kept: what a game made as its user is that user's there, too. A pod has
    /// one user, and its volume belongs to it.
    fn changes_owners(&self) -> bool {
        self.from.is_cluster() || self.to.is_cluster()
    }

    /// A load balancer has given out the address of the players.
    async fn note_address(&self, address: &str) -> Result<(), DbError> {
        let mut tx = self.db.begin().await?;
        for (_, allocation) in transfers::targets_of(&mut tx, self.transfer.id).await? {
            allocations::allocation_address_set(&mut tx, allocation.id, host(address)).await?;
        }
        tx.commit().await.map_err(DbError::from)
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

/// `host:port` or `host`, without the port: that is the allocation's.
fn host(address: &str) -> &str {
    match address.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')) => {
            host.trim_start_matches('[').trim_end_matches(']')
        }
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_its_host_with_or_without_a_port() {
        for (address, expected) in [
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1:25565", "10.0.0.1"),
            ("lb.example:25565", "lb.example"),
            ("fd00::1", "fd00::1"),
            ("[fd00::1]:25565", "fd00::1"),
        ] {
            assert_eq!(host(address), expected);
        }
    }
}
