//! Owner, mode, attributes and times. Files get theirs when their content is there, directories when nothing in them
//! will change any more. A receiver that is not root sets modes that keep itself out last of all, when everything has
//! been read back.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, chmodat};

use super::{
    apply::Applier,
    target::{Object, Place, What, shown},
};
use crate::{
    error::{Error, Result},
    meta::{OWNER_RW, OWNER_RWX, apply, is_root, look, mode_refused},
    stat::Stat,
    sys,
    walk::Tree,
    wire::Kind,
    xattr,
};

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
        self.set_metadata(id)
    }

    fn set_metadata(&mut self, id: u32) -> Result<()> {
        let target = self.shared.target();
        let object = target.object(id)?;
        let Some(first) = object.names.first().map(|n| &target.nodes[n]) else { return Ok(()) };
        let (parent, name) = (first.parent, first.name.clone());
        let (mut meta, kind, path) = (object.meta.clone(), object.kind.clone(), target.path_of(id));
        if withheld_of(object).is_some() {
            meta.mode |= OWNER_RW;
        }
        drop(target);
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

    /// The metadata of directories, deepest first: the time of each moves with every name in it.
    pub(super) fn seal(&mut self) -> Result<()> {
        let dirty = std::mem::take(&mut self.shared.target().dirty_dirs);
        let mut dirs: Vec<_> = dirty.into_iter().map(|id| (self.shared.target().path(id), id)).collect();
        // Longer than its parent's is every path.
        dirs.sort_unstable_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        for (path, id) in dirs {
            let meta = match self.shared.target().nodes.get(&id).map(|n| &n.what) {
                Some(What::Dir { meta, .. }) => meta.clone(),
                _ => None,
            };
            if let Some(mut meta) = meta {
                if !is_root() {
                    meta.mode |= OWNER_RWX;
                }
                let dir = sys::open_dir(self.shared.staging.tree(), &path).map_err(|e| Error::io(shown(&path), e))?;
                apply(dir.as_fd(), b".", &meta, false, &path)?;
            }
        }
        self.dirs.clear();
        Ok(())
    }

    /// Sets the modes that would have kept us, who are not root, from reading back what we wrote; `tree` learns them.
    /// Children come before their parents: nothing is reachable behind a closed directory.
    pub(super) fn close(&self, tree: &mut Tree, nodes: &[u32]) -> Result<()> {
        let mut any = false;
        for at in (0..nodes.len()).rev() {
            let withheld = self.withheld(nodes[at]);
            if let Some(mode) = withheld {
                tree.entries[at].stat = self.set_mode(&tree.path(at), mode)?;
                any = true;
            }
        }
        if any { self.shared.staging.sync() } else { Ok(()) }
    }

    fn withheld(&self, node: u32) -> Option<u16> {
        let target = self.shared.target();
        match &target.nodes.get(&node)?.what {
            What::Dir { meta, .. } => meta.as_ref().map(|meta| meta.mode).filter(|mode| keeps_out(*mode, OWNER_RWX)),
            What::Name(object) => withheld_of(target.objects.get(object)?),
        }
    }

    fn set_mode(&self, path: &[u8], mode: u16) -> Result<Stat> {
        let (dir, name) = split(path);
        let set = sys::open_dir(self.shared.staging.tree(), dir).and_then(|dir| {
            chmodat(&dir, name, Mode::from_raw_mode(mode.into()), AtFlags::empty())?;
            look(dir.as_fd(), name)
        });
        let stat = set.map_err(|e| Error::io(shown(path), e))?;
        if stat.mode & 0o7777 == mode.into() { Ok(stat) } else { Err(mode_refused(path, mode)) }
    }

    /// After a tree was complete once and changes again: gives us back the permissions that its modes deny us.
    pub(super) fn open_up(&mut self) -> Result<()> {
        let target = self.shared.target();
        let mut closed: Vec<_> = target.nodes.keys().copied().map(|id| (target.path(id), id)).collect();
        drop(target);
        closed.retain(|(_, id)| self.withheld(*id).is_some());
        // Shallow ones first, so that a parent is open by then.
        closed.sort_unstable_by_key(|(path, _)| path.len());
        for (path, id) in closed {
            let mode = self.withheld(id).unwrap_or_default();
            let object = match self.shared.target().nodes.get(&id).map(|n| &n.what) {
                Some(What::Name(object)) => Some(*object),
                _ => None,
            };
            let left = self.set_mode(&path, mode | if object.is_some() { OWNER_RW } else { OWNER_RWX })?;
            let mut target = self.shared.target();
            match object {
                Some(object) => target.object_mut(object)?.left = Some((left.ino, left.size, left.ctime)),
                None => drop(target.dirty_dirs.insert(id)),
            }
        }
        Ok(())
    }
}

/// The mode that an object gets last, if it would keep us from reading it. An inode of the base keeps what it has.
fn withheld_of(object: &Object) -> Option<u16> {
    let is_ours = matches!(object.kind, Kind::File { .. }) && !object.borrowed;
    Some(object.meta.mode).filter(|mode| is_ours && keeps_out(*mode, OWNER_RW))
}

fn keeps_out(mode: u16, needed: u16) -> bool {
    !is_root() && mode & needed != needed
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", if path.is_empty() { b"." } else { path }),
    }
}
