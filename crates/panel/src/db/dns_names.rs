//! Names of game servers: where each leads, and what was written of that.

use model::{DnsNameId, DnsZoneId, ServerId, Timestamp};

use super::{
    Conn, DbError, Page, Paging, allocations, exactly_one, from_i64, from_json, from_ms, parse, to_json, to_ms,
};
use crate::dns::Records;

/// One name.
#[derive(Clone, Debug)]
pub struct DnsName {
    /// Its id.
    pub id: DnsNameId,
    /// In which zone.
    pub zone_id: DnsZoneId,
    /// Whose; none once that is gone and the records are to go too.
    pub server_id: Option<ServerId>,
    /// Within the zone; `@` for the zone itself.
    pub name: String,
    /// `_minecraft._tcp`, if it has an SRV record.
    pub service: Option<String>,
    /// Where players are led.
    pub address: String,
    /// And at which port.
    pub port: u16,
    /// Whether its records are to go.
    pub removing: bool,
    /// What we wrote last.
    pub written: Option<Records>,
    /// Why what should be is not.
    pub error: Option<String>,
    /// How often it was tried in vain.
    pub attempts: u64,
    /// When it is tried again.
    pub next_attempt_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether its server is being moved.
    pub moving: bool,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    zone_id: String,
    server_id: Option<String>,
    name: String,
    service: Option<String>,
    address: String,
    port: i64,
    removing: i64,
    written: Option<String>,
    error: Option<String>,
    attempts: i64,
    next_attempt_at: i64,
    created_at: i64,
    moving: i64,
}

impl TryFrom<Row> for DnsName {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("dns_names.id", &row.id)?,
            zone_id: parse("dns_names.zone_id", &row.zone_id)?,
            server_id: row.server_id.map(|id| parse("dns_names.server_id", &id)).transpose()?,
            name: row.name,
            service: row.service,
            address: row.address,
            port: allocations::port(row.port)?,
            removing: row.removing != 0,
            written: row.written.map(|written| from_json("dns_names.written", &written)).transpose()?,
            error: row.error,
            attempts: from_i64("dns_names.attempts", row.attempts)?,
            next_attempt_at: from_ms("dns_names.next_attempt_at", row.next_attempt_at)?,
            created_at: from_ms("dns_names.created_at", row.created_at)?,
            moving: row.moving != 0,
        })
    }
}

const SELECT: &str = "SELECT n.*, CASE WHEN s.transfer_state IS NULL THEN 0 ELSE 1 END AS moving
    FROM dns_names n LEFT JOIN servers s ON s.id = n.server_id";

/// Writes a name down. [`DbError::Conflict`] if the zone has it.
pub async fn name_insert(tx: &mut Conn, it: &DnsName) -> Result<(), DbError> {
    let sql =
        "INSERT INTO dns_names (id, zone_id, server_id, name, service, address, port, next_attempt_at, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)";
    let insert = sqlx::query(sql).bind(it.id.to_string()).bind(it.zone_id.to_string());
    let insert = insert.bind(it.server_id.map(|id| id.to_string())).bind(it.name.clone()).bind(it.service.clone());
    insert.bind(it.address.clone()).bind(i64::from(it.port)).bind(to_ms(it.created_at)).execute(tx).await?;
    Ok(())
}

/// The name of a server, or [`DbError::NotFound`].
pub async fn name_get(conn: &mut Conn, server: ServerId, id: DnsNameId) -> Result<DnsName, DbError> {
    let sql = format!("{SELECT} WHERE n.id = $1 AND n.server_id = $2");
    let select = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(sql)).bind(id.to_string()).bind(server.to_string());
    DnsName::try_from(select.fetch_one(conn).await?)
}

/// One page of those of a server, by name.
pub async fn names_page(conn: &mut Conn, server: ServerId, paging: Paging) -> Result<Page<DnsName>, DbError> {
    let sql = format!("{SELECT} WHERE n.server_id = $1 ORDER BY n.name, n.id LIMIT $2 OFFSET $3");
    let select = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(sql)).bind(server.to_string());
    let rows = select.bind(paging.limit()).bind(paging.offset()).fetch_all(&mut *conn).await?;
    let count = sqlx::query_scalar("SELECT COUNT(*) FROM dns_names WHERE server_id = $1").bind(server.to_string());
    let total: i64 = count.fetch_one(conn).await?;
    let items = rows.into_iter().map(DnsName::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("dns_names", total)? })
}

/// All of a server that are to stay.
pub async fn names_of(conn: &mut Conn, server: ServerId) -> Result<Vec<DnsName>, DbError> {
    let sql = format!("{SELECT} WHERE n.server_id = $1 AND n.removing = 0 ORDER BY n.id");
    let select = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(sql)).bind(server.to_string());
    select.fetch_all(conn).await?.into_iter().map(DnsName::try_from).collect()
}

