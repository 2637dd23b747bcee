//! The console of a process: a named pipe for its input, a file for its output.
//!
//! Both outlive the agent. The game holds the pipe open for reading *and* writing, so it never sees an end of input.
//! The file is followed by looking at its length: an inotify instance per server would run into a machine-wide limit
//! of 128. When it has grown beyond [`ROTATE_AT`] its end is copied aside and it is cut to nothing, under a game that
//! appends; lines that it writes in the instant between are lost from the log (never from its world). Of a game that
//! writes faster than it is followed, what was not followed yet is lost too: the disk comes first.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::agent_api::{AgentError, ErrorCode};
use rustix::fs::{CWD, Mode};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::disk;
use crate::runtime::lines::{LINE_BYTES, Lines};

const ROTATE_AT: u64 = 8 << 20;
/// From here on it is cut although not everything in it was read.
const CUT_AT: u64 = 4 * ROTATE_AT;
/// Of a log that is longer, only so much of the end is read when the agent comes back.
const HISTORY_BYTES: u64 = 256 << 10;
/// While it probably boots, when the next line may say that it is up; and later.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(100));
const QUICK_LOOKS: u32 = 1000;

/// Makes a new, empty pipe: what was typed for the last run is not for this one.
pub(super) fn make_input(path: &Path) -> io::Result<File> {
    disk::remove_file(path)?;
    rustix::fs::mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)?;
    File::options().read(true).write(true).open(path)
}

/// Opens the log for a game to append to, and says where its lines will begin.
pub(super) fn open_log(path: &Path) -> io::Result<(File, u64)> {
    let file = File::options().create(true).append(true).mode(0o600).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// Types a line. A line is small enough for a pipe to take it whole or not at all.
pub(super) fn type_line(path: &Path, line: &str) -> Result<(), AgentError> {
    let refuse = |why: &str| AgentError::new(ErrorCode::Conflict, format!("the console does not take the line: {why}"));
    if line.len() >= LINE_BYTES || line.contains('\n') {
        return Err(refuse("it must be one line of less than 4096 bytes"));
    }
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("O_NONBLOCK is a small number");
    let pipe = File::options().write(true).custom_flags(flags).open(path);
    let mut pipe = pipe.map_err(|e| refuse(&format!("nobody reads it ({e})")))?;
    pipe.write_all(format!("{line}\n").as_bytes()).map_err(|e| refuse(&e.to_string()))
}

/// The end of the log, for people.
pub(super) fn last_lines(path: &Path) -> io::Result<Vec<String>> {
    let mut follower = Follower { path: path.to_owned(), at: 0, lines: Lines::default() };
    follower.skip_to_history(0)?;
    let mut lines = follower.read()?;
    lines.extend(follower.lines.take_rest());
    Ok(lines)
}

/// Follows the log from byte `from` until nobody listens, or until `ended` and a last look after it.
pub(super) async fn follow(path: PathBuf, from: u64, lines: mpsc::Sender<String>, ended: CancellationToken) {
    let mut follower = Follower { path, at: from, lines: Lines::default() };
    let mut looks = 0_u32;
    while !lines.is_closed() {
        let last = ended.is_cancelled();
        let (back, mut news) = match look(follower).await {
            Ok(found) => found,
            Err(error) => return tracing::warn!(%error, "cannot read a console log any more"),
        };
        follower = back;
        if last {
            news.extend(follower.lines.take_rest());
        }
        looks = looks.saturating_add(1);
        for line in news {
            if lines.send(line).await.is_err() {
                return;
            }
        }
        if last {
            return;
        }
        let pause = if looks < QUICK_LOOKS { LOOK_EVERY.0 } else { LOOK_EVERY.1 };
        ended.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

async fn look(mut follower: Follower) -> io::Result<(Follower, Vec<String>)> {
    disk::blocking(move || {
        let lines = follower.read()?;
        follower.rotate()?;
        Ok((follower, lines))
    })
    .await
}

struct Follower {
    path: PathBuf,
    at: u64,
    lines: Lines,
}

impl Follower {
    fn skip_to_history(&mut self, from: u64) -> io::Result<()> {
        let length = length(&self.path)?;
        self.at = from.max(length.saturating_sub(HISTORY_BYTES));
        Ok(())
    }

    /// The lines that ended since the last look; at most a megabyte's worth at once.
    fn read(&mut self) -> io::Result<Vec<String>> {
        let length = length(&self.path)?;
        if length < self.at {
            self.at = 0; // It was cut.
        }
        if length == self.at {
            return Ok(Vec::new());
        }
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.at))?;
        let read = file.take(1 << 20).read_to_end(self.lines.buffer())?;
        self.at += read as u64;
        Ok(self.lines.take())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let length = length(&self.path)?;
        if self.at < ROTATE_AT || (length != self.at && length < CUT_AT) {
            return Ok(());
        }
        let mut log = File::open(&self.path)?;
        log.seek(SeekFrom::Start(length.saturating_sub(ROTATE_AT)))?;
        let mut aside = File::options().create(true).write(true).truncate(true).mode(0o600).open(aside(&self.path))?;
        io::copy(&mut log.take(ROTATE_AT), &mut aside)?;
        File::options().write(true).open(&self.path)?.set_len(0)?;
        self.at = 0;
        Ok(())
    }
}

/// Where the end of a log goes that was cut.
fn aside(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

fn length(path: &Path) -> io::Result<u64> {
    match fs::metadata(path) {
        Ok(meta) => Ok(meta.len()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn follower(dir: &Path) -> Follower {
        Follower { path: dir.join("console.log"), at: 0, lines: Lines::default() }
    }

    #[test]
    fn a_long_log_is_cut_under_the_writer_and_followed_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = follower(dir.path());
        let (mut file, _) = open_log(&log.path).unwrap();
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..ROTATE_AT / 1024 {
            file.write_all(line.as_bytes()).unwrap();
        }
        while !log.read().unwrap().is_empty() {}
        log.rotate().unwrap();
        file.write_all(b"after\n").unwrap();
        assert_eq!(log.read().unwrap(), ["after"]);
        assert_eq!(fs::metadata(&log.path).unwrap().len(), 6);
    }

    #[test]
    fn a_flood_that_nobody_can_follow_is_cut_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = follower(dir.path());
        let (mut file, _) = open_log(&log.path).unwrap();
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..=CUT_AT / 1024 {
            file.write_all(line.as_bytes()).unwrap();
        }
        while log.at < ROTATE_AT {
            log.read().unwrap();
        }
        assert!(log.at < length(&log.path).unwrap(), "it is behind");
        log.rotate().unwrap();
        assert_eq!((length(&log.path).unwrap(), length(&aside(&log.path)).unwrap()), (0, ROTATE_AT));
        file.write_all(b"after\n").unwrap();
        assert_eq!(log.read().unwrap().last().unwrap(), "after");
    }

    #[test]
    fn a_line_is_typed_only_where_somebody_reads() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("console.in");
        let mut held = make_input(&pipe).unwrap();
        type_line(&pipe, "stop").unwrap();
        let mut typed = [0; 5];
        held.read_exact(&mut typed).unwrap();
        assert_eq!(&typed, b"stop\n");
        assert!(type_line(&pipe, "two\nlines").is_err());
        drop(held);
        assert_eq!(type_line(&pipe, "stop").unwrap_err().code, ErrorCode::Conflict);
    }
}
