//! Where a copy grows before it is put in place: beside its destination, on the same file system.

use std::{
    collections::HashSet,
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

/// Refuses a destination of which nothing would stay, as it is with a mistyped path, or with a destination that was
/// meant to get the source as one more directory.
pub(super) fn refuse_to_replace(destination: &Path, source: &Path) -> Result<()> {
    let (there, new) = (names(destination)?, names(source)?);
    // An empty source is most often one that is not mounted: it shares no name with anything, and is refused as well.
    if there.is_empty() || !there.is_disjoint(&new) {
        return Ok(());
    }
    let (entries, to) = (there.len(), destination.display());
    let them = if entries == 1 { "the only entry".to_owned() } else { format!("all {entries} entries") };
    bail!(
        "{to} has no name in common with {}, so {them} in it would be removed; copy to {} to have it as one \
         directory more, or give --replace if {to} is to be replaced",
        source.display(),
        destination.join(base_name(source)).display(),
    )
}

/// What is in a directory. Nothing is in one that does not exist.
fn names(dir: &Path) -> Result<HashSet<OsString>> {
    let named = || -> io::Result<_> {
        match std::fs::read_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(HashSet::new()),
            entries => entries?.map(|entry| Ok(entry?.file_name())).collect(),
        }
    };
    named().with_context(|| format!("cannot read {}", dir.display()))
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

    #[test]
    fn a_destination_of_which_nothing_would_stay_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (src, dst) = (dir.path().join("src"), dir.path().join("dst"));
        std::fs::create_dir(&src).unwrap();
        refuse_to_replace(&dst, &src).unwrap();
        std::fs::write(src.join("world"), "").unwrap();
        std::fs::create_dir(&dst).unwrap();
        refuse_to_replace(&dst, &src).unwrap();
        for name in ["photos", "letters"] {
            std::fs::write(dst.join(name), "").unwrap();
        }
        let refused = refuse_to_replace(&dst, &src).unwrap_err().to_string();
        assert!(refused.contains("all 2 entries") && refused.contains("--replace"), "{refused}");
        std::fs::write(dst.join("world"), "").unwrap();
        refuse_to_replace(&dst, &src).unwrap();
    }
}
