//! `badger copy` as its users run it: the real binary, real directories.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

const KEYS: [&str; 8] =
    ["blocks_sent", "bytes_total", "bytes_wire", "duration_ms", "files", "final_round_ms", "root", "rounds"];

fn badger(args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_badger"));
    command.arg("copy").args(args).current_dir(dir).stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

fn run(args: &[&str], dir: &Path) -> Output {
    badger(args, dir).output().unwrap()
}

/// A directory with a small tree `src` in it.
fn with_source() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let src = dir.path().join("src");
    fs::create_dir_all(src.join("world/empty")).unwrap();
    fs::write(src.join("world/r.0.0.mca"), (0..200_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    fs::write(src.join("server.properties"), "motd=hello\n").unwrap();
    fs::hard_link(src.join("server.properties"), src.join("linked")).unwrap();
    symlink("world", src.join("link")).unwrap();
    dir
}

/// The last line of standard output, as JSON with exactly the documented keys.
fn report(stdout: &str) -> Value {
    let value: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let mut keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, KEYS);
    value
}

fn same(a: &Path, b: &Path) {
    for path in ["world/r.0.0.mca", "server.properties"] {
        assert_eq!(fs::read(a.join(path)).unwrap(), fs::read(b.join(path)).unwrap(), "{path}");
    }
    let ino = |path: &str| fs::metadata(b.join(path)).unwrap().ino();
    assert_eq!(ino("server.properties"), ino("linked"));
    assert!(b.join("world/empty").is_dir());
    assert_eq!(fs::read_link(b.join("link")).unwrap(), Path::new("world"));
}

/// A process that is ended with its test.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Waits for the end: exit code and the rest of standard output.
    fn end(&mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + Duration::from_mins(1);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::yield_now();
        };
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (status.code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or must now.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn listening(dir: &Path, extra: &[&str]) -> (Running, String) {
    let args = [&["--listen", "127.0.0.1:0", "dst"], extra].concat();
    let mut receiver = Running::start(badger(&args, dir));
    let url = receiver.line();
    assert!(url.starts_with("badger://127.0.0.1:"), "{url}");
    (receiver, url)
}

fn nothing_left_beside(dir: &Path) {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["dst", "src"]);
}

#[test]
fn a_second_copy_on_this_machine_sends_nothing_and_removes_what_is_gone() {
    let dir = with_source();
    let (src, dst) = (dir.path().join("src"), dir.path().join("dst"));
    let first = run(&["--json", "src", "dst"], dir.path());
    assert!(first.status.success(), "{first:?}");
    let first = report(&String::from_utf8(first.stdout).unwrap());
    assert_eq!((first["files"].as_u64(), first["blocks_sent"].as_u64()), (Some(6), Some(197)));
    same(&src, &dst);

    fs::remove_file(src.join("linked")).unwrap();
    fs::hard_link(src.join("server.properties"), src.join("linked")).unwrap();
    fs::write(dst.join("not-in-src"), "x").unwrap();
    let second = run(&["--json", "src", "dst"], dir.path());
    let second = report(&String::from_utf8(second.stdout).unwrap());
    assert_eq!(second["blocks_sent"].as_u64(), Some(0));
    assert!(second["bytes_wire"].as_u64().unwrap() < 4096);
    assert!(!dst.join("not-in-src").exists());
    same(&src, &dst);
    nothing_left_beside(dir.path());
}

#[test]
fn without_json_a_person_reads_what_happened() {
    let dir = with_source();
    let done = run(&["src", "dst"], dir.path());
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(text.contains("6 files") && text.contains("tree root"), "{text}");
}

#[test]
fn a_receiver_prints_its_url_first_serves_one_copy_and_ends() {
    let dir = with_source();
    let (mut receiver, url) = listening(dir.path(), &["--json"]);
    let sent = run(&["--json", "src", &url], dir.path());
    assert!(sent.status.success(), "{sent:?}");
    let sent = report(&String::from_utf8(sent.stdout).unwrap());
    let (code, rest) = receiver.end();
    assert_eq!(code, Some(0));
    assert_eq!(report(&rest), sent, "both sides report the same");
    same(&dir.path().join("src"), &dir.path().join("dst"));
    nothing_left_beside(dir.path());
}

#[test]
fn a_serving_receiver_takes_one_copy_after_another() {
    let dir = with_source();
    let (mut receiver, url) = listening(dir.path(), &["--serve"]);
    for n in 0..3 {
        fs::write(dir.path().join("src/server.properties"), format!("motd={n}\n")).unwrap();
        let sent = run(&["src", &url], dir.path());
        assert!(sent.status.success(), "{sent:?}");
        same(&dir.path().join("src"), &dir.path().join("dst"));
    }
    assert!(receiver.child.try_wait().unwrap().is_none(), "it stays");
}

fn following(dir: &Path, stdin: Stdio) -> (Running, Running) {
    let (receiver, url) = listening(dir, &[]);
    let mut command = badger(&["--follow", "--json", "src", &url], dir);
    command.stdin(stdin);
    let mut sender = Running::start(command);
    // A line per round on standard error.
    let mut rounds = BufReader::new(sender.child.stderr.take().unwrap());
    let mut line = String::new();
    rounds.read_line(&mut line).unwrap();
    assert!(line.starts_with("round 1: "), "{line}");
    fs::write(dir.join("src/server.properties"), "written while it follows\n").unwrap();
    // Kept open, so that it can go on writing there.
    std::thread::spawn(move || std::io::copy(&mut rounds, &mut std::io::sink()));
    (receiver, sender)
}

#[test]
fn following_ends_with_a_line_on_standard_input() {
    let dir = with_source();
    let (mut receiver, mut sender) = following(dir.path(), Stdio::piped());
    writeln!(sender.child.stdin.as_mut().unwrap()).unwrap();
    let (code, out) = sender.end();
    assert_eq!(code, Some(0));
    assert!(report(&out)["rounds"].as_u64().unwrap() >= 2);
    assert_eq!(receiver.end().0, Some(0));
    same(&dir.path().join("src"), &dir.path().join("dst"));
}

#[test]
fn following_ends_with_a_signal_also_without_standard_input() {
    let dir = with_source();
    let (mut receiver, mut sender) = following(dir.path(), Stdio::null());
    let pid = rustix::process::Pid::from_child(&sender.child);
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    assert_eq!(sender.end().0, Some(0));
    assert_eq!(receiver.end().0, Some(0));
    same(&dir.path().join("src"), &dir.path().join("dst"));
}

#[test]
fn a_sender_that_is_killed_leaves_the_destination_alone_and_the_next_copy_works() {
    let dir = with_source();
    fs::create_dir(dir.path().join("dst")).unwrap();
    fs::write(dir.path().join("dst/precious"), "x").unwrap();
    let (mut receiver, url) = listening(dir.path(), &[]);
    let mut sender = Running::start(badger(&["--bandwidth", "100K", "src", &url], dir.path()));
    let staged = dir.path().join(".dst.badger-staging/tree/world/r.0.0.mca");
    let deadline = Instant::now() + Duration::from_secs(30);
    while !staged.exists() {
        assert!(Instant::now() < deadline, "nothing arrives");
        std::thread::yield_now();
    }
    sender.child.kill().unwrap();
    assert_eq!(receiver.end().0, Some(1));
    assert_eq!(fs::read(dir.path().join("dst/precious")).unwrap(), b"x");
    let again = run(&["src", "dst"], dir.path());
    assert_eq!(again.status.code(), Some(1));
    let stderr = String::from_utf8(again.stderr).unwrap();
    assert!(stderr.contains("the only entry") && stderr.contains("--replace"), "{stderr}");
    assert_eq!(fs::read(dir.path().join("dst/precious")).unwrap(), b"x");
    let again = run(&["--replace", "src", "dst"], dir.path());
    assert!(again.status.success(), "{again:?}");
    same(&dir.path().join("src"), &dir.path().join("dst"));
    nothing_left_beside(dir.path());
}

#[test]
fn what_cannot_work_says_why_and_exits_with_1() {
    let dir = with_source();
    fs::write(dir.path().join("file"), "").unwrap();
    let url = format!("badger://127.0.0.1:1/{}/{}", "0".repeat(64), "1".repeat(64));
    let cases: [(&[&str], &str); 7] = [
        (&["missing", "dst"], "cannot copy missing"),
        (&["file", "dst"], "not a directory"),
        (&["src", "file"], "not a directory"),
        (&["src", "src/inside"], "inside one another"),
        (&["src", "no/such/parent"], "does not exist"),
        (&["src", "badger://nonsense"], "badger copy --listen"),
        (&["src", &url], "cannot be reached"),
    ];
    for (args, text) in cases {
        let failed = run(args, dir.path());
        let stderr = String::from_utf8(failed.stderr).unwrap();
        assert_eq!(failed.status.code(), Some(1), "{args:?}");
        assert!(stderr.contains(text), "{args:?}: {stderr}");
        assert!(failed.stdout.is_empty());
    }
    assert!(!dir.path().join("dst").exists());
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let failed = run(&["--listen", &address, "dst"], dir.path());
    assert_eq!(failed.status.code(), Some(1));
    let stderr = String::from_utf8(failed.stderr).unwrap();
    assert!(stderr.contains(&format!("cannot listen on {address}: Address already in use")), "{stderr}");
    assert!(stderr.contains("--listen") && !stderr.contains("file system"), "{stderr}");
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let wrong: [&[&str]; 8] = [
        &[],
        &["src"],
        &["--serve", "src", "dst"],
        &["--listen", "1", "a", "b"],
        &["--bandwidth", "fast", "a", "b"],
        &["--bandwidth", "0", "a", "b"],
        &["--serve", "a"],
        &["--replace", "--listen", "1", "a"],
    ];
    for args in wrong {
        assert_eq!(run(args, dir.path()).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn the_bandwidth_limit_is_kept() {
    let dir = with_source();
    let started = Instant::now();
    let done = run(&["--bandwidth", "400K", "src", "dst"], dir.path());
    assert!(done.status.success(), "{done:?}");
    // 800,000 bytes at 409,600 a second; the last slice and a burst are free.
    assert!(started.elapsed() > Duration::from_millis(1500), "{:?}", started.elapsed());
}

#[test]
fn a_path_that_cannot_be_carried_is_named() {
    if rustix::process::geteuid().is_root() {
        // Root can read everything but what another file system covers.
        return eprintln!("skipped: root can read everything");
    }
    let dir = with_source();
    let secret: PathBuf = dir.path().join("src/secret");
    fs::write(&secret, "x").unwrap();
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let failed = run(&["src", "dst"], dir.path());
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8(failed.stderr).unwrap().contains("secret"));
}
