//! A store that lives as long as the process. For tests and for sagas that need not survive.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::{Event, SagaId, Store, StoreError};

/// Logs in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    sagas: Mutex<Sagas>,
}

#[derive(Debug, Default)]
struct Sagas {
    logs: BTreeMap<SagaId, Vec<Event>>,
    open: Vec<SagaId>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn sagas(&self) -> std::sync::MutexGuard<'_, Sagas> {
        // Nothing in here panics half-way through a change, so a poisoned lock holds nothing broken.
        self.sagas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn open(&self, saga: &SagaId) -> Result<(), StoreError> {
        let mut sagas = self.sagas();
        if !sagas.open.contains(saga) {
            sagas.open.push(saga.clone());
        }
        Ok(())
    }

    async fn append(&self, saga: &SagaId, seq: u64, event: &Event) -> Result<(), StoreError> {
        let mut sagas = self.sagas();
        let log = sagas.logs.entry(saga.clone()).or_default();
        if log.len() as u64 != seq {
            return Err(StoreError::Conflict { saga: saga.clone(), seq });
        }
        log.push(event.clone());
        Ok(())
    }

    async fn load(&self, saga: &SagaId) -> Result<Vec<Event>, StoreError> {
        Ok(self.sagas().logs.get(saga).cloned().unwrap_or_default())
    }

    async fn unfinished(&self) -> Result<Vec<SagaId>, StoreError> {
        Ok(self.sagas().open.clone())
    }

    async fn close(&self, saga: &SagaId) -> Result<(), StoreError> {
        self.sagas().open.retain(|open| open != saga);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_keeps_the_contract() {
        crate::testing::store_contract(&MemoryStore::new()).await;
    }
}
