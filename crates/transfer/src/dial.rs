//! The source's way in: TCP if nobody brought a stream, TLS with the announced peer, and the first words.

use std::{io, time::Duration};

use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::{io::AsyncWrite, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    error::{Error, Result},
    identity::{Fingerprint, Identity},
    link::{self, Frame, Meter, SOCKET_BUFFER},
    stream::{BoxedStream, Buffered, Stream, buffered},
    tls,
    wire::{MAX_HELLO, ToSource},
};

/// A receiver that has proved who it is.
pub(crate) type Connection = TlsStream<Buffered>;

pub(crate) async fn tcp(address: &str) -> Result<BoxedStream> {
    let stream = TcpStream::connect(address).await.map_err(Error::Unreachable)?;
    stream.set_nodelay(true).map_err(Error::Unreachable)?;
    Ok(Box::new(stream))
}

/// The source is the client of TLS, whoever dialled whom.
pub(crate) async fn secure(stream: impl Stream, me: &Identity, peer: Fingerprint) -> Result<Connection> {
    let name = ServerName::try_from(tls::SERVER_NAME).expect("a valid name");
    let connector = TlsConnector::from(tls::client(me, peer)?);
    let mut stream = connector.connect(name, buffered(stream)).await.map_err(tls_failed)?;
    stream.get_mut().1.set_buffer_limit(Some(SOCKET_BUFFER));
    Ok(stream)
}

/// Says `message` before there is a link.
pub(crate) async fn say(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> Result<()> {
    let frame = Frame::new(message, Vec::new());
    link::write_frame(stream, &frame, &Meter::default()).await.map_err(tls_failed)
}

/// The receiver's next word, signs of life aside. Its refusal is an error.
pub(crate) async fn hear(stream: &mut Connection, patience: Duration) -> Result<ToSource> {
    loop {
        let frame = link::read_frame(stream, patience, 16 * MAX_HELLO, 0).await.map_err(|e| match e {
            Error::Unreachable(e) => tls_failed(e),
            e => e,
        })?;
        if !frame.is_sign_of_life() {
            return match frame.message()? {
                ToSource::Failed(failure) => Err(failure.into()),
                other => Ok(other),
            };
        }
    }
}

/// A peer that is not the one we want stays so; a broken connection does not.
fn tls_failed(e: io::Error) -> Error {
    match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => Error::Refused(format!("secure connection: {tls}")),
        None => Error::Unreachable(e),
    }
}
