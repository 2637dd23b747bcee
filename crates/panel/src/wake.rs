//! What rouses the work in the background before its next look at the database, and bounds it.
//!
//! Only to be quick: whatever is promised is in the database, and is found there without being told.

use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};

use crate::schedule;

/// Bells, one for each kind of work.
#[derive(Debug)]
pub struct Wake {
    /// A run of a schedule is due.
    pub(crate) schedules: Notify,
    /// Something lies in the outbox.
    pub(crate) webhooks: Notify,
    /// A database is to be dropped.
    pub(crate) databases: Notify,
    /// A name is to lead elsewhere.
    pub(crate) names: Notify,
    /// Room for runs of schedules.
    pub(crate) schedule_room: Arc<Semaphore>,
}

impl Default for Wake {
    fn default() -> Self {
        let schedule_room = Arc::new(Semaphore::new(schedule::AT_ONCE));
        Self {
            schedules: Notify::new(),
            webhooks: Notify::new(),
            databases: Notify::new(),
            names: Notify::new(),
            schedule_room,
        }
    }
}
