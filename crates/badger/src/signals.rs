//! SIGINT and SIGTERM for code that waits in threads: one flag that can be waited for.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::signal::unix::{SignalKind, signal};

/// Whether somebody wants us to end. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl Stop {
    /// A stop that SIGINT and SIGTERM request. They no longer end the process by themselves.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut int, mut term) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let theirs = stop.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
                    theirs.request();
                }
            });
        })?;
        Ok(stop)
    }

    /// Asks for the end when process `pid` has ended, or at once if there is none.
    pub(crate) fn when_process_ends(&self, pid: i32) -> io::Result<()> {
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => process,
            Err(Errno::SRCH) => {
                self.request();
                return Ok(());
            }
            Err(e) => return Err(e.into()),
        };
        let stop = self.clone();
        std::thread::Builder::new().name("parent".into()).spawn(move || {
            let mut watched = [PollFd::new(&process, PollFlags::IN)];
            while poll(&mut watched, None) == Err(Errno::INTR) {}
            stop.request();
        })?;
        Ok(())
    }

    /// Asks for the end.
    pub(crate) fn request(&self) {
        *self.flag() = true;
        self.shared.1.notify_all();
    }

    /// Whether the end was asked for.
    pub(crate) fn is_requested(&self) -> bool {
        *self.flag()
    }

    /// Waits for at most `timeout`; says whether the end was asked for.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let mut flag = self.flag();
        while !*flag {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            flag = self.shared.1.wait_timeout(flag, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *flag
    }

    fn flag(&self) -> MutexGuard<'_, bool> {
        // A bool cannot be left half-written by a thread that panicked.
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
