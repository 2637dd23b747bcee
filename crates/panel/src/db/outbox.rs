//! The outbox: what webhooks are still to be told, and what came of what they were.
//!
//! [`tell`] is the one line that tells the outside that something happened. It belongs into the transaction of what
//! happened: both are committed, or neither. [`crate::webhook`] sends what lies here.

use model::{DeliveryId, Timestamp, WebhookId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Conn, DbError, Page, Paging, exactly_one, from_i64, from_ms, from_word, parse, to_ms, to_word, webhooks};

/// Deliveries of one webhook that are kept after their end.
const KEPT: i64 = 200;
/// Attempts after which one that is answered with a refusal (4xx) no longer holds up those behind it.
const STEPS_ASIDE_AFTER: i64 = 5;

/// Every word that is told, with what it means.
pub const EVENTS: [(&str, &str); 20] = [
    ("server.transfer.started", "a transfer was accepted"),
    ("server.transfer.stage", "a transfer entered a stage"),
    ("server.transfer.completed", "a transfer completed: the server is on its target"),
    ("server.transfer.failed", "a transfer is stuck: a person must look"),
    ("server.transfer.rolled_back", "a transfer was given up or cancelled: the server is where it was"),
    ("node.evacuation.started", "several servers are being moved"),
    ("node.evacuation.completed", "that came to its end"),
    ("server.created", "a server was made and is being installed"),
    ("server.deleted", "a server and its files were removed"),
    ("server.installed", "an installation ended well"),
    ("server.install_failed", "an installation failed"),
    ("server.crashed", "a game ended without being asked"),
    ("node.online", "the agent of a node or cluster is connected"),
    ("node.offline", "it has not been for a minute"),
    ("backup.completed", "a backup was made"),
    ("backup.failed", "a backup was not made"),
    ("user.created", "a user was made"),
    ("user.updated", "a user was changed"),
    ("user.deleted", "a user was removed"),
    ("webhook.test", "somebody tests a webhook; told to that one alone"),
];

/// Tells every webhook that wants to know that `event` happened, in the transaction in which it did.
pub async fn tell(tx: &mut Conn, now: Timestamp, event: &'static str, data: &Value) -> Result<(), DbError> {
    for webhook in webhooks::webhooks_enabled(tx).await? {
        if webhook.events.iter().any(|pattern| matches(pattern, event)) {
            tell_one(tx, webhook.id, now, event, data).await?;
        }
    }
    Ok(())
}

/// Tells one webhook, whatever it wants to know.
pub async fn tell_one(
    tx: &mut Conn,
    webhook: WebhookId,
    now: Timestamp,
    event: &str,
    data: &Value,
) -> Result<DeliveryId, DbError> {
    let id = DeliveryId::new();
    let body = json!({"id": id, "event": event, "created_at": now, "data": data}).to_string();
    let sql =
        "INSERT INTO webhook_deliveries (id, webhook_id, event, body, state, attempts, next_attempt_at, created_at)
               VALUES ($1, $2, $3, $4, 'pending', 0, $5, $5)";
    let insert = sqlx::query(sql).bind(id.to_string()).bind(webhook.to_string()).bind(event.to_owned()).bind(body);
    insert.bind(to_ms(now)).execute(tx).await?;
    Ok(id)
}

/// Whether `pattern` (`*`, `server.*`, `server.transfer.*`, `server.created`) contains `event`.
#[must_use]
pub fn matches(pattern: &str, event: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some("") => true,
        Some(prefix) => prefix.ends_with('.') && event.starts_with(prefix),
        None => pattern == event,
    }
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It is still to be told.
    Pending,
    /// It got through.
    Delivered,
    /// It was given up.
    Failed,
}

/// One thing that a webhook is told.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its id: the same at each attempt.
    pub id: DeliveryId,
    /// Who is told.
    pub webhook_id: WebhookId,
    /// What happened.
    pub event: String,
    /// What is sent.
    pub body: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u64,
    /// When it is tried next.
    pub next_attempt_at: Timestamp,
    /// What the last attempt was answered.
    pub response_status: Option<u64>,
    /// Why the last attempt was for nothing.
    pub error: Option<String>,
    /// When it happened.
    pub created_at: Timestamp,
    /// When it got through or was given up.
    pub finished_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    webhook_id: String,
    event: String,
    body: String,
    state: String,
    attempts: i64,
    next_attempt_at: i64,
    response_status: Option<i64>,
    error: Option<String>,
    created_at: i64,
    finished_at: Option<i64>,
}

