//! Packing a server's files, and carrying them away in parts while it goes on.
//!
//! ```text
//! pack ─► zstd ─► the part that grows ═══ handed over ═══► the part that is uploaded ─► storage
//! ```
//!
//! Two parts are in memory, never more: whoever packs waits until the storage has taken the part before.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use ::transfer::{Packed, pack};
use data_encoding::HEXLOWER;
use model::agent_api::{AgentError, ErrorCode};
use model::{BackupContents, BackupResult, ServerId, UploadedPart};
use ring::digest::{Context, SHA256};

use super::http::Storage;
use super::session::{Desk, cancelled, on_thread};
use crate::node::Node;
use crate::transfer::of_engine;

/// Paths that the record names; the rest is counted.
const NAMED: usize = 1000;
/// A storage takes parts of 5 MiB at least and 5 GiB at most.
const PART_BYTES: std::ops::RangeInclusive<u64> = (5 << 20)..=(5 << 30);

pub(super) async fn run(
    node: &Arc<Node>,
    server: ServerId,
    part_bytes: u64,
    desk: &Arc<Desk>,
) -> Result<BackupResult, AgentError> {
    if !PART_BYTES.contains(&part_bytes) {
        return Err(AgentError::new(ErrorCode::Conflict, format!("a part cannot have {part_bytes} bytes")));
    }
    let part_bytes = usize::try_from(part_bytes).map_err(|e| AgentError::new(ErrorCode::Conflict, e.to_string()))?;
    let (data, desk) = (node.layout.place(server).data(), Arc::clone(desk));
    on_thread(move || pack_and_upload(&data, part_bytes, &desk)).await
}

fn pack_and_upload(data: &Path, part_bytes: usize, desk: &Desk) -> Result<BackupResult, AgentError> {
    let (hand_over, take) = sync_channel(0);
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || upload(&take, desk));
        let mut parts = Parts { hand_over, part: Vec::new(), part_bytes, sha256: Context::new(&SHA256), bytes: 0 };
        let archive = pack(data, &mut parts, &desk.progress, &desk.cancel);
        let archive = archive.and_then(|whole| match parts.hand_over_last() {
            Ok(()) => Ok(whole),
            Err(source) => Err(::transfer::Error::Io { path: "archive".into(), source }),
        });
        let Parts { hand_over, sha256, bytes, .. } = parts;
        drop(hand_over);
        let uploaded = sender.join().map_err(|_| AgentError::new(ErrorCode::Internal, "the upload broke"))?;
        // Where the upload failed, the packing failed for it: its own word says less.
        uploaded?;
        if desk.cancel.is_cancelled() {
            return Err(cancelled());
        }
        let archive = archive.map_err(|e| of_engine(&e))?;
        Ok(result(&archive, &HEXLOWER.encode(sha256.finish().as_ref()), bytes))
    })
}

fn upload(parts: &Receiver<Vec<u8>>, desk: &Desk) -> Result<(), AgentError> {
    let storage = Storage::new(desk);
    for (number, part) in (1..).zip(parts) {
        let etag = storage.put(number, &part)?;
        desk.uploaded(UploadedPart { number, etag }, part.len() as u64);
    }
    Ok(())
}

fn result(packed: &Packed, sha256: &str, bytes: u64) -> BackupResult {
    let names = |paths: &[PathBuf]| paths.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    BackupResult::Uploaded {
        contents: BackupContents {
            sha256: sha256.to_owned(),
            root: packed.root.to_string(),
            files: packed.files,
            tree_bytes: packed.bytes,
        },
        bytes,
        changed: names(&packed.changed),
        changed_count: packed.changed.len() as u64,
        left_out: names(&packed.left_out),
    }
}

/// Cuts what is written into parts.
struct Parts {
    hand_over: SyncSender<Vec<u8>>,
    part: Vec<u8>,
    part_bytes: usize,
    sha256: Context,
    bytes: u64,
}

impl Parts {
    fn hand_over(&mut self) -> io::Result<()> {
        // Nobody is at the other end: the upload has failed, and says why.
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the upload has ended");
        self.hand_over.send(std::mem::take(&mut self.part)).map_err(gone)
    }

    fn hand_over_last(&mut self) -> io::Result<()> {
        if self.part.is_empty() { Ok(()) } else { self.hand_over() }
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(self.part_bytes - self.part.len());
        let bytes = &bytes[..fits];
        self.sha256.update(bytes);
        self.bytes += fits as u64;
        self.part.extend_from_slice(bytes);
        if self.part.len() == self.part_bytes {
            self.hand_over()?;
        }
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
