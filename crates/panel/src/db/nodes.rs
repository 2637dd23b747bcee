//! Nodes: what they offer, what of it is given away, and what their agent said about itself. A cluster is one whose agent
//! is an orchestrator: it owns servers and is the end of transfers in the same way, so it has a row here, of another kind.
//!
//! Whether a node is online is not here: that is a fact about a connection, which a row would only remember wrongly.

use std::collections::BTreeSet;

use model::agent_api::{ClusterFacts, Hello};
use model::{Limits, NodeId, RuntimeKind, Timestamp, TransferId};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;

use super::{
    Conn, DbError, Page, Paging, direction, exactly_one, from_i64, from_json, from_ms, from_word, on_demand, parse,
    to_i64, to_json, to_ms, to_word,
};

/// What stands behind a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// A machine with a daemon.
    #[default]
    Node,
    /// A Kubernetes cluster with an orchestrator.
    Cluster,
}

impl NodeKind {
    /// For messages.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Cluster => "cluster",
        }
    }

    /// The id, if it is one of this kind: the API gives it as `node_id` or as `cluster_id`.
    #[must_use]
    pub fn only(self, wanted: Self, id: NodeId) -> Option<NodeId> {
        (self == wanted).then_some(id)
    }
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its id, and its agent's.
    pub id: NodeId,
    /// A machine or a cluster.
    pub kind: NodeKind,
    /// Name for people, unique.
    pub name: String,
    /// MiB of memory for servers; 0 for as much as they like.
    pub memory_mb: u64,
    /// MiB of disk for servers; 0 for as much as they like.
    pub disk_mb: u64,
    /// CPU for servers in percent of one core; 0 for as much as they like.
    pub cpu_percent: u64,
    /// Takes no new servers.
    pub cordoned: bool,
    /// What its agent said; none before it has enrolled.
    pub agent: Option<Enrolled>,
    /// What its orchestrator said of the cluster; none of a node, and before the orchestrator has enrolled.
    pub facts: Option<ClusterFacts>,
    /// Where players reach the cluster, if an administrator knows better than its orchestrator.
    pub address: Option<String>,
    /// When the agent was last heard of.
    pub last_seen_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Node {
    /// Where players reach a cluster: what the administrator says, else what the orchestrator found. Empty where nobody
    /// knows, as in front of a load balancer.
    #[must_use]
    pub fn player_address(&self) -> &str {
        let found = self.facts.as_ref().map_or("", |facts| facts.address.as_str());
        self.address.as_deref().unwrap_or(found)
    }
}

/// What an agent said about itself.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// SHA-256 of its certificate for data connections, lower-case hex.
    pub fingerprint: String,
    /// `host:port` of its data listener.
    pub data_address: String,
    /// What it runs servers with.
    pub runtime: RuntimeKind,
    /// Host name.
    pub host: String,
    /// Release of its software.
    pub software: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    kind: String,
    name: String,
    memory_mb: i64,
    disk_mb: i64,
    cpu_percent: i64,
    cordoned: i64,
    fingerprint: Option<String>,
    data_address: Option<String>,
    runtime: Option<String>,
    host: Option<String>,
    software: Option<String>,
    facts: Option<String>,
    address: Option<String>,
    last_seen_at: Option<i64>,
    created_at: i64,
}

impl TryFrom<Row> for Node {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let agent = match (row.fingerprint, row.data_address, row.runtime) {
            (Some(fingerprint), Some(data_address), Some(runtime)) => Some(Enrolled {
                fingerprint,
                data_address,
                runtime: from_word("nodes.runtime", &runtime)?,
                host: row.host.unwrap_or_default(),
                software: row.software.unwrap_or_default(),
            }),
            _ => None,
        };
        Ok(Self {
            id: parse("nodes.id", &row.id)?,
            kind: from_word("nodes.kind", &row.kind)?,
            name: row.name,
            memory_mb: from_i64("nodes.memory_mb", row.memory_mb)?,
            disk_mb: from_i64("nodes.disk_mb", row.disk_mb)?,
            cpu_percent: from_i64("nodes.cpu_percent", row.cpu_percent)?,
            cordoned: row.cordoned != 0,
            agent,
            facts: row.facts.map(|facts| from_json("nodes.facts", &facts)).transpose()?,
            address: row.address,
            last_seen_at: row.last_seen_at.map(|at| from_ms("nodes.last_seen_at", at)).transpose()?,
            created_at: from_ms("nodes.created_at", row.created_at)?,
        })
    }
}

