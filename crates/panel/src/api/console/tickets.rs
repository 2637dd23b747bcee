//! Who may open a stream, and how many are open.
//!
//! Tickets live in memory only: a panel that starts again has ended all streams anyway, and a client that comes back asks
//! for a new one. What is kept is a hash, as of every secret.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use model::ServerId;

use crate::api::ApiError;
use crate::api::auth::{new_secret, sha256_hex};
use crate::api::on_server::OnServer;

/// How long a ticket can be used.
const TICKET_LIFE: SignedDuration = SignedDuration::from_secs(30);
/// Tickets that may wait to be used.
const MOST_TICKETS: usize = 10_000;
/// Streams of one server: each asks its agent for lines.
const STREAMS_PER_SERVER: usize = 32;

/// Tickets that were given, and streams that are open.
#[derive(Default)]
pub(crate) struct Consoles {
    tickets: Mutex<HashMap<String, Ticket>>,
    open: Mutex<HashMap<ServerId, usize>>,
}

struct Ticket {
    on: OnServer,
    expires_at: Timestamp,
}

/// A stream that is open. Dropped, it is not.
pub(super) struct Place {
    consoles: Arc<Consoles>,
    server: ServerId,
}

impl Consoles {
    /// A ticket for `on`, and until when it works.
    pub(super) fn issue(&self, on: OnServer, now: Timestamp) -> Result<(String, Timestamp), ApiError> {
        let ticket = new_secret("bpt_").map_err(ApiError::internal)?;
        let expires_at = now + TICKET_LIFE;
        let mut tickets = lock(&self.tickets);
        if tickets.len() >= MOST_TICKETS {
            tickets.retain(|_, ticket| ticket.expires_at > now);
        }
        if tickets.len() >= MOST_TICKETS {
            return Err(ApiError::too_many_requests(1000));
        }
        tickets.insert(sha256_hex(&ticket), Ticket { on, expires_at });
        Ok((ticket, expires_at))
    }

    /// Whose ticket it is. It is worth nothing from then on.
    pub(super) fn redeem(&self, ticket: &str, now: Timestamp) -> Option<OnServer> {
        let ticket = lock(&self.tickets).remove(&sha256_hex(ticket))?;
        (ticket.expires_at > now).then_some(ticket.on)
    }

    /// Takes a place among the streams of a server.
    pub(super) fn enter(self: &Arc<Self>, server: ServerId) -> Result<Place, ApiError> {
        let mut open = lock(&self.open);
        let count = open.entry(server).or_default();
        if *count >= STREAMS_PER_SERVER {
            let message = format!("{STREAMS_PER_SERVER} streams of this console are open. Close one and try again.");
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_streams", message));
        }
        *count += 1;
        Ok(Place { consoles: Arc::clone(self), server })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.consoles.open);
        if let Some(count) = open.get_mut(&self.server) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.server);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Maps of plain values: whoever panicked while holding one left nothing half-done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_so_many_streams_and_one_that_ends_makes_room() {
        let (consoles, server) = (Arc::new(Consoles::default()), ServerId::new());
        let mut places: Vec<_> = (0..STREAMS_PER_SERVER).map(|_| consoles.enter(server).unwrap()).collect();
        assert_eq!(consoles.enter(server).err().unwrap().code(), "too_many_streams");
        assert!(consoles.enter(ServerId::new()).is_ok(), "another server's are its own");
        places.pop();
        places.push(consoles.enter(server).unwrap());
        drop(places);
        assert!(lock(&consoles.open).is_empty());
    }
}
