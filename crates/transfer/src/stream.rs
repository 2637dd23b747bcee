//! A connection, whoever made it: a TCP socket that was accepted or dialled, or a pipe through somebody else. What runs
//! on top does not ask.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::link::SOCKET_BUFFER;

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// One type for all of them.
pub type BoxedStream = Box<dyn Stream>;

/// TLS reads records of 16 KiB; what is beneath is read in larger steps.
pub(crate) type Buffered = BufReader<BoxedStream>;

pub(crate) fn buffered(stream: impl Stream) -> Buffered {
    BufReader::with_capacity(SOCKET_BUFFER, Box::new(stream))
}

/// Tells when the stream has been dropped, by whoever had it last.
pub(crate) struct Watched<S> {
    stream: S,
    _dropped: DropGuard,
}

impl<S: Stream> Watched<S> {
    /// The token is cancelled when the stream is gone.
    pub(crate) fn new(stream: S) -> (Self, CancellationToken) {
        let gone = CancellationToken::new();
        (Self { stream, _dropped: gone.clone().drop_guard() }, gone)
    }
}

impl<S: Stream> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: Stream> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
