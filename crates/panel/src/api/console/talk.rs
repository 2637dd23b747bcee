//! One client of a console, from its upgrade to its end.
//!
//! Four things go on at once and end together: what is new is written, what the client says is read, its inputs are acted
//! upon one after the other, and its rights are looked at again. A client that takes nothing is waited for by all of
//! them, so nothing is kept for it.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::Wanted;
use super::follow::Follower;
use super::words::{Input, Word};
use crate::api::on_server::{OnServer, Right};
use crate::api::{ApiError, power};
use crate::app::App;

/// Words that wait to be written, and inputs that wait to be acted upon.
const WAITING: usize = 8;
/// How often a client is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long it may say nothing, not even that.
const SILENCE: Duration = Duration::from_mins(1);
/// How long one message may take to get out.
const SEND_PATIENCE: Duration = Duration::from_secs(20);
/// How long a goodbye may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// How often the caller's rights are looked at again.
const RIGHTS_EVERY: Duration = Duration::from_secs(10);

type Sink<'a> = SplitSink<&'a mut WebSocket, Message>;

/// Why it is over.
struct End(u16, &'static str);

const NOT_IN: End = End(4401, "log in again");
const MAY_NOT: End = End(4403, "this console may not be seen any more");
const GONE: End = End(4404, "the server is gone");
const SILENT: End = End(4408, "silent for too long");
const SLOW: End = End(4408, "does not take what it is sent");
const CUT: End = End(1000, "closed by the client");
const PANEL_ENDS: End = End(1001, "the panel ends");

/// Serves one client until it or the server goes.
pub(super) async fn serve(app: App, on: OnServer, wanted: Wanted, mut socket: WebSocket) {
    let (sink, stream) = (&mut socket).split();
    let (news, words) = mpsc::channel(WAITING);
    let (inputs, acts) = mpsc::channel(WAITING);
    let follower =
        Follower { app: app.clone(), id: on.id, mark: wanted.after, lines: wanted.lines, news: news.clone() };
    let end = tokio::select! {
        end = write(sink, hello(&on), words) => end,
        end = read(stream, &news, inputs) => end,
        end = act(&app, &on, acts, &news) => end,
        end = watch_rights(&app, &on) => end,
        () = follower.follow() => GONE,
        () = app.shutdown.cancelled() => PANEL_ENDS,
    };
    let frame = CloseFrame { code: end.0, reason: Utf8Bytes::from_static(end.1) };
    if !matches!(timeout(CLOSE_PATIENCE, socket.send(Message::Close(Some(frame)))).await, Ok(Ok(()))) {
        tracing::trace!("the goodbye was not heard");
    }
}

fn hello(on: &OnServer) -> Word {
    let mut may = vec!["console"];
    if on.has(Right::Power) {
        may.push("power");
    }
    Word::Hello { server_id: on.id, may }
}

async fn write(mut sink: Sink<'_>, hello: Word, mut words: mpsc::Receiver<Word>) -> End {
    let mut pings = interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = Some(hello);
    loop {
        let message = if let Some(word) = next.take() {
            Message::from(serde_json::to_string(&word).unwrap_or_default())
        } else {
            tokio::select! {
                word = words.recv() => {
                    next = word;
                    continue;
                }
                _ = pings.tick() => Message::Ping(Vec::new().into()),
            }
        };
        match timeout(SEND_PATIENCE, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return CUT,
            Err(_) => return SLOW,
        }
    }
}

async fn read(mut stream: SplitStream<&mut WebSocket>, news: &mpsc::Sender<Word>, inputs: mpsc::Sender<Input>) -> End {
    loop {
        let text = match timeout(SILENCE, stream.next()).await {
            Err(_) => return SILENT,
            Ok(None | Some(Err(_) | Ok(Message::Close(_)))) => return CUT,
            Ok(Some(Ok(Message::Text(text)))) => text,
            Ok(Some(Ok(_))) => continue,
        };
        let sent = match crate::api::extract::from_json(text.as_bytes()) {
            Ok(input) => inputs.send(input).await.is_ok(),
            Err(error) => news.send(Word::outcome(None, Err(error))).await.is_ok(),
        };
        if !sent {
            return CUT;
        }
    }
}

/// Acts upon inputs in their order.
async fn act(app: &App, on: &OnServer, mut inputs: mpsc::Receiver<Input>, news: &mpsc::Sender<Word>) -> End {
    while let Some(input) = inputs.recv().await {
        let id = input.id();
        if news.send(Word::outcome(id, obey(app, on, input).await)).await.is_err() {
            break;
        }
    }
    CUT
}

async fn obey(app: &App, on: &OnServer, input: Input) -> Result<(), ApiError> {
    let taken = app.access.requests.take(&on.admin.caller(), app.now().as_millisecond());
    taken.map_err(ApiError::too_many_requests)?;
    // As they are now, as of any request.
    let on = on.again(app).await?.ok_or_else(ApiError::unauthorized)?;
    match input {
        Input::Command { command, .. } => power::type_line(app, &on, command).await,
        Input::Power { signal, .. } => power::give_signal(app, &on, signal).await,
    }
}

/// Returns when the caller may not see it any more.
async fn watch_rights(app: &App, on: &OnServer) -> End {
    loop {
        sleep(RIGHTS_EVERY).await;
        match on.again(app).await {
            Ok(Some(now)) if now.has(Right::Console) => {}
            Ok(None) => return NOT_IN,
            Err(error) if error.status().is_server_error() => {
                tracing::debug!(server = %on.id, code = error.code(), "the rights of a console's reader are not known");
            }
            Ok(Some(_)) | Err(_) => return MAY_NOT,
        }
    }
}
