//! Users. Names and e-mail addresses are looked up in lower case and shown as they were written.

use model::{RoleId, Timestamp, UserId};
use sqlx::AssertSqlSafe;

use super::{Conn, DbError, Page, Paging, direction, exactly_one, from_i64, from_json, from_ms, parse, roles, to_ms};

/// One user, with what their role allows.
#[derive(Clone, Debug)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// How they log in.
    pub username: String,
    /// The other way to log in.
    pub email: Option<String>,
    /// Their role.
    pub role_id: RoleId,
    /// What it is called.
    pub role: String,
    /// What it allows.
    pub permissions: Vec<String>,
    /// Whether they are kept out.
    pub disabled: bool,
    /// When they were made.
    pub created_at: Timestamp,
    /// When they last logged in.
    pub last_login_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    username: String,
    email: Option<String>,
    role_id: String,
    role: String,
    permissions: String,
    disabled: i64,
    created_at: i64,
    last_login_at: Option<i64>,
}

impl TryFrom<Row> for User {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("users.id", &row.id)?,
            username: row.username,
            email: row.email,
            role_id: parse("users.role_id", &row.role_id)?,
            role: row.role,
            permissions: from_json("roles.permissions", &row.permissions)?,
            disabled: row.disabled != 0,
            created_at: from_ms("users.created_at", row.created_at)?,
            last_login_at: row.last_login_at.map(|at| from_ms("users.last_login_at", at)).transpose()?,
        })
    }
}

/// All but the password's hash: what has no business with it does not get it.
const SELECT: &str = "SELECT u.id, u.username, u.email, u.role_id, r.name AS role, r.permissions, u.disabled,
    u.created_at, u.last_login_at FROM users u JOIN roles r ON r.id = u.role_id";

/// Columns by which a list can be ordered.
pub const SORTS: &[&str] = &["created_at", "username", "last_login_at"];

/// A user to write down.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Their id.
    pub id: UserId,
    /// How they log in.
    pub username: String,
    /// The other way to log in.
    pub email: Option<String>,
    /// PHC string.
    pub password_hash: String,
    /// Their role.
    pub role_id: RoleId,
}

/// Writes a user down. [`DbError::Conflict`] if the name or the address is taken, or there is no such role.
pub async fn user_insert(tx: &mut Conn, user: &NewUser, now: Timestamp) -> Result<(), DbError> {
    let sql = "INSERT INTO users (id, username, username_key, email, email_key, password_hash, role_id, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let insert = sqlx::query(sql).bind(user.id.to_string()).bind(user.username.clone()).bind(key(&user.username));
    let insert = insert.bind(user.email.clone()).bind(user.email.as_deref().map(key));
    let insert = insert.bind(user.password_hash.clone()).bind(user.role_id.to_string()).bind(to_ms(now));
    insert.execute(tx).await?;
    Ok(())
}

/// The user, or [`DbError::NotFound`].
pub async fn user_get(conn: &mut Conn, id: UserId) -> Result<User, DbError> {
    let sql = format!("{SELECT} WHERE u.id = $1");
    User::try_from(sqlx::query_as::<_, Row>(AssertSqlSafe(sql)).bind(id.to_string()).fetch_one(conn).await?)
}

#[derive(sqlx::FromRow)]
struct LoginRow {
    #[sqlx(flatten)]
    row: Row,
    password_hash: String,
}

/// Who logs in as `login`, a name or an e-mail address, and the hash of their password. No name has an `@` in it.
///
/// One query, found or not: how long it takes must not tell who exists.
pub async fn user_by_login(conn: &mut Conn, login: &str) -> Result<Option<(User, String)>, DbError> {
    let sql = "SELECT u.id, u.username, u.email, u.role_id, r.name AS role, r.permissions, u.disabled, u.created_at,
               u.last_login_at, u.password_hash FROM users u JOIN roles r ON r.id = u.role_id
               WHERE u.username_key = $1 OR u.email_key = $1";
    // PostgreSQL has no zero byte in its texts; a name with one is nobody's.
    let login = login.replace('\0', " ");
    let found: Option<LoginRow> = sqlx::query_as(sql).bind(key(&login)).fetch_optional(conn).await?;
    found.map(|found| Ok((User::try_from(found.row)?, found.password_hash))).transpose()
}

