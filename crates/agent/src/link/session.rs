//! One connection, from hello to its end.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use model::agent_api::{AgentError, ErrorCode, Hello, Notice, Outcome, Request, ToAgent, ToPanel, VERSION, Welcome};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use tokio_util::sync::CancellationToken;

use super::connect::Socket;
use super::{Agent, End};

const WELCOME: Duration = Duration::from_secs(15);
const SEND: Duration = Duration::from_secs(20);
const GOODBYE: Duration = Duration::from_secs(1);
const HEARTBEAT_MS: std::ops::RangeInclusive<u64> = 100..=60_000;
const MISSED: u32 = 3;
/// Somebody who is busy for a moment is not gone.
const SILENCE_AT_LEAST: Duration = Duration::from_secs(10);
const ANSWERS: usize = 64;

/// A socket on which we are not welcomed yet.
pub(super) struct Session {
    socket: Socket,
    agent: Arc<dyn Agent>,
    shutdown: CancellationToken,
    heard: Instant,
}

impl Session {
    pub(super) fn new(socket: Socket, agent: Arc<dyn Agent>, shutdown: CancellationToken) -> Self {
        Self { socket, agent, shutdown, heard: Instant::now() }
    }

    /// Says who we are; answers what the other end made of it.
    pub(super) async fn introduce(&mut self, secret: Option<String>, ours: IpAddr) -> Result<Welcome, End> {
        let hello = Hello { secret, ..self.agent.hello(ours).await };
        self.send(&ToPanel::Hello(Box::new(hello))).await?;
        let welcome = timeout(WELCOME, self.welcome()).await;
        welcome.unwrap_or_else(|_| Err(End::lost("no welcome came")))
    }

    async fn welcome(&mut self) -> Result<Welcome, End> {
        loop {
            let Some(text) = self.receive().await? else { continue };
            if let Ok(ToAgent::Welcome(welcome)) = serde_json::from_str(&text) {
                return Ok(welcome);
            }
        }
    }

    /// Obeys until the connection ends or the agent does.
    pub(super) async fn serve(mut self, heartbeat_ms: u64) -> End {
        let every = Duration::from_millis(heartbeat_ms.clamp(*HEARTBEAT_MS.start(), *HEARTBEAT_MS.end()));
        let silence = (every * MISSED).max(SILENCE_AT_LEAST);
        let mut beats = tokio::time::interval(every);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut news = self.agent.news();
        let (answers, mut answered) = mpsc::channel(ANSWERS);
        let shutdown = self.shutdown.clone();
        loop {
            let gone = self.heard + silence;
            let step = tokio::select! {
                () = shutdown.cancelled() => return self.goodbye().await,
                () = tokio::time::sleep_until(gone) => Err(End::lost("the other end is silent")),
                message = self.receive() => message.map(|text| self.obey(text.as_deref(), &answers)),
                Some(reply) = answered.recv() => self.send(&reply).await,
                notice = news.recv() => self.tell(notice).await,
                _ = beats.tick() => self.beat().await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// The next text message; none for anything else that shows life.
    async fn receive(&mut self) -> Result<Option<String>, End> {
        let message = match self.socket.next().await {
            Some(message) => message.map_err(End::lost)?,
            None => return Err(End::lost("the connection was cut")),
        };
        self.heard = Instant::now();
        match message {
            Message::Text(text) => Ok(Some(text.as_str().to_owned())),
            Message::Close(frame) => Err(closed(frame)),
            _ => Ok(None),
        }
    }

    /// Begins what is asked, in the order in which it was. The answers come as they are ready, and a connection that
    /// ends in between only loses answers.
    fn obey(&self, text: Option<&str>, answers: &mpsc::Sender<ToPanel>) {
        let Some(text) = text else { return };
        let (id, request) = match serde_json::from_str(text) {
            Ok(ToAgent::Request { id, request }) => (id, request),
            Ok(ToAgent::Welcome(_)) => return,
            Err(error) => return tracing::warn!(%error, "something was said that is not understood"),
        };
        let answers = answers.clone();
        let outcome = match serde_json::from_value::<Request>(request) {
            Ok(request) => Arc::clone(&self.agent).obey(request),
            Err(error) => Box::pin(std::future::ready(unsupported(&error))),
        };
        tokio::spawn(async move {
            let outcome = outcome.await;
            if answers.send(ToPanel::Reply { id, outcome }).await.is_err() {
                tracing::debug!(id, "the connection ended before the answer; it is asked for again");
            }
        });
    }

    async fn tell(&mut self, notice: Result<Notice, broadcast::error::RecvError>) -> Result<(), End> {
        match notice {
            Ok(notice) => self.send(&ToPanel::Notice(notice)).await,
            // What was missed is in the next heartbeat; progress is of the moment anyway.
            Err(_) => Ok(()),
        }
    }

    async fn beat(&mut self) -> Result<(), End> {
        let (resources, servers) = (self.agent.resources().await, self.agent.observations());
        let player_addresses = self.agent.player_addresses();
        self.send(&ToPanel::Notice(Notice::Heartbeat { resources, servers, player_addresses })).await?;
        self.put(Message::Ping(Vec::new().into())).await
    }

    async fn send(&mut self, message: &ToPanel) -> Result<(), End> {
        let text = serde_json::to_string(message).map_err(End::lost)?;
        self.put(Message::Text(text.into())).await
    }

    async fn put(&mut self, message: Message) -> Result<(), End> {
        match timeout(SEND, self.socket.send(message)).await {
            Ok(sent) => sent.map_err(End::lost),
            Err(_) => Err(End::lost("the other end does not take what it is sent")),
        }
    }

    async fn goodbye(mut self) -> End {
        let frame = CloseFrame { code: CloseCode::Away, reason: "the agent ends".into() };
        if !matches!(timeout(GOODBYE, self.socket.close(Some(frame))).await, Ok(Ok(()))) {
            tracing::debug!("the goodbye was not heard");
        }
        End::Shutdown
    }
}

fn unsupported(error: &serde_json::Error) -> Outcome {
    let message = format!("this agent ({VERSION}) does not know the command: {error}");
    Outcome::Err(AgentError::new(ErrorCode::Unsupported, message))
}

/// Private codes that no other attempt will change: a bad hello, a used token, another version. One says that this agent
/// is linked by a newer connection.
fn closed(frame: Option<CloseFrame>) -> End {
    let Some(frame) = frame else { return End::lost("the other end closed the connection") };
    let reason = frame.reason.as_str().to_owned();
    match u16::from(frame.code) {
        4400 | 4401 | 4403 | 4426 => End::Refused(reason),
        4409 => End::Displaced(reason),
        code => End::Lost(format!("the other end closed the connection ({code} {reason})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: u16) -> End {
        closed(Some(CloseFrame { code: code.into(), reason: "because".into() }))
    }

    #[test]
    fn only_the_word_that_another_took_our_place_displaces() {
        assert!(matches!(said(4409), End::Displaced(reason) if reason == "because"));
        assert!(matches!(said(4401), End::Refused(_)));
        assert!(matches!(said(1001), End::Lost(_)));
        assert!(matches!(closed(None), End::Lost(_)));
    }
}
