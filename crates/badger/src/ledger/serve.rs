//! The game server: accepts clients, keeps their records, answers on its console, ends when asked.
//!
//! ```text
//! connection threads ──► committer (owns the store: one fsync for a whole batch) ──► answers to the connections
//! background writer  ──► the rest of the world
//! console, signals   ──► stop: drain, flush, checkpoint, exit 0
//! ```

use std::fs::{self, File, TryLockError};
use std::io::BufRead;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::background::Background;
use super::commit::{Job, spawn_committer};
use super::connection::converse;
use super::layout::Layout;
use super::store::Store;
use super::verify;
use crate::output;
use crate::signals::Stop;
use crate::units;

const MAX_CONNECTIONS: usize = 256;

/// How to serve.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// The world's directory.
    pub(crate) world: PathBuf,
    /// Size of a new world, bytes.
    pub(crate) size_bytes: u64,
    /// Bytes of sectors that the game itself rewrites per second.
    pub(crate) dirty_rate: u64,
}

/// Serves until `stop`. Returns when everything is on disk.
pub(crate) fn run(config: &Config, stop: &Stop) -> Result<()> {
    let began = Instant::now();
    fs::create_dir_all(&config.world).with_context(|| format!("cannot make {}", config.world.display()))?;
    let _lock = lock(&config.world)?;
    let layout = load_or_make(config)?;
    let store = Store::open(&config.world)?;
    let records = store.len();
    let listener = TcpListener::bind(config.listen)
        .with_context(|| format!("cannot listen on {}; is another server using the port?", config.listen))?;
    let address = listener.local_addr()?;
    let background = spawn_background(Background::open(&config.world, layout, config.dirty_rate)?, stop)?;
    let (jobs, committer) = spawn_committer(store, stop)?;
    let acceptor = spawn_acceptor(listener, config.world.clone(), jobs.clone(), stop)?;
    spawn_console(config.world.clone(), jobs.clone(), stop)?;
    output::line(format!("The ledger has {records} records."));
    output::line(format!("Done ({:.3}s)! The ledger is open on {address}", began.elapsed().as_secs_f64()));

    while !stop.wait(Duration::from_hours(1)) {}
    output::line("Stopping the ledger");
    // The acceptor sleeps in accept(): one connection wakes it. That it may fail is no harm, the process ends anyway.
    drop(TcpStream::connect_timeout(&address, Duration::from_millis(200)));
    join(acceptor)?;
    // Fails if the committer ended by itself; then its own result says why.
    drop(jobs.send(Job::Close));
    join(committer)??;
    join(background)??;
    output::line("The world is saved");
    Ok(())
}

/// Takes the world's lock: two servers in one directory would destroy it.
fn lock(world: &Path) -> Result<File> {
    let path = world.join("session.lock");
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another ledger server runs in {}", world.display()),
        Err(TryLockError::Error(e)) => Err(e).with_context(|| format!("cannot lock {}", path.display())),
    }
}

fn load_or_make(config: &Config) -> Result<Layout> {
    if let Some(layout) = Layout::load(&config.world)? {
        return Ok(layout);
    }
    output::line(format!("Laying out a world of {}", units::bytes(config.size_bytes)));
    let layout = Layout::plan(config.size_bytes);
    layout.write(&config.world).context("cannot lay out the world")?;
    Ok(layout)
}

fn spawn_background(background: Background, stop: &Stop) -> Result<JoinHandle<Result<()>>> {
    let stop = stop.clone();
    spawn("background", move || {
        let ended = background.run(&stop);
        // A game that cannot write its world goes down rather than play on in memory.
        stop.request();
        ended
    })
}

fn spawn_acceptor(listener: TcpListener, world: PathBuf, jobs: SyncSender<Job>, stop: &Stop) -> Result<JoinHandle<()>> {
    let (stop, open) = (stop.clone(), Arc::new(AtomicUsize::new(0)));
    spawn("acceptor", move || {
        for stream in listener.incoming() {
            if stop.is_requested() {
                break;
            }
            let Ok(stream) = stream else { continue };
            if open.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
                open.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            let (world, jobs, counter) = (world.clone(), jobs.clone(), Arc::clone(&open));
            let begun = thread::Builder::new().name("connection".into()).spawn(move || {
                if let Err(e) = converse(&stream, &world, &jobs) {
                    tracing::debug!("a connection ended: {e:#}");
                }
                counter.fetch_sub(1, Ordering::SeqCst);
            });
            if let Err(e) = begun {
                open.fetch_sub(1, Ordering::SeqCst);
                tracing::warn!("cannot serve a connection: {e}");
            }
        }
    })
}

/// Reads the console. Its end is no reason to stop: a runtime may close it.
fn spawn_console(world: PathBuf, jobs: SyncSender<Job>, stop: &Stop) -> Result<()> {
    let stop = stop.clone();
    spawn("console", move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            match line.trim() {
                "" => {}
                "stop" | "/stop" => stop.request(),
                "save" | "save-all" => match jobs.send(Job::Save) {
                    Ok(()) => output::line("Saved"),
                    Err(_) => break,
                },
                "status" => output::line(status(&world)),
                "help" => output::line("Commands: stop, save, status, say TEXT, help"),
                other => match other.strip_prefix("say ") {
                    Some(text) => output::line(format!("[Server] {text}")),
                    None => output::line(format!("Unknown command: {other}. Type help")),
                },
            }
        }
    })?;
    Ok(())
}

fn status(world: &Path) -> String {
    match verify::count(world) {
        Ok(records) => format!("{records} records, process {}", std::process::id()),
        Err(e) => format!("cannot count the records: {e:#}"),
    }
}

/// A named thread.
pub(super) fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(work).with_context(|| format!("cannot start the {name} thread"))
}

/// What a thread has come to.
pub(super) fn join<T>(thread: JoinHandle<T>) -> Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))
}
