//! The contract suite of [`Store`]: run it against every implementation.

use crate::{Cause, Event, SagaId, Store, StoreError};

/// Panics at the first sentence of the contract that `store` breaks. `store` may hold other sagas.
///
/// # Panics
///
/// That is its way to say no.
pub async fn store_contract(store: &dyn Store) {
    let nonce = std::process::id();
    let (one, two) = (SagaId(format!("contract-{nonce}-1")), SagaId(format!("contract-{nonce}-2")));
    a_saga_that_nobody_knows_has_an_empty_log(store, &one).await;
    what_was_appended_is_loaded_in_order(store, &one).await;
    a_sequence_number_is_given_once_and_without_gaps(store, &one).await;
    sagas_do_not_see_each_other(store, &one, &two).await;
    of_many_writers_of_one_number_one_succeeds(store, &two).await;
    open_until_closed(store, &one, &two).await;
}

/// One event of each kind.
#[must_use]
pub fn sample_events() -> Vec<Event> {
    let step = || "copy".to_owned();
    let cause = || Cause::new("broken", "it broke: \"ümläut\"");
    vec![
        Event::Started { step: step(), attempt: 1, because: None },
        Event::Started { step: step(), attempt: 2, because: Some(cause()) },
        Event::Done { step: step(), output: serde_json::json!({"bytes": 7, "name": "wörld"}) },
        Event::Paused { step: step() },
        Event::Failed { step: step(), error: cause() },
        Event::UndoStarted { step: step(), attempt: 1, because: None },
        Event::Undone { step: step() },
        Event::Stuck { step: step(), error: cause() },
    ]
}

async fn a_saga_that_nobody_knows_has_an_empty_log(store: &dyn Store, saga: &SagaId) {
    assert_eq!(store.load(saga).await.expect("loads"), vec![]);
    assert!(!store.unfinished().await.expect("lists").contains(saga));
}

async fn what_was_appended_is_loaded_in_order(store: &dyn Store, saga: &SagaId) {
    store.open(saga).await.expect("opens");
    for (seq, event) in (0..).zip(&sample_events()) {
        store.append(saga, seq, event).await.expect("appends");
    }
    assert_eq!(store.load(saga).await.expect("loads"), sample_events());
}

async fn a_sequence_number_is_given_once_and_without_gaps(store: &dyn Store, saga: &SagaId) {
    let event = Event::Undone { step: "copy".into() };
    let next = sample_events().len() as u64;
    for seq in [0, next - 1, next + 1] {
        let refused = store.append(saga, seq, &event).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "number {seq}: {refused:?}");
    }
    assert_eq!(store.load(saga).await.expect("loads"), sample_events(), "a refused event leaves nothing");
}

async fn sagas_do_not_see_each_other(store: &dyn Store, one: &SagaId, two: &SagaId) {
    store.open(two).await.expect("opens");
    assert_eq!(store.load(two).await.expect("loads"), vec![]);
    store.append(two, 0, &sample_events()[0]).await.expect("its own numbers");
    assert_eq!(store.load(one).await.expect("loads"), sample_events());
}

async fn of_many_writers_of_one_number_one_succeeds(store: &dyn Store, saga: &SagaId) {
    let event = Event::Done { step: "copy".into(), output: serde_json::Value::Null };
    let write = || store.append(saga, 1, &event);
    let (a, b, c, d) = tokio::join!(write(), write(), write(), write());
    assert_eq!([a, b, c, d].iter().filter(|written| written.is_ok()).count(), 1);
    assert_eq!(store.load(saga).await.expect("loads").len(), 2);
}

async fn open_until_closed(store: &dyn Store, one: &SagaId, two: &SagaId) {
    store.open(one).await.expect("opening again is the same");
    let ours = async || {
        let open = store.unfinished().await.expect("lists");
        open.into_iter().filter(|saga| saga == one || saga == two).collect::<Vec<_>>()
    };
    assert_eq!(ours().await, [one.clone(), two.clone()], "oldest first, each once");
    store.close(one).await.expect("closes");
    store.close(one).await.expect("closing again is the same");
    assert_eq!(ours().await, std::slice::from_ref(two));
    assert_eq!(store.load(one).await.expect("loads"), sample_events(), "the log stays");
    store.close(two).await.expect("closes");
    assert!(ours().await.is_empty());
}
