//! Opens the WebSocket to the panel and shows who we are.

use std::time::Duration;

use model::agent_api::MAX_MESSAGE_BYTES;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Response, StatusCode, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::End;
use crate::error::{Error, Result};

const PATIENCE: Duration = Duration::from_secs(15);
const PATH: &str = "/api/v1/agents/connect";

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Where the panel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    url: String,
    host: String,
    port: u16,
}

impl Address {
    /// From `http(s)://host[:port][/prefix]`.
    pub(super) fn parse(panel_url: &str) -> Result<Self> {
        let wrong = |why: &str| Error::Config(format!("{panel_url} is no address of a panel: {why}"));
        let uri: Uri = panel_url.parse().map_err(|_| wrong("it is not a URL"))?;
        let (scheme, default_port) = match uri.scheme_str() {
            Some("http" | "ws") => ("ws", 80),
            Some("https" | "wss") => ("wss", 443),
            _ => return Err(wrong("it must begin with http:// or https://")),
        };
        let host = uri.host().ok_or_else(|| wrong("it names no host"))?;
        let port = uri.port_u16().unwrap_or(default_port);
        let prefix = uri.path().trim_end_matches('/');
        let url = format!("{scheme}://{host}:{port}{prefix}{PATH}");
        Ok(Self { url, host: host.trim_matches(['[', ']']).to_owned(), port })
    }
}

/// Connects, with `credential` as the bearer. Answers also which address of ours the panel sees us behind.
pub(super) async fn connect(address: &Address, credential: &str) -> Result<(Socket, std::net::IpAddr), End> {
    match tokio::time::timeout(PATIENCE, open(address, credential)).await {
        Ok(opened) => opened,
        Err(_) => Err(End::lost("it did not answer in time")),
    }
}

async fn open(address: &Address, credential: &str) -> Result<(Socket, std::net::IpAddr), End> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(End::lost)?;
    stream.set_nodelay(true).map_err(End::lost)?;
    let ours = stream.local_addr().map_err(End::lost)?.ip();
    let mut request = address.url.as_str().into_client_request().map_err(End::lost)?;
    let bearer = HeaderValue::from_str(&format!("Bearer {credential}"));
    request.headers_mut().insert(AUTHORIZATION, bearer.map_err(|_| End::refused("the token is not one"))?);
    let config =
        WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE_BYTES)).max_frame_size(Some(MAX_MESSAGE_BYTES));
    match client_async_tls_with_config(request, stream, Some(config), None).await {
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
    fn a_panels_url_becomes_the_sockets() {
        let url = |text: &str| Address::parse(text).map(|address| address.url);
        assert_eq!(url("http://127.0.0.1:8080").unwrap(), "ws://127.0.0.1:8080/api/v1/agents/connect");
        assert_eq!(url("https://p.example/b/").unwrap(), "wss://p.example:443/b/api/v1/agents/connect");
        assert_eq!(Address::parse("http://[::1]:80").unwrap().host, "::1");
        assert!(url("p.example").is_err());
        assert!(url("ftp://p.example").is_err());
    }

    #[test]
    fn only_an_explicit_no_is_final() {
        let body = br#"{"success":false,"error":{"code":"unauthorized","message":"used up"}}"#.to_vec();
        let no = Response::builder().status(401).body(Some(body)).unwrap();
        let busy = Response::builder().status(503).body(None).unwrap();
        assert!(matches!(answered(&no), End::Refused(reason) if reason.contains("used up")));
        assert!(matches!(answered(&busy), End::Lost(_)));
    }
}
