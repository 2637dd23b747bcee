//! Servers: where each is (owner and epoch), what it does, who holds it.
//!
//! `node_id` and `epoch` change in one place only, the switch of a transfer. `locked_by` names the operation that may
//! act on the server; everybody else is refused until it lets go.

use std::collections::BTreeMap;

use model::{
    EggId, Epoch, Limits, NodeId, ServerId, ServerObservation, ServerStatus, Timestamp, TransferState, UserId,
};
use sqlx::AssertSqlSafe;

use super::nodes::NodeKind;
use super::{
    Conn, DbError, Page, Paging, allocations, databases, direction, dns_names, exactly_one, from_i64, from_json,
    from_ms, from_word, parse, to_i64, to_json, to_ms, to_word,
};

/// One server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its id.
    pub id: ServerId,
    /// Name for people, not unique.
    pub name: String,
    /// What it is made from.
    pub egg_id: EggId,
    /// The owner: where its authoritative files are (I2).
    pub node_id: NodeId,
    /// What that is.
    pub node_kind: NodeKind,
    /// Generation of that ownership (I1).
    pub epoch: Epoch,
    /// What it does, as last seen.
    pub status: ServerStatus,
    /// The operation that holds it.
    pub locked_by: Option<String>,
    /// Where its transfer stands, while there is one.
    pub transfer_state: Option<TransferState>,
    /// What it may use.
    pub limits: Limits,
    /// Command line with placeholders.
    pub startup: String,
    /// Container image.
    pub image: String,
    /// Values of the egg's variables that differ from their defaults.
    pub environment: BTreeMap<String, String>,
    /// Why it could not be installed, in the agent's words.
    pub install_error: Option<String>,
    /// What a person should look at, as its agent says.
    pub attention: Vec<String>,
    /// Whose it is.
    pub owner_id: Option<UserId>,
    /// Addresses in all, up to which its owner may take more.
    pub allocation_limit: u64,
    /// How many backups it may have; none for as many as one likes.
    pub backup_limit: Option<u64>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its primary address.
    pub primary: Option<Address>,
    /// Its other addresses, by address and port.
    pub others: Vec<Address>,
}

/// An address of a server.
#[derive(Clone, Debug)]
pub struct Address {
    /// The allocation's id.
    pub id: model::AllocationId,
    /// Address on the node.
    pub ip_address: String,
    /// What players are told instead.
    pub ip_alias: Option<String>,
    /// TCP and UDP port.
    pub port: u16,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    egg_id: String,
    node_id: String,
    epoch: i64,
    status: String,
    locked_by: Option<String>,
    transfer_state: Option<String>,
    memory_limit: i64,
    disk_limit: i64,
    cpu_limit: i64,
    startup: String,
    image: String,
    environment: String,
    install_error: Option<String>,
    attention: String,
    node_kind: String,
    owner_id: Option<String>,
    allocation_limit: i64,
    backup_limit: Option<i64>,
    created_at: i64,
    a_id: Option<String>,
    a_ip: Option<String>,
    a_alias: Option<String>,
    a_port: Option<i64>,
}

impl TryFrom<Row> for Server {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let primary = match (row.a_id, row.a_ip, row.a_port) {
            (Some(id), Some(ip_address), Some(port)) => Some(Address {
                id: parse("allocations.id", &id)?,
                ip_address,
                ip_alias: row.a_alias,
                port: allocations::port(port)?,
            }),
            _ => None,
        };
        Ok(Self {
            id: parse("servers.id", &row.id)?,
            name: row.name,
            egg_id: parse("servers.egg_id", &row.egg_id)?,
            node_id: parse("servers.node_id", &row.node_id)?,
            node_kind: from_word("nodes.kind", &row.node_kind)?,
            epoch: Epoch(from_i64("servers.epoch", row.epoch)?),
            status: from_word("servers.status", &row.status)?,
            locked_by: row.locked_by,
            transfer_state: row.transfer_state.map(|word| from_word("servers.transfer_state", &word)).transpose()?,
            limits: Limits {
                memory_mb: from_i64("servers.memory_limit", row.memory_limit)?,
                disk_mb: from_i64("servers.disk_limit", row.disk_limit)?,
                cpu_percent: from_i64("servers.cpu_limit", row.cpu_limit)?,
            },
            startup: row.startup,
            image: row.image,
            environment: from_json("servers.environment", &row.environment)?,
            install_error: row.install_error,
            attention: from_json("servers.attention", &row.attention)?,
            owner_id: row.owner_id.map(|id| parse("servers.owner_id", &id)).transpose()?,
            allocation_limit: from_i64("servers.allocation_limit", row.allocation_limit)?,
            backup_limit: row.backup_limit.map(|limit| from_i64("servers.backup_limit", limit)).transpose()?,
            created_at: from_ms("servers.created_at", row.created_at)?,
            primary,
            others: Vec::new(),
        })
    }
}

