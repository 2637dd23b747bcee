//! How good is the way to a door? Nothing behind the door notices: no session, no staging, no copy that is replaced.
//!
//! ```text
//! source                                receiver
//!   │ ─ Probe ────────────────────────────► │   magic, version, ticket: as a hello
//!   │ ◄───────────────────────────── Pong 0 │
//!   │ ─ Ping n ───────────────────────────► │   a few times: the shortest is the round-trip time
//!   │ ◄───────────────────────────── Pong n │
//!   │ ─ Load…, Ping n ────────────────────► │   twice as much each time, until it takes long enough to be sure of
//!   │ ◄───────────────────────────── Pong n │
//! ```
//!
//! What the receiver hears is bounded in bytes and words here, in time by the listener's patience with a greeting.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{timeout, timeout_at},
};

use crate::{
    dial::{self, Connection},
    error::{Error, Result},
    identity::{Fingerprint, Identity, Ticket},
    link::{self, Frame, Meter},
    stream::Stream,
    wire::{MAGIC, MAX_HELLO, ToReceiver, ToSource, VERSION},
};

/// Round trips that are timed.
const PINGS: u32 = 5;

/// Bytes of the first and of the largest load.
const LOADS: (usize, usize) = (16 << 10, 4 << 20);

/// Bytes in one frame of a load.
const PIECE: usize = 128 << 10;

/// A load that took so long says enough.
const ENOUGH: Duration = Duration::from_millis(400);

/// No load is begun, or waited for, after so long. The first one is, however slow the way.
const LONGEST: Duration = Duration::from_secs(1);

/// What a receiver listens to at most: twice what [`probe`] says.
const MAX_BYTES: usize = 4 * LOADS.1;
const MAX_PINGS: u32 = 64;

/// What a way is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Round-trip time, the shortest of a few.
    pub rtt: Duration,
    /// Bytes per second towards the receiver, TLS and all.
    pub bytes_per_s: u64,
}

/// Tries the door that `ticket` opens at the far end of `stream`, within `patience`.
pub async fn probe(
    stream: impl Stream,
    me: &Identity,
    peer: Fingerprint,
    ticket: &Ticket,
    patience: Duration,
) -> Result<Probe> {
    let probing = async {
        let stream = dial::secure(stream, me, peer).await?;
        let mut prober = Prober { stream, said: 0, patience };
        prober.open(ticket).await?;
        let rtt = prober.round_trip().await?;
        Ok(Probe { rtt, bytes_per_s: prober.bandwidth(rtt).await? })
    };
    let late =
        || Error::Unreachable(std::io::Error::new(std::io::ErrorKind::TimedOut, "the door did not answer in time"));
    timeout(patience, probing).await.map_err(|_| late())?
}

struct Prober {
    stream: Connection,
    said: u32,
    patience: Duration,
}

impl Prober {
    async fn open(&mut self, ticket: &Ticket) -> Result<()> {
        let hello = ToReceiver::Probe { magic: MAGIC, version: VERSION, ticket: ticket.bytes() };
        dial::say(&mut self.stream, &hello).await?;
        self.hear(0).await
    }

    async fn hear(&mut self, n: u32) -> Result<()> {
        match dial::hear(&mut self.stream, self.patience).await? {
            ToSource::Pong(heard) if heard == n => Ok(()),
            other => Err(Error::Protocol(format!("expected an echo, got {other:?}"))),
        }
    }

    async fn ping(&mut self) -> Result<()> {
        self.said += 1;
        dial::say(&mut self.stream, &ToReceiver::Ping(self.said)).await?;
        self.hear(self.said).await
    }

    async fn round_trip(&mut self) -> Result<Duration> {
        let mut shortest = Duration::MAX;
        for _ in 0..PINGS {
            let began = Instant::now();
            self.ping().await?;
            shortest = shortest.min(began.elapsed());
        }
        Ok(shortest)
    }

