//! The end: is the tree on the disk the tree of the source? Metadata comes from a walk over what is there, content
//! from the leaves that the verifier read.

use std::{collections::HashMap, os::fd::AsFd};

use super::{
    apply::Applier,
    session::{Agreed, Shared},
    target::{What, shown, violated},
    verify,
};
use crate::{
    error::{Error, Result},
    fold::{self, Digest},
    leaf::{ABSENT, Leaf, blocks},
    link::Frame,
    options::OwnerMap,
    report::TreeRoot,
    walk::Tree,
    wire::{TOP, ToSource},
};

/// Leaves in one frame.
const LEAVES: u64 = 16384;

/// Nodes in one frame.
const NODES: usize = 65536;

/// What we found.
#[derive(Debug)]
pub(super) struct Judged {
    root: TreeRoot,
    digests: HashMap<u32, Digest>,
    files: u64,
    differing: Vec<u32>,
}

impl Applier<'_> {
    /// Everything has arrived: makes it durable, reads back what was not yet, and folds it.
    pub(super) fn complete(&mut self) -> Result<()> {
        verify::flush(self.shared)?;
        self.seal()?;
        self.shared.staging.sync()?;
        let mut tree = Tree::walk(self.shared.staging.tree.as_fd(), &self.shared.stop)?;
        let nodes = self.match_nodes(&tree)?;
        self.distrust_what_others_touched(&tree, &nodes)?;
        self.hash_contents()?;
        self.close(&mut tree, &nodes)?;
        let target = self.shared.target();
        let digests = fold::digests(&tree, OwnerMap::Keep, |at| {
            let What::Name(object) = target.nodes[&nodes[at]].what else { return Ok(Digest::default()) };
            Ok(target.objects[&object].hash.expect("just computed"))
        })?;
        let root = fold::root(&tree, digests.clone());
        let digests = nodes.into_iter().zip(digests).collect();
        self.judged = Some(Judged { root, digests, files: tree.len(), differing: Vec::new() });
        Ok(())
    }

    /// The node of every path on the disk. A path that we know nothing of was not made by us.
    fn match_nodes(&self, tree: &Tree) -> Result<Vec<u32>> {
        let target = self.shared.target();
        let mut nodes = vec![TOP; tree.entries.len()];
        for at in 1..tree.entries.len() {
            let parent = nodes[tree.entries[at].parent as usize];
            let known = match target.nodes.get(&parent).map(|n| &n.what) {
                Some(What::Dir { children, .. }) => children.get(tree.name(at)),
                _ => None,
            };
            let matches =
                known.filter(|id| matches!(target.nodes[id].what, What::Dir { .. }) == tree.entries[at].stat.is_dir());
            nodes[at] = *matches.ok_or_else(|| meddled(tree.shown(at)))?;
        }
        if tree.len() != target.len() {
            let seen: std::collections::HashSet<_> = nodes.iter().collect();
            let missing = target.nodes.keys().find(|id| !seen.contains(id)).map(|id| target.path(*id));
            return Err(meddled(shown(&missing.unwrap_or_default())));
        }
        Ok(nodes)
    }

    /// A file that is not as we left it is read again as a whole.
    fn distrust_what_others_touched(&mut self, tree: &Tree, nodes: &[u32]) -> Result<()> {
        let mut target = self.shared.target();
        let mut any = false;
        for (at, node) in nodes.iter().enumerate() {
            let What::Name(id) = target.nodes[node].what else { continue };
            let stat = &tree.entries[at].stat;
            let object = target.object(id)?;
            if stat.is_file() && object.left != Some((stat.ino, stat.size, stat.ctime)) {
                tracing::warn!(path = %tree.shown(at).display(), "changed by somebody else; reading it again");
                let all = object.all_blocks();
                target.mark_unverified(id, all);
                any = true;
            }
        }
        drop(target);
        if any { verify::flush(self.shared) } else { Ok(()) }
    }

    fn hash_contents(&self) -> Result<()> {
        let mut target = self.shared.target();
        for object in target.objects.values_mut().filter(|o| o.hash.is_none()) {
            object.hash = Some(self.shared.store.content_hash(&object.leaves, object.size())?);
        }
        Ok(())
    }

    /// Compares roots and says so. Complete if they are equal.
    pub(super) fn judge(&mut self, root: TreeRoot) -> Result<Option<Agreed>> {
        let judged = self.judged.as_ref().ok_or_else(|| violated("a root before the end"))?;
        let equal = judged.root == root;
        let (files, bytes) = (judged.files, self.shared.target().bytes());
        let verdict = ToSource::Verdict { root: judged.root.0, equal, files, bytes };
        self.shared.sender.send_blocking(&verdict)?;
        Ok(equal.then_some(Agreed { root, files, bytes }))
    }

    /// Finds what differs, path by path, and tells what we have of it.
    pub(super) fn compare(&mut self, digests: &[(u32, Digest)], last: bool) -> Result<()> {
        let judged = self.judged.as_mut().ok_or_else(|| violated("digests before the end"))?;
        let differs = |(id, theirs): &&(u32, Digest)| judged.digests.get(id) != Some(theirs);
        let differing: Vec<u32> = digests.iter().filter(differs).map(|(id, _)| *id).collect();
        judged.differing.extend(differing);
        if !last {
            return Ok(());
        }
        let nodes = std::mem::take(&mut judged.differing);
        for node in &nodes {
            let object = match self.shared.target().nodes.get(node).map(|n| &n.what) {
                Some(What::Name(object)) => Some(*object),
                _ => None,
            };
            object.map_or(Ok(()), |object| tell_leaves(self.shared, object))?;
        }
        let chunks = nodes.len().div_ceil(NODES).max(1);
        for i in 0..chunks {
            let nodes = nodes.iter().skip(i * NODES).take(NODES).copied().collect();
            self.shared.sender.send_blocking(&ToSource::Differs { nodes, last: i + 1 == chunks })?;
        }
        Ok(())
    }
}

/// Tells the source the leaves that our disk gave back.
fn tell_leaves(shared: &Shared, id: u32) -> Result<()> {
    let target = shared.target();
    let object = target.object(id)?;
    let (leaves, size) = (object.leaves, object.size());
    drop(target);
    let (mut at, end) = (0, blocks(size));
    while at < end {
        let n = (end - at).min(LEAVES);
        let mut run: Vec<Leaf> = vec![ABSENT; usize::try_from(n).expect("bounded")];
        shared.store.read(&leaves, at, &mut run)?;
        let message = ToSource::Basis { object: id, size, first: at, last: at + n == end };
        shared.sender.send_frame_blocking(Frame::new(&message, run.into_flattened()))?;
        at += n;
    }
    Ok(())
}

fn meddled(path: std::path::PathBuf) -> Error {
    let source = std::io::Error::other("somebody else works in the staging directory");
    Error::Io { path, source }
}
