//! What the machine has left, for heartbeats and for the question whether a server fits.

use std::fs;
use std::io;
use std::path::Path;

use model::Resources;

/// Reads `/proc` and asks the file system of `dir`. What cannot be read counts as zero: this informs, it decides nothing.
pub(crate) fn measure(dir: &Path) -> Resources {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let disk = room(dir).unwrap_or_default();
    Resources {
        memory_total_mb: meminfo(&memory, "MemTotal:") / 1024,
        memory_available_mb: meminfo(&memory, "MemAvailable:") / 1024,
        disk_total_bytes: disk.total,
        disk_free_bytes: disk.free,
        inodes_free: disk.inodes,
        load_1m_percent: load_percent(&load),
    }
}

/// Room on a file system.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Room {
    pub(crate) total: u64,
    /// Free for us, without what is reserved for root.
    pub(crate) free: u64,
    /// 0 where the file system does not count them.
    pub(crate) inodes: u64,
}

pub(crate) fn room(dir: &Path) -> io::Result<Room> {
    let stat = rustix::fs::statvfs(dir)?;
    let inodes = if stat.f_files == 0 { 0 } else { stat.f_favail };
    Ok(Room { total: stat.f_blocks * stat.f_frsize, free: stat.f_bavail * stat.f_frsize, inodes })
}

/// A line of `/proc/meminfo`, in KiB.
fn meminfo(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// `0.52 …` → 52, without a float.
fn load_percent(text: &str) -> u64 {
    let first = text.split_whitespace().next().unwrap_or("0.00");
    first.replace('.', "").parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn proc_is_understood() {
        let text = "MemTotal:       24684256 kB\nMemFree:  1 kB\nMemAvailable:   20480 kB\n";
        assert_eq!(meminfo(text, "MemAvailable:"), 20480);
        assert_eq!(meminfo(text, "Nothing:"), 0);
        assert_eq!(load_percent("1.05 0.20 0.10 1/200 3"), 105);
        assert!(measure(Path::new("/")).disk_total_bytes > 0);
    }
}
