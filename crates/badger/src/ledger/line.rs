//! The player's connection: lines out, lines in within a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::protocol::MAX_LINE_BYTES;
use super::record::ClientName;

const CONNECT: Duration = Duration::from_millis(500);
const GREETING: Duration = Duration::from_secs(2);
const SLOW_SERVER: Duration = Duration::from_secs(5);

/// A connection that reads and writes lines.
#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    unread: Vec<u8>,
    timeout: Duration,
}

impl Line {
    /// Connects and greets.
    pub(super) fn open(address: &str, client: &ClientName) -> Result<Self> {
        let address: SocketAddr = address.to_socket_addrs()?.next().context("the name has no address")?;
        let stream = TcpStream::connect_timeout(&address, CONNECT)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(SLOW_SERVER))?;
        let mut line = Self { stream, unread: Vec::new(), timeout: Duration::ZERO };
        line.write(&format!("HELLO {client}\n"))?;
        let greeting = line.read(GREETING)?.context("the server does not greet")?;
        ensure!(greeting.starts_with("WELCOME "), "not a ledger: {greeting}");
        Ok(line)
    }

    pub(super) fn write(&mut self, text: &str) -> Result<()> {
        Ok(self.stream.write_all(text.as_bytes())?)
    }

    /// The next line; none if there is none within `timeout`.
    pub(super) fn read(&mut self, timeout: Duration) -> Result<Option<String>> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(end) = self.unread.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(Some(String::from_utf8(line).context("not text")?.trim_end().to_owned()));
            }
            ensure!(self.unread.len() <= MAX_LINE_BYTES, "the server's line is too long");
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            if self.timeout != left {
                self.stream.set_read_timeout(Some(left))?;
                self.timeout = left;
            }
            let mut bytes = [0; 16 << 10];
            match self.stream.read(&mut bytes) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(n) => self.unread.extend_from_slice(&bytes[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}
