//! Comparing trees with a program that shares no line with the engine: bench/treediff.py.

use std::path::Path;
use std::process::Command;

/// Fails unless both trees are equal: paths, content, modes, owners, times, links, extended attributes.
pub(crate) fn assert_equal(a: &Path, b: &Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/treediff.py");
    let output = Command::new("python3").arg(script).args([a, b]).output().expect("python3 is needed to compare trees");
    let found = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{} and {} differ:\n{found}", a.display(), b.display());
    assert!(found.contains("\"files\""), "nothing was compared: {found}");
}

/// Whether a directory is missing or has nothing in it.
pub(crate) fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none())
}
