//! The game server: accepts clients, keeps their records, answers on its console, ends when asked.
//!
//! ```text
//! connection threads ──► committer (owns the store: one fsync for a whole batch) ──► answers to the connections
//! background writer  ──► the rest of the world
//! console, signals   ──► stop: drain, flush, checkpoint, exit 0
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::background::Background;
use super::layout::Layout;
use super::protocol::{Command, read_line};
use super::record::ClientName;
use super::store::{Store, Submission};
use super::verify::{self, Records};
use crate::output;
use crate::signals::Stop;
use crate::units;

const IDLE: Duration = Duration::from_mins(5);
const SLOW_CLIENT: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 256;
const BATCH: usize = 256;

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

/// Work for the committer. Answers are lines without their ends.
enum Job {
    /// Keep a record and answer.
    Put(Submission, SyncSender<String>),
    /// Greet a client.
    Welcome(ClientName, SyncSender<String>),
    /// Fold the write-ahead log into the database.
    Save,
    /// End.
    Close,
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

fn spawn_committer(mut store: Store, stop: &Stop) -> Result<(SyncSender<Job>, JoinHandle<Result<()>>)> {
    let (jobs, queue) = sync_channel(4 * BATCH);
    let stop = stop.clone();
    let thread = spawn("committer", move || {
        let ended = commit_until_closed(&mut store, &queue);
        stop.request();
        ended
    })?;
    Ok((jobs, thread))
}

fn commit_until_closed(store: &mut Store, queue: &Receiver<Job>) -> Result<()> {
    while commit_batch(store, queue)? {}
    store.checkpoint()
}

/// Takes what waits in the queue, makes it durable with one commit, answers. False at the end.
fn commit_batch(store: &mut Store, queue: &Receiver<Job>) -> Result<bool> {
    let Ok(first) = queue.recv() else { return Ok(false) };
    let (mut batch, mut answers, mut go_on) = (Vec::new(), Vec::new(), true);
    for job in std::iter::once(first).chain(queue.try_iter().take(BATCH - 1)) {
        match job {
            Job::Put(submission, answer) => {
                batch.push(submission);
                answers.push(answer);
            }
            Job::Welcome(client, answer) => {
                let last = store.last_seq(&client)?;
                send(&answer, format!("WELCOME {} {last}", std::process::id()));
            }
            Job::Save => store.checkpoint()?,
            Job::Close => go_on = false,
        }
        if !go_on {
            break;
        }
    }
    for ((submission, answer), outcome) in batch.iter().zip(&answers).zip(keep(store, &batch)) {
        match outcome {
            Ok(n) => send(answer, format!("ACK {} {n}", submission.seq)),
            Err(e) => send(answer, format!("ERR {} {e:#}", submission.seq)),
        }
    }
    Ok(go_on)
}

/// Keeps a batch with one commit; if that is refused, each record alone, so that one bad record harms no other.
fn keep(store: &mut Store, batch: &[Submission]) -> Vec<Result<u64>> {
    if let Ok(entries) = store.append(batch) {
        return entries.iter().map(|entry| Ok(entry.n)).collect();
    }
    let mut alone = |item: &Submission| Ok(store.append(std::slice::from_ref(item))?[0].n);
    batch.iter().map(&mut alone).collect()
}

/// Answers one connection. A client that does not read, or is gone, is not waited for: it asks again after a
/// reconnect.
fn send(to: &SyncSender<String>, line: String) {
    drop(to.try_send(line));
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

/// Reads a client's commands; a second thread writes the answers, so that commands may be sent ahead.
fn converse(stream: &TcpStream, world: &Path, jobs: &SyncSender<Job>) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(SLOW_CLIENT))?;
    let (answers, queue) = sync_channel::<String>(4 * BATCH);
    let out = stream.try_clone()?;
    let writer = spawn("answers", move || write_answers(&out, &queue))?;
    let ended = read_commands(stream, world, jobs, &answers);
    if let Err(e) = &ended {
        send(&answers, format!("ERR 0 {e:#}"));
    }
    drop(answers);
    join(writer)?;
    ended
}

fn write_answers(mut out: &TcpStream, queue: &Receiver<String>) {
    while let Ok(mut text) = queue.recv() {
        text.push('\n');
        for more in queue.try_iter().take(BATCH) {
            text.push_str(&more);
            text.push('\n');
        }
        if out.write_all(text.as_bytes()).is_err() {
            break;
        }
    }
    // Wakes the reader if it is we who gave up; at a normal end the client hears that this was all.
    drop(out.shutdown(std::net::Shutdown::Both));
}

fn read_commands(stream: &TcpStream, world: &Path, jobs: &SyncSender<Job>, answers: &SyncSender<String>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut client = None;
    while let Some(line) = read_line(&mut reader)? {
        match (Command::parse(&line)?, &client) {
            (Command::Ping, _) => answers.send("PONG".into())?,
            (Command::Quit, _) => break,
            (Command::Hello(name), _) => {
                client = Some(name.clone());
                jobs.send(Job::Welcome(name, answers.clone()))?;
            }
            (_, None) => bail!("say HELLO <client> first"),
            (Command::Put { seq, payload }, Some(name)) => {
                jobs.send(Job::Put(Submission { client: name.clone(), seq, payload }, answers.clone()))?;
            }
            (Command::Verify { first, last }, Some(name)) => answer_verify(world, name, first, last, answers)?,
        }
    }
    Ok(())
}

/// Answers from the files, through handles of its own: nothing that the server remembers counts.
fn answer_verify(world: &Path, client: &ClientName, first: u64, last: u64, answers: &SyncSender<String>) -> Result<()> {
    let records = Records::open(world)?;
    let (mut have, mut lack) = (0u64, 0u64);
    for seq in first..=last {
        answers.send(match records.find(client, seq) {
            Ok(entry) => {
                have += 1;
                format!("HAVE {seq} {}", entry.sum)
            }
            Err(e) => {
                lack += 1;
                format!("LACK {seq} {e:#}")
            }
        })?;
    }
    answers.send(format!("VERIFIED {have} {lack}"))?;
    Ok(())
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

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(work).with_context(|| format!("cannot start the {name} thread"))
}

fn join<T>(thread: JoinHandle<T>) -> Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))
}
