//! Whether an agent has been told what its server is: a count of the changes, and the count that the agent has heard of.
//!
//! Whoever changes what an agent runs a server by counts the change in the same transaction ([`spec_changed`]); whoever
//! has told the agent writes down which count that was. So a change that was made while the agent was away, or while the
//! panel died, is told before the server's next start, and a change in the middle of a telling is told once more.

use model::ServerId;

use super::{Conn, DbError, exactly_one, from_i64, to_i64};

/// The server is another one for its agent from now on.
pub async fn spec_changed(tx: &mut Conn, server: ServerId) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE servers SET spec_version = spec_version + 1 WHERE id = $1");
    exactly_one(&update.bind(server.to_string()).execute(tx).await?).map_err(|_| DbError::NotFound)
}

/// All servers of an egg are.
pub async fn spec_changed_of_egg(tx: &mut Conn, egg: model::EggId) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE servers SET spec_version = spec_version + 1 WHERE egg_id = $1");
    update.bind(egg.to_string()).execute(tx).await?;
    Ok(())
}

/// The count that has to be told; none if the agent knows.
pub async fn spec_untold(conn: &mut Conn, server: ServerId) -> Result<Option<u64>, DbError> {
    let select = sqlx::query_as("SELECT spec_version, spec_told FROM servers WHERE id = $1").bind(server.to_string());
    let (version, told): (i64, i64) = select.fetch_one(conn).await?;
    Ok(if version > told { Some(from_i64("servers.spec_version", version)?) } else { None })
}

/// The agent has heard of this count. Its word about an older one, or about a server that has moved, changes nothing.
pub async fn spec_told(conn: &mut Conn, server: ServerId, node: model::NodeId, version: u64) -> Result<(), DbError> {
    let sql = "UPDATE servers SET spec_told = $1 WHERE id = $2 AND node_id = $3 AND spec_told < $1";
    let update = sqlx::query(sql).bind(to_i64(version)).bind(server.to_string()).bind(node.to_string());
    update.execute(conn).await?;
    Ok(())
}
