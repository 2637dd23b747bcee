//! Eggs, kept as the documents that were imported. What they mean is read by [`crate::egg`].

use model::{EggId, Timestamp};

use super::{Conn, DbError, Page, Paging, exactly_one, from_i64, from_ms, parse, to_ms};

/// One imported egg.
#[derive(Clone, Debug)]
pub struct StoredEgg {
    /// Its id.
    pub id: EggId,
    /// Its name, from the document.
    pub name: String,
    /// Its author, from the document.
    pub author: String,
    /// The document, byte for byte.
    pub document: String,
    /// Who it says that it is.
    pub uuid: Option<String>,
    /// When it was imported.
    pub created_at: Timestamp,
    /// When it was imported again.
    pub updated_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    author: String,
    document: String,
    uuid: Option<String>,
    created_at: i64,
    updated_at: Option<i64>,
}

impl TryFrom<Row> for StoredEgg {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("eggs.id", &row.id)?,
            name: row.name,
            author: row.author,
            document: row.document,
            uuid: row.uuid,
            created_at: from_ms("eggs.created_at", row.created_at)?,
            updated_at: row.updated_at.map(|at| from_ms("eggs.updated_at", at)).transpose()?,
        })
    }
}

/// Writes a new egg down.
pub async fn egg_insert(conn: &mut Conn, egg: &StoredEgg) -> Result<(), DbError> {
    let sql = "INSERT INTO eggs (id, name, author, document, created_at, uuid) VALUES ($1, $2, $3, $4, $5, $6)";
    let insert = sqlx::query(sql).bind(egg.id.to_string()).bind(egg.name.clone()).bind(egg.author.clone());
    let insert = insert.bind(egg.document.clone()).bind(to_ms(egg.created_at)).bind(egg.uuid.clone());
    insert.execute(conn).await?;
    Ok(())
}

/// The egg that says that it is `uuid`.
pub async fn egg_by_uuid(conn: &mut Conn, uuid: &str) -> Result<Option<StoredEgg>, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM eggs WHERE uuid = $1").bind(uuid.to_owned());
    select.fetch_optional(conn).await?.map(StoredEgg::try_from).transpose()
}

/// Gives it another document.
pub async fn egg_update(tx: &mut Conn, egg: &StoredEgg) -> Result<(), DbError> {
    let sql = "UPDATE eggs SET name = $1, author = $2, document = $3, updated_at = $4 WHERE id = $5";
    let update = sqlx::query(sql).bind(egg.name.clone()).bind(egg.author.clone()).bind(egg.document.clone());
    let done = update.bind(egg.updated_at.map(to_ms)).bind(egg.id.to_string()).execute(tx).await?;
    exactly_one(&done).map_err(|_| DbError::NotFound)
}

/// The egg, or [`DbError::NotFound`].
pub async fn egg_get(conn: &mut Conn, id: EggId) -> Result<StoredEgg, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM eggs WHERE id = $1").bind(id.to_string());
    StoredEgg::try_from(select.fetch_one(conn).await?)
}

/// One page, by name.
pub async fn eggs_page(conn: &mut Conn, paging: Paging) -> Result<Page<StoredEgg>, DbError> {
    let sql = "SELECT * FROM eggs ORDER BY name, id LIMIT $1 OFFSET $2";
    let select = sqlx::query_as::<_, Row>(sql).bind(paging.limit()).bind(paging.offset());
    let rows = select.fetch_all(&mut *conn).await?;
    let total: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM eggs").fetch_one(conn).await?;
    let items = rows.into_iter().map(StoredEgg::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("eggs", total)? })
}

/// Removes it. [`DbError::Conflict`] while a server is made from it.
pub async fn egg_delete(conn: &mut Conn, id: EggId) -> Result<(), DbError> {
    let done = sqlx::query("DELETE FROM eggs WHERE id = $1").bind(id.to_string()).execute(conn).await?;
    exactly_one(&done).map_err(|_| DbError::NotFound)
}
