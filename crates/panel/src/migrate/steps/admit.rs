//! `admit_players`: past the pivot, and the first thing there: the target's address leads to the game.
//!
//! A cluster keeps the address of a server that it is brought shut until now, although it is given out since
//! `prepare_target`. So whatever players do, they do it where nothing is taken back any more. A node cannot: the game listens
//! on the machine's own port from its start on, and from there on a cancel is refused instead.

use async_trait::async_trait;
use model::agent_api::{Reply, TransferAction};
use saga::{Call, Failure, Log, Retries, Step};
use serde_json::Value;

use super::outputs::{Prepared, output_of};
use crate::migrate::Move;
use crate::migrate::ask::unexpected;

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
        if !output_of::<Prepared>(call, "prepare_target")?.holds_players {
            return Ok(Value::Null);
        }
        match it.ask(call, self.name(), it.target(), TransferAction::AdmitPlayers, it.onward()).await? {
            Reply::Done => Ok(Value::Null),
            other => Err(unexpected(&other)),
        }
    }

    async fn undo(&self, _it: &Move, _call: &Call<'_>) -> Result<(), Failure> {
        Ok(()) // past the pivot
    }
}

/// Whether nobody can be on the target before [`AdmitPlayers`], so that until then a change of mind costs nothing.
pub(super) fn are_held(log: &Log) -> bool {
    log.output::<Prepared>("prepare_target").is_some_and(|prepared| prepared.holds_players)
}
