//! Brings a cluster up from outside: what it needs is looked for, its supervisor is started, and then waited for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::Signal;

use super::api::Api;
use super::parts::Programs;
use super::state::{Phase, Process, State};
use super::{Cluster, end, folder, kind, ready, supervisor};
use crate::disk::lock;
use crate::tools::cancel::Urgency;
use crate::tools::catalog::{COREDNS, ETCD, KUBERNETES, PAUSE, Program};
use crate::tools::command::Command;
use crate::tools::machine::Machine;
use crate::tools::proc::{Detached, Runner};
use crate::tools::program;
use crate::verdict::{NotRun, Unproven};

/// Programs of the machine, each with the package of Debian that has it.
pub const OF_MACHINE: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("ctr", "containerd"),
    ("docker-registry", "docker-registry"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("mount", "mount"),
    ("runc", "runc"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("setsid", "util-linux"),
    ("unshare", "util-linux"),
];

/// Programs of the catalogue.
pub const OF_CATALOG: &[&Program] = &[&KUBERNETES, &ETCD, &COREDNS, &PAUSE];

/// How they are installed.
const INSTALL: &str = "cargo xtask tools install kubernetes etcd coredns pause";

/// Where the CNI plugins are: Debian's place, and upstream's.
const CNI: &[&str] = &["/usr/lib/cni", "/opt/cni/bin"];

/// The plugins that the node's network is made with.
const PLUGINS: &[&str] = &["bridge", "host-local", "loopback", "portmap"];

/// How long all of it may take.
const UP_WITHIN: Duration = Duration::from_secs(240);

/// A program on PATH, or where Debian has those of the administrator, which the PATH of others lacks.
fn on_machine(machine: &Machine, name: &str) -> Option<PathBuf> {
    let administrator = ["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(name));
    machine.on_path(name).or_else(|| administrator.into_iter().find(|path| path.is_file()))
}

fn plugins() -> Option<PathBuf> {
    let has_all = |folder: &&Path| PLUGINS.iter().all(|plugin| folder.join(plugin).is_file());
    CNI.iter().map(Path::new).find(has_all).map(Path::to_owned)
}

/// What the machine is, as far as a cluster of our own parts asks.
#[derive(Clone, Debug)]
struct Here {
    linux: bool,
    root: bool,
    /// What is not there, with its package.
    missing: Vec<(&'static str, &'static str)>,
}

/// Whether a cluster of our own parts can be up here, as far as the machine goes.
pub fn possible(machine: &Machine) -> Result<(), NotRun> {
    let lacks = OF_MACHINE.iter().filter(|(name, _)| on_machine(machine, name).is_none());
    let mut missing: Vec<_> = lacks.copied().collect();
    if plugins().is_none() {
        missing.push(("CNI plugins", "containernetworking-plugins"));
    }
    let (linux, root) = (cfg!(target_os = "linux"), rustix::process::geteuid().is_root());
    lacking(&Here { linux, root, missing }).map_or(Ok(()), Err)
}

fn lacking(here: &Here) -> Option<NotRun> {
    let other = "or install `kind` and Docker";
    if !here.linux {
        return Some(NotRun::new("a cluster of our own parts needs Linux", format!("use a machine with it, {other}")));
    }
    if !here.root {
        return Some(NotRun::new("a cluster of our own parts needs root", format!("run it as root, {other}")));
    }
    let names: Vec<&str> = here.missing.iter().map(|(name, _)| *name).collect();
    let mut packages: Vec<&str> = here.missing.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    let reason = format!("a cluster needs what is not on this machine: {}", names.join(", "));
    (!names.is_empty()).then(|| NotRun::new(reason, format!("apt-get install {}", packages.join(" "))))
}

/// Where all programs are, and the version of Kubernetes; nothing is installed.
pub fn programs(machine: &Machine) -> Result<(Programs, String), Unproven> {
    possible(machine)?;
    let of_machine = |name: &str| on_machine(machine, name).unwrap_or_default();
    let installed = |wanted: &'static Program| {
        let found = program::installed(machine, wanted)?;
        found.ok_or_else(|| Unproven::from(NotRun::new(format!("`{}` is not installed", wanted.name), INSTALL)))
    };
    let kubernetes = installed(&KUBERNETES)?;
    let programs = Programs {
        kubernetes: kubernetes.path,
        etcd: installed(&ETCD)?.path,
        coredns: installed(&COREDNS)?.path,
        pause: installed(&PAUSE)?.path,
        containerd: of_machine("containerd"),
        runc: of_machine("runc"),
        registry: of_machine("docker-registry"),
        cni: plugins().unwrap_or_default(),
    };
    Ok((programs, format!("v{}", kubernetes.tool.version)))
}

/// Runs as the supervisor of the cluster named `name`; see [`supervisor::serve`].
pub async fn serve(machine: &Machine, name: &str) -> Result<(), Unproven> {
    let (programs, version) = programs(machine)?;
    Ok(supervisor::serve(machine, &folder(&machine.ctx.store, name), &programs, &version).await?)
}

/// The command whose process becomes the supervisor: this program, in a session of its own.
fn supervisor_of(machine: &Machine, name: &str) -> Result<Command, Unproven> {
    let ctx = &machine.ctx;
    let us = std::fs::read_link("/proc/self/exe").context("cannot tell which program this is")?;
    let command = Command::new("setsid", &ctx.root).arg(us).arg("--config").arg(&ctx.config_dir);
    let name = if name.is_empty() { vec![] } else { vec!["--name", name] };
    Ok(command.args(["cluster", "serve"]).args(name))
}

/// The cluster named `name`: the one that is up, else a new one. `say` is told what is waited for.
pub async fn up(
    machine: &Machine,
    runner: &Runner,
    name: &str,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<Cluster, Unproven> {
    let folder = folder(&machine.ctx.store, name);
    let mut cancel = machine.cancel.clone();
    let lock_file = folder.with_extension("lock");
    let _alone = tokio::select! {
        locked = lock(&lock_file) => locked?,
        () = cancel.reached(Urgency::Gently) => return Err(interrupted()),
    };
    if let Some(cluster) = Cluster::at(&folder)
        && is_healthy(&folder).await.is_ok()
    {
        return Ok(cluster);
    }
    let (had, engine) = kind::look(machine, runner).await?;
    let by_kind = engine.filter(|_| had.choice().is_ok());
    if by_kind.is_none() {
        possible(machine)?;
        for program in OF_CATALOG {
            say(&format!("program {}", program.name));
            program::ensure(machine, runner, program).await?;
        }
    }
    say("removing what an earlier one left");
    let left = end::down(machine, runner, &folder).await?;
    if !left.is_empty() {
        let reason = format!("an earlier cluster is not gone: {}", left.join(", "));
        return Err(NotRun::new(reason, "end what holds it, then run it again").into());
    }
    std::fs::create_dir_all(folder.join("logs")).context("cannot make the cluster's folder")?;
    let of_kind = kind::name(name);
    let waited = match &by_kind {
        Some(engine) => tokio::select! {
            made = kind::up(machine, runner, engine, (&folder, &of_kind), say) => made,
            () = cancel.reached(Urgency::Gently) => Err(interrupted()),
        },
        None => by_parts(machine, runner, (&folder, name), say).await,
    };
    if let Err(why) = waited {
        // Half a cluster is of no use to anybody; its logs are, and stay.
        end::stop(machine, runner, &folder).await?;
        return Err(why);
    }
    Cluster::at(&folder).ok_or_else(|| not_up(machine, &folder, "it ended right after it was ready"))
}

fn interrupted() -> Unproven {
    NotRun::new("interrupted", "run it again").into()
}

fn not_up(machine: &Machine, folder: &Path, why: &str) -> Unproven {
    let logs = machine.shown(&folder.join("logs"));
    NotRun::new(format!("the cluster did not come up: {why}"), format!("look into `{logs}`")).into()
}

async fn by_parts(
    machine: &Machine,
    runner: &Runner,
    (folder, name): (&Path, &str),
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), Unproven> {
    let log = folder.join("logs/supervisor.log");
    let mut process = runner.detach(&supervisor_of(machine, name)?, &log)?;
    let supervisor = process.pid().and_then(Process::of);
    let mut cancel = machine.cancel.clone();
    let came = tokio::select! {
        came = comes_up(&mut process, folder, &log, say) => came.map_err(|why| not_up(machine, folder, &why)),
        () = cancel.reached(Urgency::Gently) => Err(interrupted()),
    };
    if came.is_err() {
        // Also one that has not yet written down that it is there.
        supervisor.iter().for_each(|process| process.signal(Signal::TERM));
    }
    came
}

/// Waits for what the supervisor writes; the reason why it does not come up otherwise.
async fn comes_up(
    process: &mut Detached,
    folder: &Path,
    log: &Path,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), String> {
    let (begun, mut said) = (Instant::now(), String::new());
    loop {
        match State::read(folder).map(|state| state.phase) {
            Some(Phase::Ready) => return Ok(()),
            Some(Phase::Ended(why)) => return Err(why),
            Some(Phase::Starting(what)) if what != said => {
                say(&what);
                said = what;
            }
            _ => {}
        }
        if let Some(exit) = process.ended() {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let words = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            return Err(format!("its supervisor ended with {exit}: {words}"));
        }
        if begun.elapsed() > UP_WITHIN {
            return Err(format!("after {} s it still waits: {said}", UP_WITHIN.as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The state of the cluster in `folder`, if it is whole and its node ready; what is wrong otherwise.
pub async fn is_healthy(folder: &Path) -> Result<State, Vec<String>> {
    let Some(state) = State::read(folder) else { return Err(vec!["no cluster is up".to_owned()]) };
    let mut troubles = state.troubles();
    if let (Phase::Starting(what), true) = (&state.phase, troubles.is_empty()) {
        troubles.push(format!("it is being brought up: {what}"));
    }
    if troubles.is_empty() {
        let asked = match Api::new(&state.kubeconfig) {
            Ok(api) => ready::nodes(&api).await,
            Err(error) => Err(format!("{error:#}")),
        };
        troubles.extend(asked.err());
    }
    if troubles.is_empty() { Ok(state) } else { Err(troubles) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_the_way_to_it() {
        let whole = Here { linux: true, root: true, missing: vec![] };
        let runs = vec![("containerd", "containerd"), ("ctr", "containerd"), ("runc", "runc")];
        for (here, reason, fix) in [
            (Here { linux: false, ..whole.clone() }, "needs Linux", "kind"),
            (Here { root: false, missing: runs.clone(), ..whole.clone() }, "needs root", "as root"),
            (Here { missing: runs, ..whole.clone() }, "containerd, ctr, runc", "apt-get install containerd runc"),
        ] {
            let said = lacking(&here).unwrap();
            assert!(said.reason.contains(reason) && said.fix.contains(fix), "{said:?}");
        }
        assert_eq!(lacking(&whole), None);
    }

    #[test]
    fn the_fix_installs_all_of_them() {
        assert!(OF_CATALOG.iter().all(|program| INSTALL.split(' ').any(|word| word == program.name)));
    }
}
