//! What a move means for a server's names: whether its name servers take the updates that it will send.

use futures_util::future::join_all;
use model::agent_api::{Check, CheckLevel};
use model::{ServerId, Timestamp};

use super::{DnsError, full_name, in_words, zone};
use crate::access::Vault;
use crate::db::dns_names::{DnsName, names_of};
use crate::db::dns_zones::{DnsZone, zones_all};
use crate::db::{Db, DbError};

/// Asks each name server, which takes as long as the slowest of them. Changes nothing there.
pub async fn checks(db: &Db, secrets: &Vault, server: ServerId, now: Timestamp) -> Result<Vec<Check>, DbError> {
    let mut conn = db.acquire().await?;
    let names = names_of(&mut conn, server).await?;
    let zones = zones_all(&mut conn).await?;
    drop(conn);
    let of = |name: &DnsName| zones.iter().find(|zone| zone.id == name.zone_id);
    let asked = names.iter().filter_map(|name| Some(check(secrets, of(name)?, name, now)));
    Ok(join_all(asked).await)
}

async fn check(secrets: &Vault, row: &DnsZone, name: &DnsName, now: Timestamp) -> Check {
    let full = full_name(row, &name.name);
    let asked = match zone(secrets, row) {
        Ok(zone) => zone.would_change(&name.name, name.written.as_ref(), now).await,
        Err(why) => Err(DnsError::Unusable(why)),
    };
    let (code, level, message, remedy) = match asked {
        Ok(()) => (
            "dns_ready",
            CheckLevel::Info,
            format!("The name {full} will follow. Resolvers may keep the old address for up to {} s.", row.ttl),
            "",
        ),
        Err(error @ DnsError::Changed) => (
            "dns_changed",
            CheckLevel::Warning,
            format!("The name {full} will not follow: {}", in_words(&error)),
            "Set the record back, or take it over (POST …/dns-names/{id}/take-over), before the move.",
        ),
        Err(error) => (
            "dns_not_ready",
            CheckLevel::Warning,
            format!("The name {full} would not follow now: {error}."),
            "Mend that (test the zone); the move goes well all the same, and the name is changed as soon as it can be.",
        ),
    };
    Check { code: code.to_owned(), level, message, remedy: remedy.to_owned() }
}
