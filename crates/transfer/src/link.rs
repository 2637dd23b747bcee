//! A connection as two queues of frames. One task writes, one reads; both end when the link is dropped, when the peer
//! goes away, or when it has been silent for too long. A side with nothing to say sends a sign of life each second.
//!
//! A frame: length of head (u32), length of body (u32), head (a message in postcard), body (raw). A sign of life has
//! neither.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, Result},
    rate::RateLimit,
    wire::{MAX_BODY, MAX_HEAD},
};

/// Frames that wait to be written, or to be worked on. With the largest body this bounds the memory of a link.
const QUEUE: usize = 4;

/// After so long without anything to say.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Bytes between two looks at the bandwidth limit, where there is one.
const SLICE: usize = 16 << 10;

/// Bytes that are read from a socket at once, and encrypted before they are written.
pub(crate) const SOCKET_BUFFER: usize = 256 << 10;

/// A message and its raw bytes, encoded.
#[derive(Debug)]
pub(crate) struct Frame {
    head: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// A connection after its greeting.
#[derive(Debug)]
pub(crate) struct Link {
    sender: Sender,
    incoming: mpsc::Receiver<Result<Frame>>,
    writer: Option<tokio::task::JoinHandle<()>>,
    /// Ends both tasks.
    end: CancellationToken,
}

/// Queues frames. Clones share the queue.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    queue: mpsc::Sender<Frame>,
    sent: Arc<AtomicU64>,
}

/// The bandwidth and the counter of a link's writer.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) limit: Option<Arc<RateLimit>>,
    pub(crate) sent: Arc<AtomicU64>,
}

impl Frame {
    pub(crate) fn new(message: &impl Serialize, body: Vec<u8>) -> Self {
        Self { head: postcard::to_stdvec(message).expect("plain data"), body }
    }

    pub(crate) fn message<M: DeserializeOwned>(&self) -> Result<M> {
        postcard::from_bytes(&self.head).map_err(|e| Error::Protocol(format!("message not understood: {e}")))
    }
}

impl Frame {
    /// The peer has nothing to say but that it is there.
    pub(crate) fn is_sign_of_life(&self) -> bool {
        self.head.is_empty()
    }
}

