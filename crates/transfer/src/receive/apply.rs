//! Carries out what the source says, on the disk and in the model, one message at a time.

use std::{
    collections::{HashMap, HashSet},
    os::fd::OwnedFd,
    rc::Rc,
    sync::mpsc,
};

use rustix::fs::{AtFlags, FileType, Mode, linkat, mkdirat, mknodat, renameat, symlinkat, unlinkat};
use zstd::bulk::Decompressor;

use super::{
    basis::Question,
    judge::Judged,
    session::Shared,
    target::{Object, Place, What, check_kind, check_meta, shown, violated},
};
use crate::{
    error::{Error, Result},
    sys,
    wire::{Begin, End, Kind, Meta, Op, TOP},
};

/// Open directories that are kept.
const DIRS: usize = 64;

/// The thread that changes the tree.
pub(super) struct Applier<'a> {
    pub(super) shared: &'a Shared,
    /// Asks the basis thread to tell what we have.
    pub(super) tell: mpsc::Sender<Question>,
    pub(super) dirs: HashMap<u32, Rc<OwnedFd>>,
    pub(super) files: Vec<(u32, Rc<OwnedFd>)>,
    /// Objects without a name.
    nameless: HashSet<u32>,
    pub(super) begun: Option<Begin>,
    /// What has arrived in this round.
    pub(super) got: End,
    pub(super) written: u64,
    pub(super) decompressor: Decompressor<'static>,
    pub(super) judged: Option<Judged>,
}

impl<'a> Applier<'a> {
    pub(super) fn new(shared: &'a Shared, tell: mpsc::Sender<Question>) -> Result<Self> {
        Ok(Self {
            shared,
            tell,
            dirs: HashMap::new(),
            files: Vec::new(),
            nameless: HashSet::new(),
            begun: None,
            got: End::default(),
            written: 0,
            decompressor: Decompressor::new().map_err(|e| Error::io("(zstd)", e))?,
            judged: None,
        })
    }

    pub(super) fn begin(&mut self, begin: Begin) -> Result<()> {
        if self.judged.take().is_some() {
            self.open_up()?;
        }
        let progress = &self.shared.config.progress;
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        progress.bytes_total.store(begin.bytes, relaxed);
        progress.files_total.store(begin.entries, relaxed);
        progress.round.store(begin.round, relaxed);
        self.got = End { round: begin.round, ..End::default() };
        self.begun = Some(begin);
        Ok(())
    }

    pub(super) fn op(&mut self, op: Op) -> Result<()> {
        if self.begun.is_none() {
            return Err(violated("a change outside a round"));
        }
        self.got.ops += 1;
        match op {
            Op::Remove(node) => self.remove(node),
            Op::Dir { node, parent, name, meta } => self.make_dir(node, parent, &name, meta),
            Op::DirMeta { node, meta } => self.dir_meta(node, meta),
            Op::Object { object, kind, meta } => self.object(object, kind, meta),
            Op::Name { node, parent, name, object } => self.name(node, parent, &name, object),
            Op::Structured => self.structured(),
        }
    }

    fn remove(&mut self, id: u32) -> Result<()> {
        let mut target = self.shared.target();
        let path = target.path(id);
        let node = target.remove(id)?;
        let last_place = match node.what {
            What::Dir { .. } => None,
            What::Name(object) => {
                let inode = target.object_mut(object)?;
                let is_last = inode.names.is_empty();
                let place = inode.place;
                if is_last {
                    self.nameless.insert(object);
                }
                if is_last && place == Place::Tree {
                    inode.place = Place::Limbo;
                }
                target.touched.insert(object);
                Some((object, is_last, place))
            }
        };
        drop(target);
        let parent = self.dir(node.parent)?;
        let gone = match last_place {
            None => {
                self.dirs.remove(&id);
                unlinkat(&parent, &*node.name, AtFlags::REMOVEDIR)
            }
            Some((_, _, Place::Nowhere | Place::Limbo)) => Ok(()),
            Some((object, true, Place::Tree)) => {
                renameat(&parent, &*node.name, &self.shared.staging.limbo, limbo_name(object))
            }
            Some((_, false, Place::Tree)) => unlinkat(&parent, &*node.name, AtFlags::empty()),
        };
        gone.map_err(|e| Error::io(shown(&path), e))
    }

