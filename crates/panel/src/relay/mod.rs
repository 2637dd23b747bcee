//! The last way of a copy: both agents dial the panel, and the panel passes on what it cannot read.
//!
//! ```text
//!   the ladder ──open──► passage of a transfer: two tokens, hashed ──dropped with the saga's hold on it──► closed
//!                            ▲                    ▲
//!   source ──side, token─────┘                    └─────side, token── target        (api/relay.rs)
//!                    └────────── meeting.rs: the newest of each side, binary messages both ways ──────────┘
//! ```
//!
//! TLS runs from agent to agent inside, pinned at both ends: what comes by here is ciphertext, and a passage is a way
//! through two firewalls and nothing more. It is not a tunnel for anything else: it exists for one transfer, while the
//! panel drives it, and for whoever shows the token of a side. Nothing of it is on disk; a panel that starts again opens
//! it again with the same tokens (they are derived, see [`PermitSigner::secret`](crate::permit::PermitSigner::secret)).

mod meeting;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::TransferId;
use serde::Deserialize;

use crate::api::auth::{same, sha256_hex};
pub(crate) use meeting::Passage;

/// Copies that are relayed at the same time. Each costs two connections and the panel's line twice.
const AT_ONCE: usize = 64;

/// Largest message that is passed on, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Which end of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Delivers.
    Source,
    /// Receives.
    Target,
}

/// All passages that are open.
pub struct Relays {
    base: String,
    open: Mutex<HashMap<TransferId, Arc<Passage>>>,
}

/// Keeps a passage open. Dropped, it is closed, and its connections end.
pub(crate) struct Opened {
    relays: Arc<Relays>,
    passage: Arc<Passage>,
}

impl Relays {
    /// None are open. `public_url` is how agents reach the panel. Where that is no address that anybody could dial
    /// (`http://0.0.0.0:…`: nobody told the panel its own), [`Relays::url`] gives a path only, which an agent completes
    /// with the address of the panel that it is connected to.
    #[must_use]
    pub fn new(public_url: &str) -> Arc<Self> {
        Arc::new(Self { base: base(public_url), open: Mutex::default() })
    }

    /// How many are open now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open_now().len()
    }

    /// Whether `side` of this transfer would be let in with `token`.
    #[must_use]
    pub fn admits(&self, transfer: TransferId, side: Side, token: &str) -> bool {
        self.enter(transfer, side, token).is_some()
    }

    /// Where `side` of a transfer dials.
    pub(crate) fn url(&self, transfer: TransferId, side: Side, token: &str) -> String {
        let side = match side {
            Side::Source => "source",
            Side::Target => "target",
        };
        format!("{}/api/v1/agents/relay/{transfer}?side={side}&token={token}", self.base)
    }

    /// Lets in whoever shows these tokens (source's, target's), until the answer is dropped. An earlier passage of this
    /// transfer is closed. None if there are too many.
    pub(crate) fn open(self: &Arc<Self>, transfer: TransferId, tokens: [&str; 2]) -> Option<Opened> {
        let passage = Arc::new(Passage::new(transfer, tokens.map(sha256_hex)));
        let mut open = self.open_now();
        if open.len() >= AT_ONCE && !open.contains_key(&transfer) {
            return None;
        }
        if let Some(old) = open.insert(transfer, Arc::clone(&passage)) {
            old.close();
        }
        Some(Opened { relays: Arc::clone(self), passage })
    }

    /// The passage that `token` opens for `side`. Which of them was wrong is not told.
    pub(crate) fn enter(&self, transfer: TransferId, side: Side, token: &str) -> Option<Arc<Passage>> {
        let passage = self.open_now().get(&transfer).cloned()?;
        same(passage.token_hash(side), &sha256_hex(token)).then_some(passage)
    }

    fn open_now(&self) -> MutexGuard<'_, HashMap<TransferId, Arc<Passage>>> {
        // A map of plain values: whoever panicked while holding it left nothing half-done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.passage.close();
        let mut open = self.relays.open_now();
        let transfer = self.passage.transfer();
        if open.get(&transfer).is_some_and(|passage| Arc::ptr_eq(passage, &self.passage)) {
            open.remove(&transfer);
        }
    }
}

/// The panel's URL with a `WebSocket`'s scheme; empty where nobody could dial it.
fn base(public_url: &str) -> String {
    let (scheme, rest) = public_url.split_once("://").unwrap_or(("http", public_url));
    if ["0.0.0.0", "[::]"].iter().any(|nobody| rest.starts_with(nobody)) {
        return String::new();
    }
    let scheme = if scheme == "https" { "wss" } else { "ws" };
    format!("{scheme}://{}", rest.trim_end_matches('/'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_for_web_sockets_and_have_no_host_that_nobody_can_dial() {
        let start = |public: &str| Relays::new(public).url(TransferId::new(), Side::Source, "t");
        assert!(start("https://panel.example/").starts_with("wss://panel.example/api/v1/agents/relay/"));
        assert!(start("http://10.0.0.1:8080").starts_with("ws://10.0.0.1:8080/api/"));
        assert!(start("http://0.0.0.0:8080").starts_with("/api/v1/agents/relay/"));
        assert!(start("http://[::]:8080").ends_with("?side=source&token=t"));
    }

    #[test]
    fn a_token_is_for_one_side_of_one_transfer_while_it_is_open() {
        let (relays, id) = (Relays::new("http://panel"), TransferId::new());
        let opened = relays.open(id, ["s", "t"]).unwrap();
        assert!(relays.admits(id, Side::Source, "s") && relays.admits(id, Side::Target, "t"));
        assert!(!relays.admits(id, Side::Source, "t") && !relays.admits(id, Side::Target, ""));
        assert!(!relays.admits(TransferId::new(), Side::Source, "s"));
        // The next attempt has tokens of its own, and the end of the first does not end it.
        let next = relays.open(id, ["s2", "t2"]).unwrap();
        drop(opened);
        assert!(!relays.admits(id, Side::Source, "s") && relays.admits(id, Side::Source, "s2"));
        drop(next);
        assert!(!relays.admits(id, Side::Source, "s2"));
        assert_eq!(relays.count(), 0);
    }

    #[test]
    fn there_are_only_so_many_at_once() {
        let relays = Relays::new("http://panel");
        let first = TransferId::new();
        let mut all: Vec<_> = (1..AT_ONCE).map(|_| relays.open(TransferId::new(), ["s", "t"]).unwrap()).collect();
        all.push(relays.open(first, ["s", "t"]).unwrap());
        assert!(relays.open(TransferId::new(), ["s", "t"]).is_none());
        assert!(relays.open(first, ["s2", "t2"]).is_some(), "it takes the place of its own");
    }
}
