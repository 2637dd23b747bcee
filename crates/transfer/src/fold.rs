//! The tree root: one hash over names, metadata and content, folded bottom up. Both sides compute it, each from what
//! its own disk says.
//!
//! An entry's digest covers type, permissions, owner, modification time (ns), size (files), device number (devices),
//! extended attributes, the target of a symbolic link, the path of the first name of a hard-linked inode, and the
//! hash of the content. A directory's fold covers its own digest and, sorted by name bytes, each child's name and fold.

use std::collections::HashMap;

use rustix::fs::FileType;

use crate::{error::Result, options::OwnerMap, report::TreeRoot, walk::Tree};

/// Digest of an entry, or fold of a directory.
pub(crate) type Digest = [u8; 32];

/// Digest of every entry without its children, in the order of `tree`. `content` gives the hash of a regular file.
pub(crate) fn digests(
    tree: &Tree,
    owner: OwnerMap,
    mut content: impl FnMut(usize) -> Result<Digest>,
) -> Result<Vec<Digest>> {
    let first_of = first_names(tree);
    let mut digests = Vec::with_capacity(tree.entries.len());
    for (at, entry) in tree.entries.iter().enumerate() {
        let group = first_of.get(&entry.stat.inode()).filter(|first| entry.stat.nlink > 1 && **first != at);
        let content = if entry.stat.is_file() { Some(content(at)?) } else { None };
        digests.push(entry_digest(tree, at, owner, group.copied(), content));
    }
    Ok(digests)
}

/// Folds the digests of [`digests`] into the root.
pub(crate) fn root(tree: &Tree, folds: Vec<Digest>) -> TreeRoot {
    root_of_present(tree, folds.into_iter().map(Some).collect())
}

/// As [`root`], of a tree without the entries that have no digest.
pub(crate) fn root_of_present(tree: &Tree, mut folds: Vec<Option<Digest>>) -> TreeRoot {
    for at in (0..tree.entries.len()).rev() {
        let Some(own) = folds[at].filter(|_| tree.entries[at].stat.is_dir()) else { continue };
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"badgerpanel directory 1");
        hasher.update(&own);
        for (child, fold) in tree.children(at).filter_map(|child| Some((child, folds[child]?))) {
            sized(&mut hasher, tree.name(child));
            hasher.update(&fold);
        }
        folds[at] = Some(*hasher.finalize().as_bytes());
    }
    TreeRoot(folds[0].unwrap_or_default())
}

/// First name of every inode that has several.
fn first_names(tree: &Tree) -> HashMap<(u64, u64), usize> {
    let mut first = HashMap::new();
    for (at, entry) in tree.entries.iter().enumerate() {
        if entry.stat.nlink > 1 && !entry.stat.is_dir() {
            first.entry(entry.stat.inode()).or_insert(at);
        }
    }
    first
}

/// Digest of one entry without its children. `group` is the first name of its inode, if this is another one.
pub(crate) fn entry_digest(
    tree: &Tree,
    at: usize,
    owner: OwnerMap,
    group: Option<usize>,
    content: Option<Digest>,
) -> Digest {
    let (stat, extra) = (&tree.entries[at].stat, tree.extra(at));
    let (uid, gid) = owner.apply(stat.uid, stat.gid);
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"badgerpanel entry 1");
    for number in [stat.mode, uid, gid, stat.mtime.nsec] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&stat.mtime.sec.to_le_bytes());
    let number = match stat.kind() {
        FileType::RegularFile => stat.size,
        FileType::CharacterDevice | FileType::BlockDevice => stat.rdev,
        _ => 0,
    };
    hasher.update(&number.to_le_bytes());
    sized(&mut hasher, &extra.target);
    hasher.update(&(extra.xattrs.len() as u64).to_le_bytes());
    for (name, value) in &extra.xattrs {
        sized(&mut hasher, name);
        sized(&mut hasher, value);
    }
    sized(&mut hasher, &group.map(|first| tree.path(first)).unwrap_or_default());
    hasher.update(&content.unwrap_or_default());
    *hasher.finalize().as_bytes()
}

fn sized(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}