    fn make_dir(&mut self, id: u32, parent: u32, name: &[u8], meta: Meta) -> Result<()> {
        let meta = self.accepted(meta)?;
        let what = What::Dir { children: std::collections::BTreeMap::new(), meta: Some(meta) };
        let mut target = self.shared.target();
        target.add(id, parent, name, what)?;
        target.dirty_dirs.insert(id);
        drop(target);
        let made = mkdirat(&self.dir(parent)?, name, Mode::RWXU);
        made.map_err(|e| Error::io(shown(&self.shared.target().path(id)), e))
    }

    fn dir_meta(&mut self, id: u32, meta: Meta) -> Result<()> {
        let accepted = self.accepted(meta)?;
        let mut target = self.shared.target();
        target.dirty_dirs.insert(id);
        match target.nodes.get_mut(&id).map(|n| &mut n.what) {
            Some(What::Dir { meta, .. }) => {
                *meta = Some(accepted);
                Ok(())
            }
            _ => Err(violated("directory metadata for something else")),
        }
    }

    /// The source has mapped the owner already; we do not rely on it.
    fn accepted(&self, mut meta: Meta) -> Result<Meta> {
        check_meta(&meta)?;
        (meta.uid, meta.gid) = self.shared.config.owner.apply(meta.uid, meta.gid);
        Ok(meta)
    }

    fn object(&mut self, id: u32, kind: Kind, meta: Meta) -> Result<()> {
        let meta = self.accepted(meta)?;
        check_kind(&kind)?;
        let mut target = self.shared.target();
        let old = target.objects.get(&id).map(|o| (o.kind.clone(), o.size()));
        let new_size = if let Kind::File { size } = kind { size } else { 0 };
        target.account(old.as_ref().map_or(0, |(_, size)| *size), new_size)?;
        target.touched.insert(id);
        let Some((old_kind, old_size)) = old else {
            let leaves = self.shared.store.allocate(new_size);
            target.objects.insert(id, Object::new(kind, meta, leaves));
            self.nameless.insert(id);
            return Ok(());
        };
        if old_kind != kind && !matches!((&old_kind, &kind), (Kind::File { .. }, Kind::File { .. })) {
            return Err(violated("an object that turns into something else"));
        }
        while old_size != new_size && target.object(id)?.busy {
            target = self.shared.wait(target)?;
        }
        let object = target.object_mut(id)?;
        if old_size != new_size {
            object.leaves = self.shared.store.resize(object.leaves, old_size, new_size)?;
            object.hash = None;
        }
        (object.kind, object.meta) = (kind, meta);
        // A file that is open was made to fit its old size.
        self.files.retain(|(open, _)| *open != id);
        Ok(())
    }

    fn name(&mut self, node: u32, parent: u32, name: &[u8], id: u32) -> Result<()> {
        let first = self.first_name(id)?;
        let mut target = self.shared.target();
        target.add(node, parent, name, What::Name(id))?;
        target.touched.insert(id);
        self.nameless.remove(&id);
        let path = target.path(node);
        let object = target.object_mut(id)?;
        let (place, kind) = (object.place, object.kind.clone());
        if place == Place::Limbo {
            object.place = Place::Tree;
        }
        drop(target);
        let dir = self.dir(parent)?;
        let failed = |e| Error::io(shown(&path), e);
        match (place, first) {
            (Place::Limbo, _) => renameat(&self.shared.staging.limbo, limbo_name(id), &dir, name).map_err(failed),
            (Place::Tree, Some((other, other_name))) => {
                linkat(&self.dir(other)?, &*other_name, &dir, name, AtFlags::empty()).map_err(failed)
            }
            (Place::Tree, None) => Err(violated("a name for an object that is lost")),
            (Place::Nowhere, _) => self.make(id, &kind, &dir, name, &path),
        }
    }

    /// Directory and name of an object that has a name. Its inode is made if it is not there yet.
    fn first_name(&mut self, id: u32) -> Result<Option<(u32, std::sync::Arc<[u8]>)>> {
        let target = self.shared.target();
        let object = target.object(id)?;
        let Some(first) = object.names.first().map(|n| &target.nodes[n]) else { return Ok(None) };
        let (found, place) = ((first.parent, first.name.clone()), object.place);
        drop(target);
        if place == Place::Nowhere {
            drop(self.open_file(id, false)?);
        }
        Ok(Some(found))
    }

