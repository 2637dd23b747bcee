//! Names of game servers in DNS, kept where the servers are.
//!
//! ```text
//!   what a name should be ◄── its server's address (during a move: the old one, until players are let in)
//!           │                 its zone's TTL       (during a move: a low one)
//!           │ differs from what was written
//!           ▼
//!   signed update, done only if nobody else changed the record ──► looked at where it is authoritative ──► written
//!           │ failed: why, and again after a pause, for ever
//! ```
//!
//! Nothing of it is a step of a transfer: a transfer begins, and the TTL goes down; it lets players in, and the address
//! changes; it ends, well or not, and the TTL goes up. A name server that is down holds up none of that.

pub mod preflight;
mod records;
mod wire;

use std::time::Duration;

use futures_util::future::join_all;
use jiff::SignedDuration;
use model::{DnsZoneId, Timestamp};
use tokio::time::sleep;

pub use records::{Records, TTL_WHILE_MOVING, Wanted, desired};
pub use wire::{ALGORITHMS, DnsError, Zone};

use crate::access::Vault;
use crate::api::chain;
use crate::app::App;
use crate::db::dns_names::{self, DnsName};
use crate::db::dns_zones::{self, DnsZone};
use crate::db::notifications::{Kind, notify_admins, notify_owner};
use crate::db::{Db, DbError};

/// How often it is looked whether a name is not what it should be.
const EVERY: Duration = Duration::from_secs(2);
/// Before the second attempt; doubled each time.
const FIRST_PAUSE_S: i64 = 5;
/// The longest time between two attempts.
const LONGEST_PAUSE_S: i64 = 300;
/// Attempts in vain after which somebody is told.
const TELL_AFTER: u64 = 3;

/// Keeps names where they should lead until the shutdown.
pub(crate) fn begin(app: &App) {
    let task = app.clone();
    app.tasks.spawn(async move {
        task.shutdown.clone().run_until_cancelled(keep(&task)).await;
    });
}

async fn keep(app: &App) {
    loop {
        if let Err(error) = look(&app.db, &app.access.secrets, app.now()).await {
            tracing::warn!(error = chain(&error), "which names are to be changed could not be looked up");
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = app.wake.names.notified() => {}
        }
    }
}

/// Changes every name that is not what it should be.
async fn look(db: &Db, secrets: &Vault, now: Timestamp) -> Result<(), DbError> {
    let mut conn = db.acquire().await?;
    dns_names::names_follow_all(&mut conn, now).await?;
    let due = dns_names::names_due(&mut conn, now).await?;
    let zones = dns_zones::zones_all(&mut conn).await?;
    drop(conn);
    // A name server that does not answer holds up its own zone alone.
    let all = zones.iter().map(|zone| settle_zone(db, secrets, zone, &due, now));
    join_all(all).await.into_iter().collect()
}

async fn settle_zone(db: &Db, secrets: &Vault, zone: &DnsZone, due: &[DnsName], now: Timestamp) -> Result<(), DbError> {
    for name in due.iter().filter(|name| name.zone_id == zone.id) {
        match settle(db, secrets, zone, name, now).await {
            // Removed meanwhile.
            Ok(()) | Err(DbError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes one name what it should be, if it is not, and writes down what came of it.
async fn settle(db: &Db, secrets: &Vault, row: &DnsZone, name: &DnsName, now: Timestamp) -> Result<(), DbError> {
    let wanted = match wanted(row, name) {
        Ok(wanted) => wanted,
        Err(why) => return failed(db, row, name, &why, now).await,
    };
    if wanted == name.written && !name.removing {
        return Ok(());
    }
    let zone = match zone(secrets, row) {
        Ok(zone) => zone,
        Err(why) => return failed(db, row, name, &why, now).await,
    };
    match change(&zone, name, wanted.as_ref(), now).await {
        Ok(()) => {
            tracing::info!(name = name.name, zone = row.name, ?wanted, "a name was changed");
            let mut conn = db.acquire().await?;
            match &wanted {
                Some(written) => dns_names::name_written(&mut conn, name.id, written).await,
                None => dns_names::name_gone(&mut conn, name.id).await,
            }
        }
        Err(error) => failed(db, row, name, &in_words(&error), now).await,
    }
}

fn wanted(zone: &DnsZone, name: &DnsName) -> Result<Option<Records>, String> {
    if name.removing {
        return Ok(None);
    }
    let DnsName { address, port, service, moving, .. } = name;
    let wanted = Wanted { address, port: *port, service: service.as_deref(), ttl: zone.ttl, moving: *moving };
    desired(&wanted).map(Some)
}

/// Sends the update, and looks at what the name server says then. An update that was done and whose answer or record was
/// lost is found done.
async fn change(zone: &Zone, name: &DnsName, wanted: Option<&Records>, now: Timestamp) -> Result<(), DnsError> {
    let written = name.written.as_ref();
    let service = name.service.as_deref();
    match zone.change(&name.name, written, wanted, now).await {
        Ok(()) => {}
        Err(DnsError::Changed) if zone.look(&name.name, service).await?.as_ref() == wanted => return Ok(()),
        Err(error) => return Err(error),
    }
    match zone.look(&name.name, service).await? {
        found if found.as_ref() == wanted => Ok(()),
        _ => Err(DnsError::Changed),
    }
}

fn in_words(error: &DnsError) -> String {
    match error {
        DnsError::Changed => {
            "somebody else has changed the record, and it is not written over. Set it back, or take it over.".to_owned()
        }
        error => error.to_string(),
    }
}

/// A zone as updates are sent to it.
pub fn zone(secrets: &Vault, row: &DnsZone) -> Result<Zone, String> {
    let secret = secrets.open(&purpose(row.id), &row.key_secret).map_err(|error| error.to_string())?;
    Zone::new(&row.name, &row.server, (&row.key_name, &row.key_algorithm, &secret)).map_err(|error| error.to_string())
}

/// For what the secret of a zone's key is sealed.
#[must_use]
pub fn purpose(id: DnsZoneId) -> String {
    format!("dns-zone/{id}")
}

async fn failed(db: &Db, zone: &DnsZone, name: &DnsName, why: &str, now: Timestamp) -> Result<(), DbError> {
    tracing::warn!(name = name.name, zone = zone.name, why, "a name could not be changed; it is tried again");
    let next = now.checked_add(pause(name.attempts)).unwrap_or(Timestamp::MAX);
    let mut tx = db.begin().await?;
    dns_names::name_failed(&mut tx, name.id, why, next).await?;
    if name.attempts + 1 == TELL_AFTER {
        let sentence = format!("The name {} does not lead where it should: {why}", full_name(zone, &name.name));
        match name.server_id {
            Some(server) => notify_owner(&mut tx, now, server, Kind::DnsFailed, &sentence).await?,
            None => notify_admins(&mut tx, now, Kind::DnsFailed, &sentence, None).await?,
        }
    }
    tx.commit().await?;
    Ok(())
}

/// A name with its zone, for people.
#[must_use]
pub fn full_name(zone: &DnsZone, name: &str) -> String {
    if name == "@" { zone.name.clone() } else { format!("{name}.{}", zone.name) }
}

fn pause(before: u64) -> SignedDuration {
    let doubled = FIRST_PAUSE_S << before.min(6);
    SignedDuration::from_secs(doubled.min(LONGEST_PAUSE_S))
}
