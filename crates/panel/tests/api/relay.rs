//! The relay over real sockets: who is let in, what passes, and how it ends.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use model::agent_api::{Request, Route, TransferAction};
use serde_json::json;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::agent::{Socket, TestAgent, hello};
use crate::harness::{Panel, http, until, within};
use crate::ladder::{dialled, shut_in};
use crate::transfers::{Two, all_well, at, id_of, two, until_state};

/// A copy that goes by the relay and never ends, and where its two sides dial.
struct Relayed {
    two: Two,
    id: String,
    source: String,
    target: String,
}

async fn relayed() -> Relayed {
    let two = two(shut_in(None, |step| (step == "precopy").then_some(None)), all_well()).await;
    let id = id_of(&two.start().await.accepted());
    let source = two.source.until_asked(delivery).await;
    let Some(Route::Relay { url: target }) = dialled(&two) else { panic!("{:?}", dialled(&two)) };
    Relayed { two, id, source, target }
}

/// Where the source delivers to.
fn delivery(request: &Request) -> Option<String> {
    match request {
        Request::Transfer { action: TransferAction::Precopy { door, .. }, .. } => match &door.route {
            Route::Relay { url } => Some(url.clone()),
            other => panic!("{other:?}"),
        },
        _ => None,
    }
}

async fn dial(url: &str) -> Result<Socket, u16> {
    match within(Box::pin(tokio_tungstenite::connect_async(url))).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

/// The next message with bytes; none when it was closed.
async fn hear(socket: &mut Socket) -> Option<Vec<u8>> {
    loop {
        match within(socket.next()).await {
            Some(Ok(Message::Binary(bytes))) => return Some(bytes.to_vec()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
            Some(Ok(other)) => panic!("{other:?}"),
        }
    }
}

async fn say(socket: &mut Socket, bytes: &[u8]) {
    within(socket.send(Message::binary(bytes.to_vec()))).await.unwrap();
}

/// Both sides, and that they hear each other.
async fn meet(relayed: &Relayed) -> (Socket, Socket) {
    let mut source = dial(&relayed.source).await.unwrap();
    let mut target = dial(&relayed.target).await.unwrap();
    say(&mut source, b"hello").await;
    assert_eq!(hear(&mut target).await.unwrap(), b"hello");
    (source, target)
}

fn path_of(url: &str) -> &str {
    &url[url.find("/api/").unwrap()..]
}

async fn status_of(panel: SocketAddr, path: &str) -> u16 {
    http(panel, "GET", path, &[], b"").await.status
}

#[tokio::test]
async fn bytes_pass_both_ways_and_what_comes_early_waits() {
    let relayed = relayed().await;
    assert_eq!(relayed.two.panel.get(&at(&relayed.id)).await.ok()["path"]["kind"], "relay");
    let mut source = dial(&relayed.source).await.unwrap();
    for early in [b"one".as_slice(), b"two", b"three"] {
        say(&mut source, early).await;
    }
    let mut target = dial(&relayed.target).await.unwrap();
    for expected in ["one", "two", "three"] {
        assert_eq!(hear(&mut target).await.unwrap(), expected.as_bytes());
    }
    let large: Vec<u8> = (0..1_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let (said, heard) = tokio::join!(say(&mut target, &large), hear(&mut source));
    assert_eq!(((), heard.unwrap()), (said, large));
}

#[tokio::test]
async fn whoever_shows_anything_else_learns_nothing() {
    let relayed = relayed().await;
    let panel = relayed.two.panel.address;
    let path = path_of(&relayed.source);
    let other = model::TransferId::new().to_string();
    let last = if path.ends_with('0') { "1" } else { "0" };
    for wrong in [
        path.replace("side=source", "side=target"),
        path.replace("side=source", "side=middle"),
        path.replace(&relayed.id, &other),
        path.replace(&relayed.id, "x"),
        path.split("&token").next().unwrap().to_owned(),
        path.split('?').next().unwrap().to_owned(),
        path[..path.len() - 1].to_owned() + last,
    ] {
        let answer = http(panel, "GET", &wrong, &[], b"").await;
        answer.error(404, "not_found");
        assert_eq!(answer.text, http(panel, "GET", "/api/v1/agents/relay/x", &[], b"").await.text, "{wrong}");
        assert_eq!(dial(&format!("ws://{panel}{wrong}")).await.unwrap_err(), 404);
    }
    assert_eq!(status_of(panel, path).await, 426, "the right one, but no WebSocket");
    meet(&relayed).await;
}

#[tokio::test]
async fn a_side_that_goes_takes_the_other_with_it_and_both_may_come_again() {
    let relayed = relayed().await;
    let (source, mut target) = meet(&relayed).await;
    drop(source);
    assert_eq!(hear(&mut target).await, None);
    let (mut source, target) = meet(&relayed).await;
    drop(target);
    assert_eq!(hear(&mut source).await, None);
    meet(&relayed).await;
}

#[tokio::test]
async fn the_newest_connection_of_a_side_counts() {
    let relayed = relayed().await;
    let mut dead = dial(&relayed.target).await.unwrap();
    let mut newer = dial(&relayed.target).await.unwrap();
    assert_eq!(hear(&mut dead).await, None, "it waited, and another took its place");
    let mut source = dial(&relayed.source).await.unwrap();
    say(&mut source, b"x").await;
    assert_eq!(hear(&mut newer).await.unwrap(), b"x");
    let mut newest = dial(&relayed.source).await.unwrap();
    assert_eq!(hear(&mut source).await, None);
    assert_eq!(hear(&mut newer).await, None, "it dials again");
    let mut again = dial(&relayed.target).await.unwrap();
    say(&mut newest, b"y").await;
    assert_eq!(hear(&mut again).await.unwrap(), b"y");
}

#[tokio::test]
async fn a_target_that_does_not_read_holds_its_source_up_and_loses_nothing() {
    const MESSAGES: u32 = 256;
    let relayed = relayed().await;
    let (source, mut target) = meet(&relayed).await;
    let (mut to_target, _from) = source.split();
    let body = vec![7_u8; 512 << 10];
    let mut sent = 0_u32;
    // More than all buffers of the system on the way together.
    let rushing = async {
        while sent < MESSAGES {
            to_target.send(Message::binary(body.clone())).await.unwrap();
            sent += 1;
        }
    };
    assert!(timeout(Duration::from_secs(2), rushing).await.is_err(), "128 MiB are somewhere");
    let begun = sent;
    let rest = async {
        // The one that was cut short is in the socket's buffer, whole.
        to_target.flush().await.unwrap();
        to_target.send(Message::binary(b"end".to_vec())).await.unwrap();
    };
    let counted = async {
        let mut heard = 0_u32;
        while let Some(bytes) = hear(&mut target).await {
            if bytes == b"end" {
                break;
            }
            assert_eq!(bytes.len(), body.len());
            heard += 1;
        }
        heard
    };
    let ((), heard) = tokio::join!(rest, counted);
    assert!([begun, begun + 1].contains(&heard), "{heard} of {begun}");
}

#[tokio::test]
async fn messages_that_no_agent_sends_end_a_connection() {
    let relayed = relayed().await;
    let (mut source, mut target) = meet(&relayed).await;
    source.send(Message::text("{}")).await.unwrap();
    assert_eq!((hear(&mut source).await, hear(&mut target).await), (None, None));
    let (mut source, mut target) = meet(&relayed).await;
    let too_large = vec![0; panel::relay::MAX_MESSAGE_BYTES + 1];
    // It may be hung up on before all of it is out.
    drop(within(source.send(Message::binary(too_large))).await);
    assert_eq!(hear(&mut target).await, None);
}

#[tokio::test]
async fn nothing_of_it_outlives_its_transfer() {
    let relayed = relayed().await;
    let (mut source, mut target) = meet(&relayed).await;
    let panel = &relayed.two.panel;
    panel.post(&format!("{}/cancel", at(&relayed.id)), &json!({})).await.accepted();
    until_state(panel, &relayed.id, "rolled_back").await;
    assert_eq!((hear(&mut source).await, hear(&mut target).await), (None, None));
    until(async || (status_of(panel.address, path_of(&relayed.source)).await == 404).then_some(())).await;
    assert_eq!(dial(&relayed.target).await.unwrap_err(), 404);
}

#[tokio::test]
async fn a_panel_that_starts_again_lets_the_same_sides_in() {
    let Relayed { two, source, target, .. } = relayed().await;
    let (from, to) = (two.source.node, two.target.node);
    let dir = two.panel.stop().await;
    let panel = Panel::start_in(dir).await;
    let here = |url: &str| format!("ws://{}{}", panel.address, path_of(url));
    until(async || (status_of(panel.address, path_of(&source)).await == 426).then_some(())).await;
    let mut source = dial(&here(&source)).await.unwrap();
    let mut target = dial(&here(&target)).await.unwrap();
    say(&mut source, b"still here").await;
    assert_eq!(hear(&mut target).await.unwrap(), b"still here");
    // Which the agents of both are not asked about.
    let _agents = (
        TestAgent::back(panel.address, from, &hello(None), all_well()).await,
        TestAgent::back(panel.address, to, &hello(None), all_well()).await,
    );
}
