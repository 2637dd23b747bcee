//! Who changed what. Rows are only ever added, in the transaction of the change where there is one.

use model::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{Conn, DbError, to_json, to_ms};

/// Writes down that `actor` did `action` (`server.create`) to `subject` (an id).
pub async fn audit(
    conn: &mut Conn,
    now: Timestamp,
    actor: &str,
    action: &'static str,
    subject: impl ToString,
    details: &(impl Serialize + Sync),
) -> Result<(), DbError> {
    let sql = "INSERT INTO audit_log (id, at, actor, action, subject, details) VALUES ($1, $2, $3, $4, $5, $6)";
    let insert = sqlx::query(sql).bind(Uuid::now_v7().to_string()).bind(to_ms(now)).bind(actor.to_owned());
    let insert = insert.bind(action).bind(subject.to_string()).bind(to_json("audit_log.details", details)?);
    insert.execute(conn).await?;
    Ok(())
}
