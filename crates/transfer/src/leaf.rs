//! Blocks and their hashes. Content is compared, sent and verified in aligned blocks of 4 KiB.

use std::sync::LazyLock;

/// Bytes in a block. The last block of a file may be shorter.
pub(crate) const BLOCK: usize = 4096;

/// BLAKE3 of one block.
pub(crate) type Leaf = [u8; 32];

/// Stands for a block that the receiver was never sent: there it is a hole.
pub(crate) const ABSENT: Leaf = [0; 32];

/// A whole block of zeros, be it a hole or written.
static ZERO: LazyLock<Leaf> = LazyLock::new(|| leaf(&[0; BLOCK]));

/// Hash of one block.
pub(crate) fn leaf(block: &[u8]) -> Leaf {
    *blake3::hash(block).as_bytes()
}

/// Hash of a block of `len` zeros, for holes, without reading.
pub(crate) fn zero_leaf(len: usize) -> Leaf {
    if len == BLOCK { *ZERO } else { leaf(&[0; BLOCK][..len]) }
}

/// How many blocks a file of `size` bytes has.
pub(crate) fn blocks(size: u64) -> u64 {
    size.div_ceil(BLOCK as u64)
}

/// Bytes in block `index` of a file of `size` bytes.
pub(crate) fn block_len(size: u64, index: u64) -> usize {
    let start = index * BLOCK as u64;
    usize::try_from(size.saturating_sub(start).min(BLOCK as u64)).expect("at most a block")
}

/// Folds leaves into the hash of a file's content.
pub(crate) struct ContentHash(blake3::Hasher);

impl ContentHash {
    pub(crate) fn new(size: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"badgerpanel content 1");
        hasher.update(&size.to_le_bytes());
        Self(hasher)
    }

    pub(crate) fn update(&mut self, leaves: &[Leaf]) {
        self.0.update(leaves.as_flattened());
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}
