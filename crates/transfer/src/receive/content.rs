//! Writes blocks.

use std::{os::fd::OwnedFd, sync::atomic::Ordering::Relaxed};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

use super::{
    apply::Applier,
    fit::write_all,
    target::{shown, violated},
};
use crate::{
    error::{Error, Result},
    leaf::{BLOCK, blocks},
    wire::{Fill, Kind, MAX_BODY, Piece, ToSource},
};

/// Bytes written between two notices to the source.
const NOTICE: u64 = 4 << 20;

impl Applier<'_> {
    /// Writes the pieces of a frame.
    pub(super) fn data(&mut self, pieces: &[Piece], body: &[u8], packed: bool) -> Result<()> {
        if self.begun.is_none() {
            return Err(violated("content outside a round"));
        }
        let total: u64 = pieces.iter().filter(|p| p.fill == Fill::Bytes).map(|p| u64::from(p.len)).sum();
        let total =
            usize::try_from(total).ok().filter(|t| *t <= MAX_BODY).ok_or_else(|| violated("too much at once"))?;
        let unpacked = if packed { Some(self.unpack(body, total)?) } else { None };
        let mut rest = unpacked.as_deref().unwrap_or(body);
        if rest.len() != total {
            return Err(violated("pieces that do not add up"));
        }
        for piece in pieces {
            let len = if piece.fill == Fill::Bytes { piece.len as usize } else { 0 };
            let (bytes, others) = rest.split_at(len);
            rest = others;
            self.piece(piece, bytes)?;
        }
        self.report_written(false);
        Ok(())
    }

    fn unpack(&mut self, body: &[u8], total: usize) -> Result<Vec<u8>> {
        self.decompressor.decompress(body, total).map_err(|_| violated("content that cannot be unpacked"))
    }

    fn piece(&mut self, piece: &Piece, bytes: &[u8]) -> Result<()> {
        self.got.pieces += 1;
        self.got.bytes += bytes.len() as u64;
        let size = self.check(piece)?;
        let whole = piece.block == 0 && bytes.len() as u64 == size;
        let file = self.open_file(piece.object, whole)?;
        let offset = piece.block * BLOCK as u64;
        let written = match piece.fill {
            Fill::Bytes => write_all(&file, bytes, offset),
            Fill::Hole => punch(&file, offset, piece.len),
        };
        let mut target = self.shared.target();
        written.map_err(|e| Error::io(shown(&target.path_of(piece.object)), e))?;
        target.mark_unverified(piece.object, piece.block..piece.block + blocks(piece.len.into()));
        target.touched.insert(piece.object);
        let replaces_longer = whole && target.object(piece.object)?.size_on_disk > size;
        if whole && !replaces_longer {
            target.object_mut(piece.object)?.size_on_disk = size;
        }
        let full = target.unverified_blocks >= super::verify::BATCH;
        drop(target);
        self.written += bytes.len() as u64;
        if full {
            self.shared.changed.notify_all();
        }
        if whole {
            // Small files are most files: done at once, while it is open.
            if replaces_longer {
                self.files.retain(|(open, _)| *open != piece.object);
            }
            self.settle(piece.object)?;
            self.shared.target().touched.remove(&piece.object);
            self.files.retain(|(open, _)| *open != piece.object);
        }
        Ok(())
    }

    /// The size of the file, if the piece lies in it and covers whole blocks.
    fn check(&self, piece: &Piece) -> Result<u64> {
        let target = self.shared.target();
        let Kind::File { size } = target.object(piece.object)?.kind else {
            return Err(violated("content for something that is no file"));
        };
        let start = piece.block.checked_mul(BLOCK as u64);
        let end = start.and_then(|start| start.checked_add(piece.len.into()));
        match end {
            Some(end) if piece.len > 0 && (end == size || (end < size && end.is_multiple_of(BLOCK as u64))) => Ok(size),
            _ => Err(violated("content outside its file")),
        }
    }

    /// Tells how much is written, now and then.
    pub(super) fn report_written(&mut self, now: bool) {
        let progress = &self.shared.config.progress;
        let told = progress.bytes_written.load(Relaxed);
        if now || self.written >= told + NOTICE {
            progress.bytes_written.store(self.written, Relaxed);
            self.shared.sender.offer(&ToSource::Written { bytes: self.written, files: self.files_done() });
        }
    }
}

/// Makes a hole, or zeros where the file system knows no holes.
fn punch(file: &OwnedFd, offset: u64, len: u32) -> rustix::io::Result<()> {
    // To the end of the block: the rest lies behind the end of the file.
    let whole = blocks(len.into()) * BLOCK as u64;
    match fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, whole) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_all(file, &vec![0; len as usize], offset),
        other => other,
    }
}
