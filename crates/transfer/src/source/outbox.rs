//! Collects operations and pieces into frames, packs them where that pays, and queues them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use zstd::bulk::Compressor;

use crate::{
    error::{Error, Result},
    leaf::BLOCK,
    link::{Frame, Sender},
    wire::{Fill, Kind, Op, Piece, ToReceiver},
};

/// Operations in one frame at most.
const OPS: usize = 512;

/// Encoded size of the operations in one frame, roughly.
const OPS_BYTES: usize = 64 << 10;

/// Content in a frame from which on it is sent.
const FULL: usize = 256 << 10;

/// Pieces in a frame at most.
const PIECES: usize = 4096;

/// Content that is packed to see whether packing pays.
const SAMPLE: usize = 4096;

/// Fast: the link is usually faster than any better level.
const LEVEL: i32 = 1;

/// Counts what a round has sent; the receiver must count the same.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) ops: AtomicU64,
    pub(super) pieces: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) blocks: AtomicU64,
}

/// Batches operations.
pub(super) struct OpSink<'a> {
    sender: Sender,
    totals: &'a Totals,
    ops: Vec<Op>,
    bytes: usize,
}

impl<'a> OpSink<'a> {
    pub(super) fn new(sender: Sender, totals: &'a Totals) -> Self {
        Self { sender, totals, ops: Vec::new(), bytes: 0 }
    }

    pub(super) fn push(&mut self, op: Op) -> Result<()> {
        self.bytes += weight(&op);
        self.ops.push(op);
        if self.ops.len() >= OPS || self.bytes >= OPS_BYTES { self.flush() } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.totals.ops.fetch_add(self.ops.len() as u64, Relaxed);
        self.bytes = 0;
        self.sender.send_blocking(&ToReceiver::Ops(std::mem::take(&mut self.ops)))
    }
}

/// Bytes of an operation that are not bounded by its type.
fn weight(op: &Op) -> usize {
    let of_meta = |meta: &crate::wire::Meta| meta.xattrs.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>();
    match op {
        Op::Dir { name, meta, .. } => name.len() + of_meta(meta),
        Op::Object { kind: Kind::Symlink { target }, meta, .. } => target.len() + of_meta(meta),
        Op::DirMeta { meta, .. } | Op::Object { meta, .. } => of_meta(meta),
        Op::Name { name, .. } => name.len(),
        Op::Remove(_) | Op::Structured => 0,
    }
}

/// Batches pieces of one worker.
pub(super) struct Outbox<'a> {
    sender: Sender,
    totals: &'a Totals,
    plain: Batch,
    packable: Batch,
    compressor: Compressor<'static>,
}

#[derive(Default)]
struct Batch {
    pieces: Vec<Piece>,
    body: Vec<u8>,
}

/// Is it worth trying to pack a file's content?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Try,
    /// It is packed already.
    Futile,
}

impl Packing {
    /// By the extension of a name.
    pub(super) fn of(name: &[u8]) -> Self {
        const PACKED: [&[u8]; 30] = [
            b"mca", b"mcc", b"mcr", b"jar", b"zip", b"gz", b"tgz", b"bz2", b"xz", b"zst", b"lz4", b"7z", b"rar",
            b"png", b"jpg", b"jpeg", b"webp", b"gif", b"ogg", b"mp3", b"mp4", b"webm", b"opus", b"flac", b"br",
            b"woff2", b"wsp", b"apk", b"linear", b"pak",
        ];
        let extension = name.iter().rposition(|b| *b == b'.').map(|dot| name[dot + 1..].to_ascii_lowercase());
        if extension.is_some_and(|e| PACKED.contains(&e.as_slice())) { Self::Futile } else { Self::Try }
    }
}

impl<'a> Outbox<'a> {
    pub(super) fn new(sender: Sender, totals: &'a Totals) -> Result<Self> {
        let compressor = Compressor::new(LEVEL).map_err(|e| Error::io("(zstd)", e))?;
        Ok(Self { sender, totals, plain: Batch::default(), packable: Batch::default(), compressor })
    }

    /// Queues blocks of an object.
    pub(super) fn bytes(&mut self, object: u32, block: u64, bytes: &[u8], packing: Packing) -> Result<()> {
        let len = u32::try_from(bytes.len()).expect("a segment");
        self.totals.bytes.fetch_add(len.into(), Relaxed);
        self.totals.blocks.fetch_add(bytes.len().div_ceil(BLOCK) as u64, Relaxed);
        let batch = if packing == Packing::Try { &mut self.packable } else { &mut self.plain };
        batch.pieces.push(Piece { object, block, len, fill: Fill::Bytes });
        batch.body.extend_from_slice(bytes);
        if batch.is_full() { self.flush(packing) } else { Ok(()) }
    }

    /// Queues a hole.
    pub(super) fn hole(&mut self, object: u32, block: u64, len: u32) -> Result<()> {
        self.plain.pieces.push(Piece { object, block, len, fill: Fill::Hole });
        if self.plain.is_full() { self.flush(Packing::Futile) } else { Ok(()) }
    }

    /// Sends what is collected.
    pub(super) fn flush_all(&mut self) -> Result<()> {
        self.flush(Packing::Futile)?;
        self.flush(Packing::Try)
    }

    fn flush(&mut self, packing: Packing) -> Result<()> {
        let batch = std::mem::take(if packing == Packing::Try { &mut self.packable } else { &mut self.plain });
        if batch.pieces.is_empty() {
            return Ok(());
        }
        self.totals.pieces.fetch_add(batch.pieces.len() as u64, Relaxed);
        let packed = if packing == Packing::Try { self.pack(&batch.body) } else { None };
        let message = ToReceiver::Data { pieces: batch.pieces, packed: packed.is_some() };
        self.sender.send_frame_blocking(Frame::new(&message, packed.unwrap_or(batch.body)))
    }

    /// The packed body, if it is smaller by a tenth at least. A sample from the middle decides whether to try.
    fn pack(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        let smaller = |packed: &[u8], plain: &[u8]| packed.len() < plain.len() - plain.len() / 10;
        let middle = &body[(body.len() / 2).saturating_sub(SAMPLE / 2)..];
        let sample = &middle[..middle.len().min(SAMPLE)];
        if body.len() > 4 * SAMPLE && !smaller(&self.compressor.compress(sample).ok()?, sample) {
            return None;
        }
        self.compressor.compress(body).ok().filter(|packed| smaller(packed, body))
    }
}

impl Batch {
    fn is_full(&self) -> bool {
        self.body.len() >= FULL || self.pieces.len() >= PIECES
    }
}
