//! A player of the ledger: sends numbered records at a steady rate over one connection, comes back by itself when the
//! connection is lost, remembers what was acknowledged and when, and at the end asks for every record again.
//!
//! ```text
//!   not connected ──(an address answers HELLO)──► connected: send what is not acknowledged, then new ones at the rate
//!        ▲                                            │ end of stream, error, silence of 5 s
//!        └────────────────────────────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::line::Line;
use super::protocol::put_line;
use super::record::{ClientName, Sum, payload_of};
use crate::signals::Stop;

const SILENCE: Duration = Duration::from_secs(5);
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(20);
/// Records that became due within this time are sent at once.
const CATCH_UP: Duration = Duration::from_millis(50);
/// Records that may be sent ahead of their acknowledgement.
const WINDOW: usize = 256;

/// How to play.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Under which name.
    pub(crate) client: ClientName,
    /// `host:port`s at which the server may be, tried in turn.
    pub(crate) addresses: Vec<String>,
    /// Records per second.
    pub(crate) rate: u32,
    /// Stop by itself when so many are acknowledged.
    pub(crate) count: Option<u64>,
    /// How long `finish` tries to reach the server.
    pub(crate) patience: Duration,
}

/// What the player has seen so far.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Stats {
    /// Records acknowledged.
    pub(crate) acknowledged: u64,
    /// Whether there is a connection now, and to where.
    pub(crate) connected_to: Option<String>,
    /// Connections after the first.
    pub(crate) reconnects: u64,
    /// The longest time between two acknowledgements, in milliseconds: what a player calls the outage.
    pub(crate) longest_gap_ms: u64,
    /// Times an address was tried in vain.
    pub(crate) failed_attempts: u64,
}

/// What came out at the end.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Outcome {
    /// See [`Stats`].
    #[serde(flatten)]
    pub(crate) stats: Stats,
    /// Acknowledged records that the server found again in all its files, unchanged.
    pub(crate) verified: u64,
    /// Acknowledged records that are not there, with the reason; the first few.
    pub(crate) missing: Vec<String>,
}

impl Outcome {
    /// Whether every acknowledged record is there.
    pub(crate) fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.verified == self.stats.acknowledged
    }
}

/// A player in a thread of its own.
#[derive(Debug)]
pub(crate) struct Player {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Game>>,
}

#[derive(Debug)]
struct Shared {
    stop: Stop,
    addresses: Mutex<Vec<String>>,
    stats: Mutex<Stats>,
}

