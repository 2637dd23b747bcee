//! Allocations: the addresses of nodes, and whose they are.
//!
//! ```text
//! free ──assign──► a server's            server_id set
//! free ──reserve──► kept for a transfer  reserved_by set; released, or given to the server at the switch
//! ```
//!
//! Those of clusters that were made on demand ([`super::on_demand`]) are never free: whoever lets go of one removes it.

use model::{AllocationId, NodeId, ServerId, TransferId};

use super::{Conn, DbError, Page, Paging, exactly_one, from_i64, on_demand, parse};

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// Its id.
    pub id: AllocationId,
    /// Whose address it is.
    pub node_id: NodeId,
    /// Address on the node to bind to.
    pub ip_address: String,
    /// What players are told instead.
    pub ip_alias: Option<String>,
    /// TCP and UDP port.
    pub port: u16,
    /// The server that has it.
    pub server_id: Option<ServerId>,
    /// Whether it is that server's first address.
    pub is_primary: bool,
    /// The transfer that keeps it.
    pub reserved_by: Option<TransferId>,
    /// What its owner wrote about it.
    pub notes: String,
}

impl Allocation {
    /// One that is new and nobody's.
    #[must_use]
    pub fn new(node_id: NodeId, ip_address: &str, port: u16) -> Self {
        Self {
            id: AllocationId::new(),
            node_id,
            ip_address: ip_address.to_owned(),
            ip_alias: None,
            port,
            server_id: None,
            is_primary: false,
            reserved_by: None,
            notes: String::new(),
        }
    }

    /// Whether nobody has it.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.server_id.is_none() && self.reserved_by.is_none()
    }

    /// `ip:port`, as people and transfers write it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.ip_address, self.port)
    }

    /// As an agent needs it.
    #[must_use]
    pub fn to_model(&self) -> model::Allocation {
        model::Allocation { id: self.id, ip_address: self.ip_address.clone(), port: self.port }
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    id: String,
    node_id: String,
    ip_address: String,
    ip_alias: Option<String>,
    port: i64,
    server_id: Option<String>,
    is_primary: i64,
    reserved_by: Option<String>,
    notes: String,
}

impl TryFrom<Row> for Allocation {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("allocations.id", &row.id)?,
            node_id: parse("allocations.node_id", &row.node_id)?,
            ip_address: row.ip_address,
            ip_alias: row.ip_alias,
            port: port(row.port)?,
            server_id: row.server_id.map(|id| parse("allocations.server_id", &id)).transpose()?,
            is_primary: row.is_primary != 0,
            reserved_by: row.reserved_by.map(|id| parse("allocations.reserved_by", &id)).transpose()?,
            notes: row.notes,
        })
    }
}

pub(super) fn port(value: i64) -> Result<u16, DbError> {
    u16::try_from(value).map_err(|error| DbError::Corrupt { column: "allocations.port", why: error.to_string() })
}

/// Writes a new one down. The same address twice on one node is [`DbError::Conflict`].
pub async fn allocation_insert(conn: &mut Conn, new: &Allocation) -> Result<(), DbError> {
    let sql = "INSERT INTO allocations (id, node_id, ip_address, ip_alias, port) VALUES ($1, $2, $3, $4, $5)";
    let insert = sqlx::query(sql).bind(new.id.to_string()).bind(new.node_id.to_string());
    let insert = insert.bind(new.ip_address.clone()).bind(new.ip_alias.clone()).bind(i64::from(new.port));
    insert.execute(conn).await?;
    Ok(())
}

/// The allocation, or [`DbError::NotFound`].
pub async fn allocation_get(conn: &mut Conn, id: AllocationId) -> Result<Allocation, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM allocations WHERE id = $1").bind(id.to_string());
    Allocation::try_from(select.fetch_one(conn).await?)
}

/// Whether `node` has this address already.
pub async fn allocation_exists(conn: &mut Conn, node: NodeId, ip: &str, port: u16) -> Result<bool, DbError> {
    let sql = "SELECT COUNT(*) FROM allocations WHERE node_id = $1 AND ip_address = $2 AND port = $3";
    let select = sqlx::query_scalar(sql).bind(node.to_string()).bind(ip.to_owned()).bind(i64::from(port));
    let count: i64 = select.fetch_one(conn).await?;
    Ok(count > 0)
}

/// What a list of allocations is narrowed to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// Of this node.
    pub node_id: Option<NodeId>,
    /// Of this server.
    pub server_id: Option<ServerId>,
    /// Free, or not free.
    pub free: Option<bool>,
}