/// Columns by which a list can be ordered.
pub const SORTS: &[&str] = &["created_at", "name", "memory_mb", "disk_mb", "cpu_percent", "last_seen_at"];

/// Writes a new node down. Its name must be free ([`DbError::Conflict`]).
pub async fn node_insert(conn: &mut Conn, node: &Node) -> Result<(), DbError> {
    let sql = "INSERT INTO nodes (id, name, memory_mb, disk_mb, cpu_percent, created_at, kind, address, cordoned)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let insert = sqlx::query(sql).bind(node.id.to_string()).bind(node.name.clone()).bind(to_i64(node.memory_mb));
    let insert = insert.bind(to_i64(node.disk_mb)).bind(to_i64(node.cpu_percent)).bind(to_ms(node.created_at));
    let insert = insert.bind(to_word("nodes.kind", &node.kind)?).bind(node.address.clone());
    let insert = insert.bind(i64::from(node.cordoned));
    insert.execute(conn).await?;
    Ok(())
}

/// The node, or [`DbError::NotFound`].
pub async fn node_get(conn: &mut Conn, id: NodeId) -> Result<Node, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM nodes WHERE id = $1").bind(id.to_string());
    Node::try_from(select.fetch_one(conn).await?)
}

/// Changes what an administrator may change: name, limits, address, whether it takes new servers. A name that is taken is
/// [`DbError::Conflict`].
pub async fn node_update(tx: &mut Conn, node: &Node) -> Result<(), DbError> {
    let before = node_get(tx, node.id).await?;
    let sql = "UPDATE nodes SET name = $1, memory_mb = $2, disk_mb = $3, cpu_percent = $4, cordoned = $5, address = $6
               WHERE id = $7";
    let update = sqlx::query(sql).bind(node.name.clone()).bind(to_i64(node.memory_mb)).bind(to_i64(node.disk_mb));
    let update = update.bind(to_i64(node.cpu_percent)).bind(i64::from(node.cordoned)).bind(node.address.clone());
    exactly_one(&update.bind(node.id.to_string()).execute(&mut *tx).await?)?;
    on_demand::addresses_follow(tx, node.id, before.player_address(), node.player_address()).await
}

/// All of a kind, or all, by name.
pub async fn nodes_all(conn: &mut Conn, kind: Option<NodeKind>) -> Result<Vec<Node>, DbError> {
    let kind = kind.map_or(Ok(String::new()), |kind| to_word("nodes.kind", &kind))?;
    let sql = "SELECT * FROM nodes WHERE ($1 = '' OR kind = $1) ORDER BY name, id";
    let rows = sqlx::query_as::<_, Row>(sql).bind(kind).fetch_all(conn).await?;
    rows.into_iter().map(Node::try_from).collect()
}

/// The ids of all clusters, for lists whose rows are of both kinds.
pub async fn cluster_ids(conn: &mut Conn) -> Result<BTreeSet<NodeId>, DbError> {
    let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM nodes WHERE kind = 'cluster'").fetch_all(conn).await?;
    ids.iter().map(|id| parse("nodes.id", id)).collect()
}

/// One page of all of a kind. `column` is one of [`SORTS`].
pub async fn nodes_page(
    conn: &mut Conn,
    kind: NodeKind,
    paging: Paging,
    column: &'static str,
    descending: bool,
) -> Result<Page<Node>, DbError> {
    let direction = direction(descending);
    let sql = format!("SELECT * FROM nodes WHERE kind = $1 ORDER BY {column} {direction}, id LIMIT $2 OFFSET $3");
    let kind = to_word("nodes.kind", &kind)?;
    let select = sqlx::query_as::<_, Row>(AssertSqlSafe(sql)).bind(kind.clone());
    let rows = select.bind(paging.limit()).bind(paging.offset()).fetch_all(&mut *conn).await?;
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM nodes WHERE kind = $1").bind(kind);
    let total: i64 = count.fetch_one(conn).await?;
    let items = rows.into_iter().map(Node::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("nodes", total)? })
}