/// All that may be looked at now.
pub async fn names_due(conn: &mut Conn, now: Timestamp) -> Result<Vec<DnsName>, DbError> {
    let sql = format!("{SELECT} WHERE n.next_attempt_at <= $1 ORDER BY n.id");
    let select = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(sql)).bind(to_ms(now));
    select.fetch_all(conn).await?.into_iter().map(DnsName::try_from).collect()
}

/// The names of a server lead where it is now: to its primary address. A transfer says when, past its pivot; without
/// one that is at once ([`names_follow_all`]).
pub async fn names_follow(conn: &mut Conn, server: ServerId, now: Timestamp) -> Result<(), DbError> {
    follow(conn, "n.server_id = $1", &server.to_string(), now).await
}

/// The same for all servers that are not being moved.
pub async fn names_follow_all(conn: &mut Conn, now: Timestamp) -> Result<(), DbError> {
    follow(conn, "s.transfer_state IS NULL AND $1 = ''", "", now).await
}

async fn follow(conn: &mut Conn, which: &'static str, value: &str, now: Timestamp) -> Result<(), DbError> {
    let sql = format!(
        "SELECT n.id, a.ip_address, a.ip_alias, a.port FROM dns_names n JOIN servers s ON s.id = n.server_id
         JOIN allocations a ON a.server_id = s.id AND a.is_primary = 1 WHERE {which}"
    );
    let select = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(value.to_owned());
    let rows: Vec<(String, String, Option<String>, i64)> = select.fetch_all(&mut *conn).await?;
    for (id, ip, alias, port) in rows {
        // No row: it leads there.
        let sql = "UPDATE dns_names SET address = $1, port = $2, attempts = 0, next_attempt_at = $3
                   WHERE id = $4 AND (address <> $1 OR port <> $2)";
        let update = sqlx::query(sql).bind(player_address(&ip, alias.as_deref())).bind(port);
        update.bind(to_ms(now)).bind(id).execute(&mut *conn).await?;
    }
    Ok(())
}

/// What players are told: the alias, if it is an address.
#[must_use]
pub fn player_address(ip: &str, alias: Option<&str>) -> String {
    let is_address = |text: &&str| text.parse::<std::net::IpAddr>().is_ok();
    alias.filter(is_address).unwrap_or(ip).to_owned()
}

/// It is what it should be.
pub async fn name_written(conn: &mut Conn, id: DnsNameId, written: &Records) -> Result<(), DbError> {
    let sql = "UPDATE dns_names SET written = $1, error = NULL, attempts = 0 WHERE id = $2";
    let update = sqlx::query(sql).bind(to_json("dns_names.written", written)?).bind(id.to_string());
    exactly_one(&update.execute(conn).await?)
}

/// It is not, and why.
pub async fn name_failed(conn: &mut Conn, id: DnsNameId, error: &str, next: Timestamp) -> Result<(), DbError> {
    let sql = "UPDATE dns_names SET error = $1, attempts = attempts + 1, next_attempt_at = $2 WHERE id = $3";
    let update = sqlx::query(sql).bind(error.to_owned()).bind(to_ms(next)).bind(id.to_string());
    exactly_one(&update.execute(conn).await?)
}

/// What somebody else has written is to be written over: it counts as ours.
pub async fn name_take_over(
    tx: &mut Conn,
    id: DnsNameId,
    found: Option<&Records>,
    now: Timestamp,
) -> Result<(), DbError> {
    let sql = "UPDATE dns_names SET written = $1, error = NULL, attempts = 0, next_attempt_at = $2 WHERE id = $3";
    let found = found.map(|found| to_json("dns_names.written", found)).transpose()?;
    exactly_one(&sqlx::query(sql).bind(found).bind(to_ms(now)).bind(id.to_string()).execute(tx).await?)
}

/// Its records are to go. [`DbError::NotFound`] if there is no such name of the server.
pub async fn name_remove(tx: &mut Conn, server: ServerId, id: DnsNameId, now: Timestamp) -> Result<(), DbError> {
    let sql = "UPDATE dns_names SET removing = 1, attempts = 0, next_attempt_at = $1 WHERE id = $2 AND server_id = $3";
    let update = sqlx::query(sql).bind(to_ms(now)).bind(id.to_string()).bind(server.to_string());
    exactly_one(&update.execute(tx).await?).map_err(|_| DbError::NotFound)
}

/// The same of all that a server has, which is about to be gone.
pub async fn names_remove(tx: &mut Conn, server: ServerId) -> Result<(), DbError> {
    let sql = "UPDATE dns_names SET removing = 1, server_id = NULL, attempts = 0, next_attempt_at = 0
               WHERE server_id = $1";
    sqlx::query(sql).bind(server.to_string()).execute(tx).await?;
    Ok(())
}

/// Its records are gone.
pub async fn name_gone(conn: &mut Conn, id: DnsNameId) -> Result<(), DbError> {
    sqlx::query("DELETE FROM dns_names WHERE id = $1 AND removing = 1").bind(id.to_string()).execute(conn).await?;
    Ok(())
}