impl Player {
    /// Begins to play.
    pub(crate) fn start(config: Config) -> Result<Self> {
        let shared = Arc::new(Shared {
            stop: Stop::default(),
            addresses: Mutex::new(config.addresses.clone()),
            stats: Mutex::new(Stats::default()),
        });
        let mut game = Game::new(config, Arc::clone(&shared));
        let thread = thread::Builder::new().name("player".into()).spawn(move || {
            game.play();
            game
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Tells it another address at which the server may be.
    pub(crate) fn add_address(&self, address: &str) {
        let mut addresses = lock(&self.shared.addresses);
        if !addresses.iter().any(|a| a == address) {
            addresses.push(address.to_owned());
        }
    }

    /// What it has seen so far.
    pub(crate) fn stats(&self) -> Stats {
        lock(&self.shared.stats).clone()
    }

    /// Whether it ended by itself, having reached its count.
    pub(crate) fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends the game: waits for what was sent to be acknowledged, then has everything verified.
    pub(crate) fn finish(mut self) -> Result<(Outcome, Vec<(u64, Sum)>)> {
        self.shared.stop.request();
        let thread = self.thread.take().context("the player has ended already")?;
        let mut game = thread.join().map_err(|_| anyhow::anyhow!("the player's thread panicked"))?;
        let deadline = Instant::now() + game.config.patience;
        let outcome = game.settle(deadline)?;
        Ok((outcome, game.acknowledged.into_iter().collect()))
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.shared.stop.request();
    }
}

/// The player's memory.
#[derive(Debug)]
struct Game {
    config: Config,
    shared: Arc<Shared>,
    /// Sent or to be sent, not acknowledged.
    pending: BTreeMap<u64, Vec<u8>>,
    acknowledged: BTreeMap<u64, Sum>,
    next: u64,
    last_ack: Option<Instant>,
    connections: u64,
    turn: usize,
}

impl Game {
    fn new(config: Config, shared: Arc<Shared>) -> Self {
        let (pending, acknowledged) = (BTreeMap::new(), BTreeMap::new());
        Self { config, shared, pending, acknowledged, next: 1, last_ack: None, connections: 0, turn: 0 }
    }

    /// Connects and plays, again and again, until told to stop.
    fn play(&mut self) {
        while !self.is_over() {
            match self.connect() {
                Ok(line) => {
                    self.connections += 1;
                    lock(&self.shared.stats).reconnects = self.connections - 1;
                    if let Err(e) = self.session(line) {
                        tracing::debug!("the player lost its connection: {e:#}");
                    }
                    lock(&self.shared.stats).connected_to = None;
                    self.shared.stop.wait(BETWEEN_ATTEMPTS);
                }
                Err(e) => {
                    tracing::trace!("the player cannot connect: {e:#}");
                    lock(&self.shared.stats).failed_attempts += 1;
                    self.shared.stop.wait(BETWEEN_ATTEMPTS);
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        let enough = self.config.count.is_some_and(|count| self.acknowledged.len() as u64 >= count);
        enough || self.shared.stop.is_requested()
    }

    /// Tries the next address.
    fn connect(&mut self) -> Result<Line> {
        let address = {
            let addresses = lock(&self.shared.addresses);
            ensure!(!addresses.is_empty(), "no address is known");
            addresses[self.turn % addresses.len()].clone()
        };
        // Stay with an address that works; move on from one that does not.
        let line = Line::open(&address, &self.config.client).inspect_err(|_| self.turn += 1)?;
        lock(&self.shared.stats).connected_to = Some(address);
        Ok(line)
    }

    /// One connection, until it breaks or the game is over.
    fn session(&mut self, mut line: Line) -> Result<()> {
        for (seq, payload) in &self.pending {
            line.write(&put_line(*seq, payload))?;
        }
        let interval = Duration::from_secs(1) / self.config.rate.max(1);
        let (mut due, mut heard) = (Instant::now(), Instant::now());
        while !self.is_over() {
            let now = Instant::now();
            // Sockets wait in steps of some milliseconds, so several may be due; a longer pause is not made up for.
            due = due.max(now.checked_sub(CATCH_UP).unwrap_or(now));
            while due <= now && self.may_send() {
                self.send_next(&mut line)?;
                due += interval;
            }
            let wait = due.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            while let Some(answer) = line.read(wait)? {
                self.take_answer(&answer)?;
                heard = Instant::now();
                if heard >= due {
                    break;
                }
            }
            ensure!(self.pending.is_empty() || heard.elapsed() < SILENCE, "the server is silent");
            if self.pending.is_empty() {
                heard = Instant::now();
            }
        }
        Ok(())
    }

    fn may_send(&self) -> bool {
        self.pending.len() < WINDOW && self.config.count.is_none_or(|count| self.next <= count)
    }

    fn send_next(&mut self, line: &mut Line) -> Result<()> {
        let payload = payload_of(&self.config.client, self.next);
        line.write(&put_line(self.next, &payload))?;
        self.pending.insert(self.next, payload);
        self.next += 1;
        Ok(())
    }

    fn take_answer(&mut self, answer: &str) -> Result<()> {
        let mut words = answer.splitn(3, ' ');
        match (words.next(), words.next().and_then(|seq| seq.parse::<u64>().ok()), words.next()) {
            (Some("ACK"), Some(seq), Some(_)) => {
                self.take_ack(seq);
                Ok(())
            }
            (Some("ERR"), _, why) => bail!("the server refused: {}", why.unwrap_or("no reason given")),
            _ => bail!("not an answer: {answer}"),
        }
    }

    fn take_ack(&mut self, seq: u64) {
        // An acknowledgement that comes twice (sent again after a reconnect) counts once.
        let Some(payload) = self.pending.remove(&seq) else { return };
        self.acknowledged.insert(seq, Sum::of(&payload));
        let now = Instant::now();
        let gap = self.last_ack.replace(now).map_or(Duration::ZERO, |last| now - last);
        let mut stats = lock(&self.shared.stats);
        stats.acknowledged += 1;
        stats.longest_gap_ms = stats.longest_gap_ms.max(u64::try_from(gap.as_millis()).unwrap_or(u64::MAX));
    }

    /// Sends what is pending again and verifies all, as often as it takes until `deadline`.
    fn settle(&mut self, deadline: Instant) -> Result<Outcome> {
        loop {
            let outcome = self.connect().and_then(|line| self.drain_and_verify(line));
            match outcome {
                Ok(outcome) => return Ok(outcome),
                Err(e) if Instant::now() >= deadline => return Err(e.context("the server could not be asked")),
                Err(_) => thread::sleep(BETWEEN_ATTEMPTS),
            }
        }
    }

    fn drain_and_verify(&mut self, mut line: Line) -> Result<Outcome> {
        for (seq, payload) in &self.pending {
            line.write(&put_line(*seq, payload))?;
        }
        while !self.pending.is_empty() {
            let answer = line.read(SILENCE)?.context("the server is silent")?;
            self.take_answer(&answer)?;
        }
        let mut outcome = Outcome::default();
        if let (Some(first), Some(last)) = (self.acknowledged.keys().next(), self.acknowledged.keys().next_back()) {
            line.write(&format!("VERIFY {first} {last}\n"))?;
            self.compare(&mut line, &mut outcome)?;
        }
        outcome.stats = lock(&self.shared.stats).clone();
        Ok(outcome)
    }

    /// Compares what the server has with what it acknowledged.
    fn compare(&self, line: &mut Line, outcome: &mut Outcome) -> Result<()> {
        let mut wanted = self.acknowledged.clone();
        loop {
            let answer = line.read(Duration::from_secs(30))?.context("the server does not finish VERIFY")?;
            let mut words = answer.splitn(3, ' ');
            let (kind, seq, rest) = (words.next(), words.next().and_then(|s| s.parse::<u64>().ok()), words.next());
            match (kind, seq, rest) {
                (Some("VERIFIED"), ..) => break,
                (Some("HAVE"), Some(seq), Some(sum)) => match wanted.remove(&seq) {
                    Some(ours) if ours == sum.parse()? => outcome.verified += 1,
                    Some(_) => outcome.missing.push(format!("record {seq} came back with another payload")),
                    None => {}
                },
                (Some("LACK"), Some(seq), why) if wanted.remove(&seq).is_some() => {
                    outcome.missing.push(format!("record {seq}: {}", why.unwrap_or("lost")));
                }
                (Some("LACK"), ..) => {}
                _ => bail!("not an answer to VERIFY: {answer}"),
            }
        }
        outcome.missing.extend(wanted.keys().map(|seq| format!("record {seq}: no answer about it")));
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters and lists of addresses: each change is one assignment, so a panic elsewhere leaves them usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