const SELECT: &str =
    "SELECT s.*, n.kind AS node_kind, a.id AS a_id, a.ip_address AS a_ip, a.ip_alias AS a_alias, a.port AS a_port
    FROM servers s JOIN nodes n ON n.id = s.node_id LEFT JOIN allocations a ON a.server_id = s.id AND a.is_primary = 1";

/// Columns by which a list can be ordered.
pub const SORTS: &[&str] = &["created_at", "name", "status", "memory_limit", "disk_limit", "cpu_limit"];

/// Writes a new server down. Its address is assigned apart, in the same transaction.
pub async fn server_insert(tx: &mut Conn, server: &Server) -> Result<(), DbError> {
    let sql = "INSERT INTO servers (id, name, egg_id, node_id, epoch, status, memory_limit, disk_limit, cpu_limit,
               startup, image, environment, created_at, owner_id, allocation_limit, backup_limit)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    let insert = sqlx::query(sql).bind(server.id.to_string()).bind(server.name.clone());
    let insert = insert.bind(server.egg_id.to_string()).bind(server.node_id.to_string()).bind(to_i64(server.epoch.0));
    let insert = insert.bind(to_word("servers.status", &server.status)?).bind(to_i64(server.limits.memory_mb));
    let insert = insert.bind(to_i64(server.limits.disk_mb)).bind(to_i64(server.limits.cpu_percent));
    let insert = insert.bind(server.startup.clone()).bind(server.image.clone());
    let insert = insert.bind(to_json("servers.environment", &server.environment)?).bind(to_ms(server.created_at));
    let insert = insert.bind(server.owner_id.map(|id| id.to_string())).bind(to_i64(server.allocation_limit));
    let insert = insert.bind(server.backup_limit.map(to_i64));
    insert.execute(tx).await?;
    Ok(())
}

/// How many backups a server may have.
pub async fn server_backup_limit(tx: &mut Conn, id: ServerId, limit: Option<u64>) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE servers SET backup_limit = $1 WHERE id = $2").bind(limit.map(to_i64));
    exactly_one(&update.bind(id.to_string()).execute(tx).await?).map_err(|_| DbError::NotFound)
}

/// The server, or [`DbError::NotFound`].
pub async fn server_get(conn: &mut Conn, id: ServerId) -> Result<Server, DbError> {
    let sql = format!("{SELECT} WHERE s.id = $1");
    let select = sqlx::query_as::<_, Row>(AssertSqlSafe(sql)).bind(id.to_string());
    let mut server = Server::try_from(select.fetch_one(&mut *conn).await?)?;
    others_fill(conn, std::slice::from_mut(&mut server)).await?;
    Ok(server)
}

#[derive(sqlx::FromRow)]
struct OtherRow {
    server_id: String,
    id: String,
    ip_address: String,
    ip_alias: Option<String>,
    port: i64,
}

