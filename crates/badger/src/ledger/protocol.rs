//! What client and server say to each other: one line each, words separated by a space.
//!
//! ```text
//! client                               server
//! HELLO <client>                       WELCOME <process> <highest seq of this client>
//! PUT <seq> <sum> <payload, base64>    ACK <seq> <n>          durable in all three places
//!                                      ERR <seq> <why>        not kept; may be sent again
//! VERIFY <first> <last>                HAVE <seq> <sum>  or  LACK <seq> <why>, for each
//!                                      VERIFIED <have> <lack>
//! PING                                 PONG
//! QUIT
//! ```
//!
//! `PUT`s may be sent ahead; answers come in order. A line that is none of these is answered with `ERR 0` and the
//! connection ends.

use std::io::{BufRead, Read};

use anyhow::{Context, Result, bail, ensure};
use data_encoding::BASE64_NOPAD;

use super::record::{ClientName, MAX_PAYLOAD_BYTES, Sum};

/// Longest line either side accepts.
pub(crate) const MAX_LINE_BYTES: usize = 8 << 10;
/// Most records that one `VERIFY` may ask about.
const MAX_VERIFY: u64 = 1_000_000;

/// A client's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Who is there.
    Hello(ClientName),
    /// Keep this.
    Put {
        /// The client's number.
        seq: u64,
        /// What.
        payload: Vec<u8>,
    },
    /// Are these there?
    Verify {
        /// From this number.
        first: u64,
        /// To this one, included.
        last: u64,
    },
    /// Are you there?
    Ping,
    /// Bye.
    Quit,
}

impl Command {
    /// Reads a line.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        Ok(match words[..] {
            ["HELLO", client] => Self::Hello(client.parse()?),
            ["PUT", seq, sum, payload] => {
                let payload = BASE64_NOPAD.decode(payload.as_bytes()).context("the payload is not base64")?;
                ensure!(payload.len() <= MAX_PAYLOAD_BYTES, "a payload has at most {MAX_PAYLOAD_BYTES} bytes");
                ensure!(Sum::of(&payload) == sum.parse()?, "the payload does not match its checksum");
                Self::Put { seq: number(seq)?, payload }
            }
            ["VERIFY", first, last] => {
                let (first, last) = (number(first)?, number(last)?);
                ensure!(last.saturating_sub(first) < MAX_VERIFY, "VERIFY asks about at most {MAX_VERIFY} records");
                Self::Verify { first, last }
            }
            ["PING"] => Self::Ping,
            ["QUIT"] => Self::Quit,
            _ => bail!("unknown command; say HELLO, PUT, VERIFY, PING or QUIT"),
        })
    }
}

/// A client's number: from 1, and small enough for the database.
fn number(text: &str) -> Result<u64> {
    let n: u64 = text.parse().context("a number was expected")?;
    ensure!((1..=i64::MAX as u64).contains(&n), "numbers begin at 1");
    Ok(n)
}

/// The line that submits a record.
pub(crate) fn put_line(seq: u64, payload: &[u8]) -> String {
    format!("PUT {seq} {} {}\n", Sum::of(payload), BASE64_NOPAD.encode(payload))
}

/// Reads one line without its end; none at the end of the stream.
pub(crate) fn read_line(from: &mut impl BufRead) -> Result<Option<String>> {
    let mut line = Vec::new();
    from.take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    ensure!(line.pop() == Some(b'\n'), "a line is too long or was cut");
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(String::from_utf8(line).context("a line is not UTF-8")?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_put_reads_back() {
        let line = put_line(9, b"hello");
        assert_eq!(Command::parse(line.trim_end()).unwrap(), Command::Put { seq: 9, payload: b"hello".to_vec() });
    }

    #[test]
    fn what_is_no_command_is_refused() {
        let sum = Sum::of(b"x");
        let long = BASE64_NOPAD.encode(&vec![0; MAX_PAYLOAD_BYTES + 1]);
        for line in [
            String::new(),
            "hello a".into(),
            "HELLO".into(),
            "HELLO a b".into(),
            "PUT 0 00 AA".into(),
            format!("PUT 1 {sum} eQ"),
            format!("PUT -1 {sum} eA"),
            format!("PUT 99999999999999999999 {sum} eA"),
            format!("PUT 1 {sum} {long}"),
            "VERIFY 1".into(),
            "VERIFY 1 99999999".into(),
        ] {
            assert!(Command::parse(&line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_or_cut_is_refused() {
        let read = |bytes: &[u8]| read_line(&mut &bytes[..]);
        assert_eq!(read(b"PING\r\n").unwrap().unwrap(), "PING");
        assert!(read(b"").unwrap().is_none());
        assert!(read(b"PING").is_err());
        assert!(read(&vec![b'a'; MAX_LINE_BYTES + 10]).is_err());
        assert!(read(b"\xff\n").is_err());
    }
}
