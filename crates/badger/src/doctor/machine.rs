//! Is this machine fit to be a node?
//!
//! A check looks and touches nothing (the port checks bind for an instant). What is decided from a look is pure and
//! apart from it, so that the tests need no unfit machine.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;

use model::{Clock, SystemClock};
use rustix::fs::{StatFs, statfs, statvfs};

use super::Finding;
use crate::units;

/// Kernel with `openat2`, which receiving a server beneath one directory needs.
const OLDEST_KERNEL: (u32, u32) = (5, 6);
const LITTLE_DISK_BYTES: u64 = 5 << 30;
const LITTLE_INODES: u64 = 100_000;
/// A clock that shows a time before this software was written was never set.
const EARLIEST_TIME: &str = "2026-01-01T00:00:00Z";

/// Looks at everything that a daemon with these settings would need.
pub(super) fn look(data: &Path, data_listen: SocketAddr, docker_host: &str) -> Vec<Finding> {
    let mut findings = vec![kernel()];
    findings.extend(data_directory(data));
    findings.extend([clock(), docker(docker_host), port(data_listen)]);
    findings
}

fn kernel() -> Finding {
    judge_kernel(fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim())
}

fn judge_kernel(release: &str) -> Finding {
    let (major, minor) = OLDEST_KERNEL;
    let mut numbers = release.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(a), Some(b)) if (a, b) >= OLDEST_KERNEL => Finding::ok("kernel", format!("Linux {release}")),
        (Some(_), Some(_)) => Finding::error(
            "kernel",
            format!("Linux {release} is older than {major}.{minor}"),
            format!("upgrade to {major}.{minor} or later: servers are received with its openat2 call"),
        ),
        _ => Finding::warning(
            "kernel",
            "the kernel's version cannot be read",
            format!("make sure that it is Linux {major}.{minor} or later, with /proc mounted"),
        ),
    }
}

fn data_directory(dir: &Path) -> Vec<Finding> {
    // It may not have been made yet: then its nearest ancestor tells which file system it will be on.
    let existing = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let (Ok(kind), Ok(space)) = (statfs(existing), statvfs(existing)) else {
        let message = format!("{} cannot be examined", existing.display());
        return vec![Finding::error("data", message, "make the directory and give it to the daemon's user")];
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let mut findings = vec![judge_file_system(dir, name_of(&kind)), judge_space(dir, free)];
    // File systems without a fixed number of inodes show none at all.
    if space.f_files > 0 {
        findings.push(judge_inodes(space.f_favail));
    }
    findings.push(judge_access(dir, existing));
    findings
}

/// The names of file systems by their magic number (`statfs(2)`).
fn name_of(kind: &StatFs) -> &'static str {
    match kind.f_type & 0xffff_ffff {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x794c_7630 => "overlayfs",
        0x0102_1994 => "tmpfs",
        0x6969 => "nfs",
        0xff53_4d42 | 0xfe53_4d42 => "smb",
        0x6573_5546 => "fuse",
        _ => "unknown",
    }
}

fn judge_file_system(dir: &Path, name: &'static str) -> Finding {
    let message = format!("{} is on {name}", dir.display());
    match name {
        "ext4" | "xfs" | "btrfs" | "zfs" | "f2fs" => Finding::ok("file system", message),
        "tmpfs" => Finding::warning("file system", message, "servers there are lost with the next boot: use a disk"),
        "overlayfs" => Finding::warning(
            "file system",
            message,
            "this looks like the inside of a container: mount a volume there, or servers go with the container",
        ),
        _ => Finding::warning(
            "file system",
            message,
            "changes that games make through memory maps may not show there, so every round of a move reads all \
             files; ext4 or xfs is faster",
        ),
    }
}

fn judge_space(dir: &Path, free: u64) -> Finding {
    let message = format!("{} free for {}", units::bytes(free), dir.display());
    if free >= LITTLE_DISK_BYTES {
        return Finding::ok("disk", message);
    }
    Finding::warning("disk", message, "a server that moves here needs its whole size, free it or choose another disk")
}