/// What a list of users is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// With this role.
    pub role_id: Option<RoleId>,
    /// With this name.
    pub username: Option<String>,
    /// With this address.
    pub email: Option<String>,
    /// Kept out, or not.
    pub disabled: Option<bool>,
}

/// One page. `column` is one of [`SORTS`].
pub async fn users_page(
    conn: &mut Conn,
    filter: &Filter,
    paging: Paging,
    column: &'static str,
    descending: bool,
) -> Result<Page<User>, DbError> {
    const WHERE: &str = "WHERE ($1 = '' OR u.role_id = $1) AND ($2 = '' OR u.username_key = $2)
        AND ($3 = '' OR u.email_key = $3) AND ($4 < 0 OR u.disabled = $4)";
    let role = filter.role_id.map_or_else(String::new, |id| id.to_string());
    let username = filter.username.as_deref().map(key).unwrap_or_default();
    let email = filter.email.as_deref().map(key).unwrap_or_default();
    let disabled = filter.disabled.map_or(-1, i64::from);
    let direction = direction(descending);
    let sql = format!("{SELECT} {WHERE} ORDER BY u.{column} {direction}, u.id LIMIT $5 OFFSET $6");
    let select = sqlx::query_as::<_, Row>(AssertSqlSafe(sql)).bind(role.clone()).bind(username.clone());
    let select = select.bind(email.clone()).bind(disabled).bind(paging.limit()).bind(paging.offset());
    let rows = select.fetch_all(&mut *conn).await?;
    let count = sqlx::query_scalar(AssertSqlSafe(format!("SELECT COUNT(*) FROM users u {WHERE}")));
    let total: i64 = count.bind(role).bind(username).bind(email).bind(disabled).fetch_one(conn).await?;
    let items = rows.into_iter().map(User::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("users", total)? })
}

/// How many there are.
pub async fn users_count(conn: &mut Conn) -> Result<u64, DbError> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM users").fetch_one(conn).await?;
    from_i64("users", count)
}

/// How many users other than `except` can log in as administrators. Ask in the transaction that takes one away.
pub async fn admins_beside(tx: &mut Conn, except: UserId) -> Result<u64, DbError> {
    let sql = "SELECT COUNT(*) FROM users WHERE role_id = $1 AND disabled = 0 AND id <> $2";
    let count = sqlx::query_scalar(sql).bind(roles::ADMIN.to_string()).bind(except.to_string());
    from_i64("users", count.fetch_one(tx).await?)
}

/// Changes everything that a user has but the password. [`DbError::Conflict`] if the name or the address is taken.
pub async fn user_update(tx: &mut Conn, user: &User) -> Result<(), DbError> {
    let sql =
        "UPDATE users SET username = $1, username_key = $2, email = $3, email_key = $4, role_id = $5, disabled = $6
               WHERE id = $7";
    let update = sqlx::query(sql).bind(user.username.clone()).bind(key(&user.username)).bind(user.email.clone());
    let update = update.bind(user.email.as_deref().map(key)).bind(user.role_id.to_string());
    let update = update.bind(i64::from(user.disabled)).bind(user.id.to_string());
    exactly_one(&update.execute(tx).await?).map_err(|_| DbError::NotFound)
}

/// Gives a user another password.
pub async fn user_set_password(tx: &mut Conn, id: UserId, hash: &str) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE users SET password_hash = $1 WHERE id = $2").bind(hash.to_owned());
    exactly_one(&update.bind(id.to_string()).execute(tx).await?).map_err(|_| DbError::NotFound)
}

/// Removes a user with their sessions, keys and places as a subuser. [`DbError::Conflict`] if they own servers.
pub async fn user_delete(tx: &mut Conn, id: UserId) -> Result<(), DbError> {
    let done = sqlx::query("DELETE FROM users WHERE id = $1").bind(id.to_string()).execute(tx).await?;
    exactly_one(&done).map_err(|_| DbError::NotFound)
}

/// How a name or an address is looked up.
fn key(text: &str) -> String {
    text.to_lowercase()
}
