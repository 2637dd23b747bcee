//! The ways between two agents, as streams of bytes. Who delivers, and who is who, is settled in the TLS inside.
//!
//! ```text
//!           source                     target
//! direct    dials the target           (its listener)
//! reverse   (its listener) waits       dials the source, shows the rendezvous
//! relay     dials the panel            dials the panel
//! ```

use std::time::Duration;

use ::transfer::{BoxedStream, Error, Rendezvous};
use model::agent_api::Route;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::client_async_tls_with_config;
use tokio_tungstenite::tungstenite::Error as SocketError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::pipe::Pipe;

/// For one attempt to dial.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the relay passes on at once.
const MESSAGE: usize = 1 << 20;

/// Dials, as the source does on [`Route::Direct`] and the target on [`Route::Reverse`]; on [`Route::Relay`] both do.
/// `panel` completes a relay's URL that has no host: the panel does not always know what it is called.
pub(super) async fn dial(route: &Route, panel: &str) -> Result<BoxedStream, Error> {
    let dialling = async {
        match route {
            Route::Direct { address } => tcp(address).await.map(boxed),
            Route::Reverse { address, rendezvous } => {
                let rendezvous: Rendezvous = rendezvous.parse()?;
                let mut stream = tcp(address).await?;
                rendezvous.show(&mut stream).await?;
                Ok(boxed(stream))
            }
            Route::Relay { url } => relay(&complete(url, panel)).await,
        }
    };
    timeout(PATIENCE, dialling).await.map_err(|_| unreachable("nobody answered in time"))?
}

fn boxed(stream: TcpStream) -> BoxedStream {
    Box::new(stream)
}

async fn tcp(address: &str) -> Result<TcpStream, Error> {
    let stream = TcpStream::connect(address).await.map_err(Error::Unreachable)?;
    stream.set_nodelay(true).map_err(Error::Unreachable)?;
    Ok(stream)
}

async fn relay(url: &str) -> Result<BoxedStream, Error> {
    let request = url.into_client_request().map_err(|e| Error::Refused(format!("the relay's URL is not one: {e}")))?;
    let stream = tcp(&host_and_port(request.uri())?).await?;
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE)).max_frame_size(Some(MESSAGE));
    match client_async_tls_with_config(request, stream, Some(config), None).await {
        Ok((socket, _)) => Ok(Box::new(Pipe::over(socket))),
        // Not final: a panel that has started again has its passages open a moment later.
        Err(SocketError::Http(response)) => Err(unreachable(format!("the relay answered {}", response.status()))),
        Err(error) => Err(unreachable(error)),
    }
}

fn host_and_port(uri: &Uri) -> Result<String, Error> {
    let host = uri.host().ok_or_else(|| Error::Refused("the relay's URL names no host".to_owned()))?;
    let default_port = if uri.scheme_str() == Some("wss") { 443 } else { 80 };
    Ok(format!("{host}:{}", uri.port_u16().unwrap_or(default_port)))
}

/// A path of the panel becomes a URL.
pub(crate) fn complete(url: &str, panel: &str) -> String {
    if !url.starts_with('/') {
        return url.to_owned();
    }
    let panel = panel.trim_end_matches('/');
    // Both kinds of URL differ in the same letter.
    let socket = panel.strip_prefix("http").map_or_else(|| panel.to_owned(), |rest| format!("ws{rest}"));
    format!("{socket}{url}")
}

/// Where a way leads, without what is secret about it.
pub(super) fn shown(route: &Route) -> String {
    match route {
        Route::Direct { address } => format!("{address} (direct)"),
        Route::Reverse { address, .. } => format!("{address} (reverse)"),
        Route::Relay { url } => format!("{} (relay)", url.split('?').next().unwrap_or_default()),
    }
}

pub(super) fn unreachable(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Unreachable(std::io::Error::other(why))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_path_is_completed_with_the_panel_that_we_know() {
        let path = "/api/v1/agents/relay/x?side=target&token=t";
        assert_eq!(complete(path, "http://p:8080"), format!("ws://p:8080{path}"));
        assert_eq!(complete(path, "https://p.example/b/"), format!("wss://p.example/b{path}"));
        assert_eq!(complete("wss://q/x", "http://p"), "wss://q/x");
    }

    #[test]
    fn a_relay_is_dialled_at_its_own_port_or_the_usual_one() {
        let at = |url: &str| host_and_port(&url.parse().unwrap()).unwrap();
        assert_eq!(at("ws://p/x"), "p:80");
        assert_eq!(at("wss://p/x"), "p:443");
        assert_eq!(at("wss://[::1]:8/x"), "[::1]:8");
        assert!(host_and_port(&"/x".parse().unwrap()).is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        let relay = Route::Relay { url: "ws://p/relay/1?token=secret".to_owned() };
        let reverse = Route::Reverse { address: "a:1".to_owned(), rendezvous: "secret".to_owned() };
        assert!(![relay, reverse].iter().any(|route| shown(route).contains("secret")));
    }
}
