//! What the receiver knows of the tree: directories, names, and the inodes behind them. Nothing here touches the disk.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    ops::Range,
    sync::Arc,
};

use super::verify::Job;
use crate::{
    error::{Error, Result},
    fold::Digest,
    leaf::blocks,
    options::ReceiverLimits,
    store::Leaves,
    sys::{self, Stamp},
    wire::{Kind, Meta, TOP, valid_name},
};

/// The tree as announced.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) nodes: HashMap<u32, Node>,
    pub(super) objects: HashMap<u32, Object>,
    /// Objects whose metadata must be set when the round ends.
    pub(super) touched: HashSet<u32>,
    /// Directories whose metadata must be set before the tree is complete.
    pub(super) dirty_dirs: HashSet<u32>,
    /// Objects with blocks that were written and not read again yet.
    pub(super) unverified: HashSet<u32>,
    pub(super) unverified_blocks: u64,
    pub(super) verifying: Verifying,
    /// Grows with every change of a name.
    pub(super) structure: u64,
    /// Sum of the sizes of all files.
    bytes: u64,
    limits: ReceiverLimits,
}

/// Where the verifier stands.
#[derive(Debug, Default)]
pub(super) struct Verifying {
    /// Somebody waits until everything is verified.
    pub(super) wanted: bool,
    /// Durable, to be read.
    pub(super) queue: VecDeque<Job>,
    /// Jobs that are not done yet, in the queue or not.
    pub(super) in_flight: usize,
    /// The session ends.
    pub(super) closed: bool,
}

/// A directory, or a name of an object.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: u32,
    pub(super) name: Arc<[u8]>,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Dir { children: BTreeMap<Arc<[u8]>, u32>, meta: Option<Meta> },
    Name(u32),
}

/// An inode that is not a directory.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) kind: Kind,
    pub(super) meta: Meta,
    pub(super) names: Vec<u32>,
    pub(super) place: Place,
    /// Its inode also has a name in the base: it must not be written.
    pub(super) borrowed: bool,
    /// Bytes that the file has on the disk, as far as we made it.
    pub(super) size_on_disk: u64,
    pub(super) leaves: Leaves,
    /// Ranges of blocks to read again.
    pub(super) unverified: Vec<Range<u64>>,
    /// The verifier or the basis thread is at it: its leaves must stay where they are.
    pub(super) busy: bool,
    pub(super) hash: Option<Digest>,
    /// What its inode looked like when we left it: anything else was done by somebody else.
    pub(super) left: Option<(u64, u64, Stamp)>,
}

/// Where an object's inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Not made yet.
    Nowhere,
    /// At its names.
    Tree,
    /// Between two names.
    Limbo,
}

impl Target {
    pub(super) fn new(limits: ReceiverLimits) -> Self {
        let top = Node { parent: TOP, name: Arc::from([]), what: What::Dir { children: BTreeMap::new(), meta: None } };
        Self {
            nodes: HashMap::from([(TOP, top)]),
            objects: HashMap::new(),
            touched: HashSet::new(),
            dirty_dirs: HashSet::from([TOP]),
            unverified: HashSet::new(),
            unverified_blocks: 0,
            verifying: Verifying::default(),
            structure: 0,
            bytes: 0,
            limits,
        }
    }