/// One page, by node, address and port.
pub async fn allocations_page(conn: &mut Conn, filter: Filter, paging: Paging) -> Result<Page<Allocation>, DbError> {
    const WHERE: &str = "FROM allocations WHERE ($1 = '' OR node_id = $1) AND ($2 = '' OR server_id = $2)
        AND ($3 = -1 OR (CASE WHEN server_id IS NULL AND reserved_by IS NULL THEN 1 ELSE 0 END) = $3)";
    let node = filter.node_id.map_or_else(String::new, |id| id.to_string());
    let server = filter.server_id.map_or_else(String::new, |id| id.to_string());
    let free = filter.free.map_or(-1, i64::from);
    let sql = format!("SELECT * {WHERE} ORDER BY node_id, ip_address, port LIMIT $4 OFFSET $5");
    let select = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(sql)).bind(node.clone()).bind(server.clone()).bind(free);
    let rows = select.bind(paging.limit()).bind(paging.offset()).fetch_all(&mut *conn).await?;
    let sql = format!("SELECT COUNT(*) {WHERE}");
    let count = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(node).bind(server).bind(free);
    let total: i64 = count.fetch_one(conn).await?;
    let items = rows.into_iter().map(Allocation::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("allocations", total)? })
}

/// All of a server's, the primary one first.
pub async fn allocations_of(conn: &mut Conn, server: ServerId) -> Result<Vec<Allocation>, DbError> {
    let sql = "SELECT * FROM allocations WHERE server_id = $1 ORDER BY is_primary DESC, ip_address, port";
    let rows = sqlx::query_as::<_, Row>(sql).bind(server.to_string()).fetch_all(conn).await?;
    rows.into_iter().map(Allocation::try_from).collect()
}

/// A free allocation, and whether a server of a neighbour has the same address.
///
/// Two nodes may be on one machine and share its addresses. One that a server of such a neighbour has is the last
/// choice: while that server runs, nobody else can listen there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Free {
    /// The address.
    pub allocation: Allocation,
    /// Whether it is a last choice.
    pub is_contested: bool,
}

#[derive(sqlx::FromRow)]
struct FreeRow {
    #[sqlx(flatten)]
    row: Row,
    contested: i64,
}

/// What of `node` is free between two ports: all that have one of `ports`, and the lowest `most` of any. Those that are
/// not contested are first, then by port and address.
pub async fn allocations_free_on(
    conn: &mut Conn,
    node: NodeId,
    (first, last): (u16, u16),
    ports: &[u16],
    most: usize,
) -> Result<Vec<Free>, DbError> {
    const SELECT: &str = "SELECT a.*, CAST(CASE WHEN EXISTS (
                   SELECT 1 FROM allocations b JOIN nodes m ON m.id = b.node_id
                   WHERE b.ip_address = a.ip_address AND b.port = a.port AND b.server_id IS NOT NULL
                   AND m.id <> n.id AND m.host = n.host
               ) THEN 1 ELSE 0 END AS BIGINT) AS contested
               FROM allocations a JOIN nodes n ON n.id = a.node_id
               WHERE a.node_id = $1 AND a.server_id IS NULL AND a.reserved_by IS NULL AND a.port BETWEEN $2 AND $3";
    let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let same = (!ports.is_empty()).then(|| format!("{SELECT} AND a.port IN ({ports})"));
    let lowest = format!("{SELECT} ORDER BY contested, a.port, a.ip_address LIMIT {most}");
    let mut found: Vec<Free> = Vec::new();
    for sql in same.into_iter().chain([lowest]) {
        let select = sqlx::query_as::<_, FreeRow>(sqlx::AssertSqlSafe(sql)).bind(node.to_string());
        for FreeRow { row, contested } in
            select.bind(i64::from(first)).bind(i64::from(last)).fetch_all(&mut *conn).await?
        {
            let allocation = Allocation::try_from(row)?;
            if found.iter().all(|other| other.allocation.id != allocation.id) {
                found.push(Free { allocation, is_contested: contested != 0 });
            }
        }
    }
    let order = |free: &Free| (free.is_contested, free.allocation.port, free.allocation.ip_address.clone());
    found.sort_by_key(order);
    Ok(found)
}

/// Gives a free one of `node` to a server as its primary address.
pub async fn allocation_assign(
    conn: &mut Conn,
    id: AllocationId,
    node: NodeId,
    server: ServerId,
) -> Result<(), DbError> {
    let sql = "UPDATE allocations SET server_id = $1, is_primary = 1
               WHERE id = $2 AND node_id = $3 AND server_id IS NULL AND reserved_by IS NULL";
    let update = sqlx::query(sql).bind(server.to_string()).bind(id.to_string()).bind(node.to_string());
    exactly_one(&update.execute(conn).await?)
}

/// Gives a free one of `node` to a server as one more address.
pub async fn allocation_add(conn: &mut Conn, id: AllocationId, node: NodeId, server: ServerId) -> Result<(), DbError> {
    let sql = "UPDATE allocations SET server_id = $1, is_primary = 0
               WHERE id = $2 AND node_id = $3 AND server_id IS NULL AND reserved_by IS NULL";
    let update = sqlx::query(sql).bind(server.to_string()).bind(id.to_string()).bind(node.to_string());
    exactly_one(&update.execute(conn).await?)
}

