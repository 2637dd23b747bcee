//! The side that has the tree.

use std::{path::Path, sync::Arc};

use crate::{
    error::{Error, Result},
    identity::{Fingerprint, Identity, Ticket},
    options::SourceOptions,
    progress::Progress,
    report::{Receipt, RoundReport},
};

/// A connection to a receiver, and what it has been told so far.
#[derive(Debug)]
pub struct Source {
    _private: (),
}

fn unbuilt<T>() -> Result<T> {
    Err(Error::Protocol("not built yet".to_owned()))
}

impl Source {
    /// Connects to the door at `address` and delivers `dir` there: TLS 1.3, both certificates pinned, `ticket` shown.
    pub async fn connect(
        _address: &str,
        _me: &Identity,
        _peer: Fingerprint,
        _ticket: &Ticket,
        _dir: &Path,
        _options: SourceOptions,
        _progress: Arc<Progress>,
    ) -> Result<Self> {
        unbuilt()
    }

    /// One pass over a tree that may change meanwhile.
    pub async fn round(&mut self) -> Result<RoundReport> {
        unbuilt()
    }

    /// The last pass, over a tree that is still: the delta, durability of both sides, both roots compared. Blocks
    /// that differ are repaired, a bounded number of times. After [`Error::Changed`] it may be called again.
    pub async fn finish(&mut self) -> Result<Receipt> {
        unbuilt()
    }

    /// After [`Self::finish`]: asks the receiver to publish and waits until it has.
    pub async fn publish(self) -> Result<()> {
        unbuilt()
    }

    /// Ends the copy and tells the receiver why. Dropping does the same without a word.
    pub async fn abort(self) {}
}
