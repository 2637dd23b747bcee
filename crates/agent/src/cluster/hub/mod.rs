//! The orchestrator's side of the links to its movers: each pod's mover dials in here.
//!
//! ```text
//!  TCP ─ TLS 1.3, our certificate is pinned there ─ bearer? ─ hello ─► the panel's welcome, passed on
//!                                                                        │
//!  call(server, request) ─► line of the server ◄── connected ◄──────────┘   line.rs, connection.rs
//!  news, observations    ◄── notices, heartbeats
//! ```
//!
//! It decides nothing and knows no Kubernetes. The orchestrator's routing is its only caller.
//!
//! # The panel's word
//!
//! A source that was stopped for a transfer runs again when the *panel* is silent for too long, and only the mover can
//! tell, since everything else may be dead. So between hub and mover a `Ping` is the panel's word, and nothing else
//! counts: neither our requests, which may be asked again long after the panel has said them, nor our welcome. A ping is
//! sent only when the panel has just spoken, to whoever is connected then.

mod bearer;
mod connection;
mod line;
#[cfg(test)]
pub(super) mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::agent_api::{AgentError, Notice, Reply, Request, Welcome};
use model::{ServerId, ServerObservation};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
pub(crate) use bearer::Bearers;
use line::Line;

/// Connections that have not said yet who they are. More of them wait in the kernel's queue.
const STRANGERS: usize = 64;
/// How often the panel's word goes to everybody at most. Leases count tens of seconds.
const WORD_EVERY: Duration = Duration::from_secs(1);

/// All movers.
pub(crate) struct Hub {
    lines: Mutex<HashMap<ServerId, Arc<Line>>>,
    pub(crate) bearers: Bearers,
    /// The panel's; movers wait for it.
    welcome: watch::Sender<Option<Welcome>>,
    news: broadcast::Sender<Notice>,
    last_word: Mutex<Option<Instant>>,
}

impl Hub {
    /// `news`: where notices of movers go.
    pub(crate) fn new(bearers: Bearers, news: broadcast::Sender<Notice>) -> Arc<Self> {
        let (lines, last_word) = (Mutex::default(), Mutex::default());
        Arc::new(Self { lines, bearers, welcome: watch::Sender::new(None), news, last_word })
    }

    /// What movers are welcomed with from now on.
    pub(crate) fn welcomed(&self, welcome: &Welcome) {
        self.welcome.send_if_modified(|known| {
            let news = known.as_ref() != Some(welcome);
            *known = Some(welcome.clone());
            news
        });
    }

    /// Opens the port and serves movers until `shutdown`. Answers where it listens.
    pub(crate) async fn listen(
        self: &Arc<Self>,
        address: SocketAddr,
        key: &::transfer::Identity,
        shutdown: CancellationToken,
    ) -> Result<SocketAddr> {
        let refused = |why: String| Error::Config(format!("cannot listen for movers on {address}: {why}"));
        let tls = TlsAcceptor::from(key.tls_server().map_err(|error| refused(error.to_string()))?);
        let listener = TcpListener::bind(address).await.map_err(|error| refused(error.to_string()))?;
        let local = listener.local_addr().map_err(|error| refused(error.to_string()))?;
        tokio::spawn(Arc::clone(self).accept(listener, tls, shutdown));
        Ok(local)
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, tls: TlsAcceptor, shutdown: CancellationToken) {
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        let accepting = async {
            loop {
                let Ok(room) = Arc::clone(&strangers).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        let (hub, tls, end) = (Arc::clone(&self), tls.clone(), shutdown.clone());
                        tokio::spawn(async move { hub.serve(stream, peer, tls, room, end).await });
                    }
                    Err(error) => {
                        // Out of descriptors, or a peer that was gone again: neither is a reason to stop listening.
                        tracing::warn!(%error, "a mover could not be let in");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        };
        shutdown.run_until_cancelled(accepting).await;
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<ServerId, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, server: ServerId) -> Arc<Line> {
        Arc::clone(self.lines().entry(server).or_insert_with(|| Arc::new(Line::new(server))))
    }

    fn existing(&self, server: ServerId) -> Option<Arc<Line>> {
        self.lines().get(&server).map(Arc::clone)
    }

    /// Whether its mover is connected.
    pub(crate) fn is_here(&self, server: ServerId) -> bool {
        self.existing(server).is_some_and(|line| line.is_here())
    }

    /// Asks the mover of `server`. The request has its place in the order when this returns; the future is the answer,
    /// whatever happens to connections meanwhile, unless the mover is away for `patience`. Dropping it gives it up.
    pub(crate) fn call(
        &self,
        server: ServerId,
        request: &Request,
        patience: Duration,
    ) -> impl Future<Output = Result<Reply, AgentError>> + Send + use<> {
        self.line(server).call(request, patience)
    }

    /// The panel has just said something. `about`: the server that it was about hears of it in any case.
    pub(crate) fn word(&self, about: Option<ServerId>) {
        if let Some(line) = about.and_then(|server| self.existing(server)) {
            line.word();
        }
        let mut last = self.last_word.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < WORD_EVERY) {
            return;
        }
        *last = Some(Instant::now());
        drop(last);
        self.lines().values().for_each(|line| line.word());
    }

    /// What its mover last saw.
    pub(crate) fn seen(&self, server: ServerId) -> Option<ServerObservation> {
        self.existing(server)?.seen()
    }

    /// For how long nothing was asked of it and nothing changed there; none while something goes on.
    pub(crate) fn quiet_for(&self, server: ServerId) -> Option<Duration> {
        self.existing(server)?.quiet_for()
    }

    /// The server is no more.
    pub(crate) fn forget(&self, server: ServerId) {
        if let Some(line) = self.lines().remove(&server) {
            line.close();
        }
    }
}
