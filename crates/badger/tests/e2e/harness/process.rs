//! A process that ends with its owner, and whose output is kept.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait::within;

/// The executable under test.
pub(crate) const BADGER: &str = env!("CARGO_BIN_EXE_badger");

/// A running `badger`.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `badger ARGS…` with its output appended to `log`.
    pub(crate) fn start<S: AsRef<OsStr>>(name: &str, args: &[S], env: &[(&str, String)], log: &Path) -> Self {
        let out = OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = Command::new(BADGER)
            .args(args)
            .envs(env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        Self { child, name: name.to_owned(), log: log.to_owned() }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// `kill -9`, and waits for it.
    pub(crate) fn kill(&mut self) {
        if self.ended().is_none() {
            self.child.kill().unwrap();
        }
        self.child.wait().unwrap();
    }

    /// Asks it to end; fails the test if it does not.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        if self.ended().is_none() {
            kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        }
        let ended = within(Duration::from_secs(30), || self.ended());
        ended.unwrap_or_else(|| panic!("{} does not end after SIGTERM", self.name))
    }

    /// Holds it still, or lets it go on: `SIGSTOP`, and until it stands still, or `SIGCONT`.
    pub(crate) fn hold(&self, still: bool) {
        let signal = if still { Signal::STOP } else { Signal::CONT };
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let stat = format!("/proc/{}/stat", self.child.id());
        let stands = || fs::read_to_string(&stat).unwrap().rsplit(") ").next().unwrap().starts_with('T');
        let done = within(Duration::from_secs(5), || (stands() == still).then_some(()));
        assert!(done.is_some(), "{} does not take {signal:?}", self.name);
    }

    /// The last lines of its output, for a failed test.
    pub(crate) fn print_tail(&self) {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        eprintln!("──── last lines of {} ({})", self.name, self.log.display());
        lines[lines.len().saturating_sub(40)..].iter().for_each(|line| eprintln!("{line}"));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_tail();
        }
        // Also after a failure; that it may have ended by itself is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
