//! A player of the ledger, written apart from the demo's: it remembers what the server acknowledged and asks for it later.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use data_encoding::{BASE64_NOPAD, HEXLOWER};

use super::wait::eventually;

/// Every record is kept: at a faster pace the world would be many times as large by the end of a test, and each move as slow.
const BETWEEN_RECORDS: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(3);
const TO_CONNECT: Duration = Duration::from_millis(500);

/// What the server has acknowledged: the checksum of record `seq` is at `seq - 1`.
#[derive(Clone, Debug, Default)]
struct Kept {
    sums: Vec<String>,
    longest_gap: Duration,
    last: Option<Instant>,
}

/// Sends records until it is dropped, wherever the server is.
#[derive(Debug)]
pub(crate) struct Player {
    /// Nobody else's: an address that the server has left may be another server's by now, with other players.
    name: String,
    stop: Arc<AtomicBool>,
    kept: Arc<Mutex<Kept>>,
    addresses: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Player {
    /// Plays at whichever of `addresses` answers.
    pub(crate) fn start(addresses: Vec<String>) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let name = format!("e2e-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (stop, kept) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Kept::default())));
        let addresses = Arc::new(Mutex::new(addresses));
        let (s, k, known, who) = (Arc::clone(&stop), Arc::clone(&kept), Arc::clone(&addresses), name.clone());
        let thread = thread::spawn(move || {
            while !s.load(Ordering::Relaxed) {
                let all = known.lock().unwrap().clone();
                for address in &all {
                    // Refused, cut, gone: the next address, again and again.
                    drop(play(&who, address, &k, &s));
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self { name, stop, kept, addresses, thread: Some(thread) }
    }

    /// From now on it also tries `address`, and tries it first.
    pub(crate) fn also_at(&self, address: &str) {
        let mut all = self.addresses.lock().unwrap();
        all.retain(|known| known != address);
        all.insert(0, address.to_owned());
    }

    /// How many records were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.kept.lock().unwrap().sums.len()
    }

    /// The longest time between two acknowledgements.
    pub(crate) fn longest_gap(&self) -> Duration {
        self.kept.lock().unwrap().longest_gap
    }

    /// Waits until some more are acknowledged: the server is up and plays.
    pub(crate) fn plays_on(&self) {
        self.plays_on_within(Duration::from_secs(30));
    }

    /// The same with another limit.
    pub(crate) fn plays_on_within(&self, limit: Duration) {
        let before = self.acknowledged();
        eventually("records are acknowledged", limit, || (self.acknowledged() >= before + 5).then_some(()));
    }

    /// Asks the server at `address` for every record that was acknowledged; fails if one is missing or another.
    pub(crate) fn assert_all_there(&self, address: &str) {
        self.assert_first_there(address, usize::MAX);
    }

    /// The same for the first `count` alone.
    pub(crate) fn assert_first_there(&self, address: &str, count: usize) {
        let mut sums = self.kept.lock().unwrap().sums.clone();
        sums.truncate(count);
        let (mut stream, mut reader) = connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        greet(&self.name, &mut stream, &mut reader).unwrap();
        writeln!(stream, "VERIFY 1 {}", sums.len().max(1)).unwrap();
        for (seq, sum) in (1..).zip(&sums) {
            assert_eq!(line(&mut reader).unwrap(), format!("HAVE {seq} {sum}"), "an acknowledged record");
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn play(name: &str, address: &str, kept: &Mutex<Kept>, stop: &AtomicBool) -> std::io::Result<()> {
    let (mut stream, mut reader) = connect(address)?;
    let known_here = greet(name, &mut stream, &mut reader)?;
    if known_here == 0 && !kept.lock().unwrap().sums.is_empty() {
        return Err(std::io::Error::other("somebody else's server"));
    }
    while !stop.load(Ordering::Relaxed) {
        let seq = kept.lock().unwrap().sums.len() + 1;
        let payload = format!("record {seq} of the end-to-end test {}", "·".repeat(seq % 700));
        let sum = HEXLOWER.encode(&blake3::hash(payload.as_bytes()).as_bytes()[..16]);
        writeln!(stream, "PUT {seq} {sum} {}", BASE64_NOPAD.encode(payload.as_bytes()))?;
        let answer = line(&mut reader)?;
        if !answer.starts_with(&format!("ACK {seq} ")) {
            return Err(std::io::Error::other(answer));
        }
        let mut kept = kept.lock().unwrap();
        kept.sums.push(sum);
        let now = Instant::now();
        if let Some(last) = kept.last.replace(now) {
            kept.longest_gap = kept.longest_gap.max(now - last);
        }
        drop(kept);
        // A steady rate: each record is an fsync, and the disk is not what is tested.
        thread::sleep(BETWEEN_RECORDS);
    }
    Ok(())
}

fn connect(address: &str) -> std::io::Result<(TcpStream, BufReader<TcpStream>)> {
    // Where nothing listens any more nobody may refuse either: packets to a port that a cluster has taken back vanish.
    let to = address.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
    let stream = TcpStream::connect_timeout(&to, TO_CONNECT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let reader = BufReader::new(stream.try_clone()?);
    Ok((stream, reader))
}

/// The number of the last record that the server has of this player.
fn greet(name: &str, stream: &mut TcpStream, reader: &mut BufReader<TcpStream>) -> std::io::Result<u64> {
    writeln!(stream, "HELLO {name}")?;
    let answer = line(reader)?;
    let last = answer.strip_prefix("WELCOME ").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    last.ok_or_else(|| std::io::Error::other(answer))
}

fn line(reader: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut text = String::new();
    if reader.read_line(&mut text)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(text.trim_end().to_owned())
}
