//! Moves a panel from SQLite to PostgreSQL: every row of every table, once, into a database that no panel has used.
//!
//! The schema says what there is: columns are `BIGINT` and `TEXT` only, so rows need no knowledge of what they mean, and
//! a table that is added later is moved as well.

use std::collections::BTreeSet;
use std::path::Path;

use sqlx::{AssertSqlSafe, Row};

use super::{Conn, Db, DbError, from_i64};

/// What is not moved: the two databases keep books of their own there.
const OWN: &str = "('_sqlx_migrations', 'writer')";
/// The row of `settings` that says that it was done: the target is not empty then, and that is right.
const DONE: &str = "moved_from_sqlite";

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// So many rows are there now.
    Rows(u64),
    /// It had been done before.
    Before,
    /// Nothing was done: the target has been used by a panel.
    NotEmpty,
}

/// Moves everything from the SQLite database at `from` into `to`, in one transaction. Nothing is changed in `from` but that
/// its schema is brought up to date; nobody may work with it meanwhile.
pub async fn move_from_sqlite(from: &Path, to: &Db) -> Result<Moved, DbError> {
    let source = Db::open_sqlite(from).await?;
    let mut reader = source.begin().await?;
    let mut tx = to.begin().await?;
    let done = "SELECT COUNT(*) FROM settings WHERE name = $1";
    if count(&mut tx, done, DONE).await? > 0 {
        return Ok(Moved::Before);
    }
    let used = "SELECT (SELECT COUNT(*) FROM users) + (SELECT COUNT(*) FROM api_keys) + (SELECT COUNT(*) FROM nodes) WHERE $1 <> ''";
    if count(&mut tx, used, DONE).await? > 0 {
        return Ok(Moved::NotEmpty);
    }
    let tables = tables(&mut reader).await?;
    // What the schema itself has put there is in the source too, perhaps changed.
    for table in tables.iter().rev() {
        sqlx::query(AssertSqlSafe(format!("DELETE FROM {table}"))).execute(&mut *tx).await?;
    }
    let mut rows = 0;
    for table in &tables {
        rows += copy(&mut reader, &mut tx, table).await?;
    }
    let note = sqlx::query("INSERT INTO settings (name, value) VALUES ($1, '')").bind(DONE);
    note.execute(&mut *tx).await?;
    tx.commit().await?;
    drop(reader);
    source.close().await;
    Ok(Moved::Rows(rows))
}

async fn count(conn: &mut Conn, sql: &'static str, bound: &str) -> Result<u64, DbError> {
    let count: i64 = sqlx::query_scalar(sql).bind(bound.to_owned()).fetch_one(conn).await?;
    from_i64("COUNT(*)", count)
}

/// All tables, each behind those that it refers to.
async fn tables(reader: &mut Conn) -> Result<Vec<String>, DbError> {
    let sql = format!(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT IN {OWN}"
    );
    let mut left: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut *reader).await?;
    let (mut sorted, mut before) = (Vec::new(), BTreeSet::new());
    while !left.is_empty() {
        let mut later = Vec::new();
        for table in std::mem::take(&mut left) {
            let sql = r#"SELECT "table" FROM pragma_foreign_key_list($1)"#;
            let parents: Vec<String> = sqlx::query_scalar(sql).bind(table.clone()).fetch_all(&mut *reader).await?;
            if parents.iter().all(|parent| before.contains(parent) || *parent == table) {
                before.insert(table.clone());
                sorted.push(table);
            } else {
                later.push(table);
            }
        }
        left = later;
    }
    Ok(sorted)
}

async fn copy(reader: &mut Conn, tx: &mut Conn, table: &str) -> Result<u64, DbError> {
    let sql = "SELECT name, type FROM pragma_table_info($1)";
    let columns: Vec<(String, String)> = sqlx::query_as(sql).bind(table.to_owned()).fetch_all(&mut *reader).await?;
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let places: Vec<String> = (1..=columns.len()).map(|n| format!("${n}")).collect();
    let (names, places) = (names.join(", "), places.join(", "));
    let select = format!("SELECT {names} FROM {table}");
    let insert = format!("INSERT INTO {table} ({names}) VALUES ({places})");
    let rows = sqlx::query(AssertSqlSafe(select)).fetch_all(&mut *reader).await?;
    let mut copied = 0;
    for row in rows {
        let mut query = sqlx::query(AssertSqlSafe(insert.clone()));
        for (n, (_, kind)) in columns.iter().enumerate() {
            query = if kind == "BIGINT" {
                query.bind(row.try_get::<Option<i64>, _>(n)?)
            } else {
                query.bind(row.try_get::<Option<String>, _>(n)?)
            };
        }
        query.execute(&mut *tx).await?;
        copied += 1;
    }
    Ok(copied)
}
