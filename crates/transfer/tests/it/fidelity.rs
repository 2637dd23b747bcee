//! Everything that a tree can hold comes over as it was.

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
    },
    path::Path,
    sync::Arc,
};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, mknodat, setxattr, utimensat};

use transfer::{Source, SourceOptions};

use crate::support::{Pair, a_tick_later, bounded, is_root, noise};

fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A tree with one of everything that some tool loses.
fn hostile_tree(top: &Path) {
    let at = |path: &str| top.join(path);
    for dir in ["empty", "deep/er/and/deeper", "locked", "sticky"] {
        fs::create_dir_all(at(dir)).unwrap();
    }
    for name in [&b"caf\xe9"[..], b"new\nline", b" lead", b"-rf", b"back\\slash", b"\xff\xfe", &[b'n'; 255]] {
        fs::write(top.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    for (i, size) in [0, 1, 4095, 4096, 4097, 8192, 524_287, 524_288, 524_289, 3_000_001].into_iter().enumerate() {
        fs::write(at(&format!("deep/er/{size}.bin")), noise(size, i as u64)).unwrap();
    }
    fs::write(at("deep/zeros"), vec![0; 20_000]).unwrap();
    fs::write(at("deep/text.log"), "the same line again and again\n".repeat(30_000)).unwrap();
    symlink("deep/er", at("to-dir")).unwrap();
    symlink("/nonexistent/\u{fffd}", at("dangling")).unwrap();
    symlink("..", at("deep/up")).unwrap();
    fs::write(at("first"), "one inode").unwrap();
    fs::hard_link(at("first"), at("deep/second")).unwrap();
    fs::hard_link(at("first"), at("zz-third")).unwrap();
    symlink("x", at("link-a")).unwrap();
    fs::hard_link(at("link-a"), at("link-b")).unwrap();
    for (name, kind) in [("fifo", FileType::Fifo), ("socket", FileType::Socket)] {
        mknodat(CWD, at(name), kind, Mode::from_raw_mode(0o640), 0).unwrap();
    }
    for (i, mode) in [0o000, 0o400, 0o444, 0o555, 0o777, 0o4755, 0o2755, 0o6711, 0o1644].into_iter().enumerate() {
        if mode & 0o400 == 0 && !is_root() {
            continue;
        }
        let path = at(&format!("mode-{mode:o}"));
        fs::write(&path, noise(5000, 100 + i as u64)).unwrap();
        chmod(path, mode);
    }
    sparse(&at("sparse"));
    let old = Timespec { tv_sec: -5, tv_nsec: 500_000_001 };
    let times = Timestamps { last_access: old, last_modification: old };
    for name in ["first", "dangling", "empty", "fifo"] {
        utimensat(CWD, at(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    fs::write(at("locked/inside"), "x").unwrap();
    chmod(at("locked"), 0o555);
    chmod(at("sticky"), 0o3777);
}

/// Data, hole, data, hole to the end.
fn sparse(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::create(path).unwrap();
    file.set_len(40 << 20).unwrap();
    file.write_all_at(&noise(10_000, 7), 0).unwrap();
    file.write_all_at(&noise(100_000, 8), 9_000_000).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_with_everything_in_it_arrives_as_it_was() {
    let mut pair = Pair::new().await;
    hostile_tree(&pair.src());
    let mut source = pair.connect().await;
    bounded(source.round()).await.unwrap();
    let receipt = pair.finish(&mut source).await;
    assert_eq!(receipt.rounds, 2);

    // The roots agree, also when computed anew; a few things are looked at with other eyes than our own.
    let copy = pair.copy();
    let stat = |path: &str| fs::symlink_metadata(copy.join(path)).unwrap();
    assert!(stat("empty").is_dir());
    assert_eq!(fs::read_link(copy.join("deep/up")).unwrap(), Path::new(".."));
    assert_eq!(stat("first").ino(), stat("deep/second").ino());
    assert_eq!(stat("first").ino(), stat("zz-third").ino());
    assert_eq!(stat("link-a").ino(), stat("link-b").ino());
    assert_eq!((stat("first").mtime(), stat("first").mtime_nsec()), (-5, 500_000_001));
    assert_eq!((stat("dangling").mtime(), stat("empty").mtime()), (-5, -5));
    assert!(stat("fifo").file_type().is_fifo() && stat("socket").file_type().is_socket());
    assert_eq!(stat("mode-4755").mode() & 0o7777, 0o4755);
    assert_eq!(stat("sticky").mode() & 0o7777, 0o3777);
    assert!(stat("sparse").blocks() * 512 < 1 << 20, "holes stay holes");
    assert_eq!(fs::read(copy.join("deep/er/3000001.bin")).unwrap(), noise(3_000_001, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_acls_and_owners_arrive() {
    let mut pair = Pair::new().await;
    fs::create_dir(pair.at_src("dir")).unwrap();
    fs::write(pair.at_src("dir/file"), "x").unwrap();
    let set = |path: &str, name: &str, value: &[u8]| setxattr(pair.at_src(path), name, value, XattrFlags::empty());
    set("dir", "user.dir", b"").unwrap();
    set("dir/file", "user.comment", b"kept\0binary").unwrap();
    // Version 2; user::rw-, user:1234:r--, group::r--, mask::r--, other::---
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, perm, id) in
        [(1_u16, 6_u16, u32::MAX), (2, 4, 1234), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
    {
        acl.extend(tag.to_le_bytes());
        acl.extend(perm.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    set("dir/file", "system.posix_acl_access", &acl).unwrap();
    set("dir", "system.posix_acl_default", &acl).unwrap();
    fs::write(pair.at_src("dir/inherited"), "x").unwrap();
    if is_root() {
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        set("dir/file", "security.capability", &capability).unwrap();
        std::os::unix::fs::chown(pair.at_src("dir/inherited"), Some(988), Some(990)).unwrap();
        std::os::unix::fs::lchown(pair.at_src("dir"), Some(1), Some(2)).unwrap();
    }
    let mut source = pair.connect().await;
    pair.finish(&mut source).await;
    let mut value = [0; 64];
    let n = rustix::fs::getxattr(pair.copy().join("dir/file"), "user.comment", &mut value).unwrap();
    assert_eq!(&value[..n], b"kept\0binary");
    let n = rustix::fs::getxattr(pair.copy().join("dir/file"), "system.posix_acl_access", &mut value).unwrap();
    assert_eq!(value[..n], acl);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_can_be_mapped_and_both_roots_know() {
    if !is_root() {
        return eprintln!("skipped: only root can give files away");
    }
    let map = transfer::OwnerMap::To { uid: 1000, gid: 1001 };
    let mut pair = Pair::with(|config| transfer::ReceiverConfig { owner: map, ..config }).await;
    fs::write(pair.at_src("file"), "x").unwrap();
    let mut source = pair.connect().await;
    let receipt = bounded(source.finish()).await.unwrap();
    assert_eq!(receipt.root_source, receipt.root_target);
    bounded(pair.door.wait()).await.unwrap();
    let stat = fs::metadata(pair.copy().join("file")).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (1000, 1001));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counters_of_both_sides_end_where_they_should() {
    let mut pair = Pair::new().await;
    for i in 0..10 {
        fs::write(pair.at_src(&format!("{i}.png")), noise(100_000, i)).unwrap();
    }
    a_tick_later(&pair.src()).await;
    let (address, watched, peer) = (pair.listener.local_addr().to_string(), Arc::default(), pair.me.fingerprint());
    let options = SourceOptions::default();
    let source =
        Source::connect(&address, &pair.me, peer, &pair.ticket, &pair.src(), options, Arc::clone(&watched)).await;
    let receipt = pair.finish(&mut source.unwrap()).await;
    let (near, far) = (watched.snapshot(), pair.door.progress().snapshot());
    assert_eq!((near.round, near.files_total, near.files_done), (receipt.rounds, 10, 10));
    assert_eq!((near.bytes_total, near.bytes_read), (1_000_000, 1_000_000));
    assert_eq!(near.bytes_sent, receipt.bytes_wire);
    assert!((1_000_000..1_020_000).contains(&near.bytes_sent), "{near:?}");
    assert_eq!((far.round, far.files_total, far.files_done), (receipt.rounds, 10, 10));
    assert_eq!((far.bytes_total, far.bytes_written), (1_000_000, 1_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_tree_is_a_tree() {
    let mut pair = Pair::new().await;
    let mut source = pair.connect().await;
    let receipt = pair.finish(&mut source).await;
    assert_eq!((receipt.files, receipt.bytes_total), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_files_arrive() {
    let mut pair = Pair::new().await;
    for i in 0..3000 {
        let dir = pair.at_src(&format!("d{}", i % 50));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f{i}")), noise(i % 700, i as u64)).unwrap();
    }
    let mut source = pair.connect().await;
    let receipt = pair.finish(&mut source).await;
    assert_eq!(receipt.files, 3050);
}
