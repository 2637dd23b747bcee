//! Files that only the panel's own user may read: complete on disk under their name, or not there at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use data_encoding::HEXLOWER;
use ring::rand::{SecureRandom as _, SystemRandom};

/// Writes `text` and a line end to `path` (0600), in the place of what was there.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("tmp");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads the key at `path` (32 bytes, hex), or makes one there.
pub(super) fn load_or_create_key(path: &Path) -> io::Result<Vec<u8>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create_key(path)?,
        other => other?,
    };
    let bytes = HEXLOWER.decode(text.trim().as_bytes()).ok().filter(|bytes| bytes.len() == 32);
    bytes.ok_or_else(|| {
        let message = format!("{} is not a key of 32 bytes in hex", path.display());
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

fn create_key(path: &Path) -> io::Result<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    let text = HEXLOWER.encode(&bytes);
    write_private(path, &text)?;
    Ok(text)
}
