//! Zones that take updates, and the key with which.

use model::{DnsZoneId, Timestamp};

use super::{Conn, DbError, Page, Paging, exactly_one, from_i64, from_ms, parse, to_ms};

/// One zone.
#[derive(Clone)]
pub struct DnsZone {
    /// Its id.
    pub id: DnsZoneId,
    /// In lower case, without the last dot.
    pub name: String,
    /// `host:port` of its primary name server.
    pub server: String,
    /// Name of the key.
    pub key_name: String,
    /// `hmac-sha256`, `hmac-sha384` or `hmac-sha512`.
    pub key_algorithm: String,
    /// Sealed for `dns-zone/<id>`; base64 in it.
    pub key_secret: String,
    /// Seconds.
    pub ttl: u32,
    /// When it was made known.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    server: String,
    key_name: String,
    key_algorithm: String,
    key_secret: String,
    ttl: i64,
    created_at: i64,
}

impl TryFrom<Row> for DnsZone {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let corrupt =
            |error: std::num::TryFromIntError| DbError::Corrupt { column: "dns_zones.ttl", why: error.to_string() };
        Ok(Self {
            id: parse("dns_zones.id", &row.id)?,
            name: row.name,
            server: row.server,
            key_name: row.key_name,
            key_algorithm: row.key_algorithm,
            key_secret: row.key_secret,
            ttl: u32::try_from(row.ttl).map_err(corrupt)?,
            created_at: from_ms("dns_zones.created_at", row.created_at)?,
        })
    }
}

/// Writes one down. [`DbError::Conflict`] if it is known.
pub async fn zone_insert(tx: &mut Conn, it: &DnsZone) -> Result<(), DbError> {
    let sql = "INSERT INTO dns_zones (id, name, server, key_name, key_algorithm, key_secret, ttl, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let insert = sqlx::query(sql).bind(it.id.to_string()).bind(it.name.clone()).bind(it.server.clone());
    let insert = insert.bind(it.key_name.clone()).bind(it.key_algorithm.clone()).bind(it.key_secret.clone());
    insert.bind(i64::from(it.ttl)).bind(to_ms(it.created_at)).execute(tx).await?;
    Ok(())
}

/// The zone, or [`DbError::NotFound`].
pub async fn zone_get(conn: &mut Conn, id: DnsZoneId) -> Result<DnsZone, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM dns_zones WHERE id = $1").bind(id.to_string());
    DnsZone::try_from(select.fetch_one(conn).await?)
}

/// All of them, by name.
pub async fn zones_all(conn: &mut Conn) -> Result<Vec<DnsZone>, DbError> {
    let rows = sqlx::query_as::<_, Row>("SELECT * FROM dns_zones ORDER BY name").fetch_all(conn).await?;
    rows.into_iter().map(DnsZone::try_from).collect()
}

/// One page, by name.
pub async fn zones_page(conn: &mut Conn, paging: Paging) -> Result<Page<DnsZone>, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM dns_zones ORDER BY name LIMIT $1 OFFSET $2");
    let rows = select.bind(paging.limit()).bind(paging.offset()).fetch_all(&mut *conn).await?;
    let total: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM dns_zones").fetch_one(conn).await?;
    let items = rows.into_iter().map(DnsZone::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("dns_zones", total)? })
}

/// Changes everything but the name: names are in it.
pub async fn zone_update(tx: &mut Conn, it: &DnsZone) -> Result<(), DbError> {
    let sql = "UPDATE dns_zones SET server = $1, key_name = $2, key_algorithm = $3, key_secret = $4, ttl = $5
               WHERE id = $6";
    let update = sqlx::query(sql).bind(it.server.clone()).bind(it.key_name.clone()).bind(it.key_algorithm.clone());
    let update = update.bind(it.key_secret.clone()).bind(i64::from(it.ttl)).bind(it.id.to_string());
    exactly_one(&update.execute(tx).await?).map_err(|_| DbError::NotFound)
}

/// Forgets a zone. [`DbError::Conflict`] while it has names of servers.
pub async fn zone_delete(tx: &mut Conn, id: DnsZoneId) -> Result<(), DbError> {
    let done = sqlx::query("DELETE FROM dns_zones WHERE id = $1").bind(id.to_string()).execute(tx).await?;
    exactly_one(&done).map_err(|_| DbError::NotFound)
}
