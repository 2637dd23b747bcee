//! One configuration file beneath a server's directory: read, and replaced as a whole.
//!
//! The game's user owns that directory and could put anything there, and the agent may be root. So every name is resolved
//! beneath the directory by the kernel, through real directories only; what is no regular file, or is too big, is left alone.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use model::agent_api::Owner;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

/// Far above any configuration, far below what would be felt.
const BIGGEST: u64 = 8 << 20;
const NEW_FILE: u32 = 0o644;
const NEW_DIR: u32 = 0o755;

/// An open place for a file, which may not be there yet.
pub(super) struct Config {
    top: OwnedFd,
    /// The directories on the way.
    dirs: Vec<String>,
    name: String,
    /// What it is now.
    now: Option<Now>,
}

struct Now {
    mode: u32,
    uid: u32,
    gid: u32,
    links: u64,
}

impl Config {
    pub(super) fn open(data: &Path, path: &str) -> Result<Self, String> {
        let mut steps: Vec<String> =
            path.split('/').filter(|step| !matches!(*step, "" | ".")).map(str::to_owned).collect();
        if steps.iter().any(|step| step == "..") || path.contains('\0') {
            return Err("it is not in the server's directory".to_owned());
        }
        let name = steps.pop().ok_or("it has no name")?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top =
            rustix::fs::openat(CWD, data, flags, Mode::empty()).map_err(said("cannot open the server's directory"))?;
        Ok(Self { top, dirs: steps, name, now: None })
    }

    /// Its text; nothing if it is not there.
    pub(super) fn read(&mut self) -> Result<String, String> {
        let path = self.dirs.iter().chain([&self.name]).map(String::as_str).collect::<Vec<_>>().join("/");
        // Not waiting: a pipe in its place would never be opened.
        let file = match beneath(&self.top, &path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(String::new()),
            Err(error) => return Err(said("cannot open it")(error)),
        };
        let meta = file.metadata().map_err(|error| format!("cannot look at it ({error})"))?;
        if !meta.is_file() {
            return Err("it is no regular file".to_owned());
        }
        if meta.len() > BIGGEST {
            return Err(format!("it is larger than {} MiB", BIGGEST >> 20));
        }
        let mut text = Vec::new();
        let read = file.take(BIGGEST + 1).read_to_end(&mut text);
        read.map_err(|error| format!("cannot read it ({error})"))?;
        self.now = Some(Now { mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid(), links: meta.nlink() });
        String::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())
    }

    /// Gives it another text, at once or not at all. What was not there belongs to `owner`.
    pub(super) fn replace(&mut self, text: &str, owner: Option<Owner>) -> Result<(), String> {
        let written = self.dir(owner).and_then(|dir| match &self.now {
            Some(now) if now.links > 1 => write_over(&dir, &self.name, text),
            now => write_new(&dir, &self.name, text, now.as_ref(), owner),
        });
        written.map_err(|error| format!("cannot write it ({error})"))
    }

    /// The directory that it is in, made if need be.
    fn dir(&self, owner: Option<Owner>) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut dir = beneath(&self.top, ".", flags, Mode::empty())?;
        for step in &self.dirs {
            dir = match beneath(&dir, step, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&dir, step.as_str(), Mode::from_raw_mode(NEW_DIR))?;
                    let made = beneath(&dir, step, flags, Mode::empty())?;
                    give(&made, owner)?;
                    made
                }
                other => other?,
            };
        }
        Ok(dir)
    }
}

/// Under another name first: a crash leaves the old text or the new one.
fn write_new(dir: &OwnedFd, name: &str, text: &str, now: Option<&Now>, owner: Option<Owner>) -> io::Result<()> {
    let draft = format!(".{name}.badger");
    match rustix::fs::unlinkat(dir, draft.as_str(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let made = beneath(dir, &draft, flags, Mode::from_raw_mode(0o600))?;
    let filled = fill(made, text, now, owner).and_then(|()| Ok(rustix::fs::renameat(dir, draft.as_str(), dir, name)?));
    if filled.is_err()
        && let Err(error) = rustix::fs::unlinkat(dir, draft.as_str(), AtFlags::empty())
    {
        tracing::warn!(%error, draft, "a draft of a configuration file is left");
    }
    filled
}

fn fill(made: OwnedFd, text: &str, now: Option<&Now>, owner: Option<Owner>) -> io::Result<()> {
    match now {
        Some(now) => own(&made, now.uid, now.gid)?,
        None => give(&made, owner)?,
    }
    // Behind the owner, whose change takes some bits away.
    rustix::fs::fchmod(&made, Mode::from_raw_mode(now.map_or(NEW_FILE, |now| now.mode)))?;
    let mut file = File::from(made);
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// It has several names: it must stay the same file.
fn write_over(dir: &OwnedFd, name: &str, text: &str) -> io::Result<()> {
    let file = beneath(dir, name, OFlags::WRONLY | OFlags::TRUNC | OFlags::NONBLOCK, Mode::empty())?;
    let mut file = File::from(file);
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn give(what: &OwnedFd, owner: Option<Owner>) -> io::Result<()> {
    match owner.filter(|_| rustix::process::geteuid().is_root()) {
        Some(owner) => own(what, owner.uid, owner.gid),
        None => Ok(()),
    }
}

fn own(what: &OwnedFd, uid: u32, gid: u32) -> io::Result<()> {
    Ok(rustix::fs::fchown(what, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}

fn beneath(dir: &OwnedFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(dir, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, mode, resolve) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            other => return other,
        }
    }
}

fn said(what: &'static str) -> impl Fn(Errno) -> String {
    move |error| match error {
        Errno::LOOP | Errno::XDEV => format!("{what}: a symbolic link is in the way"),
        error => format!("{what} ({error})"),
    }
}
