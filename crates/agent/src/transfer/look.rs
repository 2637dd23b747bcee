//! What a preflight asks: how big a server is and whether all of it can be read, and whether one would fit here.
//!
//! It is no part of a transfer: it changes nothing, records nothing and holds nothing. What it finds may be different a
//! moment later, so every step looks again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use model::agent_api::{AgentError, Check, CheckLevel, ErrorCode, Reply};
use model::{ServerId, ServerSpec};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::fault::of_engine;
use super::room::{check_port, check_room};
use super::source::answers_tcp;
use crate::disk;
use crate::node::Node;

/// Paths that are named before the rest is only counted.
const NAMED: usize = 5;

impl Node {
    pub(crate) async fn measure(&self, id: ServerId) -> Result<Reply, AgentError> {
        let server = self.server(id)?;
        let data = self.layout.place(id).data();
        let looked = disk::blocking(move || Ok((::transfer::measure(&data), unreadable(&data))));
        let failed = |e: io::Error| AgentError::new(ErrorCode::Internal, format!("cannot look at its files: {e}"));
        let (size, closed) = looked.await.map_err(failed)?;
        if !closed.is_empty() {
            return Err(cannot_read(&closed));
        }
        let size = size.map_err(|e| of_engine(&e))?;
        let running = server.observation().status.is_live();
        let answers_tcp = running && answers_tcp(self, &server).await;
        let fingerprint = self.key.fingerprint().to_string();
        Ok(Reply::Measured { bytes: size.bytes, files: size.files, running, answers_tcp, fingerprint })
    }

    pub(crate) async fn check_target(&self, spec: &ServerSpec, bytes: u64, files: u64) -> Vec<Check> {
        // There is no staging directory without a transfer; a name that nobody has stands for an empty one.
        let nothing = self.layout.staging().join(spec.id.to_string());
        let room = check_room(&nothing, &self.layout.staging(), bytes, files).await;
        let ports = self.around.runtime.house().binds_ports;
        let taken = spec.allocations.iter().filter(|_| ports).filter_map(|port| check_port(port).err());
        room.err().into_iter().chain(taken).map(|error| as_check(&error)).collect()
    }
}

fn as_check(error: &AgentError) -> Check {
    let (code, remedy) = match error.code {
        ErrorCode::NoSpace => ("insufficient_disk", "Free space there, or choose another target."),
        ErrorCode::PortTaken => ("port_taken", "End what listens there, or choose another allocation."),
        _ => ("target_failed", "Look at the log of the target's agent."),
    };
    Check { code: code.to_owned(), level: CheckLevel::Error, message: error.message.clone(), remedy: remedy.to_owned() }
}

fn cannot_read(closed: &[PathBuf]) -> AgentError {
    let named: Vec<_> = closed.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    let more = closed.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    AgentError::new(ErrorCode::CannotCarry, format!("cannot be read: {}{rest}", named.join(", ")))
}

/// Paths beneath `dir`, relative to it, that this process cannot read. What vanishes meanwhile is no such path.
fn unreadable(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(next) = open.pop() {
        let Ok(entries) = fs::read_dir(&next) else {
            found.push(next);
            continue;
        };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() && !can_read(&entry.path()) => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.iter().map(|path| path.strip_prefix(dir).unwrap_or(path).to_owned()).collect()
}

fn can_read(path: &Path) -> bool {
    match accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_that_cannot_be_read_are_named_and_the_rest_is_counted() {
        let paths: Vec<PathBuf> = (0..7).map(|n| PathBuf::from(format!("world/{n}"))).collect();
        let message = cannot_read(&paths).message;
        assert_eq!(message, "cannot be read: world/0, world/1, world/2, world/3, world/4 and 2 more");
        assert_eq!(cannot_read(&paths[..1]).message, "cannot be read: world/0");
    }

    #[test]
    fn a_tree_that_can_be_read_has_no_such_path() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("a/link")).unwrap();
        assert_eq!(unreadable(dir.path()), Vec::<PathBuf>::new());
        assert_eq!(unreadable(&dir.path().join("none")), [PathBuf::new()]);
    }
}
