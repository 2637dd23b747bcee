//! One role per data directory. Two panels on one database would both go on with its transfers, and two daemons on one
//! directory have one identity and would both start its servers: the second one is refused.
//!
//! The lock is the kernel's, on an open file: it ends with the process, however that ends, and a left file is no lock.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long an earlier process may take to end: a restart does not wait for the last breath of what it replaces.
const PATIENCE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(50);

/// Holds a data directory as long as it lives.
#[derive(Debug)]
pub(crate) struct Alone {
    _lock: File,
}

impl Alone {
    /// Takes `dir` for this process; makes it, with `mode`, if it is not there.
    pub(crate) fn on(dir: &Path, mode: u32) -> Result<Self> {
        Self::within(dir, mode, PATIENCE)
    }

    fn within(dir: &Path, mode: u32, patience: Duration) -> Result<Self> {
        let at = || format!("the data directory {} cannot be used", dir.display());
        DirBuilder::new().recursive(true).mode(mode).create(dir).with_context(at)?;
        let lock = File::options().create(true).truncate(false).write(true).open(dir.join("lock")).with_context(at)?;
        let deadline = Instant::now() + patience;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { _lock: lock }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(POLL),
                Err(TryLockError::WouldBlock) => {
                    bail!("another process uses {}: stop that one, or give this one a --data of its own", dir.display())
                }
                Err(TryLockError::Error(error)) => return Err(error).with_context(at),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_by_one_and_free_again_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("a/b");
        let first = Alone::within(&data, 0o700, Duration::ZERO).unwrap();
        let refused = Alone::within(&data, 0o700, Duration::ZERO).unwrap_err().to_string();
        assert!(refused.contains("another process"), "{refused}");
        drop(first);
        Alone::within(&data, 0o700, Duration::ZERO).unwrap();
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let refused = Alone::within(&file, 0o700, Duration::ZERO).unwrap_err().to_string();
        assert!(refused.contains(file.to_str().unwrap()), "{refused}");
    }
}
