//! Makes the file of an object ready to be written: it exists, is ours alone, and has the announced size.

use std::{
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, chmodat, copy_file_range, ftruncate, linkat, openat, renameat},
    io::Errno,
};

use super::{
    apply::{Applier, limbo_name},
    target::{Place, shown, violated},
};
use crate::{
    error::{Error, Result},
    leaf::{BLOCK, blocks},
    sys,
    wire::Kind,
};

/// Open files that are kept: the source's workers are at different files.
const FILES: usize = 16;

impl Applier<'_> {
    /// Opens the file of an object for writing. With `whole` it is about to be written from begin to end, so that its
    /// size needs no care.
    pub(super) fn open_file(&mut self, id: u32, whole: bool) -> Result<Rc<OwnedFd>> {
        if let Some((_, file)) = self.files.iter().find(|(open, _)| *open == id) {
            return Ok(file.clone());
        }
        let target = self.shared.target();
        let object = target.object(id)?;
        let Some(first) = object.names.first().filter(|_| matches!(object.kind, Kind::File { .. })) else {
            return Err(violated("content for something that is no file"));
        };
        let (parent, name) = (target.nodes[first].parent, target.nodes[first].name.clone());
        let (place, borrowed, path) = (object.place, object.borrowed, target.path(*first));
        drop(target);
        let failed = |e| Error::io(shown(&path), e);
        let file = match (place, borrowed) {
            (Place::Nowhere, _) => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let dir = self.dir(parent)?;
                let file = openat(&dir, &*name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
                self.shared.target().object_mut(id)?.place = Place::Tree;
                file
            }
            (Place::Tree, true) => self.unshare(id)?,
            (Place::Tree, false) => self.open_writable(parent, &name, &path)?,
            (Place::Limbo, _) => return Err(violated("content for something without a name")),
        };
        if !whole {
            self.fit_size(id, &file, &path)?;
        }
        let file = Rc::new(file);
        if self.files.len() >= FILES {
            self.files.remove(0);
        }
        self.files.push((id, file.clone()));
        Ok(file)
    }

    /// Opens a file of ours, also if its mode says that we may not.
    fn open_writable(&mut self, parent: u32, name: &Arc<[u8]>, path: &[u8]) -> Result<OwnedFd> {
        let tree = self.shared.staging.tree();
        let opened = match sys::open_beneath(tree, path, OFlags::RDWR, Mode::empty()) {
            Err(Errno::ACCESS) => {
                let dir = self.dir(parent)?;
                chmodat(&dir, &**name, Mode::RUSR | Mode::WUSR, AtFlags::empty())
                    .and_then(|()| sys::open_beneath(tree, path, OFlags::RDWR, Mode::empty()))
            }
            other => other,
        };
        opened.map_err(|e| Error::io(shown(path), e))
    }

    /// Gives the file its size, and notes which block changed by that.
    fn fit_size(&mut self, id: u32, file: &OwnedFd, path: &[u8]) -> Result<()> {
        let mut target = self.shared.target();
        let object = target.object_mut(id)?;
        let (old, new) = (object.size_on_disk, object.size());
        if old != new {
            object.size_on_disk = new;
            // Whole blocks that appear are holes, as the source knows. A block that was or is cut must be read again.
            let cut = old.min(new);
            if !cut.is_multiple_of(BLOCK as u64) {
                target.mark_unverified(id, cut / BLOCK as u64..blocks(cut));
            }
            drop(target);
            ftruncate(file, new).map_err(|e| Error::io(shown(path), e))?;
        }
        Ok(())
    }

    /// Replaces an inode that the base has as well by a copy of our own, under all its names.
    fn unshare(&mut self, id: u32) -> Result<OwnedFd> {
        let mut target = self.shared.target();
        let object = target.object_mut(id)?;
        object.borrowed = false;
        let (names, size) = (object.names.clone(), object.size_on_disk);
        target.mark_unverified(id, 0..blocks(size));
        let places: Vec<_> = names.iter().map(|n| (target.nodes[n].parent, target.nodes[n].name.clone())).collect();
        let path = target.path(names[0]);
        drop(target);
        let failed = |e| Error::io(shown(&path), e);
        let limbo = &self.shared.staging.limbo;
        let made = limbo_name(id);
        let shared =
            sys::open_beneath(self.shared.staging.tree(), &path, OFlags::RDONLY, Mode::empty()).map_err(failed)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let own = openat(limbo, &made, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        copy_content(&shared, &own, size).map_err(failed)?;
        for (parent, name) in places.iter().skip(1) {
            // A name in limbo for each further one, so that each replacement is one rename.
            let further = format!("{made}+");
            linkat(limbo, &made, limbo, &further, AtFlags::empty()).map_err(failed)?;
            renameat(limbo, &further, &self.dir(*parent)?, &**name).map_err(failed)?;
        }
        renameat(limbo, &made, &self.dir(places[0].0)?, &*places[0].1).map_err(failed)?;
        Ok(own)
    }
}

/// Copies what is data; shares it where the file system can.
pub(super) fn copy_content(from: &OwnedFd, to: &OwnedFd, size: u64) -> rustix::io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    ftruncate(to, size)?;
    crate::hole::data_runs(from.as_fd(), 0..blocks(size), |run| {
        let (mut at, end) = (run.start * BLOCK as u64, size.min(run.end * BLOCK as u64));
        while at < end {
            at += copy_some(from, to, at, end - at)?;
        }
        Ok(())
    })
}

/// In the kernel if it can, else through a buffer. An early end of the file shows when it is verified.
fn copy_some(from: &OwnedFd, to: &OwnedFd, at: u64, len: u64) -> rustix::io::Result<u64> {
    let (mut from_at, mut to_at) = (at, at);
    let want = usize::try_from(len).unwrap_or(usize::MAX);
    match copy_file_range(from, Some(&mut from_at), to, Some(&mut to_at), want) {
        Ok(0) => Ok(len),
        Ok(n) => Ok(n as u64),
        Err(Errno::INTR) => Ok(0),
        Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            let mut buffer = vec![0; want.min(256 << 10)];
            let n = rustix::io::pread(from, &mut buffer, at)?;
            write_all(to, &buffer[..n], at)?;
            Ok(if n == 0 { len } else { n as u64 })
        }
        Err(e) => Err(e),
    }
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_all(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