    /// From the largest load that came through in time: the smaller ones are all latency and slow start.
    async fn bandwidth(&mut self, rtt: Duration) -> Result<u64> {
        let end = tokio::time::Instant::now() + LONGEST;
        let mut bytes = LOADS.0;
        let mut took = self.load(bytes).await?;
        while took < ENOUGH && bytes < LOADS.1 {
            let Ok(next) = timeout_at(end, self.load(2 * bytes)).await else { break };
            (bytes, took) = (2 * bytes, next?);
        }
        // What is left of a time that was all round trip is noise; a hundredth of it is not.
        let moving = took.saturating_sub(rtt).max(took / 100).max(Duration::from_micros(1));
        Ok(u64::try_from(bytes as u128 * 1_000_000 / moving.as_micros()).unwrap_or(u64::MAX))
    }

    async fn load(&mut self, bytes: usize) -> Result<Duration> {
        let began = Instant::now();
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(PIECE);
            let frame = Frame::new(&ToReceiver::Load, vec![0; piece]);
            link::write_frame(&mut self.stream, &frame, &Meter::default()).await.map_err(Error::Unreachable)?;
            left -= piece;
        }
        self.ping().await?;
        Ok(began.elapsed())
    }
}

/// The receiver's half, after the door was found. Ends when the prober hangs up.
pub(crate) async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), patience: Duration) -> Result<()> {
    dial::say(stream, &ToSource::Pong(0)).await?;
    let (mut pings, mut bytes) = (0, 0);
    loop {
        let frame = match link::read_frame(stream, patience, MAX_HELLO, PIECE).await {
            Err(Error::Unreachable(e)) => {
                tracing::trace!(error = %e, pings, bytes, "a probe is over");
                return Ok(());
            }
            other => other?,
        };
        match frame.message()? {
            ToReceiver::Ping(n) if pings < MAX_PINGS => {
                pings += 1;
                dial::say(stream, &ToSource::Pong(n)).await?;
            }
            ToReceiver::Load if bytes + frame.body.len() <= MAX_BYTES => bytes += frame.body.len(),
            _ => return Err(Error::Refused("more than a probe may say".to_owned())),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What a receiver says to somebody who goes on with `word` for ever.
    async fn talk(word: fn(u32) -> (ToReceiver, usize)) -> Result<()> {
        let (mut near, mut far) = tokio::io::duplex(1 << 20);
        let answering = tokio::spawn(async move { answer(&mut far, Duration::from_secs(10)).await });
        let mut said = 0;
        let talking = async {
            while !answering.is_finished() && said < 10_000 {
                let (message, body) = word(said);
                let frame = Frame::new(&message, vec![0; body]);
                // It hangs up when it has heard enough.
                drop(link::write_frame(&mut near, &frame, &Meter::default()).await);
                said += 1;
            }
        };
        timeout(Duration::from_secs(20), talking).await.unwrap();
        timeout(Duration::from_secs(20), answering).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn whoever_does_not_stop_is_hung_up_on() {
        assert!(matches!(talk(|n| (ToReceiver::Ping(n), 0)).await, Err(Error::Refused(_))));
        assert!(matches!(talk(|_| (ToReceiver::Load, PIECE)).await, Err(Error::Refused(_))));
        assert!(matches!(talk(|_| (ToReceiver::Load, PIECE + 1)).await, Err(Error::Protocol(_))));
        let other = talk(|_| (ToReceiver::Abort(String::new()), 0)).await;
        assert!(matches!(other, Err(Error::Refused(_))), "{other:?}");
    }

    #[tokio::test]
    async fn what_a_probe_says_is_within_what_is_listened_to() {
        let loads = std::iter::successors(Some(LOADS.0), |bytes| Some(2 * bytes)).take_while(|bytes| *bytes <= LOADS.1);
        let (count, sum) = loads.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        assert!(sum <= MAX_BYTES && PINGS + count <= MAX_PINGS);
    }
}
