//! Questions about a tree that need no peer: its root, its size.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, Result},
    options::OwnerMap,
    report::TreeRoot,
};

/// What [`tree_root`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeReport {
    /// Over everything.
    pub root: TreeRoot,
    /// Files, directories and links, the top not counted.
    pub files: u64,
    /// Bytes of content (apparent size, hard links once).
    pub bytes: u64,
    /// Blocks of 4 KiB that were read; holes are not.
    pub blocks: u64,
}

/// What [`measure`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Bytes of content (apparent size, hard links once).
    pub bytes: u64,
    /// Files, directories and links, the top not counted.
    pub files: u64,
}

/// Reads the whole tree and folds it into its root. Blocks.
pub fn tree_root(dir: &Path, _owner: OwnerMap, _cancel: &CancellationToken) -> Result<TreeReport> {
    Err(Error::Protocol(format!("not built yet: {}", dir.display())))
}

/// Stats the whole tree. Blocks.
pub fn measure(dir: &Path) -> Result<Measure> {
    Err(Error::Protocol(format!("not built yet: {}", dir.display())))
}