/// Adds the addresses behind the first to each. One query: most servers have none.
async fn others_fill(conn: &mut Conn, servers: &mut [Server]) -> Result<(), DbError> {
    if servers.is_empty() {
        return Ok(());
    }
    let ids = servers.iter().map(|server| format!("'{}'", server.id)).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT server_id, id, ip_address, ip_alias, port FROM allocations
         WHERE is_primary = 0 AND server_id IN ({ids}) ORDER BY ip_address, port"
    );
    for row in sqlx::query_as::<_, OtherRow>(AssertSqlSafe(sql)).fetch_all(conn).await? {
        let id: ServerId = parse("allocations.server_id", &row.server_id)?;
        let Some(server) = servers.iter_mut().find(|server| server.id == id) else { continue };
        server.others.push(Address {
            id: parse("allocations.id", &row.id)?,
            ip_address: row.ip_address,
            ip_alias: row.ip_alias,
            port: allocations::port(row.port)?,
        });
    }
    Ok(())
}

/// What a list of servers is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// On this node.
    pub node_id: Option<NodeId>,
    /// Made from this egg.
    pub egg_id: Option<EggId>,
    /// Doing this.
    pub status: Option<ServerStatus>,
    /// Called exactly this.
    pub name: Option<String>,
    /// With this in its name, in any case of ASCII letters.
    pub search: Option<String>,
    /// Owned by them.
    pub owner_id: Option<UserId>,
    /// Owned by them, or they are let in.
    pub open_to: Option<UserId>,
}

/// The pattern for everything that has `text` in it. An empty one is no pattern.
fn containing(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut pattern = String::from("%");
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(letter);
    }
    pattern + "%"
}

/// One page. `column` is one of [`SORTS`].
pub async fn servers_page(
    conn: &mut Conn,
    filter: &Filter,
    paging: Paging,
    column: &'static str,
    descending: bool,
) -> Result<Page<Server>, DbError> {
    const WHERE: &str = "WHERE ($1 = '' OR s.node_id = $1) AND ($2 = '' OR s.egg_id = $2)
        AND ($3 = '' OR s.status = $3) AND ($4 = '' OR s.name = $4) AND ($5 = '' OR s.owner_id = $5)
        AND ($6 = '' OR s.owner_id = $6
             OR EXISTS (SELECT 1 FROM subusers x WHERE x.server_id = s.id AND x.user_id = $6))
        AND ($7 = '' OR LOWER(s.name) LIKE LOWER($7) ESCAPE '!')";
    let user = |id: Option<UserId>| id.map_or_else(String::new, |id| id.to_string());
    let (owner, open_to) = (user(filter.owner_id), user(filter.open_to));
    let node = filter.node_id.map_or_else(String::new, |id| id.to_string());
    let egg = filter.egg_id.map_or_else(String::new, |id| id.to_string());
    let status = filter.status.map_or(Ok(String::new()), |status| to_word("servers.status", &status))?;
    let name = filter.name.clone().unwrap_or_default();
    let search = filter.search.as_deref().map(containing).unwrap_or_default();
    let direction = direction(descending);
    let sql = format!("{SELECT} {WHERE} ORDER BY s.{column} {direction}, s.id LIMIT $8 OFFSET $9");
    let select = sqlx::query_as::<_, Row>(AssertSqlSafe(sql)).bind(node.clone()).bind(egg.clone());
    let select = select.bind(status.clone()).bind(name.clone()).bind(owner.clone()).bind(open_to.clone());
    let select = select.bind(search.clone()).bind(paging.limit()).bind(paging.offset());
    let rows = select.fetch_all(&mut *conn).await?;
    let count = sqlx::query_scalar(AssertSqlSafe(format!("SELECT COUNT(*) FROM servers s {WHERE}")));
    let count = count.bind(node).bind(egg).bind(status).bind(name).bind(owner).bind(open_to).bind(search);
    let total: i64 = count.fetch_one(&mut *conn).await?;
    let mut items = rows.into_iter().map(Server::try_from).collect::<Result<Vec<_>, _>>()?;
    others_fill(conn, &mut items).await?;
    Ok(Page { items, total: from_i64("servers", total)? })
}

/// Gives a server another name.
pub async fn server_rename(tx: &mut Conn, id: ServerId, name: &str) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE servers SET name = $1 WHERE id = $2").bind(name.to_owned());
    exactly_one(&update.bind(id.to_string()).execute(tx).await?).map_err(|_| DbError::NotFound)
}

