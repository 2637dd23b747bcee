//! Whose a server is: its owner, and those whom the owner lets in. None of it knows where the server is, so a move
//! changes nothing of it.

use model::{ServerId, Timestamp, UserId};
use sqlx::AssertSqlSafe;

use super::{Conn, DbError, Page, Paging, exactly_one, from_i64, from_json, from_ms, parse, to_json, to_ms};

/// Somebody whom the owner lets in.
#[derive(Clone, Debug)]
pub struct Subuser {
    /// Who.
    pub user_id: UserId,
    /// Their name.
    pub username: String,
    /// What they may, in the API's words.
    pub permissions: Vec<String>,
    /// Since when.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    user_id: String,
    username: String,
    permissions: String,
    created_at: i64,
}

impl TryFrom<Row> for Subuser {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            user_id: parse("subusers.user_id", &row.user_id)?,
            username: row.username,
            permissions: from_json("subusers.permissions", &row.permissions)?,
            created_at: from_ms("subusers.created_at", row.created_at)?,
        })
    }
}

const SELECT: &str = "SELECT x.user_id, u.username, x.permissions, x.created_at
    FROM subusers x JOIN users u ON u.id = x.user_id";

/// What a user is to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Nothing.
    Stranger,
    /// It is theirs.
    Owner,
    /// The owner lets them in, with these permissions.
    Subuser(Vec<String>),
}

/// What `user` is to `server`, or [`DbError::NotFound`] if there is no such server.
pub async fn relation(conn: &mut Conn, server: ServerId, user: Option<UserId>) -> Result<Relation, DbError> {
    let select = sqlx::query_scalar("SELECT owner_id FROM servers WHERE id = $1").bind(server.to_string());
    let owner: Option<String> = select.fetch_one(&mut *conn).await?;
    let Some(user) = user else { return Ok(Relation::Stranger) };
    if owner == Some(user.to_string()) {
        return Ok(Relation::Owner);
    }
    match subuser_get(conn, server, user).await {
        Ok(subuser) => Ok(Relation::Subuser(subuser.permissions)),
        Err(DbError::NotFound) => Ok(Relation::Stranger),
        Err(error) => Err(error),
    }
}

/// Gives a server to somebody, or to nobody. An owner is no subuser beside it.
pub async fn owner_set(tx: &mut Conn, server: ServerId, owner: Option<UserId>) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE servers SET owner_id = $1 WHERE id = $2").bind(owner.map(|id| id.to_string()));
    exactly_one(&update.bind(server.to_string()).execute(&mut *tx).await?).map_err(|_| DbError::NotFound)?;
    let owner = owner.map_or_else(String::new, |id| id.to_string());
    let delete = sqlx::query("DELETE FROM subusers WHERE server_id = $1 AND user_id = $2").bind(server.to_string());
    delete.bind(owner).execute(tx).await?;
    Ok(())
}

/// Lets somebody in. [`DbError::Conflict`] if they are in already.
pub async fn subuser_insert(tx: &mut Conn, server: ServerId, subuser: &Subuser) -> Result<(), DbError> {
    let sql = "INSERT INTO subusers (server_id, user_id, permissions, created_at) VALUES ($1, $2, $3, $4)";
    let insert = sqlx::query(sql).bind(server.to_string()).bind(subuser.user_id.to_string());
    let insert = insert.bind(to_json("subusers.permissions", &subuser.permissions)?);
    insert.bind(to_ms(subuser.created_at)).execute(tx).await?;
    Ok(())
}

/// Somebody who is let in, or [`DbError::NotFound`].
pub async fn subuser_get(conn: &mut Conn, server: ServerId, user: UserId) -> Result<Subuser, DbError> {
    let sql = format!("{SELECT} WHERE x.server_id = $1 AND x.user_id = $2");
    let select = sqlx::query_as::<_, Row>(AssertSqlSafe(sql)).bind(server.to_string()).bind(user.to_string());
    Subuser::try_from(select.fetch_one(conn).await?)
}

/// One page of those who are let in, by name.
pub async fn subusers_page(conn: &mut Conn, server: ServerId, paging: Paging) -> Result<Page<Subuser>, DbError> {
    let sql = format!("{SELECT} WHERE x.server_id = $1 ORDER BY u.username_key LIMIT $2 OFFSET $3");
    let select = sqlx::query_as::<_, Row>(AssertSqlSafe(sql)).bind(server.to_string());
    let rows = select.bind(paging.limit()).bind(paging.offset()).fetch_all(&mut *conn).await?;
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM subusers WHERE server_id = $1").bind(server.to_string());
    let total: i64 = count.fetch_one(conn).await?;
    let items = rows.into_iter().map(Subuser::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("subusers", total)? })
}

/// Changes what somebody may.
pub async fn subuser_update(
    tx: &mut Conn,
    server: ServerId,
    user: UserId,
    permissions: &[String],
) -> Result<(), DbError> {
    let sql = "UPDATE subusers SET permissions = $1 WHERE server_id = $2 AND user_id = $3";
    let update = sqlx::query(sql).bind(to_json("subusers.permissions", permissions)?);
    let done = update.bind(server.to_string()).bind(user.to_string()).execute(tx).await?;
    exactly_one(&done).map_err(|_| DbError::NotFound)
}

/// Lets somebody in no more.
pub async fn subuser_delete(tx: &mut Conn, server: ServerId, user: UserId) -> Result<(), DbError> {
    let delete = sqlx::query("DELETE FROM subusers WHERE server_id = $1 AND user_id = $2").bind(server.to_string());
    exactly_one(&delete.bind(user.to_string()).execute(tx).await?).map_err(|_| DbError::NotFound)
}