    /// Makes an inode at its first name. An ordinary file is taken from the basis, or made when its content comes.
    fn make(&mut self, id: u32, kind: &Kind, dir: &Rc<OwnedFd>, name: &[u8], path: &[u8]) -> Result<()> {
        let (kind, rdev) = match kind {
            Kind::File { size: 0 } => return Ok(()),
            Kind::File { .. } => return self.adopt(id, dir, name, path),
            Kind::Symlink { target } => {
                symlinkat(target.as_slice(), dir, name).map_err(|e| Error::io(shown(path), e))?;
                return self.made(id);
            }
            Kind::Fifo => (FileType::Fifo, 0),
            Kind::Socket => (FileType::Socket, 0),
            Kind::CharDevice { rdev } => (FileType::CharacterDevice, *rdev),
            Kind::BlockDevice { rdev } => (FileType::BlockDevice, *rdev),
        };
        mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, rdev).map_err(|e| match e {
            rustix::io::Errno::PERM => Error::cannot_carry(shown(path), "the target may not make device nodes"),
            e => Error::io(shown(path), e),
        })?;
        self.made(id)
    }

    fn made(&mut self, id: u32) -> Result<()> {
        self.shared.target().object_mut(id)?.place = Place::Tree;
        Ok(())
    }

    /// All names are right now: what has none goes, and what comes must fit.
    fn structured(&mut self) -> Result<()> {
        for id in std::mem::take(&mut self.nameless) {
            let mut target = self.shared.target();
            let place = target.object(id)?.place;
            target.forget(id);
            drop(target);
            self.files.retain(|(open, _)| *open != id);
            if place == Place::Limbo {
                let gone = unlinkat(&self.shared.staging.limbo, limbo_name(id), AtFlags::empty());
                gone.map_err(|e| Error::io("(limbo)", e))?;
            }
        }
        self.check_room()
    }

    /// Before the first byte: is there room for it all? What we have already makes the estimate meaningless.
    fn check_room(&self) -> Result<()> {
        let Some(begin) = self.begun.filter(|b| b.round == 1 && !self.shared.staging.has_basis()) else {
            return Ok(());
        };
        let fs = rustix::fs::fstatvfs(&self.shared.staging.tree).map_err(|e| Error::io(".", e))?;
        let free = fs.f_bavail.saturating_mul(fs.f_frsize);
        let lacking = |what: &str, need: u64, have: u64| {
            let detail = format!("{need} {what} needed, {have} available");
            Err(Error::NoSpace { path: std::path::PathBuf::new(), detail })
        };
        if begin.allocated > free {
            return lacking("bytes", begin.allocated, free);
        }
        if fs.f_files > 0 && begin.entries > fs.f_favail {
            return lacking("inodes", begin.entries, fs.f_favail);
        }
        Ok(())
    }

    /// The round is over: everything must have arrived. Sets the metadata of what was touched.
    pub(super) fn end(&mut self, end: End) -> Result<()> {
        let expected = End { last: end.last, ..self.got };
        if self.begun.take().is_none() || expected != end {
            return Err(violated("less than it announced"));
        }
        let touched = std::mem::take(&mut self.shared.target().touched);
        for id in touched {
            self.settle(id)?;
        }
        self.files.clear();
        self.report_written(true);
        Ok(())
    }

    /// Paths that this round is done with.
    pub(super) fn files_done(&self) -> u64 {
        let target = self.shared.target();
        target.len().saturating_sub(target.touched.len() as u64)
    }

    /// An open directory of the tree.
    pub(super) fn dir(&mut self, id: u32) -> Result<Rc<OwnedFd>> {
        if let Some(dir) = self.dirs.get(&id) {
            return Ok(dir.clone());
        }
        let path = if id == TOP { Vec::new() } else { self.shared.target().path(id) };
        let dir = sys::open_dir(self.shared.staging.tree(), &path).map_err(|e| Error::io(shown(&path), e))?;
        if self.dirs.len() >= DIRS {
            self.dirs.clear();
        }
        let dir = Rc::new(dir);
        self.dirs.insert(id, dir.clone());
        Ok(dir)
    }
}

/// Where an object waits for its next name.
pub(super) fn limbo_name(object: u32) -> String {
    format!("{object}")
}
