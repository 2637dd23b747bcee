//! Opens the WebSocket to the other end and shows who we are.

use std::net::IpAddr;
use std::time::Duration;

use model::agent_api::MAX_MESSAGE_BYTES;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::{Address, End};

const PATIENCE: Duration = Duration::from_secs(15);

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Connects, with `bearer`. Answers also which address of ours the other end sees us behind.
pub(super) async fn connect(address: &Address, bearer: &str) -> Result<(Socket, IpAddr), End> {
    match tokio::time::timeout(PATIENCE, open(address, bearer)).await {
        Ok(opened) => opened,
        Err(_) => Err(End::lost("it did not answer in time")),
    }
}

async fn open(address: &Address, bearer: &str) -> Result<(Socket, IpAddr), End> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(End::lost)?;
    stream.set_nodelay(true).map_err(End::lost)?;
    let ours = stream.local_addr().map_err(End::lost)?.ip();
    let mut request = address.url.as_str().into_client_request().map_err(End::lost)?;
    let bearer = HeaderValue::from_str(&format!("Bearer {bearer}"));
    request.headers_mut().insert(AUTHORIZATION, bearer.map_err(|_| End::refused("the token is not one"))?);
    let config =
        WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE_BYTES)).max_frame_size(Some(MAX_MESSAGE_BYTES));
    let tls = address.pinned.clone().map(Connector::Rustls);
    match client_async_tls_with_config(request, stream, Some(config), tls).await {
        Ok((socket, _)) => Ok((socket, ours)),
        Err(tungstenite::Error::Http(response)) => Err(answered(&response)),
        Err(error) => Err(End::lost(error)),
    }
}

/// Only these two answers are final; a proxy that is in trouble says all kinds of things.
fn answered(response: &Response<Option<Vec<u8>>>) -> End {
    let status = response.status();
    let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    let said = format!("{status} {}", message(&body));
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => End::refused(said.trim()),
        _ => End::lost(said.trim()),
    }
}

/// The message in the API's error object, or the beginning of whatever came.
fn message(body: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let message = parsed.as_ref().and_then(|value| value.pointer("/error/message")?.as_str());
    message.map_or_else(|| body.chars().take(200).collect(), str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_an_explicit_no_is_final() {
        let body = br#"{"success":false,"error":{"code":"unauthorized","message":"used up"}}"#.to_vec();
        let no = Response::builder().status(401).body(Some(body)).unwrap();
        let busy = Response::builder().status(503).body(None).unwrap();
        assert!(matches!(answered(&no), End::Refused(reason) if reason.contains("used up")));
        assert!(matches!(answered(&busy), End::Lost(_)));
    }
}
