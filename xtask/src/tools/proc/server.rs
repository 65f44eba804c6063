//! What runs beside a gate, in a process group of its own that ends with its value; and what outlives us.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Child;

use super::ended::{Exit, exit_of};
use crate::tools::ledger::Note;

/// A server that runs beside a gate.
#[derive(Debug)]
pub struct Server {
    pub(super) child: Child,
    pub(super) group: Group,
}

impl Server {
    /// How it ended, if it has. What it started ends with it: later its group's id may be somebody else's.
    pub fn ended(&mut self) -> Option<Exit> {
        let exit = self.child.try_wait().ok().flatten().map(exit_of)?;
        self.group.kill(Signal::KILL);
        self.group.leader = None;
        Some(exit)
    }

    /// Its process id, until it has ended.
    pub fn pid(&self) -> Option<i32> {
        i32::try_from(self.child.id()?).ok()
    }

    /// The id of its process group.
    #[cfg(test)]
    pub fn group(&self) -> Option<i32> {
        self.group.leader.map(|leader| leader.as_raw_nonzero().get())
    }

    /// Asks it to end, as an orchestrator does: SIGTERM to the program that was started.
    pub fn terminate(&self) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            // One that is gone already has done what it was asked.
            let _gone = kill_process(pid, Signal::TERM);
        }
    }
}

/// A process group; killed when dropped.
#[derive(Debug)]
pub struct Group {
    /// Its first process.
    pub leader: Option<Pid>,
    pub(super) _note: Note,
}

impl Group {
    /// Sends a signal to all of it.
    pub fn kill(&self, signal: Signal) {
        if let Some(pid) = self.leader {
            // No such group: all its members are gone, which is what is wanted.
            let _gone = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill(Signal::KILL);
    }
}

/// A process that goes on when its value is dropped, and when we end.
#[derive(Debug)]
pub struct Detached {
    #[allow(clippy::disallowed_types, reason = "part of the one door through which processes are started")]
    pub(super) child: std::process::Child,
}

impl Detached {
    /// Its process id.
    pub fn pid(&self) -> Option<i32> {
        i32::try_from(self.child.id()).ok()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<Exit> {
        self.child.try_wait().ok().flatten().map(exit_of)
    }
}
