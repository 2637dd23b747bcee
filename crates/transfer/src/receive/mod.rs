//! The side that gets the tree.
//!
//! ```text
//! listener ─ ticket ─► door ─► session:  link ─► apply (this thread): ops, blocks, metadata
//!                                                   │ new file at a known path        │ written blocks
//!                                                   ▼                                 ▼
//!                                                 basis: hash, answer              verify: sync, re-read, hash
//! ```

mod apply;
mod basis;
mod content;
mod door;
mod fit;
mod hall;
#[cfg(test)]
mod hostile;
mod judge;
mod listener;
mod metadata;
mod reread;
mod session;
mod staging;
mod target;
mod verify;

pub use door::{Door, Received};
pub use listener::Listener;
pub use staging::staging_tree;
