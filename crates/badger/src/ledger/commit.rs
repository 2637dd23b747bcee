//! The committer: the one thread that writes records, a whole batch with one commit.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use anyhow::Result;

use super::record::ClientName;
use super::serve::spawn;
use super::store::{Store, Submission};
use crate::signals::Stop;

/// Most records of one commit.
pub(super) const BATCH: usize = 256;

/// Work for the committer. Answers are lines without their ends.
pub(super) enum Job {
    /// Keep a record and answer.
    Put(Submission, SyncSender<String>),
    /// Greet a client.
    Welcome(ClientName, SyncSender<String>),
    /// Fold the write-ahead log into the database.
    Save,
    /// End.
    Close,
}

/// Starts it. It ends with `Job::Close`; if it cannot write, it asks for the end of the server.
pub(super) fn spawn_committer(mut store: Store, stop: &Stop) -> Result<(SyncSender<Job>, JoinHandle<Result<()>>)> {
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
pub(super) fn send(to: &SyncSender<String>, line: String) {
    drop(to.try_send(line));
}