fn judge_inodes(free: u64) -> Finding {
    let message = format!("{free} inodes free");
    if free >= LITTLE_INODES {
        return Finding::ok("inodes", message);
    }
    Finding::warning("inodes", message, "game servers have many small files: remove some, or make the file system anew")
}

fn judge_access(dir: &Path, existing: &Path) -> Finding {
    use rustix::fs::{Access, access};
    match access(existing, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Finding::ok("access", format!("{} can be written", existing.display())),
        Err(_) => Finding::error(
            "access",
            format!("{} cannot be written by this user", existing.display()),
            format!("run the daemon as another user, or: install -d -m 700 -o USER {}", dir.display()),
        ),
    }
}

fn clock() -> Finding {
    let now = SystemClock.now();
    let earliest: model::Timestamp = EARLIEST_TIME.parse().expect("a constant that parses");
    if now >= earliest {
        return Finding::ok("clock", format!("{}", now.strftime("%Y-%m-%d %H:%M:%S UTC")));
    }
    let cure = "set it and keep it right with chrony or systemd-timesyncd: tokens and certificates have dates";
    Finding::error("clock", format!("it shows {now}, which is in the past"), cure)
}

fn docker(host: &str) -> Finding {
    let Some(path) = host.strip_prefix("unix://") else {
        return Finding::ok("docker", format!("{host} is not a socket of this machine and is not checked"));
    };
    match UnixStream::connect(path) {
        Ok(_) => Finding::ok("docker", format!("{path} answers")),
        Err(e) => judge_docker(path, e.kind()),
    }
}

fn judge_docker(path: &str, error: std::io::ErrorKind) -> Finding {
    let cure = match error {
        std::io::ErrorKind::PermissionDenied => "run the daemon as root or as a member of the group `docker`",
        std::io::ErrorKind::ConnectionRefused => "start the engine: systemctl start docker",
        _ => "install an engine (apt-get install docker.io), give --docker-host, or use --runtime process",
    };
    Finding::warning("docker", format!("{path}: {error}"), cure)
}

fn port(address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok("data port", format!("{address} is free")),
        Err(e) => Finding::error(
            "data port",
            format!("{address}: {e}"),
            format!(
                "see who has it with `ss -ltnp 'sport = :{}'` (a running daemon of ours is fine), or give --data-listen",
                address.port()
            ),
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Level;
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn kernels_before_openat2_are_refused() {
        for (release, level) in [
            ("5.6.0", Level::Ok),
            ("6.1.0-18-amd64", Level::Ok),
            ("5.5.19", Level::Error),
            ("4.19.0+deb", Level::Error),
            ("", Level::Warning),
            ("unknown", Level::Warning),
        ] {
            assert_eq!(judge_kernel(release).level, level, "{release}");
        }
    }

    #[test]
    fn whatever_is_not_in_order_has_a_cure() {
        let dir = Path::new("/d");
        for finding in [
            judge_kernel("3.2.1"),
            judge_file_system(dir, "tmpfs"),
            judge_file_system(dir, "nfs"),
            judge_space(dir, 1),
            judge_inodes(1),
            judge_docker("/x", ErrorKind::NotFound),
            judge_docker("/x", ErrorKind::PermissionDenied),
        ] {
            assert!(finding.level != Level::Ok && finding.cure.is_some(), "{finding:?}");
        }
    }

    #[test]
    fn a_taken_port_is_an_error_and_a_free_one_is_not() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(port(taken.local_addr().unwrap()).level, Level::Error);
        assert_eq!(port("127.0.0.1:0".parse().unwrap()).level, Level::Ok);
    }

    #[test]
    fn a_directory_that_does_not_exist_yet_is_judged_by_where_it_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let findings = data_directory(&dir.path().join("not/yet"));
        assert!(findings.iter().all(|finding| finding.level != Level::Error), "{findings:?}");
    }
}
