//! A request to stop, made once, heard by whoever waits; until it is too late for it.

use std::sync::Arc;

use tokio::sync::watch;

/// Asks a saga to give up. Clones are the same request.
///
/// ```text
/// open ──request──► requested   honoured for certain
///   └─────close───► closed      refused for good
/// ```
///
/// Which of the two comes first is decided at one instant, so that nobody is promised what is not done. It lives in memory
/// only; whoever wants a request to survive a crash stores it and makes it again.
#[derive(Clone, Debug)]
pub struct Cancel {
    standing: Arc<watch::Sender<Standing>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Open,
    Requested,
    Closed,
}

impl Default for Cancel {
    fn default() -> Self {
        Self::standing(Standing::Open)
    }
}

impl Cancel {
    /// A request that has not been made.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A request that was made before.
    #[must_use]
    pub fn made() -> Self {
        Self::standing(Standing::Requested)
    }

    fn standing(standing: Standing) -> Self {
        Self { standing: Arc::new(watch::Sender::new(standing)) }
    }

    /// Makes it. Again is the same. Answers whether it is made; false: it came too late, and nothing is given up.
    #[must_use]
    pub fn request(&self) -> bool {
        self.standing.send_if_modified(|standing| {
            let open = *standing == Standing::Open;
            *standing = if open { Standing::Requested } else { *standing };
            open
        });
        self.is_requested()
    }

    /// From here on it is too late. Answers whether it is; false: it was made before, and must be honoured.
    pub(crate) fn close(&self) -> bool {
        self.standing.send_if_modified(|standing| {
            let open = *standing == Standing::Open;
            *standing = if open { Standing::Closed } else { *standing };
            open
        });
        !self.is_requested()
    }

    /// Whether it was made.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.standing.borrow() == Standing::Requested
    }

    /// Returns when it is made.
    pub async fn requested(&self) {
        let mut watch = self.standing.subscribe();
        if watch.wait_for(|standing| *standing == Standing::Requested).await.is_err() {
            // Unreachable while `self` holds the sender; never returning is what "not requested" means.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_first_is_what_counts() {
        let (early, late) = (Cancel::new(), Cancel::new());
        assert!(early.request() && early.request());
        assert!(!early.close(), "it must be honoured");
        assert!(early.is_requested());
        assert!(late.close() && late.close());
        assert!(!late.request(), "it came too late");
        assert!(!late.is_requested());
        assert!(Cancel::made().is_requested());
    }
}
