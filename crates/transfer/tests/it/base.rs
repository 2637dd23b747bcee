//! Building on what is there: an earlier copy, or what a broken session left.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
};

use transfer::publish;

use crate::support::{Pair, bounded, noise, root};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_copy_sends_only_what_changed_and_leaves_the_base_alone() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let mut pair = Pair::at(dir, |config| transfer::ReceiverConfig { base: Some(base.clone()), ..config }).await;
    for i in 0..10 {
        fs::write(pair.at_src(&format!("f{i}")), noise(300_000, i)).unwrap();
    }
    fs::write(pair.at_src("small"), "small").unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(pair.src()).arg(&base).status().unwrap();
    assert!(copied.success());
    fs::write(base.join("only-in-base"), "gone").unwrap();
    let before = root(&base);

    File::options().write(true).open(pair.at_src("f3")).unwrap().write_all_at(b"changed", 100_000).unwrap();
    fs::write(pair.at_src("new"), noise(5000, 99)).unwrap();
    File::options().write(true).open(pair.at_src("f4")).unwrap().set_len(100).unwrap();
    let mut source = pair.connect().await;
    let receipt = pair.finish(&mut source).await;
    assert_eq!(receipt.blocks_sent, 1 + 2 + 1);
    assert_eq!(root(&base), before, "the base is as it was");
    let ino = |tree: &std::path::Path, name: &str| fs::metadata(tree.join(name)).unwrap().ino();
    assert_eq!(ino(&base, "f0"), ino(&pair.copy(), "f0"), "unchanged files are shared");
    assert_ne!(ino(&base, "f3"), ino(&pair.copy(), "f3"));

    publish(&pair.copy(), &base).unwrap();
    assert_eq!(root(&base), receipt.root_source);
    assert!(!pair.copy().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn hard_links_in_the_base_do_not_leak_into_the_copy() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let mut pair = Pair::at(dir, |config| transfer::ReceiverConfig { base: Some(base.clone()), ..config }).await;
    fs::create_dir(&base).unwrap();
    fs::write(base.join("a"), noise(9000, 1)).unwrap();
    fs::hard_link(base.join("a"), base.join("b")).unwrap();
    // Two inodes on the source, of which one differs.
    fs::write(pair.at_src("a"), noise(9000, 1)).unwrap();
    fs::write(pair.at_src("b"), noise(9000, 2)).unwrap();
    let before = root(&base);
    let mut source = pair.connect().await;
    pair.finish(&mut source).await;
    assert_eq!(root(&base), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broken_session_left_is_not_sent_again() {
    let mut pair = Pair::new().await;
    for i in 0..20 {
        fs::write(pair.at_src(&format!("f{i}")), noise(100_000, i)).unwrap();
    }
    fs::hard_link(pair.at_src("f1"), pair.at_src("linked")).unwrap();
    let mut source = pair.connect().await;
    bounded(source.round()).await.unwrap();
    drop(source);
    fs::remove_file(pair.at_src("f7")).unwrap();
    fs::write(pair.at_src("new"), noise(100_000, 77)).unwrap();
    let mut source = pair.connect().await;
    let receipt = pair.finish(&mut source).await;
    // 25 blocks of the new file.
    assert_eq!(receipt.blocks_sent, 25);
    assert!(!pair.dir.path().join("staging/old").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_replaces_what_is_there_and_may_be_first() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, destination) = (dir.path().join("tree"), dir.path().join("destination"));
    for content in ["first", "second"] {
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("file"), content).unwrap();
        publish(&tree, &destination).unwrap();
        assert_eq!(fs::read_to_string(destination.join("file")).unwrap(), content);
        assert!(!tree.exists());
    }
    fs::create_dir(&tree).unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    assert!(publish(&tree, &dir.path().join("file")).is_err());
}
