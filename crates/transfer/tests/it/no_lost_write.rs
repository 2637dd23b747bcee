//! What the game writes while we copy is in the copy, whatever its stat says.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{FileExt, MetadataExt, symlink},
    path::Path,
    process::{Command, Stdio},
};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::support::{Pair, bounded, noise};

/// Gives a path the time stamp that it had.
fn set_mtime(path: &Path, stat: &fs::Metadata) {
    let time = Timespec { tv_sec: stat.mtime(), tv_nsec: stat.mtime_nsec() };
    utimensat(CWD, path, &Timestamps { last_access: time, last_modification: time }, AtFlags::empty()).unwrap();
}

/// Runs a round over what `before` makes, then `change`, then the last pass, and checks that both trees are equal.
async fn changed_between_rounds(before: impl FnOnce(&Path), change: impl FnOnce(&Path)) -> (Pair, transfer::Receipt) {
    let mut pair = Pair::new().await;
    before(&pair.src());
    let mut source = pair.connect().await;
    bounded(source.round()).await.unwrap();
    change(&pair.src());
    bounded(source.round()).await.unwrap();
    let receipt = pair.finish(&mut source).await;
    (pair, receipt)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_of_the_same_size_in_the_same_second_is_seen() {
    let (pair, _) = changed_between_rounds(
        |top| fs::write(top.join("world"), noise(50_000, 1)).unwrap(),
        |top| {
            let stat = fs::metadata(top.join("world")).unwrap();
            File::options().write(true).open(top.join("world")).unwrap().write_all_at(b"changed", 20_000).unwrap();
            set_mtime(&top.join("world"), &stat);
        },
    )
    .await;
    assert_eq!(&fs::read(pair.copy().join("world")).unwrap()[20_000..20_007], b"changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_changed_block_is_sent() {
    let (_, receipt) = changed_between_rounds(
        |top| fs::write(top.join("world"), noise(10 << 20, 1)).unwrap(),
        |top| File::options().write(true).open(top.join("world")).unwrap().write_all_at(b"changed", 5_000_000).unwrap(),
    )
    .await;
    assert_eq!(receipt.blocks_sent, 2560 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_renamed_over_is_sent_as_a_difference() {
    let (pair, receipt) = changed_between_rounds(
        |top| fs::write(top.join("level.dat"), noise(1 << 20, 1)).unwrap(),
        |top| {
            let mut next = noise(1 << 20, 1);
            next[500_000] ^= 1;
            fs::write(top.join("level.dat.new"), next).unwrap();
            fs::rename(top.join("level.dat.new"), top.join("level.dat")).unwrap();
        },
    )
    .await;
    assert_eq!(receipt.blocks_sent, 256 + 1);
    assert_eq!(fs::metadata(pair.copy().join("level.dat")).unwrap().nlink(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_shrink_and_grow_between_rounds_arrive() {
    let sizes = [(10_000, 3), (3, 10_000), (100_000, 8192), (4096, 4097), (4097, 4096), (50_000, 0), (0, 50_000)];
    changed_between_rounds(
        |top| {
            for (i, (before, _)) in sizes.iter().enumerate() {
                fs::write(top.join(format!("f{i}")), noise(*before, i as u64)).unwrap();
            }
        },
        |top| {
            for (i, (before, after)) in sizes.iter().enumerate() {
                let file = File::options().write(true).open(top.join(format!("f{i}"))).unwrap();
                // Once with a hole at the end, once with data.
                file.set_len(*after as u64).unwrap();
                if after > before && i % 2 == 0 {
                    file.write_all_at(b"end", *after as u64 - 3).unwrap();
                }
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_lost_its_tail_and_got_a_new_one_arrives() {
    let mut pair = Pair::new().await;
    let path = pair.at_src("log");
    fs::write(&path, noise(100_000, 1)).unwrap();
    let mut source = pair.connect().await;
    bounded(source.round()).await.unwrap();
    File::options().write(true).open(&path).unwrap().set_len(10_001).unwrap();
    bounded(source.round()).await.unwrap();
    File::options().write(true).open(&path).unwrap().set_len(90_000).unwrap();
    bounded(source.round()).await.unwrap();
    File::options().write(true).open(&path).unwrap().write_all_at(&noise(70_000, 2), 30_000).unwrap();
    pair.finish(&mut source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_becomes_a_hole_becomes_zeros() {
    use rustix::fs::{FallocateFlags, fallocate};
    let (pair, _) = changed_between_rounds(
        |top| fs::write(top.join("region"), noise(1 << 20, 1)).unwrap(),
        |top| {
            let file = File::options().write(true).open(top.join("region")).unwrap();
            fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 8192, 500_000).unwrap();
        },
    )
    .await;
    assert!(fs::metadata(pair.copy().join("region")).unwrap().blocks() * 512 < 700_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_deleted_and_made_again_arrive() {
    changed_between_rounds(
        |top| (0..20).for_each(|i| fs::write(top.join(format!("{i}")), noise(9000, i)).unwrap()),
        |top| {
            // Inode numbers are given out again at once: files swap them.
            (0..20).for_each(|i| fs::remove_file(top.join(format!("{i}"))).unwrap());
            (0..20).rev().for_each(|i| fs::write(top.join(format!("{i}")), noise(9000, 50 + i)).unwrap());
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inode_that_comes_back_as_something_else_is_something_else() {
    changed_between_rounds(
        |top| (0..10).for_each(|i| fs::write(top.join(format!("{i}")), "file").unwrap()),
        |top| {
            (0..10).for_each(|i| fs::remove_file(top.join(format!("{i}"))).unwrap());
            (0..10).for_each(|i| symlink(format!("target {i}"), top.join(format!("{i}"))).unwrap());
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hard_links_that_come_and_go_arrive() {
    let (pair, receipt) = changed_between_rounds(
        |top| {
            fs::write(top.join("a"), noise(1 << 20, 1)).unwrap();
            fs::write(top.join("pair-1"), noise(9000, 2)).unwrap();
            fs::hard_link(top.join("pair-1"), top.join("pair-2")).unwrap();
            fs::write(top.join("moved"), noise(9000, 3)).unwrap();
        },
        |top| {
            // A new link, whose inode is then written; a broken pair, of which one half is written.
            fs::hard_link(top.join("a"), top.join("b")).unwrap();
            File::options().write(true).open(top.join("b")).unwrap().write_all_at(b"through b", 4096).unwrap();
            fs::copy(top.join("pair-1"), top.join("pair-3")).unwrap();
            fs::rename(top.join("pair-3"), top.join("pair-1")).unwrap();
            File::options().write(true).open(top.join("pair-1")).unwrap().write_all_at(b"alone", 0).unwrap();
            // The first name of an inode goes, another one stays.
            fs::hard_link(top.join("moved"), top.join("zz")).unwrap();
            fs::remove_file(top.join("moved")).unwrap();
        },
    )
    .await;
    let ino = |path: &str| fs::metadata(pair.copy().join(path)).unwrap().ino();
    assert_eq!(ino("a"), ino("b"));
    assert_ne!(ino("pair-1"), ino("pair-2"));
    assert!(receipt.bytes_total - (1 << 20) < 40_000 && receipt.blocks_sent < 256 + 20, "{receipt:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_is_not_sent_again() {
    let (_, receipt) = changed_between_rounds(
        |top| {
            fs::create_dir_all(top.join("old/deep")).unwrap();
            fs::write(top.join("old/deep/big"), noise(4 << 20, 1)).unwrap();
            fs::write(top.join("x"), noise(40_000, 2)).unwrap();
            fs::write(top.join("y"), noise(40_000, 3)).unwrap();
        },
        |top| {
            fs::rename(top.join("old"), top.join("new")).unwrap();
            fs::rename(top.join("x"), top.join("t")).unwrap();
            fs::rename(top.join("y"), top.join("x")).unwrap();
            fs::rename(top.join("t"), top.join("y")).unwrap();
        },
    )
    .await;
    assert_eq!(receipt.blocks_sent, 1024 + 10 + 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_and_files_that_take_each_others_place_arrive() {
    changed_between_rounds(
        |top| {
            fs::create_dir_all(top.join("dir/sub")).unwrap();
            fs::write(top.join("dir/sub/file"), "x").unwrap();
            fs::write(top.join("file"), "y").unwrap();
            symlink("dir", top.join("link")).unwrap();
        },
        |top| {
            fs::remove_dir_all(top.join("dir")).unwrap();
            fs::write(top.join("dir"), "now a file").unwrap();
            fs::remove_file(top.join("file")).unwrap();
            fs::create_dir(top.join("file")).unwrap();
            fs::write(top.join("file/inside"), "z").unwrap();
            fs::remove_file(top.join("link")).unwrap();
            fs::create_dir(top.join("link")).unwrap();
            fs::write(top.join("link/inside"), "not through the link").unwrap();
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_changes_alone_arrives() {
    use std::os::unix::fs::PermissionsExt;
    let (_, receipt) = changed_between_rounds(
        |top| {
            fs::create_dir(top.join("dir")).unwrap();
            fs::write(top.join("dir/file"), noise(100_000, 1)).unwrap();
        },
        |top| {
            rustix::fs::setxattr(top.join("dir"), "user.x", b"y", rustix::fs::XattrFlags::empty()).unwrap();
            fs::set_permissions(top.join("dir/file"), fs::Permissions::from_mode(0o400)).unwrap();
            fs::set_permissions(top.join("dir"), fs::Permissions::from_mode(0o555)).unwrap();
        },
    )
    .await;
    assert_eq!(receipt.blocks_sent, 25);
}

/// A process that maps a file and stores into the mapping whenever it is told to.
struct Mapper(std::process::Child);

impl Mapper {
    fn start(path: &Path) -> Self {
        let script = "import mmap,sys\n\
            f=open(sys.argv[1],'r+b'); m=mmap.mmap(f.fileno(),0)\n\
            for line in sys.stdin:\n\x20 at,byte=map(int,line.split()); m[at]=byte; print('done',flush=True)\n";
        let mut python = Command::new("python3");
        let child = python.arg("-c").arg(script).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Self(child.unwrap())
    }

    fn store(&mut self, at: usize, byte: u8) {
        use std::io::Read;
        writeln!(self.0.stdin.as_mut().unwrap(), "{at} {byte}").unwrap();
        let mut answer = [0; 5];
        self.0.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_through_a_mapping_are_seen_in_every_round() {
    let mut pair = Pair::new().await;
    let path = pair.at_src("mapped");
    fs::write(&path, noise(1 << 20, 1)).unwrap();
    let mut game = Mapper::start(&path);
    game.store(5, 1);
    let mut source = pair.connect().await;
    let mut lost_by_stat = 0;
    for round in 0..10_u8 {
        bounded(source.round()).await.unwrap();
        let before = fs::metadata(&path).unwrap();
        // The first store after a barrier faults and moves the ctime; the second does not.
        game.store(5, 10 + round);
        game.store(6, 10 + round);
        let after = fs::metadata(&path).unwrap();
        lost_by_stat += u32::from((before.ctime(), before.ctime_nsec()) == (after.ctime(), after.ctime_nsec()));
    }
    game.store(70_000, 99);
    pair.finish(&mut source).await;
    let copy = fs::read(pair.copy().join("mapped")).unwrap();
    assert_eq!((copy[5], copy[6], copy[70_000]), (19, 19, 99));
    assert!(lost_by_stat < 11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_through_a_mapping_after_the_file_was_read_is_not_lost() {
    let mut pair = Pair::new().await;
    let path = pair.at_src("mapped");
    fs::write(&path, noise(64 << 10, 1)).unwrap();
    let mut game = Mapper::start(&path);
    let mut source = pair.connect().await;
    bounded(source.round()).await.unwrap();
    // Dirty before the round reads it, and stored to again without a fault after it has.
    game.store(0, 1);
    bounded(source.round()).await.unwrap();
    game.store(0, 2);
    game.store(1, 3);
    pair.finish(&mut source).await;
    assert_eq!(fs::read(pair.copy().join("mapped")).unwrap()[..2], [2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_under_fire_converges_once_it_is_still() {
    let mut pair = Pair::new().await;
    for i in 0..40 {
        fs::write(pair.at_src(&format!("f{i}")), noise(200_000, i)).unwrap();
    }
    let mut source = pair.connect().await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (top, stopped) = (pair.src(), stop.clone());
    let game = std::thread::spawn(move || {
        let mut i = 0_u64;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            i += 1;
            let path = top.join(format!("f{}", i % 40));
            match i % 7 {
                0 => fs::remove_file(&path).unwrap_or(()),
                1 => fs::write(&path, noise(150_000, i)).unwrap(),
                2 => {
                    fs::write(top.join("tmp"), noise(180_000, i)).unwrap();
                    fs::rename(top.join("tmp"), &path).unwrap();
                }
                3 => drop(fs::create_dir_all(top.join(format!("d{}/x", i % 5)))),
                4 => drop(fs::remove_dir_all(top.join(format!("d{}", i % 5)))),
                _ => {
                    if let Ok(file) = File::options().write(true).open(&path) {
                        file.write_all_at(&noise(5000, i), (i * 4096) % 100_000).unwrap();
                    }
                }
            }
        }
    });
    for _ in 0..8 {
        bounded(source.round()).await.unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    game.join().unwrap();
    pair.finish(&mut source).await;
}