/// Changes how it is started: variables, command line, image. Nobody may hold it.
pub async fn server_startup_set(tx: &mut Conn, server: &Server) -> Result<(), DbError> {
    let sql = "UPDATE servers SET environment = $1, startup = $2, image = $3 WHERE id = $4 AND locked_by IS NULL";
    let update = sqlx::query(sql).bind(to_json("servers.environment", &server.environment)?);
    let update = update.bind(server.startup.clone()).bind(server.image.clone()).bind(server.id.to_string());
    exactly_one(&update.execute(tx).await?)
}

/// Changes what it may use. Nobody may hold it: a transfer has reserved what it may use now.
pub async fn server_limits_set(tx: &mut Conn, id: ServerId, limits: Limits) -> Result<(), DbError> {
    let sql =
        "UPDATE servers SET memory_limit = $1, disk_limit = $2, cpu_limit = $3 WHERE id = $4 AND locked_by IS NULL";
    let update = sqlx::query(sql).bind(to_i64(limits.memory_mb)).bind(to_i64(limits.disk_mb));
    exactly_one(&update.bind(to_i64(limits.cpu_percent)).bind(id.to_string()).execute(tx).await?)
}

/// Changes up to how many addresses its owner may take.
pub async fn server_allocation_limit_set(tx: &mut Conn, id: ServerId, limit: u64) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE servers SET allocation_limit = $1 WHERE id = $2").bind(to_i64(limit));
    exactly_one(&update.bind(id.to_string()).execute(tx).await?).map_err(|_| DbError::NotFound)
}

/// All servers that are being installed: what a panel that starts again has to go on with.
pub async fn servers_installing(conn: &mut Conn) -> Result<Vec<ServerId>, DbError> {
    let ids: Vec<String> =
        sqlx::query_scalar("SELECT id FROM servers WHERE status = 'installing'").fetch_all(conn).await?;
    ids.iter().map(|id| parse("servers.id", id)).collect()
}

/// Ends an installation: the server is offline, or `error` says why there is none.
pub async fn server_installed(conn: &mut Conn, id: ServerId, error: Option<&str>) -> Result<(), DbError> {
    let status = if error.is_some() { ServerStatus::InstallFailed } else { ServerStatus::Offline };
    let sql = "UPDATE servers SET status = $1, install_error = $2 WHERE id = $3 AND status = 'installing'";
    let update = sqlx::query(sql).bind(to_word("servers.status", &status)?).bind(error.map(str::to_owned));
    exactly_one(&update.bind(id.to_string()).execute(conn).await?)
}

/// Remembers that a server is to be started once it is installed.
pub async fn server_want_start(tx: &mut Conn, id: ServerId) -> Result<(), DbError> {
    let insert = sqlx::query("INSERT INTO settings (name, value) VALUES ($1, '1')").bind(start_wanted(id));
    insert.execute(tx).await?;
    Ok(())
}

/// Forgets it, and answers whether it was remembered.
pub async fn server_take_start(tx: &mut Conn, id: ServerId) -> Result<bool, DbError> {
    let done = sqlx::query("DELETE FROM settings WHERE name = $1").bind(start_wanted(id)).execute(tx).await?;
    Ok(done.rows_affected() == 1)
}

fn start_wanted(id: ServerId) -> String {
    format!("start_when_installed:{id}")
}

/// Lets go what requests of an earlier run of the panel held: they ended with it. Transfers go on, and keep theirs.
pub async fn servers_unlock_requests(conn: &mut Conn) -> Result<(), DbError> {
    let sql = "UPDATE servers SET locked_by = NULL WHERE locked_by LIKE 'power:%' OR locked_by LIKE 'delete:%'";
    sqlx::query(sql).execute(conn).await?;
    Ok(())
}

