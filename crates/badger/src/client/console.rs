//! `badger server console --follow`: lines as they come, and a keyboard for them.
//!
//! The WebSocket of the panel's API, with the key in its header. A connection that is lost is opened again behind the
//! last line that was shown, so nothing is missed and nothing shown twice, also while the panel is restarted.

use std::io::BufRead as _;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Client;
use crate::exit::Exit;
use crate::output;

const AGAIN: Duration = Duration::from_secs(1);
/// How long the panel may be gone: it may be restarted.
const PANEL_GONE: Duration = Duration::from_mins(2);

/// What a stream's end means.
enum End {
    /// It may be opened again.
    Lost,
    /// The panel has said why not.
    Over(&'static str),
}

/// What was seen of a console.
#[derive(Debug, Default)]
struct Seen {
    memory: String,
    line: u64,
    status: String,
}

/// Follows until interrupted, or until there is nothing to follow any more.
pub(super) fn follow(client: &Client, id: &str, lines: u32) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the asynchronous runtime")?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = stay(client, id, lines) => outcome.map(|()| Exit::Done),
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        }
    });
    // The thread that reads the keyboard cannot be woken: it ends with the process.
    runtime.shutdown_background();
    outcome
}

async fn stay(client: &Client, id: &str, lines: u32) -> Result<()> {
    let mut typed = keyboard();
    let mut seen = Seen::default();
    let mut heard = Instant::now();
    loop {
        let after = match seen.memory.as_str() {
            "" => format!("lines={lines}"),
            memory => format!("after={memory}:{}", seen.line),
        };
        let (url, authorization) = client.api.socket(&format!("/servers/{id}/console/stream?{after}"));
        let mut request = url.into_client_request().context("the panel's address is none of a WebSocket")?;
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(&authorization)?);
        match tokio_tungstenite::connect_async(request).await {
            Ok((socket, _)) => {
                heard = Instant::now();
                match talk(client, socket, &mut seen, &mut typed).await {
                    End::Lost => {}
                    End::Over(why) => bail!("{why}"),
                }
            }
            Err(Error::Http(response)) => bail!(refused(&response)),
            Err(error) if heard.elapsed() > PANEL_GONE => {
                return Err(error).with_context(|| format!("cannot reach the panel at {}", client.api.url()));
            }
            Err(error) => tracing::debug!("the panel is away: {error}"),
        }
        sleep(AGAIN).await;
    }
}

fn refused(response: &tokio_tungstenite::tungstenite::http::Response<Option<Vec<u8>>>) -> String {
    let body: Value = response.body().as_deref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
    let message = body["error"]["message"].as_str();
    message.map_or_else(|| format!("the panel answered with status {}", response.status()), str::to_owned)
}

/// Lines of standard input, until its end.
fn keyboard() -> mpsc::Receiver<String> {
    let (sender, typed) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    typed
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn talk(client: &Client, mut socket: Socket, seen: &mut Seen, typed: &mut mpsc::Receiver<String>) -> End {
    loop {
        tokio::select! {
            Some(line) = typed.recv() => {
                let input = json!({"type": "command", "command": line});
                if socket.send(Message::text(input.to_string())).await.is_err() {
                    output::note("The line was not sent: the connection was lost");
                    return End::Lost;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    if let Ok(word) = serde_json::from_str(text.as_str()) {
                        show(client, &word, seen);
                    }
                }
                Some(Ok(Message::Close(frame))) => return match frame.map(|frame| u16::from(frame.code)) {
                    Some(4401) => End::Over("the API key is not valid any more"),
                    Some(4403) => End::Over("this console may not be seen any more"),
                    Some(4404) => End::Over("the server is gone"),
                    _ => End::Lost,
                },
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return End::Lost,
            },
        }
    }
}

/// Lines to standard output, everything else to standard error; with `--json` all of it as it came.
fn show(client: &Client, word: &Value, seen: &mut Seen) {
    if client.json {
        output::json(word);
    }
    match word["type"].as_str() {
        Some("lines") => {
            let lines = word["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
            seen.line = (word["first"].as_u64().unwrap_or(1) + lines.len() as u64).saturating_sub(1);
            word["memory"].as_str().unwrap_or_default().clone_into(&mut seen.memory);
            if client.json {
                return;
            }
            if let Some(lost) = word["lost"].as_u64().filter(|lost| *lost > 0) {
                output::note(format!("[{lost} lines were lost]"));
            }
            for line in lines {
                output::line(line.as_str().unwrap_or_default());
            }
        }
        Some("status") if !client.json => {
            let online = word["agent_online"] != false;
            let status = word["status"].as_str().unwrap_or("unknown");
            let status = if online { status.to_owned() } else { format!("{status}, its agent is away") };
            if status != seen.status {
                output::note(format!("[{status}]"));
                seen.status = status;
            }
        }
        Some("error") if !client.json => output::note(format!("error: {}", word["message"].as_str().unwrap_or("?"))),
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::client::api::Api;

    #[test]
    fn what_was_seen_is_where_the_next_connection_begins() {
        let client = Client::new(Api::new("http://127.0.0.1:1", "bp_x").unwrap(), true);
        let mut seen = Seen::default();
        let lines = |memory: &str, first: u64, lines: &[&str]| json!({"type": "lines", "memory": memory, "first": first, "lost": 0, "lines": lines});
        show(&client, &lines("m", 5, &["a", "b"]), &mut seen);
        assert_eq!((seen.memory.as_str(), seen.line), ("m", 6));
        show(&client, &json!({"type": "status", "status": "running"}), &mut seen);
        show(&client, &lines("n", 1, &["c"]), &mut seen);
        assert_eq!((seen.memory.as_str(), seen.line), ("n", 1));
        let (url, key) = Api::new("https://panel/", "bp_x").unwrap().socket("/x");
        assert_eq!((url.as_str(), key.as_str()), ("wss://panel/api/v1/x", "Bearer bp_x"));
    }
}
