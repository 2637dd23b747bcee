//! Databases of game servers, and what is still to be dropped on their hosts.

use model::{DatabaseHostId, DatabaseId, ServerId, Timestamp};

use super::{Conn, DbError, Page, Paging, exactly_one, from_i64, from_ms, parse, to_i64, to_ms};

/// One database, with the user that may use it.
#[derive(Clone)]
pub struct Database {
    /// Its id.
    pub id: DatabaseId,
    /// Whose.
    pub server_id: ServerId,
    /// Where.
    pub host_id: DatabaseHostId,
    /// Its name there.
    pub name: String,
    /// Its user there.
    pub username: String,
    /// From where that user may connect: an address, or a pattern with `%`.
    pub remote: String,
    /// Sealed for `database/<id>`.
    pub password: String,
    /// Whether it is there.
    pub ready: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    server_id: String,
    host_id: String,
    name: String,
    username: String,
    remote: String,
    password: String,
    ready: i64,
    created_at: i64,
}

impl TryFrom<Row> for Database {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("server_databases.id", &row.id)?,
            server_id: parse("server_databases.server_id", &row.server_id)?,
            host_id: parse("server_databases.host_id", &row.host_id)?,
            name: row.name,
            username: row.username,
            remote: row.remote,
            password: row.password,
            ready: row.ready != 0,
            created_at: from_ms("server_databases.created_at", row.created_at)?,
        })
    }
}

/// Writes one down that is going to be made.
pub async fn database_insert(tx: &mut Conn, it: &Database) -> Result<(), DbError> {
    let sql =
        "INSERT INTO server_databases (id, server_id, host_id, name, username, remote, password, ready, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let insert = sqlx::query(sql).bind(it.id.to_string()).bind(it.server_id.to_string()).bind(it.host_id.to_string());
    let insert = insert.bind(it.name.clone()).bind(it.username.clone()).bind(it.remote.clone());
    let insert = insert.bind(it.password.clone()).bind(i64::from(it.ready)).bind(to_ms(it.created_at));
    insert.execute(tx).await?;
    Ok(())
}

/// It is there.
pub async fn database_ready(conn: &mut Conn, id: DatabaseId) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE server_databases SET ready = 1 WHERE id = $1 AND ready = 0").bind(id.to_string());
    exactly_one(&update.execute(conn).await?)
}

/// The database of a server, or [`DbError::NotFound`].
pub async fn database_get(conn: &mut Conn, server: ServerId, id: DatabaseId) -> Result<Database, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM server_databases WHERE id = $1 AND server_id = $2");
    Database::try_from(select.bind(id.to_string()).bind(server.to_string()).fetch_one(conn).await?)
}

/// One page of those of a server, the oldest first.
pub async fn databases_page(conn: &mut Conn, server: ServerId, paging: Paging) -> Result<Page<Database>, DbError> {
    let sql = "SELECT * FROM server_databases WHERE server_id = $1 ORDER BY id LIMIT $2 OFFSET $3";
    let select = sqlx::query_as::<_, Row>(sql).bind(server.to_string());
    let rows = select.bind(paging.limit()).bind(paging.offset()).fetch_all(&mut *conn).await?;
    let items = rows.into_iter().map(Database::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: databases_count(conn, server).await? })
}

/// All of a server that are there.
pub async fn databases_of(conn: &mut Conn, server: ServerId) -> Result<Vec<Database>, DbError> {
    let sql = "SELECT * FROM server_databases WHERE server_id = $1 AND ready = 1 ORDER BY id";
    let rows = sqlx::query_as::<_, Row>(sql).bind(server.to_string()).fetch_all(conn).await?;
    rows.into_iter().map(Database::try_from).collect()
}

/// How many a server has.
pub async fn databases_count(conn: &mut Conn, server: ServerId) -> Result<u64, DbError> {
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM server_databases WHERE server_id = $1");
    from_i64("server_databases", count.bind(server.to_string()).fetch_one(conn).await?)
}

/// Its user connects from elsewhere, or with another password.
pub async fn database_update(tx: &mut Conn, it: &Database) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE server_databases SET remote = $1, password = $2 WHERE id = $3 AND ready = 1");
    let done = update.bind(it.remote.clone()).bind(it.password.clone()).bind(it.id.to_string()).execute(tx).await?;
    exactly_one(&done)
}

/// How many databases a server may have; none for as many as are asked for. [`DbError::NotFound`] without the server.
pub async fn limit_get(conn: &mut Conn, server: ServerId) -> Result<Option<u64>, DbError> {
    let select = sqlx::query_scalar("SELECT database_limit FROM servers WHERE id = $1").bind(server.to_string());
    let limit: Option<i64> = select.fetch_one(conn).await?;
    limit.map(|limit| from_i64("servers.database_limit", limit)).transpose()
}

/// Settles how many databases a server may have. Those that it has stay.
pub async fn limit_set(tx: &mut Conn, server: ServerId, limit: Option<u64>) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE servers SET database_limit = $1 WHERE id = $2").bind(limit.map(to_i64));
    exactly_one(&update.bind(server.to_string()).execute(tx).await?).map_err(|_| DbError::NotFound)
}

/// Something that is still to be dropped.
#[derive(Clone, Debug)]
pub struct Owed {
    /// Id that the database had.
    pub id: DatabaseId,
    /// Where.
    pub host_id: DatabaseHostId,
    /// The database.
    pub name: String,
    /// Its user.
    pub username: String,
}

/// Forgets a database and remembers that it is to be dropped: the two are one.
pub async fn database_owe(tx: &mut Conn, id: DatabaseId) -> Result<(), DbError> {
    owe(tx, "id", &id.to_string()).await
}

/// The same of all that a server has.
pub async fn databases_owe(tx: &mut Conn, server: ServerId) -> Result<(), DbError> {
    owe(tx, "server_id", &server.to_string()).await
}

/// The same of all that a panel that was cut was about to make.
pub async fn databases_owe_unready(tx: &mut Conn) -> Result<(), DbError> {
    owe(tx, "CAST(ready AS TEXT)", "0").await
}

async fn owe(tx: &mut Conn, column: &'static str, value: &str) -> Result<(), DbError> {
    let sql = format!(
        "INSERT INTO owed_databases (id, host_id, name, username)
         SELECT id, host_id, name, username FROM server_databases WHERE {column} = $1"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql)).bind(value.to_owned()).execute(&mut *tx).await?;
    let sql = format!("DELETE FROM server_databases WHERE {column} = $1");
    sqlx::query(sqlx::AssertSqlSafe(sql)).bind(value.to_owned()).execute(tx).await?;
    Ok(())
}

/// All that is still to be dropped.
pub async fn owed_list(conn: &mut Conn) -> Result<Vec<Owed>, DbError> {
    let sql = "SELECT id, host_id, name, username FROM owed_databases ORDER BY id";
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(sql).fetch_all(conn).await?;
    let read = |(id, host, name, username): (String, String, String, String)| {
        let (id, host_id) = (parse("owed_databases.id", &id)?, parse("owed_databases.host_id", &host)?);
        Ok(Owed { id, host_id, name, username })
    };
    rows.into_iter().map(read).collect()
}

/// It was dropped. Again is the same.
pub async fn owed_paid(conn: &mut Conn, id: DatabaseId) -> Result<(), DbError> {
    sqlx::query("DELETE FROM owed_databases WHERE id = $1").bind(id.to_string()).execute(conn).await?;
    Ok(())
}