impl Link {
    /// Starts the tasks over an established stream.
    pub(crate) fn start<S>(stream: S, idle_timeout: Duration, meter: Meter) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read, write) = tokio::io::split(stream);
        let (queue, outgoing) = mpsc::channel(QUEUE);
        let (deliver, incoming) = mpsc::channel(QUEUE);
        let (end, sent) = (CancellationToken::new(), meter.sent.clone());
        let writing = write_frames(write, outgoing, meter);
        let ended = end.clone();
        let writer = tokio::spawn(async move {
            // A write that fails shows as a read that fails: the reader reports.
            let outcome = ended.run_until_cancelled(writing).await;
            tracing::trace!(?outcome, "link writer ended");
        });
        let ended = end.clone();
        tokio::spawn(async move {
            let reading = read_frames(read, &deliver, idle_timeout);
            if let Some(Err(e)) = ended.run_until_cancelled(reading).await {
                // Nobody listens any more: then nobody wants to know either.
                drop(deliver.send(Err(e)).await);
            }
            ended.cancel();
        });
        Self { sender: Sender { queue, sent }, incoming, writer: Some(writer), end }
    }

    pub(crate) fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Next frame; an error once the peer is gone.
    pub(crate) async fn receive(&mut self) -> Result<Frame> {
        self.incoming.recv().await.unwrap_or_else(|| Err(gone()))
    }

    /// As [`Self::receive`], for threads.
    pub(crate) fn receive_blocking(&mut self) -> Result<Frame> {
        self.incoming.blocking_recv().unwrap_or_else(|| Err(gone()))
    }

    /// As [`Self::receive_blocking`], until `stop`.
    pub(crate) fn receive_until(&mut self, stop: &CancellationToken) -> Result<Frame> {
        let next = tokio::runtime::Handle::current().block_on(async {
            tokio::select! {
                biased;
                frame = self.incoming.recv() => Some(frame),
                () = stop.cancelled() => None,
            }
        });
        next.unwrap_or(Some(Err(Error::Cancelled))).unwrap_or_else(|| Err(gone()))
    }

    /// Cancelled when the connection is over, whoever ended it.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.end
    }

    /// Says `message`, then ignores the peer until it has hung up, so that what we said is not lost to a reset.
    pub(crate) async fn last_words(mut self, message: &impl Serialize) {
        let frame = Frame::new(message, Vec::new());
        let parting = async {
            if self.sender.queue.send(frame).await.is_ok() {
                while self.receive().await.is_ok() {}
            }
        };
        // Whether the peer heard it in time makes no difference to us.
        drop(timeout(LAST_WORDS, parting).await);
    }

    /// Writes what is queued and hangs up.
    pub(crate) async fn close(mut self) {
        let (queue, _) = mpsc::channel(1);
        // The writer ends when the last sender is gone.
        self.sender.queue = queue;
        if let Some(writer) = self.writer.take() {
            drop(timeout(LAST_WORDS, writer).await);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Sender {
    /// Queues a message without raw bytes, from a thread.
    pub(crate) fn send_blocking(&self, message: &impl Serialize) -> Result<()> {
        self.send_frame_blocking(Frame::new(message, Vec::new()))
    }

    /// Queues a frame from a thread.
    pub(crate) fn send_frame_blocking(&self, frame: Frame) -> Result<()> {
        self.queue.blocking_send(frame).map_err(|_| gone())
    }

    /// Queues a message if there is room; for news that the next one makes obsolete.
    pub(crate) fn offer(&self, message: &impl Serialize) {
        // A full queue is a busy link: no sign of life is needed then.
        drop(self.queue.try_send(Frame::new(message, Vec::new())));
    }

    /// Queues a message.
    pub(crate) async fn send(&self, message: &impl Serialize) -> Result<()> {
        self.queue.send(Frame::new(message, Vec::new())).await.map_err(|_| gone())
    }

    /// Bytes written so far.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }
}

pub(crate) fn gone() -> Error {
    Error::Unreachable(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection is closed"))
}

async fn write_frames<W>(mut write: WriteHalf<W>, mut frames: mpsc::Receiver<Frame>, meter: Meter) -> io::Result<()>
where
    W: AsyncRead + AsyncWrite,
{
    loop {
        match timeout(SIGN_OF_LIFE, frames.recv()).await {
            Ok(Some(frame)) => write_frame(&mut write, &frame, &meter).await?,
            Ok(None) => return write.shutdown().await,
            Err(_) => sign_of_life(&mut write, &meter).await?,
        }
    }
}

/// Writes one frame within the bandwidth limit.
pub(crate) async fn write_frame(write: &mut (impl AsyncWrite + Unpin), frame: &Frame, meter: &Meter) -> io::Result<()> {
    let mut start = Vec::with_capacity(8 + frame.head.len());
    for len in [frame.head.len(), frame.body.len()] {
        start.extend_from_slice(&u32::try_from(len).expect("bounded").to_le_bytes());
    }
    start.extend_from_slice(&frame.head);
    let slice = if meter.limit.is_some() { SLICE } else { SOCKET_BUFFER };
    for slice in start.chunks(slice).chain(frame.body.chunks(slice)) {
        wait_for_turn(slice.len(), meter).await;
        write.write_all(slice).await?;
        meter.sent.fetch_add(slice.len() as u64, Relaxed);
    }
    write.flush().await
}

async fn wait_for_turn(bytes: usize, meter: &Meter) {
    if let Some(limit) = &meter.limit {
        // In the middle of a frame there is no room for signs of life; a slice at the lowest useful rate is short
        // against the idle timeout.
        while let Some(nap) = limit.take(bytes) {
            tokio::time::sleep(nap).await;
        }
    }
}

async fn sign_of_life(write: &mut (impl AsyncWrite + Unpin), meter: &Meter) -> io::Result<()> {
    write.write_all(&[0; 8]).await?;
    meter.sent.fetch_add(8, Relaxed);
    write.flush().await
}

async fn read_frames<R>(mut read: ReadHalf<R>, deliver: &mpsc::Sender<Result<Frame>>, idle: Duration) -> Result<()>
where
    R: AsyncRead + AsyncWrite,
{
    loop {
        let frame = read_frame(&mut read, idle, MAX_HEAD, MAX_BODY).await?;
        if !frame.is_sign_of_life() && deliver.send(Ok(frame)).await.is_err() {
            return Ok(());
        }
    }
}

/// Reads one frame whose parts are no longer than allowed.
pub(crate) async fn read_frame(
    read: &mut (impl AsyncRead + Unpin),
    idle: Duration,
    max_head: usize,
    max_body: usize,
) -> Result<Frame> {
    let lengths = read_bytes(read, 8, idle).await?;
    let length = |at: usize| u32::from_le_bytes(lengths[at..at + 4].try_into().expect("four bytes")) as usize;
    let (head, body) = (length(0), length(4));
    if head > max_head || body > max_body {
        return Err(Error::Protocol(format!("a frame of {head} and {body} bytes is too long")));
    }
    Ok(Frame { head: read_bytes(read, head, idle).await?, body: read_bytes(read, body, idle).await? })
}

async fn read_bytes(read: &mut (impl AsyncRead + Unpin), len: usize, idle: Duration) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let deadline = Instant::now() + idle;
        let mut rest = (&mut *read).take((len - bytes.len()) as u64);
        let got = tokio::select! {
            biased;
            got = rest.read_buf(&mut bytes) => got.map_err(Error::Unreachable)?,
            () = sleep_until(deadline) => return Err(silent(idle)),
        };
        if got == 0 {
            return Err(gone());
        }
    }
    Ok(bytes)
}

fn silent(idle: Duration) -> Error {
    let text = format!("nothing was heard for {} s", idle.as_secs());
    Error::Unreachable(io::Error::new(io::ErrorKind::TimedOut, text))
}
