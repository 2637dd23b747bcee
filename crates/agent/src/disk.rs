//! The few things that the agent does with files itself: small records that survive a power cut, and removal.
//!
//! Everything here may block for the length of an fsync, so the functions that a task calls are async and do their
//! work on the blocking pool.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use model::agent_api::{AgentError, ErrorCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::layout::Place;

/// Runs blocking work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Replaces `path` by `value` so that a reader sees the old or the new one, whole, also after a power cut.
///
/// Readable by the owner alone: some records hold tickets.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
    write_secret(path, &text)
}

/// [`write_json`] for bytes.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let new = dir.join(format!(".{name}.new"));
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_dir(dir)
}

/// Replaces `path` as [`write_json`] does, as private, but a power cut may lose it: for what says nothing after a
/// reboot.
pub(crate) fn write_volatile<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
    let new = path.with_extension("new");
    // Not the bits of a file that an interrupted run left there: the mode is only for new files.
    remove_file(&new)?;
    File::options().write(true).create_new(true).mode(0o600).open(&new)?.write_all(&text)?;
    fs::rename(&new, path)
}

/// [`write_json`] from a task.
pub(crate) async fn record<T: Serialize>(path: PathBuf, value: &T) -> Result<(), AgentError> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| internal("spell a record", &path, &e))?;
    let to = path.clone();
    blocking(move || write_secret(&to, &text)).await.map_err(|e| failed("write", &path, &e))
}

/// Reads a record; none if there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", path.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Makes what happened to the names in `dir` survive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes a directory that only we can enter. It may exist.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))
}

/// Removes a file; it may be gone already.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    gone_is_fine(fs::remove_file(path))
}

/// Removes a tree, also one with directories that its owner may not write to. It may be gone already.
pub(crate) fn remove_tree(dir: &Path) -> io::Result<()> {
    match gone_is_fine(fs::remove_dir_all(dir)) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            open_up(dir)?;
            gone_is_fine(fs::remove_dir_all(dir))
        }
        other => other,
    }
}

/// Whether nothing of a server is in its place. Where `data` is mounted, it and the directory around it may exist.
pub(crate) fn is_vacant(place: &Place, mounted: bool) -> io::Result<bool> {
    if !mounted {
        return Ok(!place.home.exists());
    }
    let beside = |name: &OsString| Some(name.as_os_str()) != place.data().file_name();
    Ok(!names(&place.home)?.iter().any(beside) && names(&place.data())?.is_empty())
}

/// Removes a server's place. Where `data` is mounted, it is emptied, and only it and the directory around it stay.
pub(crate) fn clear_place(place: &Place, mounted: bool) -> io::Result<()> {
    if !mounted {
        remove_tree(&place.home)?;
        return place.home.parent().map_or(Ok(()), sync_dir);
    }
    let data = place.data();
    // The records first: files without them are nobody's server, records without files would be a broken one.
    for name in names(&place.home)?.into_iter().filter(|name| Some(name.as_os_str()) != data.file_name()) {
        remove_any(&place.home.join(name))?;
    }
    if place.home.exists() {
        sync_dir(&place.home)?;
    }
    empty(&data)
}

/// Moves what is in one directory into another on the same file system. Done again after a crash, it moves the rest.
pub(crate) fn move_all(from: &Path, to: &Path) -> io::Result<()> {
    let mode = fs::metadata(from)?.permissions().mode();
    if mode & 0o700 != 0o700 {
        fs::set_permissions(from, Permissions::from_mode(mode | 0o700))?;
    }
    for name in names(from)? {
        move_one(&from.join(&name), &to.join(&name))?;
    }
    sync_dir(to)?;
    sync_dir(from)
}

/// A directory that denies its owner writing cannot be moved to another by them, unless they are root.
fn move_one(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied && fs::symlink_metadata(from)?.is_dir() => {
            fs::set_permissions(from, Permissions::from_mode(0o700))?;
            fs::rename(from, to)
        }
        other => other,
    }
}

/// Removes what is in a directory, as far as it exists.
fn empty(dir: &Path) -> io::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    // A world may deny its owner even this.
    let mode = fs::metadata(dir)?.permissions().mode();
    if mode & 0o700 != 0o700 {
        fs::set_permissions(dir, Permissions::from_mode(mode | 0o700))?;
    }
    names(dir)?.into_iter().try_for_each(|name| remove_any(&dir.join(name)))?;
    sync_dir(dir)
}

fn remove_any(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => remove_tree(path),
        Ok(_) => remove_file(path),
        Err(e) => gone_is_fine(Err(e)),
    }
}

/// What is in a directory; nothing if it is not there.
fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// A world may hold directories of mode 0555; only root removes from those without asking.
fn open_up(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// An answer for a file operation that failed.
pub(crate) fn failed(what: &str, path: &Path, error: &io::Error) -> AgentError {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::NoSpace,
        _ => ErrorCode::Internal,
    };
    AgentError::new(code, format!("cannot {what} {}: {error}", path.display()))
}

fn internal(what: &str, path: &Path, error: &dyn std::error::Error) -> AgentError {
    AgentError::new(ErrorCode::Internal, format!("cannot {what} ({}): {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_record_reads_back_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        write_json(&path, &1_u32).unwrap();
        write_json(&path, &2_u32).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(2));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        fs::write(dir.path().join("a.new"), "left by an interrupted run").unwrap();
        write_volatile(&path, &3_u32).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(3));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        fs::write(&path, "{").unwrap();
        assert!(read_json::<u32>(&path).unwrap_err().to_string().contains("a.json"));
    }

    #[test]
    fn a_place_that_is_mounted_is_emptied_and_stays() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(model::ServerId::new(), dir.path().join("home"));
        assert!(is_vacant(&place, true).unwrap() && is_vacant(&place, false).unwrap());
        clear_place(&place, true).unwrap();
        fs::create_dir_all(place.data().join("world/shut")).unwrap();
        assert!(!is_vacant(&place, true).unwrap());
        for file in ["spec.json", "data/f", "data/world/shut/g"] {
            fs::write(place.home.join(file), "x").unwrap();
        }
        fs::set_permissions(place.data().join("world/shut"), Permissions::from_mode(0o555)).unwrap();
        let inode = fs::metadata(place.data()).unwrap().ino();
        clear_place(&place, true).unwrap();
        clear_place(&place, true).unwrap();
        assert_eq!(names(&place.home).unwrap(), ["data"]);
        assert_eq!(fs::metadata(place.data()).unwrap().ino(), inode);
        assert!(is_vacant(&place, true).unwrap());
        assert!(!is_vacant(&place, false).unwrap());
        clear_place(&place, false).unwrap();
        assert!(!place.home.exists());
    }

    #[test]
    fn a_tree_with_closed_directories_can_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("f"), "x").unwrap();
        fs::set_permissions(&deep, Permissions::from_mode(0o555)).unwrap();
        remove_tree(&dir.path().join("a")).unwrap();
        remove_tree(&dir.path().join("a")).unwrap();
        assert!(!dir.path().join("a").exists());
    }
}
