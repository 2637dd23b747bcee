//! One client's connection.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Result, bail};

use super::commit::{BATCH, Job, send};
use super::protocol::{Command, read_line};
use super::record::ClientName;
use super::serve::{join, spawn};
use super::store::Submission;
use super::verify::Records;

const IDLE: Duration = Duration::from_mins(5);
const SLOW_CLIENT: Duration = Duration::from_secs(10);

/// Reads a client's commands; a second thread writes the answers, so that commands may be sent ahead.
pub(super) fn converse(stream: &TcpStream, world: &Path, jobs: &SyncSender<Job>) -> Result<()> {
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
