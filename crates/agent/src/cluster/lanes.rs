//! Which of several requests about the same thing waits for which, and which takes the place of which.
//!
//! ```text
//! enter ─┬─ the same one runs ─► its answer is shared
//!        └─ new ─► each earlier one is left alone, waited for, or cancelled and waited for ─► runs
//! ```
//!
//! The decision is made before `enter` returns, in the order of the calls: that is the order in which the panel asked.
//! If there is nobody to wait for, the work is begun before it returns, too.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use model::agent_api::{AgentError, ErrorCode, Outcome};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a newer request does about an earlier one that still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Towards {
    Beside,
    After,
    Instead,
}

/// Requests that run, by what they are about. `K` says about what, `N` which request it is.
pub(super) struct Lanes<K, N> {
    all: Mutex<HashMap<K, Vec<Running<N>>>>,
}

struct Running<N> {
    name: N,
    cancel: CancellationToken,
    done: watch::Receiver<Option<Outcome>>,
}

impl<K, N> Default for Lanes<K, N> {
    fn default() -> Self {
        Self { all: Mutex::default() }
    }
}

impl<K, N> Lanes<K, N>
where
    K: Eq + Hash + Clone + Send + 'static,
    N: PartialEq + Send + 'static,
{
    fn all(&self) -> MutexGuard<'_, HashMap<K, Vec<Running<N>>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request in; the future is its outcome. Dropping it does not stop what was begun.
    pub(super) fn enter(
        self: &Arc<Self>,
        about: K,
        name: N,
        towards: impl Fn(&N) -> Towards,
        work: impl FnOnce() -> BoxFuture<'static, Outcome> + Send + 'static,
    ) -> BoxFuture<'static, Outcome> {
        let mut all = self.all();
        let lane = all.entry(about.clone()).or_default();
        lane.retain(|other| other.done.borrow().is_none());
        if let Some(same) = lane.iter().find(|other| other.name == name) {
            return Box::pin(outcome(same.done.clone()));
        }
        let before = make_way(lane, towards);
        let cancel = CancellationToken::new();
        let (publish, done) = watch::channel(None);
        lane.push(Running { name, cancel: cancel.clone(), done: done.clone() });
        // Begun under the lock: whoever enters next is behind it.
        let work = if before.is_empty() { Begun::Already(work()) } else { Begun::Not(work) };
        drop(all);
        let lanes = Arc::clone(self);
        tokio::spawn(async move {
            for earlier in before {
                outcome(earlier).await;
            }
            let ended = cancel.run_until_cancelled(async move { work.begin().await }).await;
            publish.send_replace(Some(ended.unwrap_or_else(superseded)));
            lanes.tidy(&about);
        });
        Box::pin(outcome(done))
    }

    #[cfg(test)]
    fn is_busy(&self, about: &K) -> bool {
        self.all().get(about).is_some_and(|lane| lane.iter().any(|running| running.done.borrow().is_none()))
    }

    fn tidy(&self, about: &K) {
        let mut all = self.all();
        let Some(lane) = all.get_mut(about) else { return };
        lane.retain(|running| running.done.borrow().is_none());
        if lane.is_empty() {
            all.remove(about);
        }
    }
}

/// Answers who has to be waited for.
fn make_way<N>(lane: &[Running<N>], towards: impl Fn(&N) -> Towards) -> Vec<watch::Receiver<Option<Outcome>>> {
    let mut before = Vec::new();
    for earlier in lane {
        let towards = towards(&earlier.name);
        if towards == Towards::Instead {
            earlier.cancel.cancel();
        }
        if towards != Towards::Beside {
            before.push(earlier.done.clone());
        }
    }
    before
}

enum Begun<F> {
    Already(BoxFuture<'static, Outcome>),
    Not(F),
}

impl<F: FnOnce() -> BoxFuture<'static, Outcome>> Begun<F> {
    fn begin(self) -> BoxFuture<'static, Outcome> {
        match self {
            Self::Already(work) => work,
            Self::Not(work) => work(),
        }
    }
}

fn superseded() -> Outcome {
    Outcome::Err(AgentError::new(ErrorCode::Cancelled, "a later request took the place of this one"))
}

async fn outcome(mut done: watch::Receiver<Option<Outcome>>) -> Outcome {
    match done.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) {
        Ok(Some(outcome)) => outcome,
        _ => Outcome::Err(AgentError::new(ErrorCode::Internal, "the orchestrator is ending")),
    }
}

#[cfg(test)]
mod tests {
    use model::agent_api::Reply;
    use tokio::sync::oneshot;

    use super::*;

    fn waiting(word: oneshot::Receiver<()>) -> impl FnOnce() -> BoxFuture<'static, Outcome> {
        || {
            Box::pin(async {
                // An error: the test has ended.
                word.await.ok();
                Outcome::Ok(Reply::Done)
            })
        }
    }

    fn at_once(
        log: &Arc<Mutex<Vec<&'static str>>>,
        word: &'static str,
    ) -> impl FnOnce() -> BoxFuture<'static, Outcome> + use<> {
        let log = Arc::clone(log);
        move || {
            log.lock().expect("no test panics with it").push(word);
            Box::pin(std::future::ready(Outcome::Ok(Reply::Done)))
        }
    }

    #[tokio::test]
    async fn a_repeat_shares_the_answer_and_others_go_beside_after_or_instead() {
        let lanes: Arc<Lanes<u8, &str>> = Arc::default();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (go, word) = oneshot::channel();
        let first = lanes.enter(1, "first", |_| Towards::Beside, waiting(word));
        let repeat = lanes.enter(1, "first", |_| Towards::Instead, at_once(&log, "never"));
        let beside = lanes.enter(1, "beside", |_| Towards::Beside, at_once(&log, "beside"));
        assert_eq!(beside.await, Outcome::Ok(Reply::Done));
        let after = lanes.enter(1, "after", |_| Towards::After, at_once(&log, "after"));
        assert_eq!(*log.lock().expect("fine"), ["beside"]);
        assert!(lanes.is_busy(&1) && !lanes.is_busy(&2));
        go.send(()).expect("it waits");
        assert_eq!((first.await, repeat.await), (Outcome::Ok(Reply::Done), Outcome::Ok(Reply::Done)));
        after.await;
        let (_go, word) = oneshot::channel();
        let given_up = lanes.enter(1, "long", |_| Towards::Beside, waiting(word));
        let instead = lanes.enter(1, "instead", |_| Towards::Instead, at_once(&log, "instead"));
        instead.await;
        assert!(matches!(given_up.await, Outcome::Err(error) if error.code == ErrorCode::Cancelled));
        assert_eq!(*log.lock().expect("fine"), ["beside", "after", "instead"]);
        while lanes.is_busy(&1) {
            tokio::task::yield_now().await;
        }
        while !lanes.all().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}
