//! A server's files as a value: an appended log of records and a few sectors that are rewritten in place.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Files of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tree {
    files: BTreeMap<String, u64>,
}

/// How many sectors are rewritten in turn.
const SECTORS: u64 = 7;

impl Tree {
    /// Writes record number `record`, as a game does.
    pub fn write(&mut self, record: u64) {
        self.files.insert(format!("log/{record}"), record);
        self.files.insert(format!("sector/{}", record % SECTORS), record);
    }

    /// Writes something of the game's own, as it does when it starts.
    pub fn boot(&mut self) {
        *self.files.entry("latest.log".to_owned()).or_default() += 1;
    }

    /// Whether every record from 1 to `last` is there.
    #[must_use]
    pub fn holds(&self, last: u64) -> bool {
        (1..=last).all(|record| self.files.get(&format!("log/{record}")) == Some(&record))
    }

    /// One number for the whole tree.
    #[must_use]
    pub fn root(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    /// A bit flips.
    pub fn corrupt(&mut self) {
        self.files.insert("sector/0".to_owned(), u64::MAX);
    }

    /// Files in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.files.len() as u64
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}
