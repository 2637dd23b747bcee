//! Two ends of a copy in one process, and questions about trees.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use transfer::{
    Door, Error, Identity, Listener, OwnerMap, Progress, Receipt, ReceiverConfig, Source, SourceOptions, Ticket,
    TreeRoot, staging_tree, tree_root,
};

/// A source and a receiver that know each other, each with a directory of its own.
pub(crate) struct Pair {
    pub(crate) dir: TempDir,
    pub(crate) me: Arc<Identity>,
    pub(crate) listener: Listener,
    pub(crate) ticket: Ticket,
    pub(crate) door: Door,
}

impl Pair {
    pub(crate) async fn new() -> Self {
        Self::with(|config| config).await
    }

    /// With another receiver than the usual one.
    pub(crate) async fn with(change: impl FnOnce(ReceiverConfig) -> ReceiverConfig) -> Self {
        Self::at(tempfile::tempdir().unwrap(), change).await
    }

    pub(crate) async fn at(dir: TempDir, change: impl FnOnce(ReceiverConfig) -> ReceiverConfig) -> Self {
        let me = Arc::new(Identity::generate("test").unwrap());
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), me.clone()).await.unwrap();
        let ticket = Ticket::random();
        for name in ["src", "staging"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let mut config = ReceiverConfig::new(dir.path().join("staging"));
        config.idle_timeout = Duration::from_secs(20);
        let door = listener.expect(ticket.clone(), Some(me.fingerprint()), change(config));
        Self { dir, me, listener, ticket, door }
    }

    pub(crate) fn src(&self) -> PathBuf {
        self.dir.path().join("src")
    }

    /// A path in the source's tree.
    pub(crate) fn at_src(&self, path: &str) -> PathBuf {
        self.src().join(path)
    }

    /// Where the copy is.
    pub(crate) fn copy(&self) -> PathBuf {
        staging_tree(&self.dir.path().join("staging"))
    }

    pub(crate) async fn try_connect(&self) -> Result<Source, Error> {
        let (address, options) = (self.listener.local_addr().to_string(), SourceOptions::default());
        let peer = self.me.fingerprint();
        Source::connect(&address, &self.me, peer, &self.ticket, &self.src(), options, Arc::default()).await
    }

    pub(crate) async fn connect(&self) -> Source {
        self.try_connect().await.unwrap()
    }

    /// Finishes, and checks that the copy is what the receipt says and what the source has.
    pub(crate) async fn finish(&mut self, source: &mut Source) -> Receipt {
        let receipt = bounded(source.finish()).await.unwrap();
        let received = bounded(self.door.wait()).await.unwrap();
        assert_eq!(receipt.root_source, receipt.root_target);
        assert_eq!(received.root, receipt.root_source);
        assert_eq!(root(&self.src()), receipt.root_source, "the source as it is now");
        assert_eq!(root(&received.tree), receipt.root_source, "the copy as it is now");
        receipt
    }
}

/// Root of a tree by reading it anew.
pub(crate) fn root(dir: &Path) -> TreeRoot {
    tree_root(dir, OwnerMap::Keep, &CancellationToken::new()).unwrap().root
}

/// Nothing here takes long.
pub(crate) async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), work).await.expect("within a minute")
}

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::task::yield_now().await;
    }
}

/// Waits until a change is stamped later than everything in `dir`: a last pass takes what was changed within the same
/// tick of the file system's clock for what still moves, and looks again.
pub(crate) async fn a_tick_later(dir: &Path) {
    use std::os::unix::fs::MetadataExt;
    let stamp = |path: &Path| std::fs::metadata(path).map(|it| (it.ctime(), it.ctime_nsec())).unwrap();
    let last = std::fs::read_dir(dir).unwrap().map(|entry| stamp(&entry.unwrap().path())).max();
    let probe = tempfile::NamedTempFile::new().unwrap();
    eventually("the clock moves on", || {
        std::fs::write(probe.path(), "now").unwrap();
        Some(stamp(probe.path())) > last
    })
    .await;
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Bytes that do not repeat.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) fn progress() -> Arc<Progress> {
    Arc::default()
}
