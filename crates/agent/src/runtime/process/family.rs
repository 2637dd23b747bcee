//! The processes of a container, from the side of the first of them: it collects those whose parents are gone, and sees
//! to it that nothing outlives the game that it belonged to.
//!
//! With Docker a game is its container's first process, and the kernel kills all others when it ends: images count on
//! that (a virtual display in the background, a helper that never ends by itself). Here the first process outlives the
//! game, so it does the same, but asks first. Otherwise such a helper would keep every stop from ending, and what still
//! writes would keep a world from being still.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::procfs;

/// For what a game has left behind, between being asked and being killed.
const LEFTOVERS: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

/// All descendants of this process.
#[derive(Debug)]
pub(crate) struct Family {
    me: i32,
    /// Children that somebody waits for: their exit codes are not ours to take.
    awaited: Mutex<BTreeSet<i32>>,
}

impl Family {
    /// From now on orphans below this process are its children, as they are of a container's first process anyway.
    pub(crate) fn gather() -> io::Result<Self> {
        let me = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(me))?;
        Ok(Self { me: me.as_raw_nonzero().get(), awaited: Mutex::default() })
    }

    /// For tests of other things, in a process whose children are not ours.
    #[cfg(test)]
    pub(super) fn of_nobody() -> Self {
        Self { me: 0, awaited: Mutex::default() }
    }

    /// Executes a child that its caller will wait for.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        // Held across both: a child that ends at once must not be collected in between.
        let mut awaited = self.awaited.lock().expect("nobody panics with it");
        let child = command.spawn()?;
        awaited.extend(child.id().and_then(|pid| i32::try_from(pid).ok()));
        Ok(child)
    }

    /// Collects the orphans that have ended. To be called whenever a child did.
    pub(crate) fn collect(&self) {
        let awaited = self.awaited.lock().expect("nobody panics with it");
        let ended = procfs::all().filter(|(pid, stat)| stat.waits_for(self.me) && !awaited.contains(pid));
        for pid in ended.filter_map(|(pid, _)| Pid::from_raw(pid)) {
            if let Err(error) = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG) {
                tracing::debug!(%error, ?pid, "an orphan was collected by somebody else");
            }
        }
    }

    /// The child that was waited for has ended: so does everything else.
    pub(super) async fn ends_with(&self, child: Option<u32>) {
        if let Some(pid) = child.and_then(|pid| i32::try_from(pid).ok()) {
            self.awaited.lock().expect("nobody panics with it").remove(&pid);
        }
        let patience = Instant::now() + LEFTOVERS;
        let mut asked = BTreeSet::new();
        while !self.is_alone() {
            let late = Instant::now() >= patience;
            let left = procfs::descendants(self.me);
            for pid in left.into_iter().filter(|pid| late || !asked.contains(pid)).collect::<Vec<_>>() {
                asked.insert(pid);
                signal(pid, if late { Signal::KILL } else { Signal::TERM });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// To everything that descends from us.
    pub(super) fn signal_all(&self, how: Signal) {
        for pid in procfs::descendants(self.me) {
            signal(pid, how);
        }
    }

    /// Whether nothing of a game is left. This is the kernel's word: whoever's parent ends becomes our child before that
    /// end can be seen, so without children there are no descendants either.
    fn is_alone(&self) -> bool {
        self.collect();
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::All, look).is_err_and(|error| error == rustix::io::Errno::CHILD)
    }
}

fn signal(pid: i32, how: Signal) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    match rustix::process::kill_process(pid, how) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => tracing::warn!(%error, ?pid, ?how, "cannot signal what a game has left behind"),
    }
}
