//! What goes in comes out, also with somebody else's tar; what changes meanwhile breaks nothing.

#![allow(clippy::unwrap_used)]

mod hostile;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, mknodat, utimensat};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{Progress, tree_root};

const NO_LIMIT: UnpackLimits = UnpackLimits { files: 1_000, bytes: 1 << 40 };

fn packed(dir: &Path) -> (Packed, Vec<u8>) {
    let mut archive = Vec::new();
    let packed = pack(dir, &mut archive, &Progress::default(), &CancellationToken::new()).unwrap();
    (packed, archive)
}

fn unpacked(archive: &[u8], tree: &Path) -> crate::Result<Unpacked> {
    fs::create_dir_all(tree).unwrap();
    unpack(archive, tree, OwnerMap::Keep, NO_LIMIT, &Progress::default(), &CancellationToken::new())
}

fn root_of(dir: &Path) -> TreeRoot {
    tree_root(dir, NO_OWNER, &CancellationToken::new()).unwrap().root
}

/// Something of everything.
fn world(dir: &Path) {
    let at = |name: &[u8]| dir.join(OsStr::from_bytes(name));
    fs::create_dir_all(at(b"world/region")).unwrap();
    fs::create_dir(at(b"empty")).unwrap();
    fs::write(at(b"world/region/r.0.0.mca"), noise(3 << 20)).unwrap();
    fs::write(at(b"big"), noise(9 << 20)).unwrap();
    fs::write(at(b"caf\xe9"), "no UTF-8").unwrap();
    fs::write(at(b"new\nline=%"), "awkward").unwrap();
    fs::write(at(b"nothing"), "").unwrap();
    let deep = format!("{}/{}", "d".repeat(120), "e".repeat(120));
    fs::create_dir_all(at(deep.as_bytes())).unwrap();
    fs::write(at(format!("{deep}/leaf").as_bytes()), "deep").unwrap();
    fs::hard_link(at(b"world/region/r.0.0.mca"), at(b"linked")).unwrap();
    symlink("world/../nowhere", at(b"link")).unwrap();
    symlink("t".repeat(300), at(b"long link")).unwrap();
    mknodat(CWD, at(b"pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    rustix::fs::setxattr(at(b"nothing"), "user.a\nb", b"v\n\0=", XattrFlags::empty()).unwrap();
    sparse(&at(b"sparse"));
    fs::set_permissions(at(b"empty"), fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(at(b"caf\xe9"), fs::Permissions::from_mode(0o4751)).unwrap();
    for (name, sec, nsec) in [(&b"big"[..], 1_000_000, 7), (b"link", -2, 5), (b"world", 2, 999_999_999), (b".", 9, 9)] {
        let time = Timespec { tv_sec: sec, tv_nsec: nsec };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, at(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

fn sparse(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::create(path).unwrap();
    file.set_len(64 << 20).unwrap();
    for at in [0, 8 << 20, (8 << 20) + 12_288, 40 << 20] {
        file.write_all_at(&noise(5000), at).unwrap();
    }
}

/// Bytes that do not compress, the same each time.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// What a person would compare, path by path.
fn looks(dir: &Path) -> Vec<String> {
    let top = crate::sys::open_top(dir).unwrap();
    let tree = crate::walk::Tree::walk(std::os::fd::AsFd::as_fd(&top), &CancellationToken::new()).unwrap();
    let look = |at: usize| {
        let (stat, extra) = (&tree.entries[at].stat, tree.extra(at));
        let size = if stat.is_file() { stat.size } else { 0 };
        format!("{:?} {:o} {:?} {size} {extra:?}", tree.shown(at), stat.mode, stat.mtime)
    };
    (0..tree.entries.len()).map(look).collect()
}

fn scene() -> (TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    fs::create_dir(&source).unwrap();
    (dir, source, target)
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let (_dir, source, target) = scene();
    world(&source);
    let (packed, archive) = packed(&source);
    assert_eq!((packed.root, packed.changed, packed.left_out), (root_of(&source), vec![], vec![]));
    let unpacked = unpacked(&archive, &target).unwrap();
    assert_eq!((unpacked.root, unpacked.files, unpacked.bytes), (packed.root, packed.files, packed.bytes));
    assert_eq!(root_of(&target), root_of(&source));
    assert_eq!(fs::metadata(target.join("linked")).unwrap().nlink(), 2);
    assert!(fs::metadata(target.join("sparse")).unwrap().blocks() * 512 < 1 << 20, "holes stay holes");
    assert!(archive.len() < 13 << 20, "and are not in the archive: {}", archive.len());
}

#[test]
fn somebody_elses_tar_understands_it() {
    let (_dir, source, target) = scene();
    world(&source);
    let (packed, archive) = packed(&source);
    let plain = target.with_extension("tar");
    fs::write(&plain, zstd::decode_all(archive.as_slice()).unwrap()).unwrap();
    fs::create_dir(&target).unwrap();
    let tar = std::process::Command::new("tar")
        // Members come level by level: without it a directory's time is set before all that belongs into it is there.
        .arg("--delay-directory-restore")
        .args(["--extract", "--sparse", "--preserve-permissions", "--xattrs", "--xattrs-include=*", "--file"])
        .arg(&plain)
        .arg("--directory")
        .arg(&target)
        .output()
        .unwrap();
    assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
    assert_eq!(looks(&target), looks(&source), "{}", String::from_utf8_lossy(&tar.stderr));
    assert_eq!(root_of(&target), packed.root, "{}", String::from_utf8_lossy(&tar.stderr));
}

/// Does something once, in the middle of the first file that is streamed.
struct Meddler<'a>(Vec<u8>, Option<&'a dyn Fn()>);

impl Write for Meddler<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(meddle) = self.1.take() {
            meddle();
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_changes_and_vanishes_meanwhile_is_named_and_breaks_nothing() {
    let (_dir, source, target) = scene();
    let at = |name: &str| source.join(name);
    for name in ["a", "b", "c", "d", "e", "g"] {
        fs::write(at(name), noise(if name == "a" { 24 << 20 } else { 10 })).unwrap();
    }
    fs::hard_link(at("b"), at("f")).unwrap();
    let meddle = || {
        fs::File::options().write(true).open(at("a")).unwrap().set_len(3 << 20).unwrap();
        fs::remove_file(at("b")).unwrap();
        fs::remove_file(at("c")).unwrap();
        fs::create_dir(at("c")).unwrap();
        fs::remove_file(at("d")).unwrap();
        symlink("/etc/passwd", at("d")).unwrap();
        fs::write(at("e"), noise(2000)).unwrap();
    };
    let mut archive = Meddler(Vec::new(), Some(&meddle));
    let packed = pack(&source, &mut archive, &Progress::default(), &CancellationToken::new()).unwrap();
    assert!(archive.1.is_none(), "it meddled");
    let named: Vec<_> = packed.changed.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(named, ["a", "b", "c", "d"]);
    let unpacked = unpacked(&archive.0, &target).unwrap();
    assert_eq!((unpacked.root, unpacked.files, unpacked.bytes), (packed.root, packed.files, packed.bytes));
    assert_eq!(fs::metadata(target.join("a")).unwrap().len(), 24 << 20, "as long as it was, zeros at its end");
    assert_eq!(fs::read(target.join("e")).unwrap(), noise(2000), "what it was when it was opened");
    assert_eq!(fs::read(target.join("f")).unwrap(), noise(10), "the other name of what vanished");
}

#[test]
fn sockets_are_listed_and_what_cannot_be_read_is_an_error() {
    let (_dir, source, target) = scene();
    let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    let (packed, archive) = packed(&source);
    assert_eq!(packed.left_out, [PathBuf::from("socket")]);
    assert_eq!(unpacked(&archive, &target).unwrap().root, packed.root);
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let refused = pack(&source, io::sink(), &Progress::default(), &cancelled);
    assert!(matches!(refused, Err(crate::Error::Cancelled)));
}

#[test]
fn a_cut_archive_is_an_error_wherever_it_is_cut() {
    let (_dir, source, target) = scene();
    fs::write(source.join("a"), noise(100_000)).unwrap();
    fs::write(source.join("b"), noise(100_000)).unwrap();
    let (_, archive) = packed(&source);
    for part in 0..20 {
        let cut = &archive[..archive.len() * part / 20];
        let tree = target.join(part.to_string());
        assert!(matches!(unpacked(cut, &tree), Err(crate::Error::Refused(_))), "cut at {part}/20");
    }
    assert!(unpacked(&archive[..archive.len() - 1], &target.join("last")).is_err());
    let mut flipped = archive;
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    assert!(unpacked(&flipped, &target.join("flipped")).is_err(), "zstd's own checksum sees it");
}
