//! The processes of a demo: a panel and its daemons, each with a log, all of them gone when the house is dropped.

use std::fs::{self, DirBuilder, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::leftovers;
use crate::client::api::Api;
use crate::output;
use crate::signals::Stop;

const POLL: Duration = Duration::from_millis(50);
const START: Duration = Duration::from_secs(30);
const END: Duration = Duration::from_secs(10);
const TAIL_LINES: usize = 12;

/// One of our processes.
#[derive(Debug)]
struct Process {
    name: String,
    child: Child,
}

/// Everything that a demo has started. Dropping it ends all of it, whatever the reason, and removes its files.
#[derive(Debug)]
pub(crate) struct House {
    dir: PathBuf,
    executable: PathBuf,
    /// Whether the directory is ours to remove.
    temporary: bool,
    keep_logs: bool,
    daemons: Vec<Process>,
    panel: Option<Process>,
    /// The game to stop in good order first.
    game: Option<(Api, String)>,
    stop: Stop,
}

impl House {
    /// A house in `dir`, which must be empty or not exist, or in a new temporary directory.
    pub(crate) fn new(dir: Option<&Path>, stop: Stop) -> Result<Self> {
        let executable = std::env::current_exe().context("cannot find the path of this executable")?;
        let (path, temporary) = match dir {
            Some(dir) => (dir.to_owned(), false),
            None => (std::env::temp_dir().join(format!("badger-demo-{}", uuid::Uuid::now_v7().simple())), true),
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        let path = path.canonicalize()?;
        let is_empty = fs::read_dir(&path)?.next().is_none();
        ensure!(is_empty, "{} is not empty: give the demo a new directory", path.display());
        fs::create_dir(path.join("logs"))?;
        Ok(Self {
            dir: path,
            executable,
            temporary,
            keep_logs: false,
            daemons: Vec::new(),
            panel: None,
            game: None,
            stop,
        })
    }

    /// Where everything is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The executable that everything is run from.
    pub(crate) fn executable(&self) -> &Path {
        &self.executable
    }

    /// Data directory of the panel or of a daemon.
    pub(crate) fn data_of(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts the panel and returns its URL, its first API key and its process id.
    pub(crate) fn start_panel(&mut self) -> Result<(String, String, u32)> {
        let data = self.data_of("panel");
        let mut command = self.command("panel", &data);
        command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut process = self.spawn("panel", &mut command)?;
        let stdout = process.child.stdout.take().context("the panel's output was not piped")?;
        let pid = process.child.id();
        self.panel = Some(process);
        let (said, lines) = channel();
        thread::Builder::new().name("panel output".into()).spawn(move || {
            // Reads to the end, so that the pipe never fills; nobody may be listening any more.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                drop(said.send(line));
            }
        })?;
        let url = self.wait_for("the panel", START, || {
            let line = lines.try_iter().find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
            Ok(line)
        })?;
        let key =
            self.wait_for("the panel's API key", START, || Ok(fs::read_to_string(data.join("admin.key")).ok()))?;
        Ok((url, key.trim().to_owned(), pid))
    }

    /// The password of the user that the panel has made at its first start.
    pub(crate) fn password(&self) -> Result<String> {
        let path = self.data_of("panel").join("admin.password");
        let password = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(password.trim().to_owned())
    }

    /// Starts a daemon and returns its process id.
    pub(crate) fn start_daemon(&mut self, name: &str, panel: &str, token: &str) -> Result<u32> {
        let mut command = self.command("daemon", &self.data_of(name));
        command
            .args(["--panel", panel, "--data-listen", "127.0.0.1:0", "--runtime", "process", "--name", name])
            // Not an argument: those are for every user of the machine to read.
            .env("BADGER_TOKEN", token)
            .stdout(Stdio::null());
        let process = self.spawn(name, &mut command)?;
        let pid = process.child.id();
        self.daemons.push(process);
        Ok(pid)
    }

    /// The game that must be stopped before the daemons end.
    pub(crate) fn set_game(&mut self, api: Api, server_id: &str) {
        self.game = Some((api, server_id.to_owned()));
    }

    /// Stops the game in good order.
    pub(crate) fn stop_game(&mut self) -> Result<()> {
        let Some((api, id)) = self.game.take() else { return Ok(()) };
        api.post(&format!("/servers/{id}/power"), &json!({"signal": "stop"}))?;
        let until = Instant::now() + 2 * END;
        while api.get(&format!("/admin/servers/{id}"))?["status"] != "offline" {
            ensure!(Instant::now() < until, "the game does not stop");
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Waits until `condition` gives something. Fails when a process of ours has ended, at a signal, or too late.
    pub(crate) fn wait_for<T>(
        &mut self,
        what: &str,
        patience: Duration,
        mut condition: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let until = Instant::now() + patience;
        loop {
            if let Some(found) = condition()? {
                return Ok(found);
            }
            self.check()?;
            ensure!(Instant::now() < until, "{what} is not ready after {}", crate::units::duration(patience));
            self.stop.wait(POLL);
        }
    }

    /// Fails when a process of ours has ended, or after a signal.
    pub(crate) fn check(&mut self) -> Result<()> {
        if self.stop.is_requested() {
            return Err(Interrupted.into());
        }
        for process in self.daemons.iter_mut().chain(&mut self.panel) {
            if let Some(status) = process.child.try_wait()? {
                bail!("the process `{}` has ended by itself ({status})", process.name);
            }
        }
        Ok(())
    }

    /// Stays until a signal. What others do to our processes meanwhile is their business.
    pub(crate) fn stay(&mut self) {
        while !self.stop.wait(Duration::from_millis(200)) {
            for process in self.daemons.iter_mut().chain(&mut self.panel) {
                // Only to collect a process that was killed; its end is no error here.
                drop(process.child.try_wait());
            }
        }
    }

    /// Shows the last lines of every log; called when something failed.
    pub(crate) fn show_logs(&mut self) {
        self.keep_logs = true;
        let logs = self.daemons.iter().chain(&self.panel).map(|p| self.log_of(&p.name));
        for path in logs.chain(leftovers::console_logs(&self.dir)) {
            let text = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            output::note(format!("--- {}", path.display()));
            for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
                output::note(line);
            }
        }
    }

    fn log_of(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    fn command(&self, role: &str, data: &Path) -> Command {
        let mut command = Command::new(&self.executable);
        command.arg(role).arg("--data").arg(data).args(["--end-with", &std::process::id().to_string()]);
        // A user's settings for a panel of theirs are not meant for ours.
        for name in ["BADGER_URL", "BADGER_API_KEY", "BADGER_PANEL_PUBLIC_URL", "BADGER_ADVERTISE", "BADGER_TOKEN"] {
            command.env_remove(name);
        }
        command
    }

    fn spawn(&self, name: &str, command: &mut Command) -> Result<Process> {
        let log = File::create(self.log_of(name))?;
        // A group of its own: Ctrl-C on the terminal is for us, and we end the others in good order.
        let child = command
            .stdin(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start `{name}`"))?;
        Ok(Process { name: name.to_owned(), child })
    }

    fn end(&mut self) {
        if let Err(e) = self.stop_game() {
            // In the middle of a move the panel refuses it. Then the game is asked by signal, below.
            tracing::info!("the game is not stopped through the panel: {e:#}");
        }
        for process in self.daemons.drain(..).chain(self.panel.take()) {
            end_process(process);
        }
        leftovers::end(&self.dir);
    }

    fn remove_files(&self) {
        if !self.temporary {
            return;
        }
        if self.keep_logs {
            output::note(format!("The logs are left in {}", self.dir.join("logs").display()));
        }
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| !(self.keep_logs && entry.file_name() == "logs")) {
            if let Err(e) = fs::remove_dir_all(entry.path()) {
                output::note(format!("cannot remove {}: {e}", entry.path().display()));
            }
        }
        if !self.keep_logs
            && let Err(e) = fs::remove_dir(&self.dir)
        {
            output::note(format!("cannot remove {}: {e}", self.dir.display()));
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.end();
        self.remove_files();
    }
}

/// The demo was asked to end before it was done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// SIGTERM, patience, SIGKILL.
fn end_process(mut process: Process) {
    let pid = Pid::from_child(&process.child);
    let until = Instant::now() + END;
    // Not reaped yet, so the id is still its own.
    if let Err(e) = kill_process(pid, Signal::TERM) {
        tracing::debug!("`{}` cannot be asked to end: {e}", process.name);
    }
    while Instant::now() < until {
        match process.child.try_wait() {
            Ok(None) => thread::sleep(POLL),
            _ => return,
        }
    }
    tracing::warn!("`{}` does not end when asked and is killed", process.name);
    drop(process.child.kill());
    drop(process.child.wait());
}
