//! What `/proc` says about processes: enough to know one again after the agent was away.
//!
//! A pid alone identifies nothing, it is reused; pid and start time together do until the next boot, so the boot's id
//! belongs to it as well.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use rustix::process::Pid;

/// The fields of `/proc/<pid>/stat` that matter here (proc(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    state: u8,
    parent: i32,
    pub(super) group: i32,
    /// Field 22: ticks since boot.
    pub(super) start_ticks: u64,
}

impl Stat {
    /// A zombie holds no files and runs no code; only its parent's attention is missing.
    pub(super) fn lives(self) -> bool {
        !matches!(self.state, b'Z' | b'X')
    }

    /// Ended, and not collected by its parent yet.
    pub(super) fn waits_for(self, parent: i32) -> bool {
        self.state == b'Z' && self.parent == parent
    }
}

pub(super) fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command name, in parentheses, may itself hold spaces and parentheses: the fields begin behind the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
    })
}

/// Changes at each boot.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Whether a process of the group is alive. The leader may be gone: its children still hold the world's files.
pub(super) fn group_lives(group: Pid) -> bool {
    if rustix::process::test_kill_process_group(group) == Err(rustix::io::Errno::SRCH) {
        return false;
    }
    let group = group.as_raw_nonzero().get();
    pids().any(|pid| stat(pid).is_some_and(|stat| stat.group == group && stat.lives()))
}

/// A living process whose environment holds `entry` (`NAME=value`), and what it is.
pub(super) fn find_by_environment(entry: &str) -> Option<(i32, Stat)> {
    let wanted = entry.as_bytes();
    pids().find_map(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let ours = environment.split(|byte| *byte == 0).any(|entry| entry == wanted);
        let stat = stat(pid)?;
        (ours && stat.lives()).then_some((pid, stat))
    })
}

/// Every process that can be seen here.
pub(super) fn all() -> impl Iterator<Item = (i32, Stat)> {
    pids().filter_map(|pid| Some((pid, stat(pid)?)))
}

/// The living among the children of `pid`, their children, and so on, as of about now.
pub(crate) fn descendants(pid: i32) -> BTreeSet<i32> {
    let all: Vec<(i32, Stat)> = all().collect();
    let mut family = BTreeSet::from([pid]);
    loop {
        let more: Vec<i32> =
            all.iter().filter(|(_, stat)| family.contains(&stat.parent)).map(|(pid, _)| *pid).collect();
        let before = family.len();
        family.extend(more);
        if family.len() == before {
            break;
        }
    }
    family.remove(&pid);
    family.retain(|pid| all.iter().any(|(other, stat)| other == pid && stat.lives()));
    family
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

pub(super) fn pid(raw: i32) -> io::Result<Pid> {
    Pid::from_raw(raw).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{raw} is no pid")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let text = "12 (a) b (c)) S 3 12 12 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1 1";
        assert_eq!(parse_stat(text), Some(Stat { state: b'S', parent: 3, group: 12, start_ticks: 4711 }));
        assert_eq!(parse_stat("rubbish"), None);
    }

    #[test]
    fn this_process_lives() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(stat(me).unwrap().lives());
        assert!(!boot_id().is_empty());
        assert_eq!(find_by_environment("BADGER_RUN=nobody-has-this"), None);
    }
}