/// Removes a node and its allocations. [`DbError::Conflict`] while it has a server or a transfer that is not over names
/// it; those that are over keep its id as history.
pub async fn node_delete(tx: &mut Conn, id: NodeId) -> Result<(), DbError> {
    let sql = "SELECT COUNT(*) FROM transfers WHERE (source_node_id = $1 OR target_node_id = $1)
               AND state NOT IN ('completed', 'rolled_back')";
    let unfinished: i64 = sqlx::query_scalar(sql).bind(id.to_string()).fetch_one(&mut *tx).await?;
    if unfinished > 0 {
        return Err(DbError::Conflict);
    }
    let free = "DELETE FROM allocations WHERE node_id = $1 AND server_id IS NULL AND reserved_by IS NULL";
    sqlx::query(free).bind(id.to_string()).execute(&mut *tx).await?;
    let done = sqlx::query("DELETE FROM nodes WHERE id = $1").bind(id.to_string()).execute(tx).await?;
    exactly_one(&done).map_err(|_| DbError::NotFound)
}

/// Records what the agent of `id` says about itself and its cluster, and that it was heard of.
pub async fn node_greeted(tx: &mut Conn, id: NodeId, hello: &Hello, now: Timestamp) -> Result<(), DbError> {
    let before = node_get(tx, id).await?;
    let sql = "UPDATE nodes SET fingerprint = $1, data_address = $2, runtime = $3, host = $4, software = $5,
               last_seen_at = $6, facts = COALESCE($7, facts)
               WHERE id = $8";
    let update = sqlx::query(sql).bind(hello.fingerprint.clone()).bind(hello.data_address.clone());
    let update = update.bind(to_word("nodes.runtime", &hello.runtime)?).bind(hello.host.clone());
    // An orchestrator whose API server does not answer knows nothing; what it said before is still the best there is.
    let told = hello.cluster.as_ref().filter(|facts| **facts != ClusterFacts::default());
    let facts = told.map(|facts| to_json("nodes.facts", facts)).transpose()?;
    let update = update.bind(hello.software.clone()).bind(to_ms(now)).bind(facts).bind(id.to_string());
    exactly_one(&update.execute(&mut *tx).await?).map_err(|_| DbError::NotFound)?;
    let after = node_get(tx, id).await?;
    on_demand::addresses_follow(tx, id, before.player_address(), after.player_address()).await
}

/// Records that the agent of `id` was heard of.
pub async fn node_seen(conn: &mut Conn, id: NodeId, now: Timestamp) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE nodes SET last_seen_at = $1 WHERE id = $2").bind(to_ms(now));
    exactly_one(&update.bind(id.to_string()).execute(conn).await?).map_err(|_| DbError::NotFound)
}

/// Whether it takes new servers and transfers from now on. [`DbError::NotFound`] if there is no such node.
pub async fn node_cordon(conn: &mut Conn, id: NodeId, cordoned: bool) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE nodes SET cordoned = $1 WHERE id = $2").bind(i64::from(cordoned));
    exactly_one(&update.bind(id.to_string()).execute(conn).await?).map_err(|_| DbError::NotFound)
}

/// What the servers of a node may use together, and what is on its way to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Of its servers; one without a limit counts for nothing.
    pub limits: Limits,
    /// Addresses of its servers.
    pub allocations: u64,
    /// Transfers that are not over.
    pub coming: u64,
}

