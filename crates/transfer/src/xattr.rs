//! Extended attributes: POSIX ACLs and capabilities are among them.

use rustix::{
    buffer::spare_capacity,
    fs::{XattrFlags, lgetxattr, lgetxattr_query, llistxattr, llistxattr_query, lremovexattr, lsetxattr},
    io::Errno,
};

/// Sorted by name.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Labels that the machine's own security policy puts on a file. They say where a file is, not what it is.
const OF_THE_MACHINE: [&[u8]; 4] = [b"security.selinux", b"security.ima", b"security.evm", b"security.apparmor"];

/// All attributes of what `path` names, links not followed.
pub(crate) fn read(path: &[u8]) -> rustix::io::Result<Xattrs> {
    let mut found = Vec::new();
    for name in list(path)? {
        match get(path, &name) {
            Ok(value) => found.push((name, value)),
            // Removed meanwhile.
            Err(Errno::NODATA) => {}
            Err(e) => return Err(e),
        }
    }
    found.sort();
    Ok(found)
}

/// Makes the attributes of `path` exactly `wanted`. On failure says which attribute it was.
pub(crate) fn apply(path: &[u8], wanted: &Xattrs) -> Result<(), (String, Errno)> {
    let present = read(path).map_err(|e| ("its attributes".to_owned(), e))?;
    for (name, _) in present.iter().filter(|(name, _)| !wanted.iter().any(|(w, _)| w == name)) {
        lremovexattr(path, name.as_slice()).map_err(|e| (String::from_utf8_lossy(name).into_owned(), e))?;
    }
    for (name, value) in wanted.iter().filter(|pair| !present.contains(pair)) {
        let set = lsetxattr(path, name.as_slice(), value, XattrFlags::empty());
        set.map_err(|e| (String::from_utf8_lossy(name).into_owned(), e))?;
    }
    Ok(())
}

fn list(path: &[u8]) -> rustix::io::Result<Vec<Vec<u8>>> {
    loop {
        let size = match llistxattr_query(path) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Ok(size) => size,
            Err(e) => return Err(e),
        };
        let mut names: Vec<u8> = Vec::with_capacity(size + 64);
        match llistxattr(path, spare_capacity(&mut names)) {
            Ok(_) => return Ok(split(&names)),
            // It grew meanwhile.
            Err(Errno::RANGE) => {}
            Err(e) => return Err(e),
        }
    }
}

fn split(names: &[u8]) -> Vec<Vec<u8>> {
    let names = names.split(|b| *b == 0).filter(|n| !n.is_empty() && !OF_THE_MACHINE.contains(n));
    names.map(<[u8]>::to_vec).collect()
}

fn get(path: &[u8], name: &[u8]) -> rustix::io::Result<Vec<u8>> {
    loop {
        let size = lgetxattr_query(path, name)?;
        if size == 0 {
            return Ok(Vec::new());
        }
        let mut value: Vec<u8> = Vec::with_capacity(size);
        match lgetxattr(path, name, spare_capacity(&mut value)) {
            Ok(_) => return Ok(value),
            Err(Errno::RANGE) => {}
            Err(e) => return Err(e),
        }
    }
}
