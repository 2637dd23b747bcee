//! Where a copy grows before it is put in place: beside its destination, on the same file system.

use std::{
    ffi::OsString,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::base_name;

/// The destination as an absolute path without links in it. Its parent must exist, it need not.
pub(super) fn destination(to: &Path) -> Result<PathBuf> {
    if to.symlink_metadata().is_ok() {
        let real = to.canonicalize().with_context(|| format!("cannot copy to {}", to.display()))?;
        if !real.is_dir() {
            bail!("{} exists and is not a directory", to.display());
        }
        if is_mount_point(&real)? {
            bail!("{} is a mount point and cannot be replaced; copy to a directory in it", to.display());
        }
        return Ok(real);
    }
    let parent = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let real = parent.canonicalize();
    let real = real.with_context(|| format!("{} does not exist; make it first", parent.display()))?;
    match to.file_name() {
        Some(name) => Ok(real.join(name)),
        None => bail!("{} is no name for a directory", to.display()),
    }
}

/// The top of a file system: it has no name that could be given to another directory.
fn is_mount_point(dir: &Path) -> Result<bool> {
    let dev =
        |path: &Path| path.metadata().map(|m| m.dev()).with_context(|| format!("cannot look at {}", path.display()));
    let Some(parent) = dir.parent() else { return Ok(true) };
    Ok(dev(dir)? != dev(parent)?)
}

/// The private directory for a destination.
pub(super) fn of(destination: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(base_name(destination));
    name.push(".badger-staging");
    destination.with_file_name(name)
}

/// Removes the directory when its copy is in place.
pub(super) fn remove(staging: &Path) -> Result<()> {
    match std::fs::remove_dir_all(staging) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("the copy is done, but {} cannot be removed", staging.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_needs_a_parent_and_must_not_be_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        assert_eq!(destination(&real.join("new")).unwrap(), real.join("new"));
        assert_eq!(of(&real.join("new")), real.join(".new.badger-staging"));
        std::fs::write(real.join("file"), "").unwrap();
        assert!(destination(&real.join("file")).is_err());
        assert!(destination(&real.join("no/such")).is_err());
        assert!(destination(Path::new("/")).is_err());
    }
}
