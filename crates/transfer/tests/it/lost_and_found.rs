//! `lost+found` of a file system is nobody's; any other is a directory like all.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use transfer::{Error, Source, SourceOptions, measure, publish_into};

use crate::{
    support::{Pair, bounded, noise, progress, root},
    trouble::Tmpfs,
};

fn make(dir: &Path, mode: u32) {
    fs::create_dir(dir.join("lost+found")).unwrap();
    fs::write(dir.join("lost+found/#123"), "found").unwrap();
    fs::set_permissions(dir.join("lost+found"), Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn that_of_a_file_system_is_neither_measured_nor_sent_nor_hashed() {
    let Some(mount) = Tmpfs::mount("size=8m,mode=755") else { return eprintln!("skipped: only root can mount") };
    let top = mount.path();
    fs::write(top.join("file"), noise(10_000, 1)).unwrap();
    let (without, size) = (root(top), measure(top).unwrap());
    let before = fs::metadata(top).unwrap().modified().unwrap();
    for mode in [0o700, 0o2770] {
        make(top, mode);
        fs::File::open(top).unwrap().set_modified(before).unwrap();
        assert_eq!((root(top), measure(top).unwrap()), (without, size), "{mode:o}");
        let mut pair = Pair::new().await;
        let (address, peer) = (pair.listener.local_addr().to_string(), pair.me.fingerprint());
        let options = SourceOptions::default();
        let source = Source::connect(&address, &pair.me, peer, &pair.ticket, top, options, progress()).await;
        let receipt = bounded(source.unwrap().finish()).await.unwrap();
        assert_eq!((receipt.files, receipt.root_target), (1, without));
        bounded(pair.door.wait()).await.unwrap();
        fs::remove_dir_all(top.join("lost+found")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_anybody_may_enter_or_owns_is_carried() {
    let Some(mount) = Tmpfs::mount("size=8m,mode=755") else { return eprintln!("skipped: only root can mount") };
    make(mount.path(), 0o755);
    assert_eq!(measure(mount.path()).unwrap().files, 2);
    fs::set_permissions(mount.path().join("lost+found"), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(measure(mount.path()).unwrap().files, 0);
    chown(mount.path().join("lost+found"), Some(1000), None).unwrap();
    assert_eq!(measure(mount.path()).unwrap().files, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_in_an_ordinary_directory_is_carried() {
    let mut pair = Pair::new().await;
    make(&pair.src(), 0o700);
    let mut source = pair.connect().await;
    assert_eq!(pair.finish(&mut source).await.files, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_published_beside_that_of_a_file_system() {
    let Some(mount) = Tmpfs::mount("size=8m,mode=755") else { return eprintln!("skipped: only root can mount") };
    make(mount.path(), 0o700);
    // What has not begun has no other file system to come from.
    let elsewhere = tempfile::tempdir().unwrap();
    let tree = elsewhere.path().join("tree");
    fs::create_dir(&tree).unwrap();
    publish_into(&tree, mount.path()).unwrap();
    assert!(mount.path().join("lost+found/#123").exists());
    // Its own name cannot be taken.
    fs::create_dir_all(tree.join("lost+found")).unwrap();
    fs::remove_file(elsewhere.path().join("publishing")).unwrap();
    let refused = publish_into(&tree, mount.path());
    assert!(matches!(refused, Err(Error::Io { .. } | Error::Refused(_))), "{refused:?}");
    assert!(mount.path().join("lost+found/#123").exists() && tree.join("lost+found").exists());
}