impl TryFrom<Row> for Delivery {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let status = row.response_status.map(|status| from_i64("webhook_deliveries.response_status", status));
        Ok(Self {
            id: parse("webhook_deliveries.id", &row.id)?,
            webhook_id: parse("webhook_deliveries.webhook_id", &row.webhook_id)?,
            event: row.event,
            body: row.body,
            state: from_word("webhook_deliveries.state", &row.state)?,
            attempts: from_i64("webhook_deliveries.attempts", row.attempts)?,
            next_attempt_at: from_ms("webhook_deliveries.next_attempt_at", row.next_attempt_at)?,
            response_status: status.transpose()?,
            error: row.error,
            created_at: from_ms("webhook_deliveries.created_at", row.created_at)?,
            finished_at: row.finished_at.map(|at| from_ms("webhook_deliveries.finished_at", at)).transpose()?,
        })
    }
}

/// What may be sent now to `webhook`: the first that is to be told, if it is its time, and those that stepped aside.
///
/// So a webhook is told things in their order, but one thing that it keeps refusing does not keep the others from it.
pub async fn deliveries_due(conn: &mut Conn, webhook: WebhookId, now: Timestamp) -> Result<Vec<Delivery>, DbError> {
    const ASIDE: &str =
        "(attempts >= $2 AND COALESCE(response_status, 0) >= 400 AND COALESCE(response_status, 0) < 500)";
    let sql = format!(
        "SELECT * FROM webhook_deliveries WHERE webhook_id = $1 AND state = 'pending' AND next_attempt_at <= $3
         AND ({ASIDE} OR id = (SELECT MIN(id) FROM webhook_deliveries WHERE webhook_id = $1 AND state = 'pending'
         AND NOT {ASIDE})) ORDER BY id LIMIT 20"
    );
    let select = sqlx::query_as::<_, Row>(sqlx::AssertSqlSafe(sql)).bind(webhook.to_string());
    let rows = select.bind(STEPS_ASIDE_AFTER).bind(to_ms(now)).fetch_all(conn).await?;
    rows.into_iter().map(Delivery::try_from).collect()
}

/// Webhooks for which something lies here.
pub async fn webhooks_waiting(conn: &mut Conn, now: Timestamp) -> Result<Vec<WebhookId>, DbError> {
    let sql = "SELECT DISTINCT webhook_id FROM webhook_deliveries WHERE state = 'pending' AND next_attempt_at <= $1";
    let ids: Vec<String> = sqlx::query_scalar(sql).bind(to_ms(now)).fetch_all(conn).await?;
    ids.iter().map(|id| parse("webhook_deliveries.webhook_id", id)).collect()
}

/// It got through.
pub async fn delivery_done(tx: &mut Conn, id: DeliveryId, status: u16, now: Timestamp) -> Result<(), DbError> {
    let sql = "UPDATE webhook_deliveries SET state = 'delivered', attempts = attempts + 1, response_status = $1,
               error = NULL, finished_at = $2 WHERE id = $3 AND state = 'pending'";
    let update = sqlx::query(sql).bind(i64::from(status)).bind(to_ms(now)).bind(id.to_string());
    exactly_one(&update.execute(tx).await?)
}

/// What came of an attempt that was for nothing.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What it was answered, if anything.
    pub status: Option<u16>,
    /// Why it was for nothing.
    pub error: String,
    /// When the next one is due; none to give up.
    pub next: Option<Timestamp>,
}

