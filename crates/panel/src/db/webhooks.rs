//! Webhooks: who outside is told what. What they are told is in [`super::outbox`].

use model::{Timestamp, WebhookId};

use super::{Conn, DbError, Page, Paging, exactly_one, from_i64, from_json, from_ms, parse, to_json, to_ms};

/// One webhook.
#[derive(Clone)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// For people.
    pub name: String,
    /// Where it is told, sealed for `webhook-url/<id>`.
    pub url: String,
    /// The same for people, without what is nobody's business.
    pub url_shown: String,
    /// What signs, sealed for `webhook/<id>`.
    pub secret: String,
    /// What it is told: `server.transfer.*`.
    pub events: Vec<String>,
    /// Whether it is told anything.
    pub enabled: bool,
    /// Since when nothing has got through.
    pub failing_since: Option<Timestamp>,
    /// Why the panel has disabled it.
    pub disabled_reason: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    url: String,
    url_shown: String,
    secret: String,
    events: String,
    enabled: i64,
    failing_since: Option<i64>,
    disabled_reason: Option<String>,
    created_at: i64,
}

impl TryFrom<Row> for Webhook {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        Ok(Self {
            id: parse("webhooks.id", &row.id)?,
            name: row.name,
            url: row.url,
            url_shown: row.url_shown,
            secret: row.secret,
            events: from_json("webhooks.events", &row.events)?,
            enabled: row.enabled != 0,
            failing_since: row.failing_since.map(|at| from_ms("webhooks.failing_since", at)).transpose()?,
            disabled_reason: row.disabled_reason,
            created_at: from_ms("webhooks.created_at", row.created_at)?,
        })
    }
}

/// Writes a webhook down.
pub async fn webhook_insert(tx: &mut Conn, it: &Webhook) -> Result<(), DbError> {
    let sql = "INSERT INTO webhooks (id, name, url, url_shown, secret, events, enabled, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let insert = sqlx::query(sql).bind(it.id.to_string()).bind(it.name.clone()).bind(it.url.clone());
    let insert = insert.bind(it.url_shown.clone()).bind(it.secret.clone());
    let insert = insert.bind(to_json("webhooks.events", &it.events)?).bind(i64::from(it.enabled));
    insert.bind(to_ms(it.created_at)).execute(tx).await?;
    Ok(())
}

/// The webhook, or [`DbError::NotFound`].
pub async fn webhook_get(conn: &mut Conn, id: WebhookId) -> Result<Webhook, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM webhooks WHERE id = $1").bind(id.to_string());
    Webhook::try_from(select.fetch_one(conn).await?)
}

/// One page, the oldest first.
pub async fn webhooks_page(conn: &mut Conn, paging: Paging) -> Result<Page<Webhook>, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM webhooks ORDER BY id LIMIT $1 OFFSET $2");
    let rows = select.bind(paging.limit()).bind(paging.offset()).fetch_all(&mut *conn).await?;
    let total: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM webhooks").fetch_one(conn).await?;
    let items = rows.into_iter().map(Webhook::try_from).collect::<Result<_, _>>()?;
    Ok(Page { items, total: from_i64("webhooks", total)? })
}

/// Those that are told anything.
pub async fn webhooks_enabled(conn: &mut Conn) -> Result<Vec<Webhook>, DbError> {
    let select = sqlx::query_as::<_, Row>("SELECT * FROM webhooks WHERE enabled = 1 ORDER BY id");
    select.fetch_all(conn).await?.into_iter().map(Webhook::try_from).collect()
}

/// Changes everything that a person may change. Who enables it forgives what it failed at.
pub async fn webhook_update(tx: &mut Conn, it: &Webhook) -> Result<(), DbError> {
    let sql = "UPDATE webhooks SET name = $1, url = $2, url_shown = $3, secret = $4, events = $5, enabled = $6,
               failing_since = $7, disabled_reason = $8 WHERE id = $9";
    let update = sqlx::query(sql).bind(it.name.clone()).bind(it.url.clone()).bind(it.url_shown.clone());
    let update = update.bind(it.secret.clone()).bind(to_json("webhooks.events", &it.events)?);
    let update = update.bind(i64::from(it.enabled)).bind(it.failing_since.map(to_ms));
    let done = update.bind(it.disabled_reason.clone()).bind(it.id.to_string()).execute(tx).await?;
    exactly_one(&done).map_err(|_| DbError::NotFound)
}

/// Removes a webhook and what it was to be told.
pub async fn webhook_delete(tx: &mut Conn, id: WebhookId) -> Result<(), DbError> {
    let done = sqlx::query("DELETE FROM webhooks WHERE id = $1").bind(id.to_string()).execute(tx).await?;
    exactly_one(&done).map_err(|_| DbError::NotFound)
}

/// Something got through.
pub async fn webhook_works(conn: &mut Conn, id: WebhookId) -> Result<(), DbError> {
    let sql = "UPDATE webhooks SET failing_since = NULL WHERE id = $1 AND failing_since IS NOT NULL";
    sqlx::query(sql).bind(id.to_string()).execute(conn).await?;
    Ok(())
}

/// Something did not get through. Answers since when nothing has.
pub async fn webhook_fails(tx: &mut Conn, id: WebhookId, now: Timestamp) -> Result<Timestamp, DbError> {
    let sql = "UPDATE webhooks SET failing_since = COALESCE(failing_since, $1) WHERE id = $2";
    exactly_one(&sqlx::query(sql).bind(to_ms(now)).bind(id.to_string()).execute(&mut *tx).await?)?;
    let select = sqlx::query_scalar("SELECT failing_since FROM webhooks WHERE id = $1").bind(id.to_string());
    from_ms("webhooks.failing_since", select.fetch_one(tx).await?)
}

/// The panel disables it. [`DbError::Conflict`] if it is disabled.
pub async fn webhook_disable(tx: &mut Conn, id: WebhookId, reason: &str) -> Result<(), DbError> {
    let sql = "UPDATE webhooks SET enabled = 0, disabled_reason = $1 WHERE id = $2 AND enabled = 1";
    exactly_one(&sqlx::query(sql).bind(reason.to_owned()).bind(id.to_string()).execute(tx).await?)
}
