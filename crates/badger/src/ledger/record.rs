//! A record and its three written forms: sector, log line, database row.
//!
//! A record is what a client numbers (`client`, `seq`) and what the server numbers again (`n`, the place in the world).
//! Each form carries enough to be checked alone: the checksum of the payload, and for sector and line one of itself.
//!
//! ```text
//! sector (4096 bytes, little endian)
//!   0  magic "LDG1"     4  length of the payload, u32    8  n, u64      16  seq, u64
//!  24  sum of payload  40  client, zero-padded          72  sum of bytes 0..72
//!  88  payload, then zeros
//! line   n client seq sum-of-payload sum-of-what-is-before
//! ```

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use data_encoding::HEXLOWER;

/// Unit of everything that is rewritten in place.
pub(crate) const SECTOR_BYTES: usize = 4096;
/// Largest payload: what fits into a sector behind its header.
pub(crate) const MAX_PAYLOAD_BYTES: usize = SECTOR_BYTES - HEADER_BYTES;
const HEADER_BYTES: usize = 88;
const MAGIC: &[u8; 4] = b"LDG1";
const CLIENT_BYTES: usize = 32;

/// One sector's bytes.
pub(crate) type Sector = [u8; SECTOR_BYTES];

/// First 16 bytes of a BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Sum(pub(crate) [u8; 16]);

impl Sum {
    /// The checksum of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut sum = [0; 16];
        sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
        Self(sum)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sum {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = HEXLOWER.decode(text.as_bytes()).context("a checksum is 32 hex digits")?;
        Ok(Self(bytes.try_into().ok().context("a checksum is 32 hex digits")?))
    }
}

/// Name of a client: 1 to 32 of `A-Z a-z 0-9 _ -`, so that it fits a sector and a line as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientName(String);

impl ClientName {
    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ClientName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let fits = (1..=CLIENT_BYTES).contains(&text.len());
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        ensure!(fits && plain, "a client's name is 1 to {CLIENT_BYTES} of A-Z a-z 0-9 _ -");
        Ok(Self(text.to_owned()))
    }
}

/// A record without its payload: what all three forms agree on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    /// The server's number: position in the world.
    pub(crate) n: u64,
    /// Who sent it.
    pub(crate) client: ClientName,
    /// The client's number, from 1.
    pub(crate) seq: u64,
    /// Of the payload.
    pub(crate) sum: Sum,
}

impl Entry {
    /// The sector that holds this entry and its payload.
    pub(crate) fn to_sector(&self, payload: &[u8]) -> Box<Sector> {
        assert!(payload.len() <= MAX_PAYLOAD_BYTES, "the protocol refuses longer payloads");
        let mut sector = Box::new([0; SECTOR_BYTES]);
        let length = u32::try_from(payload.len()).expect("a payload is shorter than a sector");
        sector[0..4].copy_from_slice(MAGIC);
        sector[4..8].copy_from_slice(&length.to_le_bytes());
        sector[8..16].copy_from_slice(&self.n.to_le_bytes());
        sector[16..24].copy_from_slice(&self.seq.to_le_bytes());
        sector[24..40].copy_from_slice(&self.sum.0);
        sector[40..40 + self.client.0.len()].copy_from_slice(self.client.0.as_bytes());
        let sum = Sum::of(&sector[..72]);
        sector[72..88].copy_from_slice(&sum.0);
        sector[88..88 + payload.len()].copy_from_slice(payload);
        sector
    }

    /// Reads a sector back; an error says what is wrong with it.
    pub(crate) fn from_sector(sector: &Sector) -> Result<Self> {
        ensure!(&sector[0..4] == MAGIC, "there is no record in the sector");
        ensure!(Sum::of(&sector[..72]).0 == sector[72..88], "the sector's header is damaged");
        let length = u32_at(sector, 4) as usize;
        ensure!(length <= MAX_PAYLOAD_BYTES, "the sector's header is damaged");
        let sum = Sum::of(&sector[HEADER_BYTES..HEADER_BYTES + length]);
        ensure!(sum.0 == sector[24..40], "the sector's payload is damaged");
        ensure!(sector[HEADER_BYTES + length..].iter().all(|&b| b == 0), "the sector is damaged behind its payload");
        let name = &sector[40..72];
        let name = &name[..name.iter().position(|&b| b == 0).unwrap_or(CLIENT_BYTES)];
        let client = std::str::from_utf8(name).context("the sector's client is no name")?.parse()?;
        Ok(Self { n: u64_at(sector, 8), client, seq: u64_at(sector, 16), sum })
    }

    /// The log line, without its end.
    pub(crate) fn to_line(&self) -> String {
        let text = format!("{} {} {} {}", self.n, self.client, self.seq, self.sum);
        let sum = Sum::of(text.as_bytes());
        format!("{text} {sum}")
    }

    /// Reads a log line back.
    pub(crate) fn from_line(line: &str) -> Result<Self> {
        let (text, sum) = line.rsplit_once(' ').context("the line is cut short")?;
        ensure!(sum.parse::<Sum>()? == Sum::of(text.as_bytes()), "the line is damaged");
        let mut words = text.split(' ');
        let (Some(n), Some(client), Some(seq), Some(sum), None) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            bail!("the line has not five words");
        };
        Ok(Self { n: n.parse()?, client: client.parse()?, seq: seq.parse()?, sum: sum.parse()? })
    }
}

/// Little-endian number at `at`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of four bytes"))
}

/// The payload that client `client` sends as `seq`: 16 to 1,500 bytes that can be made again to be compared.
pub(crate) fn payload_of(client: &ClientName, seq: u64) -> Vec<u8> {
    let mut source = blake3::Hasher::new().update(client.0.as_bytes()).update(&seq.to_le_bytes()).finalize_xof();
    let mut length = [0; 2];
    source.fill(&mut length);
    let mut payload = vec![0; 16 + usize::from(u16::from_le_bytes(length)) % 1485];
    source.fill(&mut payload);
    payload
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(payload: &[u8]) -> Entry {
        Entry { n: 77, client: "p-1".parse().unwrap(), seq: 5, sum: Sum::of(payload) }
    }

    #[test]
    fn a_sector_reads_back_for_every_length() {
        for length in [0, 1, 1500, MAX_PAYLOAD_BYTES] {
            let payload = vec![7; length];
            assert_eq!(Entry::from_sector(&entry(&payload).to_sector(&payload)).unwrap(), entry(&payload));
        }
    }

    #[test]
    fn any_flipped_byte_of_a_sector_is_noticed() {
        let payload = b"some payload".repeat(20);
        let good = entry(&payload).to_sector(&payload);
        for at in 0..SECTOR_BYTES {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(Entry::from_sector(&bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_line_reads_back_and_any_cut_of_it_is_noticed() {
        let line = entry(b"x").to_line();
        assert_eq!(Entry::from_line(&line).unwrap(), entry(b"x"));
        for cut in 0..line.len() {
            assert!(Entry::from_line(&line[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_client_name_is_plain_and_short() {
        for bad in ["", "a b", "ü", "a\n", &"x".repeat(33)] {
            assert!(bad.parse::<ClientName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn payloads_are_the_same_each_time_and_differ_by_number() {
        let client = "c".parse().unwrap();
        assert_eq!(payload_of(&client, 1), payload_of(&client, 1));
        assert_ne!(payload_of(&client, 1), payload_of(&client, 2));
        assert!((1..500).all(|seq| (16..=1500).contains(&payload_of(&client, seq).len())));
    }
}
