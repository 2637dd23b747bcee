//! What a transfer tells outside and its server's owner, in the transaction of what happened.

use model::{Mode, Stage, Timestamp, TransferState};
use serde_json::{Value, json};

use crate::db::notifications::{Kind, notify_admins, notify_owner};
use crate::db::transfers::Transfer;
use crate::db::{Conn, DbError, nodes, outbox, servers};

/// It was accepted.
pub(super) async fn started(tx: &mut Conn, transfer: &Transfer, now: Timestamp) -> Result<(), DbError> {
    let data = about(tx, transfer).await?;
    outbox::tell(tx, now, "server.transfer.started", &data).await?;
    let name = server_name(tx, transfer).await?;
    let sentence = match transfer.mode {
        Mode::Live => format!("Your server {name} is being moved. It can be played on meanwhile."),
        Mode::Cold => format!("Your server {name} is being moved. It is offline meanwhile."),
    };
    notify_owner(tx, now, transfer.server_id, Kind::TransferStarted, &sentence).await
}

/// It entered a stage.
pub(super) async fn stage(tx: &mut Conn, transfer: &Transfer, stage: Stage, now: Timestamp) -> Result<(), DbError> {
    let mut data = about(tx, transfer).await?;
    data["transfer"]["state"] = json!(TransferState::Running);
    data["transfer"]["stage"] = json!(stage);
    data["transfer"]["label"] = json!(stage.label());
    outbox::tell(tx, now, "server.transfer.stage", &data).await
}

/// It came to rest.
pub(super) async fn ended(tx: &mut Conn, transfer: &Transfer, now: Timestamp) -> Result<(), DbError> {
    let name = server_name(tx, transfer).await?;
    let why = transfer.failure.as_ref().map_or("", |failure| failure.message.as_str());
    let (event, kind, sentence) = match transfer.state {
        TransferState::Completed => {
            let at = transfer.target_address.as_deref().unwrap_or("its new address");
            let sentence = format!("Your server {name} has moved. Players reach it at {at}.");
            ("server.transfer.completed", Kind::TransferCompleted, sentence)
        }
        TransferState::RolledBack => {
            let sentence = format!("Your server {name} was not moved and is where it was, as it was. {why}");
            ("server.transfer.rolled_back", Kind::TransferRolledBack, sentence)
        }
        _ => {
            let sentence = format!("The move of the server {name} needs a look: {why}");
            ("server.transfer.failed", Kind::TransferStuck, sentence)
        }
    };
    let data = about(tx, transfer).await?;
    outbox::tell(tx, now, event, &data).await?;
    notify_owner(tx, now, transfer.server_id, kind, sentence.trim()).await?;
    if kind == Kind::TransferStuck {
        notify_admins(tx, now, kind, sentence.trim(), Some(transfer.server_id)).await?;
    }
    Ok(())
}

async fn server_name(tx: &mut Conn, transfer: &Transfer) -> Result<String, DbError> {
    Ok(servers::server_get(tx, transfer.server_id).await?.name)
}

async fn about(tx: &mut Conn, it: &Transfer) -> Result<Value, DbError> {
    let mut end = async |id, kind, address: &Option<String>| {
        let name = nodes::node_get(tx, id).await.map(|node| node.name).unwrap_or_default();
        json!({"id": id, "kind": kind, "name": name, "address": address})
    };
    let source = end(it.source_node_id, it.source_kind, &it.source_address).await;
    let target = end(it.target_node_id, it.target_kind, &it.target_address).await;
    Ok(json!({
        "server": {"id": it.server_id, "name": server_name(tx, it).await?},
        "transfer": {
            "id": it.id, "mode": it.mode, "state": it.state, "stage": it.stage, "freeze_ms": it.freeze_ms,
            "failure": it.failure, "requested_by": it.requested_by,
        },
        "source": source,
        "target": target,
    }))
}
