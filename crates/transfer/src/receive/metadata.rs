//! Owner, mode, attributes and times. Files get theirs when their content is there, directories when nothing in them
//! will change any more.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{AtFlags, Gid, Mode, StatxFlags, Timestamps, Uid, chmodat, chownat, fchmod, statx, utimensat},
    io::Errno,
};

use super::{
    apply::Applier,
    target::{Place, What, shown},
};
use crate::{
    error::{Error, Result},
    stat::Stat,
    sys,
    wire::{Kind, Meta, TOP},
    xattr,
};

/// Without these bits an owner who is not root cannot work with a file.
const OWNER_RW: u16 = 0o600;
const OWNER_RWX: u16 = 0o700;

impl Applier<'_> {
    /// Gives an object its metadata and remembers how we left it.
    pub(super) fn settle(&mut self, id: u32) -> Result<()> {
        let Some((kind, place, borrowed)) =
            self.shared.target().objects.get(&id).map(|o| (o.kind.clone(), o.place, o.borrowed))
        else {
            return Ok(());
        };
        if let Kind::File { size } = kind {
            let fits = self.shared.target().object(id)?.size_on_disk == size;
            // An inode that the base has as well is not even given another mode.
            if !fits || place == Place::Nowhere || (borrowed && !self.metadata_matches(id)?) {
                drop(self.open_file(id, false)?);
            }
        }
        self.set_metadata(id, false)
    }

    fn set_metadata(&mut self, id: u32, sealing: bool) -> Result<()> {
        let target = self.shared.target();
        let object = target.object(id)?;
        let Some(first) = object.names.first().map(|n| &target.nodes[n]) else { return Ok(()) };
        let (parent, name) = (first.parent, first.name.clone());
        let (mut meta, kind, path) = (object.meta.clone(), object.kind.clone(), target.path_of(id));
        drop(target);
        if !sealing && matches!(kind, Kind::File { .. }) && !is_root() {
            meta.mode |= OWNER_RW;
        }
        let dir = self.dir(parent)?;
        let is_link = matches!(kind, Kind::Symlink { .. });
        let left = apply(dir.as_fd(), &name, &meta, is_link, &path)?;
        self.shared.target().object_mut(id)?.left = Some((left.ino, left.size, left.ctime));
        Ok(())
    }

    /// Is everything but the content as it should be?
    fn metadata_matches(&mut self, id: u32) -> Result<bool> {
        let target = self.shared.target();
        let object = target.object(id)?;
        let Some(first) = object.names.first().map(|n| &target.nodes[n]) else { return Ok(true) };
        let (parent, name, meta, path) = (first.parent, first.name.clone(), object.meta.clone(), target.path_of(id));
        drop(target);
        let dir = self.dir(parent)?;
        let failed = |e| Error::io(shown(&path), e);
        let stat = look(dir.as_fd(), &name).map_err(failed)?;
        let plain =
            (stat.mode & 0o7777, stat.uid, stat.gid, stat.mtime) == (meta.mode.into(), meta.uid, meta.gid, meta.mtime);
        Ok(plain && xattr::read(&sys::via_proc(dir.as_fd(), &name)).map_err(failed)? == meta.xattrs)
    }

    /// Final modes and the metadata of directories, deepest first: what is in a directory must be reachable until
    /// its own mode is set, and its time moves with every name.
    pub(super) fn seal(&mut self) -> Result<()> {
        if !is_root() {
            let target = self.shared.target();
            let is_withheld = |o: &super::target::Object| o.meta.mode & OWNER_RW != OWNER_RW && !o.names.is_empty();
            let withheld: Vec<_> = target.objects.iter().filter(|(_, o)| is_withheld(o)).map(|(id, _)| *id).collect();
            drop(target);
            withheld.into_iter().try_for_each(|id| self.set_metadata(id, true))?;
        }
        let dirty = std::mem::take(&mut self.shared.target().dirty_dirs);
        let mut dirs: Vec<_> = dirty.into_iter().map(|id| (self.shared.target().path(id), id)).collect();
        // Longer than its parent's is every path.
        dirs.sort_unstable_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        for (path, id) in dirs {
            let meta = match self.shared.target().nodes.get(&id).map(|n| &n.what) {
                Some(What::Dir { meta, .. }) => meta.clone(),
                _ => None,
            };
            if let Some(meta) = meta {
                let dir = sys::open_dir(self.shared.staging.tree(), &path).map_err(|e| Error::io(shown(&path), e))?;
                apply(dir.as_fd(), b".", &meta, false, &path)?;
            }
        }
        self.dirs.clear();
        Ok(())
    }
}

