//! Which servers are being put to sleep right now, and which must not be because something is asked of them.
//!
//! Pure bookkeeping behind one lock, so that "nothing goes on, so it may sleep" and "something is asked" cannot both be
//! true.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::ServerId;
use tokio::sync::watch;

/// All of them.
pub(super) struct Beds {
    busy: Mutex<HashMap<ServerId, usize>>,
    falling_asleep: watch::Sender<HashSet<ServerId>>,
}

impl Default for Beds {
    fn default() -> Self {
        Self { busy: Mutex::default(), falling_asleep: watch::Sender::new(HashSet::new()) }
    }
}

/// Something is asked of a server.
pub(super) struct Busy {
    beds: Arc<Beds>,
    server: ServerId,
}

/// A server is being put to sleep.
pub(super) struct FallingAsleep {
    beds: Arc<Beds>,
    server: ServerId,
}

impl Beds {
    fn busy(&self) -> MutexGuard<'_, HashMap<ServerId, usize>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it is not put to sleep.
    pub(super) fn keep_up(self: &Arc<Self>, server: ServerId) -> Busy {
        *self.busy().entry(server).or_default() += 1;
        Busy { beds: Arc::clone(self), server }
    }

    /// None if something is asked of it.
    pub(super) fn put_to_sleep(self: &Arc<Self>, server: ServerId) -> Option<FallingAsleep> {
        let busy = self.busy();
        if busy.contains_key(&server) {
            return None;
        }
        self.falling_asleep.send_if_modified(|all| all.insert(server));
        drop(busy);
        Some(FallingAsleep { beds: Arc::clone(self), server })
    }

    pub(super) fn is_falling_asleep(&self, server: ServerId) -> bool {
        self.falling_asleep.borrow().contains(&server)
    }

    /// Waits until it sleeps, if it is being put to sleep.
    pub(super) async fn until_still(&self, server: ServerId) {
        let mut falling = self.falling_asleep.subscribe();
        if falling.wait_for(|all| !all.contains(&server)).await.is_err() {
            tracing::trace!("nobody puts servers to sleep any more");
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut busy = self.beds.busy();
        if let Some(count) = busy.get_mut(&self.server) {
            *count -= 1;
            if *count == 0 {
                busy.remove(&self.server);
            }
        }
    }
}

impl Drop for FallingAsleep {
    fn drop(&mut self) {
        self.beds.falling_asleep.send_if_modified(|all| all.remove(&self.server));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_needed_does_not_sleep_and_who_falls_asleep_is_waited_for() {
        let (beds, server) = (Arc::new(Beds::default()), ServerId::new());
        let (first, second) = (beds.keep_up(server), beds.keep_up(server));
        drop(first);
        assert!(beds.put_to_sleep(server).is_none());
        drop(second);
        let falling = beds.put_to_sleep(server).expect("nothing goes on");
        assert!(beds.is_falling_asleep(server));
        let (theirs, waited) = (Arc::clone(&beds), server);
        let waiting = tokio::spawn(async move { theirs.until_still(waited).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(falling);
        waiting.await.expect("it only waits");
        assert!(beds.busy().is_empty());
    }
}