/// Takes a server for `holder`. [`DbError::Conflict`] if somebody has it.
pub async fn server_lock(conn: &mut Conn, id: ServerId, holder: &str) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE servers SET locked_by = $1 WHERE id = $2 AND locked_by IS NULL");
    exactly_one(&update.bind(holder.to_owned()).bind(id.to_string()).execute(conn).await?)
}

/// Lets a server go that `holder` has. [`DbError::Conflict`] if it has not.
pub async fn server_unlock(conn: &mut Conn, id: ServerId, holder: &str) -> Result<(), DbError> {
    let sql = "UPDATE servers SET locked_by = NULL, transfer_state = NULL WHERE id = $1 AND locked_by = $2";
    let update = sqlx::query(sql).bind(id.to_string()).bind(holder.to_owned());
    exactly_one(&update.execute(conn).await?)
}

/// The same, where it may have been done before.
pub async fn server_release(conn: &mut Conn, id: ServerId, holder: &str) -> Result<(), DbError> {
    match server_unlock(conn, id, holder).await {
        Ok(()) | Err(DbError::Conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Records what the agent of `node` sees. Answers whether it counted: only the owner's word at the current epoch does,
/// and an installation ends by its own answer, not by what is seen meanwhile.
pub async fn server_observed(conn: &mut Conn, node: NodeId, seen: &ServerObservation) -> Result<bool, DbError> {
    let attention = server_attention(conn, node, seen).await?;
    if matches!(seen.status, ServerStatus::Installing | ServerStatus::InstallFailed) {
        return Ok(attention);
    }
    let sql = "UPDATE servers SET status = $1 WHERE id = $2 AND node_id = $3 AND epoch = $4 AND status <> $1
               AND status NOT IN ('installing', 'install_failed', 'restoring_backup')";
    let update = sqlx::query(sql).bind(to_word("servers.status", &seen.status)?).bind(seen.server_id.to_string());
    let done = update.bind(node.to_string()).bind(to_i64(seen.epoch.0)).execute(conn).await?;
    Ok(attention || done.rows_affected() == 1)
}

/// What a person should look at counts during an installation too: that is when a pod finds no place.
async fn server_attention(conn: &mut Conn, node: NodeId, seen: &ServerObservation) -> Result<bool, DbError> {
    let sql = "UPDATE servers SET attention = $1 WHERE id = $2 AND node_id = $3 AND epoch = $4 AND attention <> $1";
    let update = sqlx::query(sql).bind(to_json("servers.attention", &seen.attention)?).bind(seen.server_id.to_string());
    let done = update.bind(node.to_string()).bind(to_i64(seen.epoch.0)).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}

/// Those of `seen` that say something else than the rows of `node`. One query for all of an agent's servers: most
/// heartbeats change nothing, and writing nothing costs nothing.
pub async fn servers_differing<'a>(
    conn: &mut Conn,
    node: NodeId,
    seen: &'a [ServerObservation],
) -> Result<Vec<&'a ServerObservation>, DbError> {
    let select = sqlx::query_as("SELECT id, status, attention FROM servers WHERE node_id = $1").bind(node.to_string());
    let rows: Vec<(String, String, String)> = select.fetch_all(conn).await?;
    let known: BTreeMap<_, _> = rows.into_iter().map(|(id, status, attention)| (id, (status, attention))).collect();
    let mut differing = Vec::new();
    for server in seen {
        let status = to_word("servers.status", &server.status)?;
        let status = (status, to_json("servers.attention", &server.attention)?);
        if known.get(&server.server_id.to_string()).is_some_and(|known| *known != status) {
            differing.push(server);
        }
    }
    Ok(differing)
}

/// Removes a server that `holder` has locked, and frees its addresses.
pub async fn server_delete(tx: &mut Conn, id: ServerId, holder: &str) -> Result<(), DbError> {
    allocations::allocations_free(tx, id).await?;
    databases::databases_owe(tx, id).await?;
    dns_names::names_remove(tx, id).await?;
    let delete = sqlx::query("DELETE FROM servers WHERE id = $1 AND locked_by = $2");
    exactly_one(&delete.bind(id.to_string()).bind(holder.to_owned()).execute(tx).await?)
}