/// After a tree was complete once and changes again: gives us back the permissions that its modes deny us.
pub(super) fn open_up(applier: &mut Applier<'_>) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    let mut target = applier.shared.target();
    let closed = |what: &What| matches!(what, What::Dir { meta: Some(meta), .. } if meta.mode & OWNER_RWX != OWNER_RWX);
    let mut dirs: Vec<_> = target.nodes.iter().filter(|(_, n)| closed(&n.what)).map(|(id, _)| *id).collect();
    dirs.sort_by_cached_key(|id| target.path(*id).len());
    for id in dirs {
        target.dirty_dirs.insert(id);
        let path = target.path(id);
        let opened = if id == TOP {
            fchmod(&applier.shared.staging.tree, Mode::RWXU)
        } else {
            // Shallow ones first, so the parent is open by now; without read permission only its path helps.
            let (dir, name) = path
                .iter()
                .rposition(|b| *b == b'/')
                .map_or((&b""[..], &path[..]), |at| (&path[..at], &path[at + 1..]));
            sys::open_dir(applier.shared.staging.tree(), dir)
                .and_then(|dir: OwnedFd| chmodat(&dir, name, Mode::RWXU, AtFlags::empty()))
        };
        opened.map_err(|e| Error::io(shown(&path), e))?;
    }
    Ok(())
}

fn look(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Stat> {
    statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS).map(|x| Stat::from(&x))
}

/// Sets what differs. The order matters: a new owner clears the set-user-id bit and capabilities, an ACL changes the
/// mode's group bits to what they are anyway, and everything but the time itself may move the time.
fn apply(dir: BorrowedFd<'_>, name: &[u8], meta: &Meta, is_link: bool, path: &[u8]) -> Result<Stat> {
    let failed = |e| Error::io(shown(path), e);
    let stat = look(dir, name).map_err(failed)?;
    let mut changed = false;
    if (stat.uid, stat.gid) != (meta.uid, meta.gid) {
        let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
        chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(|e| refused(path, meta, e))?;
        changed = true;
    }
    let attributes = sys::via_proc(dir, name);
    xattr::apply(&attributes, &meta.xattrs).map_err(|(what, e)| match e {
        Errno::NOSPC | Errno::DQUOT => failed(e),
        e => Error::cannot_carry(shown(path), format!("the target does not take {what}: {e}")),
    })?;
    if !is_link && (changed || stat.mode & 0o7777 != meta.mode.into() || !meta.xattrs.is_empty()) {
        chmodat(dir, name, Mode::from_raw_mode(meta.mode.into()), AtFlags::empty()).map_err(failed)?;
        changed = true;
    }
    if stat.mtime != meta.mtime {
        let time = meta.mtime.timespec();
        utimensat(dir, name, &Timestamps { last_access: time, last_modification: time }, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed)?;
        changed = true;
    }
    let left = if changed || !meta.xattrs.is_empty() { look(dir, name).map_err(failed)? } else { stat };
    if !is_link && left.mode & 0o7777 != meta.mode.into() {
        return Err(Error::cannot_carry(shown(path), format!("the target does not take the mode {:o}", meta.mode)));
    }
    Ok(left)
}

fn refused(path: &[u8], meta: &Meta, e: Errno) -> Error {
    match e {
        Errno::PERM | Errno::INVAL => {
            let why =
                format!("the target may not give it to {}:{}; receive as root or map the owner", meta.uid, meta.gid);
            Error::cannot_carry(shown(path), why)
        }
        e => Error::io(shown(path), e),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
