//! An open door: serves the connections that come with its ticket, one after another. A newer connection replaces an
//! older one, which is dead more often than not.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    hall::{Connection, Entry},
    session::{self, Complete},
    staging::staging_tree,
};
use crate::{
    error::{Error, Result},
    link::{Link, Meter},
    options::ReceiverConfig,
    progress::Progress,
    publish::{Displaced, put_in_place, remove_tree},
    report::{Summary, TreeRoot},
    wire::{Failure, ToReceiver, ToSource},
};

/// The receiver behind one ticket. Dropping it closes the door and ends what runs behind it.
#[derive(Debug)]
pub struct Door {
    outcomes: mpsc::UnboundedReceiver<Result<Received>>,
    progress: Arc<Progress>,
    /// What leads here; gone when it is dropped.
    _entry: Entry,
    end: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

/// A tree that is complete, durable and equal to the source's.
#[derive(Debug)]
pub struct Received {
    /// Where it is; give it to [`crate::publish`].
    pub tree: PathBuf,
    /// From what the disk gave back.
    pub root: TreeRoot,
    /// Files, directories and links, the top not counted.
    pub files: u64,
    /// Bytes of content (apparent size, hard links once).
    pub bytes: u64,
    /// None once it is on its way out.
    link: Option<Link>,
    /// Until we are done with the tree, no other session works in staging.
    _lock: OwnedFd,
}

impl Door {
    pub(super) fn open(config: ReceiverConfig, arrivals: mpsc::Receiver<Connection>, entry: Entry) -> Self {
        let (report, outcomes) = mpsc::unbounded_channel();
        let (progress, end) = (config.progress.clone(), CancellationToken::new());
        let serving = tokio::spawn(serve(config, arrivals, report, end.clone()));
        Self { outcomes, progress, _entry: entry, end, serving: Some(serving) }
    }

    /// Waits until a source has finished and both roots were equal. A connection that breaks may be followed by
    /// another: that is waited for. Any other failure is returned; the door stays open.
    pub async fn wait(&mut self) -> Result<Received> {
        loop {
            match self.wait_once().await {
                Err(Error::Unreachable(e)) => tracing::info!(error = %e, "the source went away; waiting for it"),
                other => return other,
            }
        }
    }

    /// As [`Self::wait`], but a connection that breaks is an error as well.
    pub async fn wait_once(&mut self) -> Result<Received> {
        self.outcomes.recv().await.unwrap_or(Err(Error::Cancelled))
    }

    /// Counters of what runs behind it.
    #[must_use]
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Closes the door and waits until nothing runs behind it any more, so that staging can be removed.
    pub async fn close(mut self) {
        self.end.cancel();
        if let Some(serving) = self.serving.take()
            && let Err(e) = serving.await
        {
            tracing::warn!(error = %e, "a receiver's task failed");
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// One session at a time, until the door is closed.
async fn serve(
    config: ReceiverConfig,
    mut arrivals: mpsc::Receiver<Connection>,
    report: mpsc::UnboundedSender<Result<Received>>,
    end: CancellationToken,
) {
    let mut next = None;
    loop {
        let connection = if let Some(connection) = next.take() {
            connection
        } else {
            tokio::select! {
                arrived = arrivals.recv() => match arrived {
                    Some(connection) => connection,
                    None => return,
                },
                () = end.cancelled() => return,
            }
        };
        let stop = end.child_token();
        let session = session(config.clone(), connection, stop.clone());
        tokio::pin!(session);
        let outcome = tokio::select! {
            outcome = &mut session => outcome,
            newer = arrivals.recv() => {
                stop.cancel();
                next = newer;
                session.await.map_err(|_| Error::Unreachable(io::Error::other("replaced by a newer connection")))
            }
        };
        if report.send(outcome).is_err() {
            return;
        }
    }
}

/// Serves one connection to its end. When it returns, nothing of it runs any more.
async fn session(config: ReceiverConfig, connection: Connection, stop: CancellationToken) -> Result<Received> {
    let tree = staging_tree(&config.staging);
    let link = Link::start(connection, config.idle_timeout, Meter::default());
    let cut = link.ended().clone();
    let mut receiving = tokio::task::spawn_blocking(move || {
        let mut link = link;
        let outcome = session::receive(config, &mut link);
        (link, outcome)
    });
    let joined = tokio::select! {
        joined = &mut receiving => joined,
        () = stop.cancelled() => {
            cut.cancel();
            receiving.await
        }
    };
    let (link, outcome) = joined.map_err(|e| Error::Protocol(format!("the receiver panicked: {e}")))?;
    match outcome {
        Ok(Complete { root, files, bytes, lock }) => {
            Ok(Received { tree, root, files, bytes, link: Some(link), _lock: lock })
        }
        Err(e) => {
            if !stop.is_cancelled() {
                link.last_words(&ToSource::Failed(Failure::from(&e))).await;
            }
            Err(e)
        }
    }
}

impl Received {
    /// Waits until the source asks for it ([`crate::Source::publish`]), publishes to `destination` and tells it so.
    /// Then removes what was there before.
    pub async fn publish_when_asked(mut self, destination: &Path) -> Result<Summary> {
        let mut link = self.link.take().ok_or(Error::Cancelled)?;
        let summary = match link.receive().await?.message()? {
            ToReceiver::Publish(summary) => summary,
            ToReceiver::Abort(why) => return Err(Error::Refused(format!("the source gave up: {why}"))),
            _ => return Err(Error::Protocol("expected to be asked to publish".to_owned())),
        };
        let (tree, destination) = (self.tree.clone(), destination.to_owned());
        let published = on_a_thread(move || put_in_place(&tree, &destination)).await;
        let answer = match &published {
            Ok(_) => ToSource::Published,
            Err(e) => ToSource::Failed(Failure::from(e)),
        };
        // The tree is where it belongs whether or not the source hears it.
        drop(timeout(Duration::from_secs(5), link.sender().send(&answer)).await);
        link.close().await;
        if published? == Displaced::Yes {
            let old = self.tree.clone();
            on_a_thread(move || remove_tree(&old)).await?;
        }
        Ok(summary)
    }
}

impl Drop for Received {
    /// Lets our verdict reach the source before the connection goes.
    fn drop(&mut self) {
        if let (Some(link), Ok(runtime)) = (self.link.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(link.close());
        }
    }
}

async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|e| Error::Protocol(format!("publishing panicked: {e}")))?
}
