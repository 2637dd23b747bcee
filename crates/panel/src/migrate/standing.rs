//! What this life of the panel knows of the way that a copy takes: whether it holds, and the relay that it may need.
//!
//! Nothing here is on record. A panel that starts again believes the log where nothing has failed, and walks the ladder
//! again where something has; see [`steps::ladder`](super::steps).

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::steps::Way;
use crate::relay::Opened;

/// Knowledge of one migration's way.
#[derive(Default)]
pub(super) struct Standing(Mutex<Known>);

#[derive(Default)]
struct Known {
    way: Option<Way>,
    broke: Option<String>,
    stalled: bool,
    rested: bool,
    relay: Option<Opened>,
}

impl Standing {
    /// The way in use, and why it does not hold, if it does not.
    pub(super) fn way(&self) -> Option<(Way, Option<String>)> {
        let known = self.known();
        known.way.clone().map(|way| (way, known.broke.clone()))
    }

    /// Takes a way. What the one before it needed is let go.
    pub(super) fn take(&self, way: Way, relay: Option<Opened>) {
        let mut known = self.known();
        (known.way, known.broke, known.relay, known.rested) = (Some(way), None, relay, false);
    }

    /// The way did not hold.
    pub(super) fn break_off(&self, way: &Way, why: &str) {
        let mut known = self.known();
        (known.way, known.broke) = (Some(way.clone()), Some(why.to_owned()));
    }

    /// The copy was put to rest, and with it went what its way needed.
    pub(super) fn rest(&self) {
        let mut known = self.known();
        (known.way, known.broke, known.relay, known.rested) = (None, None, None, true);
    }

    /// Whether it was, and no way was taken since.
    pub(super) fn is_at_rest(&self) -> bool {
        self.known().rested
    }

    /// The copy stood still. Answers whether it had before.
    pub(super) fn stall(&self) -> bool {
        std::mem::replace(&mut self.known().stalled, true)
    }

    /// No copy will be made any more: lets go of the relay.
    pub(super) fn end(&self) {
        self.known().relay = None;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Plain values: whoever panicked while holding it left nothing half-done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
