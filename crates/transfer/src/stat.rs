//! What the kernel says about an inode, in the shape we compare it.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, makedev, statx};

use crate::sys::Stamp;

/// What the kernel says about one inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) size: u64,
    pub(crate) rdev: u64,
    pub(crate) mtime: Stamp,
    pub(crate) ctime: Stamp,
    /// Type and permissions.
    pub(crate) mode: u32,
    pub(crate) nlink: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Fewer blocks than its size needs: there may be holes.
    pub(crate) sparse: bool,
    /// Bytes on the disk.
    pub(crate) allocated: u64,
}

impl Stat {
    /// What must be the same for the content to be the same, as far as a stat can tell.
    pub(crate) fn version(&self) -> (u64, u64, u64, Stamp, Stamp) {
        (self.dev, self.ino, self.size, self.mtime, self.ctime)
    }

    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind() == FileType::Directory
    }

    pub(crate) fn is_file(&self) -> bool {
        self.kind() == FileType::RegularFile
    }

    pub(crate) fn inode(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    pub(crate) fn of_file(fd: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        Ok(Self::from(&statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?))
    }
}

impl From<&Statx> for Stat {
    fn from(x: &Statx) -> Self {
        let stamp = |t: rustix::fs::StatxTimestamp| Stamp { sec: t.tv_sec, nsec: t.tv_nsec };
        Self {
            dev: makedev(x.stx_dev_major, x.stx_dev_minor),
            ino: x.stx_ino,
            size: x.stx_size,
            rdev: makedev(x.stx_rdev_major, x.stx_rdev_minor),
            mtime: stamp(x.stx_mtime),
            ctime: stamp(x.stx_ctime),
            mode: x.stx_mode.into(),
            nlink: x.stx_nlink,
            uid: x.stx_uid,
            gid: x.stx_gid,
            sparse: x.stx_blocks.saturating_mul(512) < x.stx_size,
            allocated: x.stx_blocks.saturating_mul(512),
        }
    }
}
