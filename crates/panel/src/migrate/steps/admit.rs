//! `admit_players`: past the pivot, and the first thing there: the target's address leads to the game.
//!
//! A cluster keeps the address of a server that it is brought shut until now, although it is given out since
//! `prepare_target`. So whatever players do, they do it where nothing is taken back any more. A node cannot: the game listens
//! on the machine's own port from its start on, and from there on a cancel is refused instead.
//!
//! The server's names in DNS lead to the target from here on, too: not before, for what is undone has no new address.

use async_trait::async_trait;
use model::agent_api::{Reply, TransferAction};
use saga::{Call, Failure, Log, Retries, Step};
use serde_json::Value;

use super::outputs::{Prepared, output_of};
use crate::db::dns_names::names_follow;
use crate::migrate::Move;
use crate::migrate::ask::unexpected;
use crate::migrate::context::db_failure;

/// Opens the address. There is only this way: it is repeated until the target has done it.
pub(super) struct AdmitPlayers;

#[async_trait]
impl Step<Move> for AdmitPlayers {
    fn name(&self) -> &'static str {
        "admit_players"
    }

    fn retries(&self) -> Retries {
        Retries::PERSISTENT
    }

    async fn run(&self, it: &Move, call: &Call<'_>) -> Result<Value, Failure> {
        if output_of::<Prepared>(call, "prepare_target")?.holds_players {
            match it.ask(call, self.name(), it.target(), TransferAction::AdmitPlayers, it.onward()).await? {
                Reply::Done => {}
                other => return Err(unexpected(&other)),
            }
        }
        // A promise in the database, which `crate::dns` keeps: a name server that is down does not hold up the move.
        let mut conn = it.db.acquire().await.map_err(db_failure)?;
        names_follow(&mut conn, it.transfer.server_id, it.now()).await.map_err(db_failure)?;
        Ok(Value::Null)
    }

    async fn undo(&self, _it: &Move, _call: &Call<'_>) -> Result<(), Failure> {
        Ok(()) // past the pivot
    }
}

/// Whether nobody can be on the target before [`AdmitPlayers`], so that until then a change of mind costs nothing.
pub(super) fn are_held(log: &Log) -> bool {
    log.output::<Prepared>("prepare_target").is_some_and(|prepared| prepared.holds_players)
}
