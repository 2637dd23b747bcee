//! Which parts of a file hold data, so that holes are neither read nor sent.

use std::{ops::Range, os::fd::BorrowedFd};

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

use crate::leaf::BLOCK;

/// Calls `each` for the runs of blocks within `range` (in blocks) that touch data. Everything between them is a hole.
pub(crate) fn data_runs<E>(
    fd: BorrowedFd<'_>,
    range: Range<u64>,
    mut each: impl FnMut(Range<u64>) -> Result<(), E>,
) -> Result<(), E>
where
    E: From<Errno>,
{
    let (block, end) = (BLOCK as u64, range.end * BLOCK as u64);
    let mut at = range.start * block;
    while at < end {
        let data = match seek(fd, SeekFrom::Data(at)) {
            Ok(data) if data < end => data,
            Ok(_) | Err(Errno::NXIO) => return Ok(()),
            // A file system without the call: all is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return each(at / block..range.end),
            Err(e) => return Err(e.into()),
        };
        let hole = match seek(fd, SeekFrom::Hole(data)) {
            Ok(hole) => hole.min(end),
            Err(Errno::NXIO) => end,
            Err(e) => return Err(e.into()),
        };
        // Runs of whole blocks; the next search starts behind this run, so runs never overlap.
        let run = data / block..hole.div_ceil(block).min(range.end);
        at = run.end * block;
        each(run.start.max(range.start)..run.end)?;
    }
    Ok(())
}
