//! A wish that a saga stands still, and that it goes on; until it is too late for it.

use std::sync::Arc;

use tokio::sync::watch;

/// Asks a saga to stand still. Clones are the same wish.
///
/// ```text
///        ┌────release─────┐
///        ▼                │
/// open ──┴────request──► held      honoured in front of the next step, or inside of this one
///   └─────close────────► closed    refused for good
/// ```
///
/// Whether a request or the close comes first is decided at one instant, as for [`Cancel`](crate::Cancel). It lives in
/// memory only; whoever wants it to survive a crash stores it and begins with [`Hold::made`].
#[derive(Clone, Debug)]
pub struct Hold {
    standing: Arc<watch::Sender<Standing>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Open,
    Held,
    Closed,
}

impl Default for Hold {
    fn default() -> Self {
        Self::standing(Standing::Open)
    }
}

impl Hold {
    /// Nobody wants it to stand still.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Somebody wanted it before.
    #[must_use]
    pub fn made() -> Self {
        Self::standing(Standing::Held)
    }

    fn standing(standing: Standing) -> Self {
        Self { standing: Arc::new(watch::Sender::new(standing)) }
    }

    /// Wants it. Again is the same. Answers whether it will be honoured; false: it came too late.
    #[must_use]
    pub fn request(&self) -> bool {
        self.turn(Standing::Open, Standing::Held);
        self.is_held()
    }

    /// Wants it no more. Again is the same.
    pub fn release(&self) {
        self.turn(Standing::Held, Standing::Open);
    }

    /// From here on it is too late. Answers whether it is; false: it is wanted, and must be honoured.
    pub(crate) fn close(&self) -> bool {
        self.turn(Standing::Open, Standing::Closed);
        !self.is_held()
    }

    /// What was wanted is of no meaning any more: everything is taken back.
    pub(crate) fn end(&self) {
        self.standing.send_replace(Standing::Closed);
    }

    fn turn(&self, from: Standing, to: Standing) {
        self.standing.send_if_modified(|standing| {
            let turns = *standing == from;
            *standing = if turns { to } else { *standing };
            turns
        });
    }

    /// Whether it is wanted.
    #[must_use]
    pub fn is_held(&self) -> bool {
        *self.standing.borrow() == Standing::Held
    }

    /// Returns when it is wanted.
    pub async fn held(&self) {
        self.until(true).await;
    }

    /// Returns when it is not.
    pub async fn released(&self) {
        self.until(false).await;
    }

    async fn until(&self, held: bool) {
        let mut watch = self.standing.subscribe();
        if watch.wait_for(|standing| (*standing == Standing::Held) == held).await.is_err() {
            // Unreachable while `self` holds the sender.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_can_be_wanted_again_and_again_until_it_is_too_late() {
        let hold = Hold::new();
        assert!(hold.request() && hold.request());
        assert!(!hold.close(), "it must be honoured");
        hold.release();
        hold.release();
        assert!(!hold.is_held() && hold.request());
        hold.release();
        assert!(hold.close() && hold.close());
        assert!(!hold.request(), "it came too late");
        assert!(Hold::made().is_held());
    }
}
