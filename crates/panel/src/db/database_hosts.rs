//! MySQL and MariaDB servers on which databases of game servers are made.

use model::{DatabaseHostId, NodeId, Timestamp};

use super::{Conn, DbError, Page, Paging, exactly_one, from_i64, from_ms, parse, to_i64, to_ms};

/// One of them.
#[derive(Clone)]
pub struct DatabaseHost {
    /// Its id.
    pub id: DatabaseHostId,
    /// For people, unique.
    pub name: String,
    /// Address or name.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Who makes databases there.
    pub username: String,
    /// Sealed for `database-host/<id>`.
    pub password: String,
    /// The machine that it runs on, if it is one of ours.
    pub node_id: Option<NodeId>,
    /// How many databases it takes; none for as many as are asked for.
    pub max_databases: Option<u64>,
    /// When it was made known.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    host: String,
    port: i64,
    username: String,
    password: String,
    node_id: Option<String>,
    max_databases: Option<i64>,
    created_at: i64,
}

impl TryFrom<Row> for DatabaseHost {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let port = u16::try_from(row.port);
        Ok(Self {
            id: parse("database_hosts.id", &row.id)?,
            name: row.name,
            host: row.host,
            port: port.map_err(|error| DbError::Corrupt { column: "database_hosts.port", why: error.to_string() })?,
            username: row.username,
            password: row.password,
            node_id: row.node_id.map(|id| parse("database_hosts.node_id", &id)).transpose()?,
            max_databases: row.max_databases.map(|most| from_i64("database_hosts.max_databases", most)).transpose()?,
            created_at: from_ms("database_hosts.created_at", row.created_at)?,
        })
    }
}

/// Writes one down. [`DbError::Conflict`] if its name is taken or there is no such node.
pub async fn host_insert(tx: &mut Conn, it: &DatabaseHost) -> Result<(), DbError> {
    let sql =
        "INSERT INTO database_hosts (id, name, host, port, username, password, node_id, max_databases, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let insert = sqlx::query(sql).bind(it.id.to_string()).bind(it.name.clone()).bind(it.host.clone());
    let insert = insert.bind(i64::from(it.port)).bind(it.username.clone()).bind(it.password.clone());
    let insert = insert.bind(it.node_id.map(|id| id.to_string())).bind(it.max_databases.map(to_i64));
    insert.bind(to_ms(it.created_at)).execute(tx).await?;
    Ok(())
}

/// The host, or [`DbError::NotFound`].
pub async fn host_get(conn: &mut Conn, id: DatabaseHostId) -> Result<DatabaseHost, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM database_hosts WHERE id = $1").bind(id.to_string());
    DatabaseHost::try_from(select.fetch_one(conn).await?)
}

/// One page, by name.
pub async fn hosts_page(conn: &mut Conn, paging: Paging) -> Result<Page<DatabaseHost>, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM database_hosts ORDER BY name, id LIMIT $1 OFFSET $2");
    let rows = select.bind(paging.limit()).bind(paging.offset()).fetch_all(&mut *conn).await?;
    let total: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM database_hosts").fetch_one(conn).await?;
    let items = rows.into_iter().map(DatabaseHost::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("database_hosts", total)? })
}

/// All of them, those with the fewest databases first.
pub async fn hosts_by_load(conn: &mut Conn) -> Result<Vec<(DatabaseHost, u64)>, DbError> {
    let rows = sqlx::query_as::<_, Row>("SELECT * FROM database_hosts ORDER BY id").fetch_all(&mut *conn).await?;
    let mut hosts = Vec::with_capacity(rows.len());
    for row in rows {
        let host = DatabaseHost::try_from(row)?;
        let used = databases_on(conn, host.id).await?;
        hosts.push((host, used));
    }
    hosts.sort_by_key(|(_, used)| *used);
    Ok(hosts)
}

/// How many databases there are on one.
pub async fn databases_on(conn: &mut Conn, id: DatabaseHostId) -> Result<u64, DbError> {
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM server_databases WHERE host_id = $1").bind(id.to_string());
    from_i64("server_databases", count.fetch_one(conn).await?)
}

/// Changes everything that a person may change. [`DbError::Conflict`] if its name is taken or there is no such node.
pub async fn host_update(tx: &mut Conn, it: &DatabaseHost) -> Result<(), DbError> {
    let sql = "UPDATE database_hosts SET name = $1, host = $2, port = $3, username = $4, password = $5, node_id = $6,
               max_databases = $7 WHERE id = $8";
    let update = sqlx::query(sql).bind(it.name.clone()).bind(it.host.clone()).bind(i64::from(it.port));
    let update = update.bind(it.username.clone()).bind(it.password.clone());
    let update = update.bind(it.node_id.map(|id| id.to_string())).bind(it.max_databases.map(to_i64));
    let done = update.bind(it.id.to_string()).execute(tx).await?;
    exactly_one(&done).map_err(|_| DbError::NotFound)
}

/// Removes one. [`DbError::Conflict`] while a server has a database there.
pub async fn host_delete(tx: &mut Conn, id: DatabaseHostId) -> Result<(), DbError> {
    let done = sqlx::query("DELETE FROM database_hosts WHERE id = $1").bind(id.to_string()).execute(tx).await?;
    exactly_one(&done).map_err(|_| DbError::NotFound)
}
