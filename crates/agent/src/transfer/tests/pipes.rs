//! What lies between two agents in these tests: a TCP proxy and a WebSocket relay, both of which can be cut.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use tokio_util::task::AbortOnDropHandle;

use super::*;

/// What can be seen of, and done to, what passes.
#[derive(Default)]
struct Passing {
    bytes: AtomicU64,
    connections: AtomicUsize,
    /// Ends what passes now.
    cut: Mutex<CancellationToken>,
}

impl Passing {
    fn scissors(&self) -> CancellationToken {
        self.cut.lock().unwrap().clone()
    }
}

/// Runs while it is kept.
pub(super) struct Between {
    pub(super) address: SocketAddr,
    passing: Arc<Passing>,
    _accepting: AbortOnDropHandle<()>,
}

impl Between {
    /// Passes connections on to `behind`.
    pub(super) async fn proxy(behind: String) -> Self {
        Self::serve(move |stream, passing| {
            let behind = behind.clone();
            Box::pin(async move {
                if let Ok(far) = TcpStream::connect(behind).await {
                    pass_bytes(stream, far, &passing).await;
                }
            })
        })
        .await
    }

    /// Lets the source and the target of one transfer meet.
    pub(super) async fn relay() -> Self {
        let waiting = Arc::new(Mutex::new(None));
        Self::serve(move |stream, passing| Box::pin(meet(stream, Arc::clone(&waiting), passing))).await
    }

    async fn serve(
        work: impl Fn(TcpStream, Arc<Passing>) -> futures_util::future::BoxFuture<'static, ()> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, passing) = (listener.local_addr().unwrap(), Arc::new(Passing::default()));
        let all = Arc::clone(&passing);
        let accepting = async move {
            while let Ok((stream, _)) = listener.accept().await {
                all.connections.fetch_add(1, Relaxed);
                let (work, cut) = (work(stream, Arc::clone(&all)), all.scissors());
                tokio::spawn(async move { cut.run_until_cancelled(work).await });
            }
        };
        Self { address, passing, _accepting: AbortOnDropHandle::new(tokio::spawn(accepting)) }
    }

    pub(super) fn url(&self, side: &str) -> Route {
        Route::Relay { url: format!("ws://{}/api/v1/agents/relay/x?side={side}&token=t", self.address) }
    }

    pub(super) fn connections(&self) -> usize {
        self.passing.connections.load(Relaxed)
    }

    /// Waits until so many bytes have passed in all.
    pub(super) async fn passed(&self, until: u64) {
        let enough = async {
            while self.passing.bytes.load(Relaxed) < until {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, enough).await.expect("bytes pass");
    }

    /// Every connection that there is ends.
    pub(super) fn cut(&self) {
        std::mem::take(&mut *self.passing.cut.lock().unwrap()).cancel();
    }
}

async fn pass_bytes(near: TcpStream, far: TcpStream, passing: &Passing) {
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
    let pump = async |from: &mut tokio::net::tcp::OwnedReadHalf, to: &mut tokio::net::tcp::OwnedWriteHalf| {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            passing.bytes.fetch_add(n as u64, Relaxed);
            if to.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = pump(&mut near_in, &mut far_out) => {}
        () = pump(&mut far_in, &mut near_out) => {}
    }
}

type Waiting = Arc<Mutex<Option<(bool, WebSocketStream<TcpStream>)>>>;

/// The newest of each side is piped to the newest of the other.
async fn meet(stream: TcpStream, waiting: Waiting, passing: Arc<Passing>) {
    let mut is_source = false;
    #[allow(clippy::result_large_err)] // the library's own type
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        is_source = request.uri().query().unwrap_or_default().contains("side=source");
        Ok(response)
    };
    let Ok(me) = accept_hdr_async(stream, look).await else { return };
    let other = {
        let mut waiting = waiting.lock().unwrap();
        match waiting.take() {
            Some((side, other)) if side != is_source => other,
            _ => {
                *waiting = Some((is_source, me));
                return;
            }
        }
    };
    let ((mut my_out, mut my_in), (mut their_out, mut their_in)) = (me.split(), other.split());
    let count = |message: &Message| passing.bytes.fetch_add(message.len() as u64, Relaxed);
    let there = async {
        while let Some(Ok(message @ Message::Binary(_))) = my_in.next().await {
            count(&message);
            if their_out.send(message).await.is_err() {
                return;
            }
        }
    };
    let back = async {
        while let Some(Ok(message @ Message::Binary(_))) = their_in.next().await {
            count(&message);
            if my_out.send(message).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}
