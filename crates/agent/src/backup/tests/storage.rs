//! A storage that misbehaves when it is told to. What a real one does is for the tests with MinIO.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use model::{SignedObject, SignedPart};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// Parts by number, addresses that are good by their signature.
#[derive(Default)]
pub(super) struct State {
    pub(super) parts: BTreeMap<u32, Vec<u8>>,
    /// Requests with a signature below this are refused.
    pub(super) good_from: u64,
    /// So many requests fail before one succeeds.
    pub(super) failing: u32,
    /// How often something was refused or failed.
    pub(super) faults: u32,
    /// Requests are answered no more.
    pub(super) hangs: bool,
}

pub(super) struct Storage {
    pub(super) state: Arc<Mutex<State>>,
    address: SocketAddr,
    _serving: AbortOnDropHandle<()>,
}

impl Storage {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (state, address) = (Arc::new(Mutex::new(State::default())), listener.local_addr().unwrap());
        let shared = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A connection that was cut is the client's business.
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { state, address, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(super) fn part(&self, number: u32, signature: u64) -> SignedPart {
        SignedPart { number, url: format!("http://{}/{number}?{signature}", self.address) }
    }

    pub(super) fn object(&self, signature: u64) -> SignedObject {
        SignedObject { url: format!("http://{}/0?{signature}", self.address), bytes: self.bytes().len() as u64 }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.state.lock().unwrap().parts.values().flatten().copied().collect()
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    while let Some(()) = answer(&mut stream, &state).await {}
}

async fn answer(stream: &mut BufReader<TcpStream>, state: &Mutex<State>) -> Option<()> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let header = |name: &str| head.iter().find_map(|line| line.to_lowercase().strip_prefix(name).map(str::to_owned));
    let mut words = head.first()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (number, signature) = target.strip_prefix('/')?.split_once('?')?;
    let (number, signature): (u32, u64) = (number.parse().ok()?, signature.parse().ok()?);
    let length = header("content-length: ").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    if state.lock().unwrap().hangs {
        std::future::pending::<()>().await;
    }
    let reply = {
        let mut state = state.lock().unwrap();
        if signature < state.good_from {
            state.faults += 1;
            reply("403 Forbidden", "", b"<Error><Code>AccessDenied</Code></Error>")
        } else if state.failing > 0 {
            state.failing -= 1;
            state.faults += 1;
            reply("503 Slow Down", "", b"<Error><Code>SlowDown</Code></Error>")
        } else if method == "PUT" {
            let etag = format!("etag: \"{number}-{}\"\r\n", body.len());
            state.parts.insert(number, body);
            reply("200 OK", &etag, b"")
        } else {
            let all: Vec<u8> = state.parts.values().flatten().copied().collect();
            let range = header("range: bytes=").unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
            let range = format!("content-range: bytes {from}-{to}/{}\r\n", all.len());
            reply("206 Partial Content", &range, &all[from..=to])
        }
    };
    stream.get_mut().write_all(&reply).await.ok()
}

fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}
