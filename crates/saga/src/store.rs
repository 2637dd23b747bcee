//! The seam to where logs are kept.

use std::fmt;

use async_trait::async_trait;

use crate::Event;

/// Identity of one saga. What it is made of is its owner's business.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SagaId(pub String);

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where logs are kept. [`testing::store_contract`](crate::testing::store_contract) holds for every implementation.
///
/// # Guarantees
///
/// An event whose [`append`](Store::append) returned `Ok` is durable and in every later [`load`](Store::load), at its
/// place. Of two appends with one sequence number at most one succeeds: that is what keeps two executors from writing
/// one history. After an error the event may be there or not; loading tells.
#[async_trait]
pub trait Store: Send + Sync {
    /// Promises to finish `saga`: it is [`unfinished`](Store::unfinished) from now on. Again is the same, also for one
    /// that was closed.
    async fn open(&self, saga: &SagaId) -> Result<(), StoreError>;

    /// Writes the event number `seq` (from 0, without gaps).
    async fn append(&self, saga: &SagaId, seq: u64, event: &Event) -> Result<(), StoreError>;

    /// All its events in order; none for a saga that nobody knows.
    async fn load(&self, saga: &SagaId) -> Result<Vec<Event>, StoreError>;

    /// The sagas that were opened and not closed, oldest first.
    async fn unfinished(&self) -> Result<Vec<SagaId>, StoreError>;

    /// The promise is kept. Its log stays.
    async fn close(&self, saga: &SagaId) -> Result<(), StoreError>;
}

/// Why a store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The number is taken, or leaves a gap: somebody else writes this history.
    #[error("event {seq} of saga {saga} is not the next one")]
    Conflict {
        /// Whose.
        saga: SagaId,
        /// Which.
        seq: u64,
    },
    /// What is stored is not an event.
    #[error("event {seq} of saga {saga} cannot be read")]
    Corrupt {
        /// Whose.
        saga: SagaId,
        /// Which.
        seq: u64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The medium failed. Time may help.
    #[error("the store of sagas is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}
