//! `switch_over`: one transaction makes the target the owner.

use async_trait::async_trait;
use model::agent_api::Request;
use saga::{Call, Cause, Failure, Retries, Step};
use serde_json::Value;
use tokio::time::timeout;

use super::freeze::FROZEN;
use crate::db::servers::Server;
use crate::db::transfers::{Switch, VariableMove, server_switch};
use crate::db::{Conn, DbError, servers, transfers};
use crate::egg;
use crate::migrate::Move;
use crate::migrate::ask::AGENT_OFFLINE;
use crate::migrate::context::db_failure;

/// Owner, epoch N+1 and addresses, compared and set. Only now may a permit for the target be signed.
pub(super) struct SwitchOver;

#[async_trait]
impl Step<Move> for SwitchOver {
    fn name(&self) -> &'static str {
        "switch_over"
    }

    fn retries(&self) -> Retries {
        FROZEN
    }

    async fn run(&self, it: &Move, _call: &Call<'_>) -> Result<Value, Failure> {
        it.see_target().await?;
        let switch = Switch {
            server: it.transfer.server_id,
            transfer: it.transfer.id,
            from: (it.source(), it.epoch()),
            to: (it.target(), it.epoch_there()),
            primary: it.transfer.target_allocation_id,
            is_told: true,
        };
        it.switch(&switch).await.map_err(db_failure)?;
        Ok(Value::Null)
    }

    async fn undo(&self, it: &Move, _call: &Call<'_>) -> Result<(), Failure> {
        it.switch_back().await.map_err(db_failure)
    }
}

impl Move {
    /// A target that is dead now is better found dead before it is promised the server: the way back is shorter.
    async fn see_target(&self) -> Result<(), Failure> {
        let seen = timeout(self.pace.away_frozen, async {
            self.agents.wait_online(self.target()).await;
            self.agents.call(self.target(), Request::Ping).await
        });
        match seen.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failure::Retry(Cause::new(AGENT_OFFLINE, format!("{}: {error}", self.to)))),
            Err(_) => {
                let message = self.to.offline();
                Err(Failure::Undo(Cause::new(AGENT_OFFLINE, message)))
            }
        }
    }

    /// With the addresses change the variables that are made of them, and what their owner wrote about them: all of it in
    /// one transaction, as the target was told in `prepare_target`.
    async fn switch(&self, switch: &Switch) -> Result<bool, DbError> {
        let mut tx = self.db.begin().await?;
        let before = servers::server_get(&mut tx, switch.server).await?;
        let switched = server_switch(&mut tx, switch).await?;
        if switched {
            let moves = self.variables_there(&mut tx, &before).await?;
            transfers::variables_move(&mut tx, switch.transfer, switch.server, &before.environment, &moves).await?;
            transfers::notes_carry(&mut tx, switch.transfer).await?;
        }
        tx.commit().await?;
        Ok(switched)
    }

    /// Port variables of the server whose port is another one on the target.
    pub(super) async fn variables_there(&self, conn: &mut Conn, server: &Server) -> Result<Vec<VariableMove>, DbError> {
        let targets = transfers::targets_of(conn, self.transfer.id).await?;
        let ports: Vec<_> = targets.iter().filter_map(|(old, new)| Some(((*old)?, new.port))).collect();
        egg::moved_variables(conn, server, &ports).await
    }

    /// The source owns it again, with the addresses and variables that it had, if the target ever did. Again is the same.
    pub(super) async fn switch_back(&self) -> Result<(), DbError> {
        let switch = Switch {
            server: self.transfer.server_id,
            transfer: self.transfer.id,
            from: (self.target(), self.epoch_there()),
            to: (self.source(), self.epoch_back()),
            primary: self.transfer.source_allocation_id,
            is_told: false,
        };
        let mut tx = self.db.begin().await?;
        if servers::server_get(&mut tx, switch.server).await?.node_id == self.target() {
            server_switch(&mut tx, &switch).await?;
            transfers::variables_back(&mut tx, switch.transfer, switch.server).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
