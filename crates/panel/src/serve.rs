//! The HTTP server: accepts connections and answers on them until the shutdown.
//!
//! axum's own `serve` waits for ever for the end of a request's head; then a client that sends one byte a minute holds
//! a connection as long as it likes, and a few thousand of them hold the panel. Here the head must come in
//! [`HEAD_PATIENCE`], which is also how long a connection may rest between two requests. Bodies have their own bound,
//! in `api::extract`. Answers have none: an event stream lives as long as its reader.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use axum::middleware::AddExtension;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_layer::Layer as _;

/// How long a client may take to send the head of a request.
pub(crate) const HEAD_PATIENCE: Duration = Duration::from_secs(15);
/// How long requests that are being answered have to end at shutdown.
const DRAIN: Duration = Duration::from_secs(10);
/// Before the next try when the system gives no connection, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Answers requests until the shutdown, then gives those that run a little time. Event streams have no end of their
/// own: they are cut when it is up.
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: &CancellationToken) {
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                let router = Extension(Peer(peer.ip().to_canonical())).layer(router.clone());
                let serving = connection(stream, router, shutdown.clone());
                let cut = cut.clone();
                connections.spawn(async move { cut.run_until_cancelled_owned(serving).await });
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::info!("requests that still ran were cut");
        cut.cancel();
        connections.wait().await;
    }
}

/// Who is at the other end of a request's connection: a client, or a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The routes, with the peer added to each request.
type Routes = AddExtension<Router, Peer>;

/// Answers the requests of one connection.
async fn connection(stream: TcpStream, router: Routes, shutdown: CancellationToken) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(error, "a connection ended badly");
    }
}

/// A connection that was gone before it was accepted is nobody's trouble.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_client_that_never_ends_its_head_is_hung_up_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { serve(listener, Router::new(), &shutdown).await }
        });
        client.write_all(b"GET / HTTP/1.1\r\nHost: panel\r\n").await.unwrap();
        // The clock stands still while there is something to do, and jumps to the next timer when there is not.
        tokio::time::pause();
        let begun = Instant::now();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(begun.elapsed() <= HEAD_PATIENCE * 2, "{:?}", begun.elapsed());
        shutdown.cancel();
        server.await.unwrap();
    }
}