/// That of `id`.
pub async fn node_need(conn: &mut Conn, id: NodeId) -> Result<Need, DbError> {
    let sql = "SELECT CAST(COALESCE(SUM(memory_limit), 0) AS BIGINT), CAST(COALESCE(SUM(disk_limit), 0) AS BIGINT),
               CAST(COALESCE(SUM(cpu_limit), 0) AS BIGINT) FROM servers WHERE node_id = $1";
    let (memory, disk, cpu): (i64, i64, i64) = sqlx::query_as(sql).bind(id.to_string()).fetch_one(&mut *conn).await?;
    let sql = "SELECT COUNT(*) FROM allocations WHERE node_id = $1 AND server_id IS NOT NULL";
    let allocations: i64 = sqlx::query_scalar(sql).bind(id.to_string()).fetch_one(&mut *conn).await?;
    let sql = "SELECT COUNT(*) FROM transfers WHERE target_node_id = $1 AND state NOT IN ('completed', 'rolled_back')";
    let coming: i64 = sqlx::query_scalar(sql).bind(id.to_string()).fetch_one(conn).await?;
    let limits = Limits {
        memory_mb: from_i64("servers.memory_limit", memory)?,
        disk_mb: from_i64("servers.disk_limit", disk)?,
        cpu_percent: from_i64("servers.cpu_limit", cpu)?,
    };
    let (allocations, coming) = (from_i64("allocations", allocations)?, from_i64("transfers", coming)?);
    Ok(Need { limits, allocations, coming })
}

/// What of a node is given away: to its servers, and to transfers on their way to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// MiB.
    pub memory_mb: u64,
    /// MiB.
    pub disk_mb: u64,
    /// Percent of one core.
    pub cpu_percent: u64,
    /// Servers that it owns.
    pub servers: u64,
}

/// What of `id` is given away, not counting the transfer `except`.
///
/// A transfer counts from its first row to its end, but not once its server counts by itself.
pub async fn node_usage(conn: &mut Conn, id: NodeId, except: Option<TransferId>) -> Result<Usage, DbError> {
    let sql = "SELECT CAST(COALESCE(SUM(memory_limit), 0) AS BIGINT), CAST(COALESCE(SUM(disk_limit), 0) AS BIGINT),
               CAST(COALESCE(SUM(cpu_limit), 0) AS BIGINT), COUNT(*) FROM servers WHERE node_id = $1";
    let owned: (i64, i64, i64, i64) = sqlx::query_as(sql).bind(id.to_string()).fetch_one(&mut *conn).await?;
    let sql = "SELECT CAST(COALESCE(SUM(t.memory_mb), 0) AS BIGINT), CAST(COALESCE(SUM(t.disk_mb), 0) AS BIGINT),
               CAST(COALESCE(SUM(t.cpu_percent), 0) AS BIGINT)
               FROM transfers t JOIN servers s ON s.id = t.server_id
               WHERE t.target_node_id = $1 AND t.id <> $2 AND s.node_id <> t.target_node_id
               AND t.state NOT IN ('completed', 'rolled_back')";
    let except = except.map_or_else(String::new, |id| id.to_string());
    let coming: (i64, i64, i64) = sqlx::query_as(sql).bind(id.to_string()).bind(except).fetch_one(conn).await?;
    Ok(Usage {
        memory_mb: from_i64("servers.memory_limit", owned.0 + coming.0)?,
        disk_mb: from_i64("servers.disk_limit", owned.1 + coming.1)?,
        cpu_percent: from_i64("servers.cpu_limit", owned.2 + coming.2)?,
        servers: from_i64("servers", owned.3)?,
    })
}

/// All of them, each with whether it was last told to be online.
pub async fn nodes_told(conn: &mut Conn) -> Result<Vec<(NodeId, bool)>, DbError> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT id, told_online FROM nodes ORDER BY id").fetch_all(conn).await?;
    rows.into_iter().map(|(id, told)| Ok((parse("nodes.id", &id)?, told != 0))).collect()
}

/// It is told to be online, or not to be. [`DbError::Conflict`] if that was told.
pub async fn node_told(tx: &mut Conn, id: NodeId, online: bool) -> Result<(), DbError> {
    let update = sqlx::query("UPDATE nodes SET told_online = $1 WHERE id = $2 AND told_online <> $1");
    exactly_one(&update.bind(i64::from(online)).bind(id.to_string()).execute(tx).await?)
}