    /// Relative to the top.
    pub(super) fn path(&self, node: u32) -> Vec<u8> {
        let (mut parts, mut at) = (Vec::new(), node);
        while at != TOP {
            let Some(node) = self.nodes.get(&at) else { break };
            parts.push(&*node.name);
            at = node.parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }

    /// Path of an object's first name; for one without, something to show.
    pub(super) fn path_of(&self, object: u32) -> Vec<u8> {
        let name = self.objects.get(&object).and_then(|o| o.names.first());
        name.map_or_else(|| b"(nameless)".to_vec(), |node| self.path(*node))
    }

    pub(super) fn object(&self, id: u32) -> Result<&Object> {
        self.objects.get(&id).ok_or_else(|| violated("an object that was not announced"))
    }

    pub(super) fn object_mut(&mut self, id: u32) -> Result<&mut Object> {
        self.objects.get_mut(&id).ok_or_else(|| violated("an object that was not announced"))
    }

    /// Adds a directory or a name. The name must be one, and free.
    pub(super) fn add(&mut self, id: u32, parent: u32, name: &[u8], what: What) -> Result<()> {
        if !valid_name(name) {
            return Err(Error::Refused(format!("{:?} is not a name", String::from_utf8_lossy(name))));
        }
        if self.nodes.len() as u64 > self.limits.max_entries {
            return Err(Error::Refused(format!("more than {} files and directories", self.limits.max_entries)));
        }
        if self.nodes.contains_key(&id) {
            return Err(violated("a node twice"));
        }
        let name: Arc<[u8]> = Arc::from(name);
        let Some(Node { what: What::Dir { children, .. }, .. }) = self.nodes.get_mut(&parent) else {
            return Err(violated("a name in something that is no directory"));
        };
        if children.insert(name.clone(), id).is_some() {
            return Err(Error::Refused(format!("{:?} twice in one directory", String::from_utf8_lossy(&name))));
        }
        self.dirty_dirs.insert(parent);
        self.structure += 1;
        if let What::Name(object) = what {
            self.object_mut(object)?.names.push(id);
        }
        self.nodes.insert(id, Node { parent, name, what });
        Ok(())
    }

    /// Takes a node out of its directory. A directory must be empty, the top stays.
    pub(super) fn remove(&mut self, id: u32) -> Result<Node> {
        let node = self.nodes.remove(&id).filter(|_| id != TOP).ok_or_else(|| violated("removal of nothing"))?;
        match &node.what {
            What::Dir { children, .. } if !children.is_empty() => return Err(violated("removal of a full directory")),
            What::Dir { .. } => {}
            What::Name(object) => self.object_mut(*object)?.names.retain(|n| *n != id),
        }
        if let Some(Node { what: What::Dir { children, .. }, .. }) = self.nodes.get_mut(&node.parent) {
            children.remove(&node.name);
        }
        self.dirty_dirs.remove(&id);
        self.structure += 1;
        self.dirty_dirs.insert(node.parent);
        Ok(node)
    }

    /// Notes a new file size against the limit.
    pub(super) fn account(&mut self, old: u64, new: u64) -> Result<()> {
        self.bytes = self.bytes.saturating_sub(old).saturating_add(new);
        if self.bytes > self.limits.max_bytes {
            return Err(Error::Refused(format!("more than {} bytes", self.limits.max_bytes)));
        }
        Ok(())
    }

    /// Notes blocks that must be read again.
    pub(super) fn mark_unverified(&mut self, id: u32, range: Range<u64>) {
        if let Some(object) = self.objects.get_mut(&id).filter(|_| !range.is_empty()) {
            object.hash = None;
            self.unverified_blocks += range.end - range.start;
            self.unverified.insert(id);
            match object.unverified.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => object.unverified.push(range),
            }
        }
    }

    /// Forgets an object.
    pub(super) fn forget(&mut self, id: u32) {
        if let Some(object) = self.objects.remove(&id) {
            self.bytes = self.bytes.saturating_sub(object.size());
            let pending = object.unverified.iter().map(|r| r.end - r.start).sum();
            self.unverified_blocks = self.unverified_blocks.saturating_sub(pending);
        }
        self.touched.remove(&id);
        self.unverified.remove(&id);
    }

    /// Paths below the top.
    pub(super) fn len(&self) -> u64 {
        self.nodes.len() as u64 - 1
    }

    /// Sum of the sizes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Object {
    pub(super) fn new(kind: Kind, meta: Meta, leaves: Leaves) -> Self {
        Self {
            kind,
            meta,
            names: Vec::new(),
            place: Place::Nowhere,
            borrowed: false,
            size_on_disk: 0,
            leaves,
            unverified: Vec::new(),
            busy: false,
            hash: None,
            left: None,
        }
    }

    /// As announced; 0 for what is no file.
    pub(super) fn size(&self) -> u64 {
        if let Kind::File { size } = self.kind { size } else { 0 }
    }

    pub(super) fn all_blocks(&self) -> Range<u64> {
        0..blocks(self.size())
    }
}

/// Refuses metadata that no file can have.
pub(super) fn check_meta(meta: &Meta) -> Result<()> {
    let names_ok = meta
        .xattrs
        .iter()
        .all(|(name, value)| !name.is_empty() && name.len() <= 255 && !name.contains(&0) && value.len() <= 64 << 10);
    if meta.mode > 0o7777 || meta.mtime.nsec >= 1_000_000_000 || !names_ok || meta.xattrs.len() > 4096 {
        return Err(violated("metadata that no file can have"));
    }
    Ok(())
}

/// Refuses inodes that cannot be.
pub(super) fn check_kind(kind: &Kind) -> Result<()> {
    let possible = match kind {
        Kind::File { size } => i64::try_from(*size).is_ok(),
        Kind::Symlink { target } => !target.is_empty() && target.len() < 4096 && !target.contains(&0),
        _ => true,
    };
    if possible { Ok(()) } else { Err(violated("an inode that cannot be")) }
}

pub(super) fn violated(what: &str) -> Error {
    Error::Protocol(format!("the source sent {what}"))
}

pub(super) fn shown(path: &[u8]) -> std::path::PathBuf {
    sys::shown(path)
}