/// It did not get through.
pub async fn delivery_tried(tx: &mut Conn, id: DeliveryId, it: &Attempt, now: Timestamp) -> Result<(), DbError> {
    let sql = "UPDATE webhook_deliveries SET state = $1, attempts = attempts + 1, response_status = $2, error = $3,
               next_attempt_at = $4, finished_at = $5 WHERE id = $6 AND state = 'pending'";
    let state = if it.next.is_some() { DeliveryState::Pending } else { DeliveryState::Failed };
    let update = sqlx::query(sql).bind(to_word("webhook_deliveries.state", &state)?);
    let update = update.bind(it.status.map(i64::from)).bind(it.error.clone()).bind(to_ms(it.next.unwrap_or(now)));
    let finished = if it.next.is_none() { Some(to_ms(now)) } else { None };
    exactly_one(&update.bind(finished).bind(id.to_string()).execute(tx).await?)
}

/// Gives up everything that `webhook` was still to be told.
pub async fn deliveries_drop(tx: &mut Conn, webhook: WebhookId, why: &str, now: Timestamp) -> Result<(), DbError> {
    let sql = "UPDATE webhook_deliveries SET state = 'failed', error = $1, finished_at = $2
               WHERE webhook_id = $3 AND state = 'pending'";
    sqlx::query(sql).bind(why.to_owned()).bind(to_ms(now)).bind(webhook.to_string()).execute(tx).await?;
    Ok(())
}

/// Sends one that has ended once more, with the same id and body. [`DbError::Conflict`] if it has not ended.
pub async fn delivery_again(tx: &mut Conn, webhook: WebhookId, id: DeliveryId, now: Timestamp) -> Result<(), DbError> {
    let sql = "UPDATE webhook_deliveries SET state = 'pending', attempts = 0, next_attempt_at = $1, created_at = $1,
               finished_at = NULL WHERE id = $2 AND webhook_id = $3 AND state <> 'pending'";
    let update = sqlx::query(sql).bind(to_ms(now)).bind(id.to_string()).bind(webhook.to_string());
    exactly_one(&update.execute(tx).await?)
}

/// One delivery of a webhook, or [`DbError::NotFound`].
pub async fn delivery_get(conn: &mut Conn, webhook: WebhookId, id: DeliveryId) -> Result<Delivery, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM webhook_deliveries WHERE id = $1 AND webhook_id = $2");
    Delivery::try_from(select.bind(id.to_string()).bind(webhook.to_string()).fetch_one(conn).await?)
}

/// One page of those of a webhook, the youngest first.
pub async fn deliveries_page(conn: &mut Conn, webhook: WebhookId, paging: Paging) -> Result<Page<Delivery>, DbError> {
    let sql = "SELECT * FROM webhook_deliveries WHERE webhook_id = $1 ORDER BY id DESC LIMIT $2 OFFSET $3";
    let select = sqlx::query_as::<_, Row>(sql).bind(webhook.to_string());
    let rows = select.bind(paging.limit()).bind(paging.offset()).fetch_all(&mut *conn).await?;
    let sql = "SELECT COUNT(*) FROM webhook_deliveries WHERE webhook_id = $1";
    let total: i64 = sqlx::query_scalar(sql).bind(webhook.to_string()).fetch_one(conn).await?;
    let items = rows.into_iter().map(Delivery::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("webhook_deliveries", total)? })
}

/// Forgets all but the last that have ended.
pub async fn deliveries_forget(conn: &mut Conn, webhook: WebhookId) -> Result<(), DbError> {
    let sql = "DELETE FROM webhook_deliveries WHERE webhook_id = $1 AND state <> 'pending' AND id NOT IN
               (SELECT id FROM webhook_deliveries WHERE webhook_id = $1 AND state <> 'pending'
                ORDER BY id DESC LIMIT $2)";
    sqlx::query(sql).bind(webhook.to_string()).bind(KEPT).execute(conn).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_contains_what_it_names_and_nothing_beside_it() {
        for (pattern, event, expected) in [
            ("*", "server.created", true),
            ("server.*", "server.transfer.started", true),
            ("server.transfer.*", "server.transfer.started", true),
            ("server.transfer.*", "server.created", false),
            ("server.created", "server.created", true),
            ("server.create*", "server.created", false),
            ("", "server.created", false),
        ] {
            assert_eq!(matches(pattern, event), expected, "{pattern} {event}");
        }
    }
}
