//! What a cluster says of itself: `cluster.json` in its folder, written by its supervisor at every change.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::disk::write_atomically;
use crate::tools::ledger;

/// The name of the file.
pub const FILE: &str = "cluster.json";

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not there yet; what is waited for.
    Starting(String),
    /// The node is ready, and a pod of it was answered a name.
    Ready,
    /// It did not come up, or is over; why.
    Ended(String),
}

/// A process that cannot be taken for a later one with its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id on this machine.
    pub pid: i32,
    /// When it began, in the words of the ledger.
    pub began: String,
}

impl Process {
    /// The process that has this id now.
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, began: ledger::ticks(pid)? })
    }

    /// Whether it is still there. One that has ended and that nobody has asked about is not.
    pub fn is_alive(&self) -> bool {
        let ended = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
            stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with(['Z', 'X']))
        };
        Self::of(self.pid).as_ref() == Some(self) && !ended()
    }

    /// Sends it a signal, if it is still there.
    pub fn signal(&self, signal: Signal) {
        if let (true, Some(pid)) = (self.is_alive(), Pid::from_raw(self.pid)) {
            // One that has just ended is what is wanted.
            let _gone = kill_process(pid, signal);
        }
    }
}

/// A part, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartState {
    /// Its name.
    pub name: String,
    /// Its process; none between its end and its next start.
    pub process: Option<Process>,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended the last time.
    pub ended: Option<String>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Its number, see [`Place`].
    pub slot: u8,
    /// How far it is.
    pub phase: Phase,
    /// For `kubectl --kubeconfig`.
    pub kubeconfig: PathBuf,
    /// The context in it.
    pub context: String,
    /// Where the API server answers.
    pub api: String,
    /// What the names of images in its registry begin with: `localhost:PORT`.
    pub registry: String,
    /// The version of Kubernetes.
    pub version: String,
    /// What owns all parts; none where they are kind's.
    pub supervisor: Option<Process>,
    /// The name that kind knows it by, where it is kind's.
    #[serde(default)]
    pub kind: Option<String>,
    /// What holds the node's namespaces: with it everything within ends.
    pub node: Option<Process>,
    /// The parts.
    pub parts: Vec<PartState>,
    /// Folders of the machine that were made to lay others over them.
    pub made: Vec<PathBuf>,
}

impl State {
    /// The state in `folder`, if a cluster was ever started there.
    pub fn read(folder: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(folder.join(FILE)).ok()?).ok()
    }

    /// Writes it down.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("cannot write a cluster's state")?;
        write_atomically(&folder.join(FILE), format!("{text}\n").as_bytes())
    }

    /// Its place.
    pub fn place(&self, folder: &Path) -> Place {
        let port = self.registry.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default();
        Place { folder: folder.to_owned(), slot: self.slot, registry: port }
    }

    /// How many parts can be looked at: none where nothing of it is up. What kind has made counts as one.
    pub fn looked_at(&self) -> Option<u64> {
        let is_up = self.kind.is_some() || self.supervisor.as_ref().is_some_and(Process::is_alive);
        is_up.then(|| self.parts.len() as u64 + u64::from(self.kind.is_some()))
    }

    /// What keeps it from being whole, part by part.
    pub fn troubles(&self) -> Vec<String> {
        if let Some(gone) = self.supervisor.as_ref().filter(|supervisor| !supervisor.is_alive()) {
            return vec![format!("its supervisor (pid {}) is gone", gone.pid)];
        }
        if let Phase::Ended(why) = &self.phase {
            return vec![why.clone()];
        }
        let is_down = |part: &&PartState| !part.process.as_ref().is_some_and(Process::is_alive);
        let down = self.parts.iter().filter(is_down);
        down.map(|part| format!("{} does not run: {}", part.name, part.ended.as_deref().unwrap_or("it has ended")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(phase: Phase, parts: Vec<PartState>) -> State {
        State {
            slot: 3,
            phase,
            kubeconfig: "/c/kubeconfig".into(),
            context: "xtask-cluster".into(),
            api: "https://198.18.14.2:6443".into(),
            registry: "localhost:5017".into(),
            version: "v1.32.13".into(),
            supervisor: Process::of(i32::try_from(std::process::id()).unwrap()),
            kind: None,
            node: None,
            parts,
            made: vec![],
        }
    }

    fn part(process: Option<Process>) -> PartState {
        PartState { name: "etcd".into(), process, restarts: 1, ended: Some("killed by signal 9".into()) }
    }

    #[test]
    fn trouble_is_told_and_a_process_is_not_taken_for_another() {
        let us = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let earlier = Process { began: "another boot 1".into(), ..us.clone() };
        for (state, expected) in [
            (state(Phase::Ready, vec![part(Some(us.clone()))]), None),
            (state(Phase::Ready, vec![part(None)]), Some("etcd does not run: killed by signal 9")),
            (state(Phase::Ready, vec![part(Some(earlier.clone()))]), Some("etcd does not run: killed by signal 9")),
            (state(Phase::Ended("the node ended".into()), vec![]), Some("the node ended")),
        ] {
            assert_eq!(state.troubles().first().map(String::as_str), expected, "{state:?}");
        }
        let gone = State { supervisor: Some(earlier), ..state(Phase::Ready, vec![]) };
        assert!(gone.troubles()[0].contains("is gone"), "{:?}", gone.troubles());
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(State::read(folder.path()), None);
        let written = state(Phase::Starting("etcd".into()), vec![part(None)]);
        written.write(folder.path()).unwrap();
        assert_eq!(State::read(folder.path()), Some(written.clone()));
        assert_eq!(written.place(folder.path()).registry, 5017);
    }
}
