//! Takes a cluster down, and says what of it is left: nothing, or the plain facts.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::state::{Process, State};
use super::{kind, node};
use crate::tools::machine::Machine;
use crate::tools::proc::Runner;

/// How long the supervisor may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// How long the kernel may take to end what is within the node.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is looked at, for the count of work: supervisor, node, the parts beside it, cgroups and link, folder.
pub const PLACES: u64 = 5;

/// Takes down what is up in `folder` and removes the folder. Gives what is left.
pub async fn down(machine: &Machine, runner: &Runner, folder: &Path) -> Result<Vec<String>> {
    let mut left = stop(machine, runner, folder).await?;
    if folder.exists() && left.is_empty() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
    }
    if folder.exists() {
        left.push(format!("`{}` is still there", folder.display()));
    }
    Ok(left)
}

/// Ends all processes of the cluster in `folder`, with mounts, networks and cgroups; files stay.
pub async fn stop(machine: &Machine, runner: &Runner, folder: &Path) -> Result<Vec<String>> {
    let Some(state) = State::read(folder) else { return Ok(vec![]) };
    if let Some(kind) = &state.kind {
        return kind::down(machine, runner, folder, kind).await;
    }
    let supervisor: Vec<&Process> = state.supervisor.iter().collect();
    supervisor.iter().for_each(|process| process.signal(Signal::TERM));
    wait_for(&supervisor, GRACE).await;
    // The rest needs no grace: the kernel ends all that is within the node when its first process is gone.
    let outer = state.parts.iter().filter_map(|part| part.process.as_ref());
    let all: Vec<&Process> = supervisor.into_iter().chain(&state.node).chain(outer).collect();
    all.iter().for_each(|process| process.signal(Signal::KILL));
    let mut left = wait_for(&all, PATIENCE).await;
    left.extend(node::clear(&state.place(folder), &state.made, PATIENCE).await);
    Ok(left)
}

/// Waits until processes are gone, and tells those that are not.
async fn wait_for(processes: &[&Process], limit: Duration) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let alive: Vec<_> = processes.iter().filter(|process| process.is_alive()).collect();
        if alive.is_empty() || begun.elapsed() > limit {
            return alive.iter().map(|process| format!("process {} does not end", process.pid)).collect();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
