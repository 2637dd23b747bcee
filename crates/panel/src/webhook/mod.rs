//! Webhooks: sends what lies in the outbox, signed, in order, and again until it got through.
//!
//! ```text
//!   db::outbox::tell, in the transaction of what happened ──► pending
//!      pending ──2xx──► delivered
//!         │ anything else: again after 5 s, 10 s, … half an hour
//!         └──24 hours old──► failed;   nothing got through for 24 hours ──► the webhook is disabled, admins are told
//! ```
//!
//! At least once: a crash between the answer and its record sends it again, with the same id. One thing at a time to each
//! webhook, the oldest first; one that it refuses again and again (4xx) steps aside.

pub mod guard;
mod send;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use model::{Timestamp, WebhookId};
use tokio::time::sleep;

pub use guard::OutboundConfig;
pub(crate) use send::{secret_purpose, url_purpose};

use crate::api::chain;
use crate::app::App;
use crate::db::notifications::{Kind, notify_admins};
use crate::db::outbox::{self, Attempt, Delivery};
use crate::db::webhooks::{self, Webhook};
use crate::db::{Conn, DbError};
use send::Outcome;

/// How often it is looked whether something lies in the outbox.
const EVERY: Duration = Duration::from_secs(1);
/// Before the second attempt; doubled each time.
const FIRST_PAUSE_S: i64 = 5;
/// The longest time between two attempts.
const LONGEST_PAUSE_S: i64 = 1800;
/// For how long something is tried, and for how long nothing may get through before the webhook is disabled.
const GIVE_UP: SignedDuration = SignedDuration::from_hours(24);

/// Webhooks that are being told something.
type Busy = Arc<Mutex<HashSet<WebhookId>>>;

/// Sends until the shutdown.
pub(crate) fn begin(app: &App) {
    let task = app.clone();
    app.tasks.spawn(async move {
        task.shutdown.clone().run_until_cancelled(keep(&task)).await;
    });
}

async fn keep(app: &App) {
    let busy = Busy::default();
    loop {
        if let Err(error) = look(app, &busy).await {
            tracing::warn!(error = chain(&error), "the outbox could not be looked into");
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = app.wake.webhooks.notified() => {}
        }
    }
}

/// Begins to send to every webhook for which something lies there, each in a task of its own: a slow one holds up itself.
async fn look(app: &App, busy: &Busy) -> Result<(), DbError> {
    let waiting = outbox::webhooks_waiting(&mut *app.db.acquire().await?, app.now()).await?;
    for id in waiting {
        if !busy.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            continue;
        }
        let (task, busy) = (app.clone(), Arc::clone(busy));
        app.tasks.spawn(async move {
            let sent = task.shutdown.clone().run_until_cancelled(send_due(&task, id)).await;
            if let Some(Err(error)) = sent {
                tracing::warn!(webhook = %id, error = chain(&error), "what a webhook is told could not be recorded");
            }
            busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
    }
    Ok(())
}

/// Sends what is due to one webhook, one after the other, until one does not get through.
async fn send_due(app: &App, id: WebhookId) -> Result<(), DbError> {
    loop {
        let mut conn = app.db.acquire().await?;
        let webhook = match webhooks::webhook_get(&mut conn, id).await {
            Ok(webhook) => webhook,
            Err(DbError::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        };
        let due = outbox::deliveries_due(&mut conn, id, app.now()).await?;
        drop(conn);
        let Some(first) = due.into_iter().next() else { return Ok(()) };
        if !attempt(app, &webhook, &first).await? {
            return Ok(());
        }
    }
}

/// Tries one. Answers whether it got through.
async fn attempt(app: &App, webhook: &Webhook, delivery: &Delivery) -> Result<bool, DbError> {
    let outcome = send::send(app, webhook, delivery).await;
    let now = app.now();
    let mut tx = app.db.begin().await?;
    let through = match outcome {
        Outcome::Through(status) => {
            tracing::debug!(webhook = %webhook.id, delivery = %delivery.id, status, "a webhook was told");
            outbox::delivery_done(&mut tx, delivery.id, status, now).await?;
            webhooks::webhook_works(&mut tx, webhook.id).await?;
            outbox::deliveries_forget(&mut tx, webhook.id).await?;
            true
        }
        Outcome::Not { status, error } => {
            tracing::info!(webhook = %webhook.id, delivery = %delivery.id, ?status, error, "a webhook was not told");
            let next = next_attempt(delivery.created_at, delivery.attempts, now);
            outbox::delivery_tried(&mut tx, delivery.id, &Attempt { status, error, next }, now).await?;
            give_up(&mut tx, webhook, now).await?;
            false
        }
    };
    tx.commit().await?;
    Ok(through)
}

/// When something that was tried `before` times is tried again; none once it is too old.
fn next_attempt(created_at: Timestamp, before: u64, now: Timestamp) -> Option<Timestamp> {
    let doubled = FIRST_PAUSE_S.checked_shl(u32::try_from(before).unwrap_or(u32::MAX)).filter(|pause| *pause > 0);
    let pause = if before > 20 { LONGEST_PAUSE_S } else { doubled.unwrap_or(LONGEST_PAUSE_S).min(LONGEST_PAUSE_S) };
    let next = now.checked_add(SignedDuration::from_secs(pause)).ok()?;
    (next.duration_since(created_at) <= GIVE_UP).then_some(next)
}

/// Disables a webhook that nothing has got through to for a day, and tells the administrators.
async fn give_up(tx: &mut Conn, webhook: &Webhook, now: Timestamp) -> Result<(), DbError> {
    let since = webhooks::webhook_fails(tx, webhook.id, now).await?;
    if !webhook.enabled || now.duration_since(since) < GIVE_UP {
        return Ok(());
    }
    let reason = "Nothing has got through for 24 hours. Mend its receiver, then enable it again.";
    webhooks::webhook_disable(tx, webhook.id, reason).await?;
    outbox::deliveries_drop(tx, webhook.id, "the webhook was disabled", now).await?;
    tracing::warn!(webhook = %webhook.id, "a webhook was disabled: nothing has got through for 24 hours");
    let message = format!("The webhook {} was disabled: nothing has got through to it for 24 hours.", webhook.name);
    notify_admins(tx, now, Kind::WebhookDisabled, &message, None).await
}

#[cfg(test)]
mod tests;