/// Makes one of a server's addresses the first one. Again is the same.
pub async fn allocation_make_primary(tx: &mut Conn, id: AllocationId, server: ServerId) -> Result<(), DbError> {
    let sql = "UPDATE allocations SET is_primary = 0 WHERE server_id = $1 AND id <> $2";
    sqlx::query(sql).bind(server.to_string()).bind(id.to_string()).execute(&mut *tx).await?;
    let sql = "UPDATE allocations SET is_primary = 1 WHERE id = $1 AND server_id = $2";
    exactly_one(&sqlx::query(sql).bind(id.to_string()).bind(server.to_string()).execute(tx).await?)
}

/// Writes down what the owner says about one.
pub async fn allocation_note(tx: &mut Conn, id: AllocationId, server: ServerId, notes: &str) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE allocations SET notes = $1 WHERE id = $2 AND server_id = $3");
    exactly_one(&update.bind(notes.to_owned()).bind(id.to_string()).bind(server.to_string()).execute(tx).await?)
}

/// Takes one from a server; never its first.
pub async fn allocation_take(tx: &mut Conn, id: AllocationId, server: ServerId) -> Result<(), DbError> {
    let sql = "UPDATE allocations SET server_id = NULL, notes = '' WHERE id = $1 AND server_id = $2 AND is_primary = 0";
    exactly_one(&sqlx::query(sql).bind(id.to_string()).bind(server.to_string()).execute(&mut *tx).await?)?;
    on_demand::unused_remove(tx).await
}

/// Takes all from a server that is going to be removed.
pub async fn allocations_free(conn: &mut Conn, server: ServerId) -> Result<(), DbError> {
    let sql = "UPDATE allocations SET server_id = NULL, is_primary = 0, notes = '' WHERE server_id = $1";
    sqlx::query(sql).bind(server.to_string()).execute(&mut *conn).await?;
    on_demand::unused_remove(conn).await
}

/// Keeps a free one of `node` for a transfer.
pub async fn allocation_reserve(
    conn: &mut Conn,
    id: AllocationId,
    node: NodeId,
    transfer: TransferId,
) -> Result<(), DbError> {
    let sql = "UPDATE allocations SET reserved_by = $1
               WHERE id = $2 AND node_id = $3 AND server_id IS NULL AND reserved_by IS NULL";
    let update = sqlx::query(sql).bind(transfer.to_string()).bind(id.to_string()).bind(node.to_string());
    exactly_one(&update.execute(conn).await?)
}

/// The address turned out to be `ip`: a load balancer gave it out when the target was made ready. Transfers on their
/// way to it show it from now on. Again is the same.
pub async fn allocation_address_set(tx: &mut Conn, id: AllocationId, ip: &str) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE allocations SET ip_address = $1 WHERE id = $2");
    exactly_one(&update.bind(ip.to_owned()).bind(id.to_string()).execute(&mut *tx).await?)?;
    let row = allocation_get(tx, id).await?;
    show_on_transfers(tx, &row).await
}

/// Transfers on their way to it show it as it is now.
pub(super) async fn show_on_transfers(tx: &mut Conn, row: &Allocation) -> Result<(), DbError> {
    let sql = "UPDATE transfers SET target_address = $1 WHERE target_allocation_id = $2 AND finished_at IS NULL";
    sqlx::query(sql).bind(row.address()).bind(row.id.to_string()).execute(&mut *tx).await?;
    let sql = "UPDATE transfer_addresses SET new_address = $1 WHERE new_allocation_id = $2
               AND transfer_id IN (SELECT id FROM transfers WHERE finished_at IS NULL)";
    sqlx::query(sql).bind(row.address()).bind(row.id.to_string()).execute(tx).await?;
    Ok(())
}

/// Ends every reservation of a transfer. None is fine: it may never have reserved.
pub async fn allocations_unreserve(conn: &mut Conn, transfer: TransferId) -> Result<(), DbError> {
    let sql = "UPDATE allocations SET reserved_by = NULL, notes = '' WHERE reserved_by = $1";
    sqlx::query(sql).bind(transfer.to_string()).execute(&mut *conn).await?;
    on_demand::unused_remove(conn).await
}

/// Removes a free one. [`DbError::Conflict`] if somebody has it.
pub async fn allocation_delete(conn: &mut Conn, id: AllocationId) -> Result<(), DbError> {
    let sql = "DELETE FROM allocations WHERE id = $1 AND server_id IS NULL AND reserved_by IS NULL";
    exactly_one(&sqlx::query(sql).bind(id.to_string()).execute(conn).await?)
}

/// How many a node has, and how many of them are free.
pub async fn allocations_count(conn: &mut Conn, node: NodeId) -> Result<(u64, u64), DbError> {
    let sql = "SELECT COUNT(*),
               CAST(COALESCE(SUM(CASE WHEN server_id IS NULL AND reserved_by IS NULL THEN 1 ELSE 0 END), 0) AS BIGINT)
               FROM allocations WHERE node_id = $1";
    let (total, free): (i64, i64) = sqlx::query_as(sql).bind(node.to_string()).fetch_one(conn).await?;
    Ok((from_i64("allocations", total)?, from_i64("allocations", free)?))
}
