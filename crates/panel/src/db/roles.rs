//! Roles: named sets of permissions. Three are built in and stay as they are.

use model::{RoleId, Timestamp};
use uuid::Uuid;

use super::{Conn, DbError, Page, Paging, exactly_one, from_i64, from_json, from_ms, parse, to_json, to_ms};

/// May everything. Its id is in the schema, so that it is the same in every panel.
pub const ADMIN: RoleId = RoleId(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));
/// Looks after servers, changes no machines.
pub const MODERATOR: RoleId = RoleId(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0002));
/// Has what is their own.
pub const USER: RoleId = RoleId(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0003));

/// One role.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its id.
    pub id: RoleId,
    /// Its name, unique.
    pub name: String,
    /// What it allows.
    pub permissions: Vec<String>,
    /// Whether it came with the panel.
    pub built_in: bool,
    /// How many users have it.
    pub users: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    permissions: String,
    built_in: i64,
    users: i64,
    created_at: i64,
}

impl TryFrom<Row> for Role {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("roles.id", &row.id)?,
            name: row.name,
            permissions: from_json("roles.permissions", &row.permissions)?,
            built_in: row.built_in != 0,
            users: from_i64("users", row.users)?,
            created_at: from_ms("roles.created_at", row.created_at)?,
        })
    }
}

/// Writes a role down. [`DbError::Conflict`] if the name is taken.
pub async fn role_insert(tx: &mut Conn, role: &Role) -> Result<(), DbError> {
    let sql = "INSERT INTO roles (id, name, permissions, built_in, created_at) VALUES ($1, $2, $3, 0, $4)";
    let insert = sqlx::query(sql).bind(role.id.to_string()).bind(role.name.clone());
    insert.bind(to_json("roles.permissions", &role.permissions)?).bind(to_ms(role.created_at)).execute(tx).await?;
    Ok(())
}

/// The role, or [`DbError::NotFound`].
pub async fn role_get(conn: &mut Conn, id: RoleId) -> Result<Role, DbError> {
    let sql = "SELECT r.*, (SELECT COUNT(*) FROM users u WHERE u.role_id = r.id) AS users FROM roles r WHERE r.id = $1";
    Role::try_from(sqlx::query_as::<_, Row>(sql).bind(id.to_string()).fetch_one(conn).await?)
}

/// One page, built-in ones first, then by name.
pub async fn roles_page(conn: &mut Conn, paging: Paging) -> Result<Page<Role>, DbError> {
    let sql = "SELECT r.*, (SELECT COUNT(*) FROM users u WHERE u.role_id = r.id) AS users FROM roles r
               ORDER BY r.built_in DESC, r.created_at, r.name, r.id LIMIT $1 OFFSET $2";
    let rows: Vec<Row> = sqlx::query_as(sql).bind(paging.limit()).bind(paging.offset()).fetch_all(&mut *conn).await?;
    let total: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM roles").fetch_one(conn).await?;
    let items = rows.into_iter().map(Role::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("roles", total)? })
}

/// Changes name and permissions of a role that is not built in. [`DbError::Conflict`] if the name is taken.
pub async fn role_update(tx: &mut Conn, role: &Role) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE roles SET name = $1, permissions = $2 WHERE id = $3 AND built_in = 0");
    let update = update.bind(role.name.clone()).bind(to_json("roles.permissions", &role.permissions)?);
    exactly_one(&update.bind(role.id.to_string()).execute(tx).await?).map_err(|_| DbError::NotFound)
}

/// Removes a role that is not built in. [`DbError::Conflict`] if somebody has it.
pub async fn role_delete(tx: &mut Conn, id: RoleId) -> Result<(), DbError> {
    let delete = sqlx::query("DELETE FROM roles WHERE id = $1 AND built_in = 0").bind(id.to_string());
    exactly_one(&delete.execute(tx).await?).map_err(|_| DbError::NotFound)
}
