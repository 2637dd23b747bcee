//! Watches the machine for the one thing that must never be: a server's game twice (I1).
//!
//! It asks neither panel nor agents: it looks at the processes whose working directory is a server's data, or, in
//! containers of whatever kind, at those that were given the server's id.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// A game that runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Game {
    /// Its process.
    pub(crate) pid: u32,
    /// Where it works.
    pub(crate) dir: PathBuf,
}

/// All games with their data below `root`.
pub(crate) fn games(root: &Path) -> BTreeSet<Game> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    // A process that ends while we look has no directory any more; so has a zombie.
    pids.filter_map(|pid| Some(Game { pid, dir: fs::read_link(format!("/proc/{pid}/cwd")).ok()? }))
        .filter(|game| game.dir.starts_with(root))
        .collect()
}

/// All games of `server` in containers of this machine's kernel: engines' and clusters' alike. A game is a process
/// called `name` that was given the id; a launcher or an entry point is called otherwise.
pub(crate) fn games_in_containers(name: &str, server: &str) -> BTreeSet<Game> {
    let mark = format!("P_SERVER_UUID={server}");
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_game = |pid: &u32| {
        let file = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
        let has = |bytes: &[u8], word: &str| bytes.split(|b| *b == 0).any(|part| part == word.as_bytes());
        let arguments = file("cmdline");
        let words = arguments.split(|b| *b == 0).take(2).any(|word| word.ends_with(name.as_bytes()));
        words && has(&file("environ"), &mark)
    };
    pids.filter(is_game).map(|pid| Game { pid, dir: PathBuf::from(server) }).collect()
}

/// A thread that looks all the time.
#[derive(Debug)]
pub(crate) struct Witness {
    stop: Arc<AtomicBool>,
    looks: Arc<AtomicU64>,
    seen: Arc<Mutex<Option<Vec<Game>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Witness {
    /// Watches `root`, below which there is one server.
    pub(crate) fn start(root: &Path) -> Self {
        let root = root.to_owned();
        Self::watch(BETWEEN_LOOKS, move || games(&root))
    }

    /// Watches what `look` sees of one server; it is paused between looks, for some cost more than others.
    pub(crate) fn watch(pause: Duration, look: impl Fn() -> BTreeSet<Game> + Send + 'static) -> Self {
        let (stop, looks, seen) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(None)));
        let flags = (Arc::clone(&stop), Arc::clone(&looks), Arc::clone(&seen));
        let thread = thread::spawn(move || {
            let (stop, looks, seen) = flags;
            while !stop.load(Ordering::Relaxed) {
                if let Some(games) = two_at_once(&look) {
                    seen.lock().unwrap().get_or_insert(games);
                }
                looks.fetch_add(1, Ordering::Relaxed);
                thread::sleep(pause);
            }
        });
        Self { stop, looks, seen, thread: Some(thread) }
    }

    /// Fails if the server ever ran twice.
    pub(crate) fn assert_never_two(&self) {
        assert!(self.looks.load(Ordering::Relaxed) > 0, "the witness has not looked");
        let seen = self.seen.lock().unwrap().clone();
        assert!(seen.is_none(), "the server ran in two places at once: {seen:?}");
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// One look is not an instant: one game may end and the next begin while we walk. Two that are there in two looks one
/// after the other were there together in between.
fn two_at_once(look: impl Fn() -> BTreeSet<Game>) -> Option<Vec<Game>> {
    let first = look();
    if first.len() < 2 {
        return None;
    }
    let both: Vec<Game> = first.intersection(&look()).cloned().collect();
    (both.len() > 1).then_some(both)
}
