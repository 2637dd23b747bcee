//! Reading an object back, range by range, and its hash.

use std::io::{self, Read};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use model::BackupResult;
use model::agent_api::{AgentError, ErrorCode};
use ring::digest::{Context, SHA256};

use super::http::Storage;
use super::session::{Desk, cancelled, on_thread};

/// Bytes of one range.
const RANGE: u64 = 8 << 20;

pub(super) async fn run(bytes: u64, desk: &Arc<Desk>) -> Result<BackupResult, AgentError> {
    let desk = Arc::clone(desk);
    on_thread(move || {
        let mut object = Object::new(&desk, bytes);
        let read = io::copy(&mut object, &mut io::sink());
        let read = read.map(drop).map_err(|e| AgentError::new(ErrorCode::Internal, e.to_string()));
        object.sha256(read).map(|sha256| BackupResult::Read { sha256 })
    })
    .await
}

/// An object as a stream. What goes wrong with the storage is kept, so that it is not lost in somebody else's error.
pub(super) struct Object<'a> {
    storage: Storage<'a>,
    desk: &'a Desk,
    bytes: u64,
    /// Of the range behind the one that is in `range`.
    next: u64,
    range: Vec<u8>,
    at: usize,
    sha256: Context,
    failed: Option<AgentError>,
}

impl<'a> Object<'a> {
    pub(super) fn new(desk: &'a Desk, bytes: u64) -> Self {
        let (storage, sha256) = (Storage::new(desk), Context::new(&SHA256));
        Self { storage, desk, bytes, next: 0, range: Vec::new(), at: 0, sha256, failed: None }
    }

    /// The hash of all of it, unless reading it has failed, or what was made of it has.
    pub(super) fn sha256(self, made: Result<(), AgentError>) -> Result<String, AgentError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        made?;
        Ok(HEXLOWER.encode(self.sha256.finish().as_ref()))
    }

    fn fill(&mut self) -> Result<(), AgentError> {
        if self.desk.cancel.is_cancelled() {
            return Err(cancelled());
        }
        let len = usize::try_from(RANGE.min(self.bytes - self.next)).unwrap_or(0);
        self.range.resize(len, 0);
        self.storage.get(self.next, self.bytes, &mut self.range)?;
        self.next += len as u64;
        self.at = 0;
        self.sha256.update(&self.range);
        self.desk.moved(len as u64);
        Ok(())
    }
}

impl Read for Object<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.range.len() {
            if self.next == self.bytes {
                return Ok(0);
            }
            if let Err(error) = self.fill() {
                self.range.clear();
                self.at = 0;
                self.failed = Some(error);
                return Err(io::Error::other("the storage failed"));
            }
        }
        let fits = into.len().min(self.range.len() - self.at);
        into[..fits].copy_from_slice(&self.range[self.at..][..fits]);
        self.at += fits;
        Ok(fits)
    }
}
