//! Takes a completed transfer back: a migration to where the server came from, built on the copy that was kept there, so
//! that only what changed since is sent. All that holds for a migration holds for it; the copy is consumed at its end only.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Options, TransferId, TransferState};
use serde_json::json;

use super::requests::{MigrateError, Origin, StartRequest};
use super::{Addresses, Migrations};
use crate::db::nodes::NodeKind;
use crate::db::transfers::{self, AddressMove, Transfer};
use crate::db::{Conn, DbError, allocations, servers};

impl Migrations {
    /// Starts it, or says why not. The server gets the old address if that is free, else the one that would be chosen for it.
    pub async fn undo(
        self: &Arc<Self>,
        id: TransferId,
        options: Options,
        requested_by: &str,
    ) -> Result<Transfer, MigrateError> {
        let undone = self.get(id).await?;
        let mut conn = self.db.acquire().await?;
        self.admit_undo(&mut conn, &undone).await?;
        let (addresses, all) = old_addresses(&mut conn, &undone).await?;
        drop(conn);
        let request = StartRequest {
            server_id: undone.server_id,
            target_node_id: undone.source_node_id,
            allocation_id: None,
            addresses,
            options,
            requested_by: requested_by.to_owned(),
        };
        let transfer = self.start_from(TransferId::new(), &request, Origin::UndoOf(id)).await?;
        if !all {
            self.tell_other_address(&undone, &transfer).await?;
        }
        Ok(transfer)
    }

    async fn admit_undo(&self, conn: &mut Conn, undone: &Transfer) -> Result<(), MigrateError> {
        if undone.state != TransferState::Completed {
            return refuse("transfer_not_completed", "Only a completed transfer can be undone.");
        }
        if undone.source_kind == NodeKind::Cluster {
            return refuse(
                "undo_unsupported",
                "The copy that a cluster keeps is a volume that cannot be built on. Start a transfer back to the cluster: \
                 it sends everything.",
            );
        }
        let expired = undone.retained_until.is_none_or(|until| until <= self.clock.now());
        if expired || undone.retained_bytes == Some(0) {
            return refuse(
                "nothing_retained",
                "The copy that was kept on the source is gone. Start a transfer back: it sends everything.",
            );
        }
        if servers::server_get(conn, undone.server_id).await?.node_id != undone.target_node_id {
            return refuse("server_moved", "The server has moved on since. Start a transfer to where you want it.");
        }
        Ok(())
    }

    async fn tell_other_address(&self, undone: &Transfer, transfer: &Transfer) -> Result<(), DbError> {
        let (had, gets) = (undone.source_address.as_deref(), transfer.target_address.as_deref());
        let message = format!(
            "Not every address that the server had is free by now (the first one was {}); it gets {}.",
            had.unwrap_or("none"),
            gets.unwrap_or("none")
        );
        let body = json!({"level": "warn", "step": "reserve_target", "message": message});
        let mut tx = self.db.begin().await?;
        transfers::event_append(&mut tx, transfer.id, "log", &body, self.clock.now()).await?;
        tx.commit().await.map_err(DbError::from)
    }
}

/// For each address that the server got by the move, the one that it had, if nobody else has that by now; and whether all of
/// them can be had. For the others one is chosen, as for any move.
async fn old_addresses(conn: &mut Conn, undone: &Transfer) -> Result<(Addresses, bool), DbError> {
    let moves = transfers::addresses_of(conn, undone.id).await?;
    let (mut picks, mut all) = (BTreeMap::new(), true);
    for AddressMove { old, new } in moves {
        let Some(old) = old else { continue };
        match allocations::allocation_get(conn, old.id).await {
            Ok(had) if had.node_id == undone.source_node_id && had.is_free() => drop(picks.insert(new.id, had.id)),
            Ok(_) | Err(DbError::NotFound) => all = false,
            Err(error) => return Err(error),
        }
    }
    Ok((Addresses { picks, range: None }, all))
}

fn refuse(code: &'static str, message: &str) -> Result<(), MigrateError> {
    Err(MigrateError::Conflict { code, message: message.to_owned() })
}
