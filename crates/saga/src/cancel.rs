//! A request to stop, made once, heard by whoever waits.

use std::sync::Arc;

use tokio::sync::watch;

/// Asks a saga to give up. Clones are the same request.
///
/// It is a request: the executor honours it before the pivot and ignores it afterwards. It lives in memory only;
/// whoever wants it to survive a crash stores it and makes it again.
#[derive(Clone, Debug)]
pub struct Cancel {
    requested: Arc<watch::Sender<bool>>,
}

impl Default for Cancel {
    fn default() -> Self {
        Self { requested: Arc::new(watch::Sender::new(false)) }
    }
}

impl Cancel {
    /// A request that has not been made.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes it. Again is the same.
    pub fn request(&self) {
        self.requested.send_replace(true);
    }

    /// Whether it was made.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.requested.borrow()
    }

    /// Returns when it is made.
    pub async fn requested(&self) {
        let mut watch = self.requested.subscribe();
        if watch.wait_for(|requested| *requested).await.is_err() {
            // Unreachable while `self` holds the sender; never returning is what "not requested" means.
            std::future::pending::<()>().await;
        }
    }
}
