//! Games that outlived their daemon: found by their working directory, which lies in the demo's, and ended by id.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// Ends every process that works inside `dir`: asked first, killed after a while.
pub(crate) fn end(dir: &Path) {
    for signal in [Signal::TERM, Signal::KILL] {
        let until = Instant::now() + PATIENCE;
        let mut asked = Vec::new();
        loop {
            let found = processes_in(dir);
            if found.is_empty() {
                return;
            }
            for pid in found {
                if !asked.contains(&pid) {
                    match kill_process(pid, signal) {
                        Ok(()) => asked.push(pid),
                        // It ended between the look and the signal.
                        Err(e) => tracing::debug!("process {} cannot be ended: {e}", pid.as_raw_nonzero()),
                    }
                }
            }
            if Instant::now() >= until {
                break;
            }
            thread::sleep(POLL);
        }
    }
}

/// The processes whose working directory is beneath `dir`.
fn processes_in(dir: &Path) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut found = Vec::new();
    for entry in entries {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        // Unreadable: another user's, or it has just ended.
        let Ok(cwd) = fs::read_link(entry.path().join("cwd")) else { continue };
        let is_me = u32::try_from(pid.as_raw_nonzero().get()) == Ok(std::process::id());
        if cwd.starts_with(dir) && cwd != dir && !is_me && !is_zombie(&entry.path()) {
            found.push(pid);
        }
    }
    found
}

fn is_zombie(proc: &Path) -> bool {
    let stat = fs::read_to_string(proc.join("stat")).unwrap_or_default();
    // `pid (name) state …`; the name may hold anything, so the last parenthesis counts.
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// The consoles of the games in the house, as the daemons keep them.
pub(crate) fn console_logs(dir: &Path) -> Vec<PathBuf> {
    let read = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let servers = read(dir.to_owned()).flat_map(|node| read(node.join("servers")));
    servers.map(|server| server.join("console.log")).filter(|log| log.exists()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn a_process_that_works_in_the_directory_is_ended_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().canonicalize().unwrap().join("game");
        fs::create_dir(&inside).unwrap();
        let mut game = Command::new("sleep").arg("60").current_dir(&inside).spawn().unwrap();
        let mut other = Command::new("sleep").arg("60").current_dir("/").spawn().unwrap();
        end(inside.parent().unwrap());
        let ended = game.wait().unwrap();
        let lives = other.try_wait().unwrap().is_none();
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(ended.signal(), Some(Signal::TERM.as_raw()));
        assert!(lives);
    }
}
