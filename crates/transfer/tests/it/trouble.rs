//! What goes wrong, and what the caller is told.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use transfer::{Error, Identity, ReceiverLimits, Source, SourceOptions, Ticket};

use crate::support::{Pair, bounded, eventually, is_root, noise, progress, root};

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_on_the_targets_disk_is_found_and_repaired() {
    let mut pair = Pair::new().await;
    fs::write(pair.at_src("world"), noise(1 << 20, 1)).unwrap();
    fs::write(pair.at_src("other"), noise(9000, 2)).unwrap();
    let mut source = pair.connect().await;
    bounded(source.round()).await.unwrap();
    let copy = File::options().read(true).write(true).open(pair.copy().join("world")).unwrap();
    let mut byte = [0];
    copy.read_exact_at(&mut byte, 300_000).unwrap();
    copy.write_all_at(&[byte[0] ^ 1], 300_000).unwrap();
    let receipt = pair.finish(&mut source).await;
    assert_eq!(receipt.rounds, 3, "one more to repair");
    assert_eq!(receipt.blocks_sent, 256 + 3 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_somebody_changes_on_the_target_is_repaired() {
    use std::os::unix::fs::PermissionsExt;
    let mut pair = Pair::new().await;
    fs::write(pair.at_src("file"), "x").unwrap();
    let mut source = pair.connect().await;
    bounded(source.round()).await.unwrap();
    fs::set_permissions(pair.copy().join("file"), fs::Permissions::from_mode(0o777)).unwrap();
    pair.finish(&mut source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_pass_over_a_tree_that_moves_names_the_path_and_can_be_repeated() {
    let mut pair = Pair::new().await;
    let path = pair.at_src("busy");
    fs::write(&path, noise(100_000, 1)).unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (writing, stopped) = (path.clone(), stop.clone());
    let game = std::thread::spawn(move || {
        let file = File::options().write(true).open(writing).unwrap();
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            file.write_all_at(b"x", 0).unwrap();
        }
    });
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let (mut source, path) = loop {
        assert!(std::time::Instant::now() < deadline, "never seen to move");
        let mut source = pair.connect().await;
        match bounded(source.finish()).await {
            Err(Error::Changed { path }) => break (source, path),
            // On a busy machine the writer may not have had a turn while we were at it.
            Ok(_) => drop(bounded(pair.door.wait()).await.unwrap()),
            Err(e) => panic!("{e:?}"),
        }
    };
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    game.join().unwrap();
    assert_eq!(path, Path::new("busy"));
    pair.finish(&mut source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_ticket_certificate_or_address_is_refused() {
    let pair = Pair::new().await;
    let stranger = Identity::generate("stranger").unwrap();
    let address = pair.listener.local_addr().to_string();
    let connect = async |me: &Identity, peer, ticket: &Ticket, address: &str| {
        let options = SourceOptions::default();
        Source::connect(address, me, peer, ticket, &pair.src(), options, progress()).await
    };
    let me = &*pair.me;
    let wrong_ticket = connect(me, me.fingerprint(), &Ticket::random(), &address).await;
    assert!(matches!(wrong_ticket, Err(Error::Refused(_))), "{wrong_ticket:?}");
    let wrong_peer = connect(me, stranger.fingerprint(), &pair.ticket, &address).await;
    assert!(matches!(wrong_peer, Err(Error::Refused(_))), "{wrong_peer:?}");
    let wrong_self = connect(&stranger, me.fingerprint(), &pair.ticket, &address).await;
    assert!(matches!(wrong_self, Err(Error::Refused(_))), "{wrong_self:?}");
    let nobody = connect(me, me.fingerprint(), &pair.ticket, "127.0.0.1:1").await;
    assert!(matches!(nobody, Err(Error::Unreachable(_))), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_door_leads_nowhere() {
    let Pair { dir: _dir, me, listener, ticket, door } = Pair::new().await;
    door.close().await;
    let (address, options) = (listener.local_addr().to_string(), SourceOptions::default());
    let late = Source::connect(&address, &me, me.fingerprint(), &ticket, Path::new("/tmp"), options, progress()).await;
    assert!(matches!(late, Err(Error::Refused(_))), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_receiver_goes_away_says_so_and_may_come_again() {
    let Pair { dir, me, listener, ticket, mut door } = Pair::new().await;
    let src = dir.path().join("src");
    fs::write(src.join("file"), noise(100_000, 1)).unwrap();
    let address = listener.local_addr().to_string();
    let connect = async || {
        let options = SourceOptions::default();
        Source::connect(&address, &me, me.fingerprint(), &ticket, &src, options, progress()).await.unwrap()
    };
    let mut first = connect().await;
    bounded(first.round()).await.unwrap();
    // A newer connection replaces the first.
    let mut second = connect().await;
    bounded(second.finish()).await.unwrap();
    assert!(matches!(bounded(first.round()).await, Err(Error::Unreachable(_))));
    assert!(bounded(first.round()).await.is_err(), "a broken source stays broken");
    assert_eq!(bounded(door.wait()).await.unwrap().root, root(&src));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_the_receiver_are_kept() {
    let limits = [
        ReceiverLimits { max_bytes: 50_000, ..ReceiverLimits::default() },
        ReceiverLimits { max_entries: 3, ..ReceiverLimits::default() },
    ];
    for limits in limits {
        let mut pair = Pair::with(|config| transfer::ReceiverConfig { limits, ..config }).await;
        for i in 0..6 {
            fs::write(pair.at_src(&format!("{i}")), noise(10_000, i)).unwrap();
        }
        let mut source = pair.connect().await;
        let outcome = bounded(source.round()).await;
        assert!(matches!(outcome, Err(Error::Refused(_))), "{outcome:?}");
        assert!(matches!(bounded(pair.door.wait()).await, Err(Error::Refused(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_round_ends_it_on_both_sides() {
    let mut pair = Pair::new().await;
    fs::write(pair.at_src("big"), noise(8 << 20, 1)).unwrap();
    let limit = Arc::new(transfer::RateLimit::new(Some(1 << 20)));
    let options = SourceOptions { bandwidth: Some(limit), ..SourceOptions::default() };
    let (address, watched) = (pair.listener.local_addr().to_string(), progress());
    let peer = pair.me.fingerprint();
    let source = Source::connect(&address, &pair.me, peer, &pair.ticket, &pair.src(), options, watched.clone()).await;
    let mut source = source.unwrap();
    let running = tokio::spawn(async move { source.finish().await.map(|_| ()) });
    eventually("something was read", || watched.snapshot().bytes_read > 0).await;
    running.abort();
    let outcome = tokio::time::timeout(Duration::from_secs(5), pair.door.wait_once()).await.expect("promptly");
    assert!(matches!(outcome, Err(Error::Unreachable(_) | Error::Cancelled)), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_without_room_says_so_before_the_first_byte() {
    let Some(mount) = Tmpfs::mount("size=1m") else { return eprintln!("skipped: only root can mount a tiny tmpfs") };
    let staging = mount.0.path().join("staging");
    let pair = Pair::with(|config| transfer::ReceiverConfig { staging: staging.clone(), ..config }).await;
    fs::write(pair.at_src("big"), noise(3 << 20, 1)).unwrap();
    let mut source = pair.connect().await;
    let outcome = bounded(source.round()).await;
    assert!(matches!(&outcome, Err(Error::NoSpace { path, .. }) if path.as_os_str().is_empty()), "{outcome:?}");
    drop(pair);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_fills_up_names_the_file() {
    let Some(mount) = Tmpfs::mount("size=4m") else { return eprintln!("skipped: only root can mount a tiny tmpfs") };
    let staging = mount.0.path().join("staging");
    let pair = Pair::with(|config| transfer::ReceiverConfig { staging: staging.clone(), ..config }).await;
    fs::write(pair.at_src("small"), noise(1 << 20, 1)).unwrap();
    let mut source = pair.connect().await;
    bounded(source.round()).await.unwrap();
    fs::write(pair.at_src("grows"), noise(6 << 20, 2)).unwrap();
    let outcome = bounded(source.finish()).await;
    assert!(matches!(&outcome, Err(Error::NoSpace { path, .. }) if path == Path::new("grows")), "{outcome:?}");
    drop(pair);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_file_system_inside_the_tree_cannot_be_carried() {
    let Some(mount) = Tmpfs::mount("size=1m") else { return eprintln!("skipped: only root can mount") };
    let pair = Pair::new().await;
    let link = Bind::mount(mount.0.path(), &pair.at_src("mounted"));
    let mut source = pair.connect().await;
    let outcome = bounded(source.round()).await;
    drop(link);
    assert!(matches!(&outcome, Err(Error::CannotCarry { path, .. }) if path == Path::new("mounted")), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_without_reliable_stamps_is_read_every_round() {
    let Some(mount) = Tmpfs::mount("size=16m") else { return eprintln!("skipped: only root can mount a tmpfs") };
    let mut pair = Pair::new().await;
    let src = mount.0.path().join("src");
    fs::create_dir(&src).unwrap();
    fs::write(src.join("file"), noise(100_000, 1)).unwrap();
    let (address, watched, peer) = (pair.listener.local_addr().to_string(), progress(), pair.me.fingerprint());
    let options = SourceOptions::default();
    let source = Source::connect(&address, &pair.me, peer, &pair.ticket, &src, options, watched.clone()).await;
    let mut source = source.unwrap();
    for _ in 0..3 {
        bounded(source.round()).await.unwrap();
    }
    bounded(source.finish()).await.unwrap();
    bounded(pair.door.wait()).await.unwrap();
    assert_eq!(watched.snapshot().bytes_read, 400_000);
}

/// A small file system of its own, unmounted at the end.
pub(crate) struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    pub(crate) fn mount(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        if !is_root() {
            return None;
        }
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path()).status();
        mounted.is_ok_and(|s| s.success()).then(|| Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|s| s.success()));
    }
}

/// A bind mount, undone at the end.
struct Bind(std::path::PathBuf);

impl Bind {
    fn mount(from: &Path, to: &Path) -> Self {
        fs::create_dir(to).unwrap();
        let bound = std::process::Command::new("mount").arg("--bind").args([from, to]).status();
        assert!(bound.is_ok_and(|s| s.success()));
        Self(to.to_owned())
    }
}

impl Drop for Bind {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|s| s.success()));
    }
}
