//! Brings a cluster up from outside: what it needs is looked for, its supervisor is started, and then waited for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::api::Api;
use super::parts::Programs;
use super::state::{Phase, State};
use super::{Cluster, end, folder, supervisor};
use crate::tools::catalog::{COREDNS, ETCD, KUBERNETES, PAUSE, Program};
use crate::tools::command::Command;
use crate::tools::machine::Machine;
use crate::tools::proc::{Detached, Runner};
use crate::tools::{cancel::Urgency, program};
use crate::verdict::{NotRun, Unproven};

/// Programs of the machine, each with the package of Debian that has it.
pub const OF_MACHINE: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("runc", "runc"),
    ("docker-registry", "docker-registry"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setsid", "util-linux"),
];

/// Programs of the catalogue.
pub const OF_CATALOG: &[&Program] = &[&KUBERNETES, &ETCD, &COREDNS, &PAUSE];

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

/// Whether a cluster can be up here, as far as the machine goes.
pub fn possible(machine: &Machine) -> Result<(), NotRun> {
    if !cfg!(target_os = "linux") {
        return Err(NotRun::new("a cluster of our own parts needs Linux", "install `kind` and Docker"));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(NotRun::new(
            "a cluster of our own parts needs root",
            "run it as root, or install `kind` and Docker",
        ));
    }
    let missing: Vec<_> = OF_MACHINE.iter().filter(|(name, _)| on_machine(machine, name).is_none()).collect();
    let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    let mut names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    if plugins().is_none() {
        packages.push("containernetworking-plugins");
        names.push("CNI plugins");
    }
    packages.dedup();
    if names.is_empty() {
        return Ok(());
    }
    let reason = format!("not on this machine: {}", names.join(", "));
    Err(NotRun::new(reason, format!("apt-get install {}", packages.join(" "))))
}

/// Where all programs are; those of the catalogue only if they are installed.
pub fn programs(machine: &Machine) -> Result<(Programs, String), Unproven> {
    possible(machine)?;
    let of_machine = |name: &str| on_machine(machine, name).unwrap_or_default();
    let installed = |wanted: &'static Program| {
        program::installed(machine, wanted)?.ok_or_else(|| {
            let fix = format!("cargo xtask tools install {}", OF_CATALOG.map_names());
            Unproven::from(NotRun::new(format!("`{}` is not installed", wanted.name), fix))
        })
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

/// Their names, as a command line has them.
trait Names {
    fn map_names(&self) -> String;
}

impl Names for &[&Program] {
    fn map_names(&self) -> String {
        self.iter().map(|program| program.name).collect::<Vec<_>>().join(" ")
    }
}

/// The command whose process is the cluster's supervisor.
pub fn supervisor(machine: &Machine, name: &str) -> Result<Command, Unproven> {
    let ctx = &machine.ctx;
    let us = std::fs::read_link("/proc/self/exe").context("cannot tell which program this is")?;
    let mut command = Command::new("setsid", &ctx.root).arg(us).args(["--config"]).arg(&ctx.config_dir);
    command = command.args(["cluster", "serve"]);
    Ok(if name.is_empty() { command } else { command.args(["--name", name]) })
}

/// Runs as the supervisor; see [`supervisor::serve`].
pub async fn serve(machine: &Machine, name: &str) -> Result<(), Unproven> {
    let (programs, version) = programs(machine)?;
    Ok(supervisor::serve(machine, &folder(&machine.ctx.store, name), &programs, &version).await?)
}

/// The cluster named `name`: the one that is up, else a new one. `say` is told what is waited for.
pub async fn up(
    machine: &Machine,
    runner: &Runner,
    name: &str,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<Cluster, Unproven> {
    possible(machine)?;
    let folder = folder(&machine.ctx.store, name);
    let lock = folder.with_extension("lock");
    let mut cancel = machine.cancel.clone();
    let _alone = tokio::select! {
        locked = crate::disk::lock(&lock) => locked?,
        () = cancel.reached(Urgency::Gently) => return Err(interrupted()),
    };
    if let Some(cluster) = Cluster::at(&folder)
        && is_healthy(&folder).await.is_ok()
    {
        return Ok(cluster);
    }
    for program in OF_CATALOG {
        say(&format!("program {}", program.name));
        program::ensure(machine, runner, program).await?;
    }
    say("what an earlier one left");
    let left = end::down(&folder).await?;
    if !left.is_empty() {
        let fix = "end what holds it, then run it again";
        return Err(NotRun::new(format!("an earlier cluster is not gone: {}", left.join(", ")), fix).into());
    }
    std::fs::create_dir_all(folder.join("logs")).context("cannot make the cluster's folder")?;
    let log = folder.join("logs/supervisor.log");
    let mut process = runner.detach(&supervisor(machine, name)?, &log)?;
    let waited = tokio::select! {
        waited = wait(&mut process, &folder, say) => waited,
        () = cancel.reached(Urgency::Gently) => Err(interrupted()),
    };
    if let Err(why) = waited {
        // Half a cluster is of no use to anybody; its logs are, and stay.
        end::stop(&folder).await?;
        return Err(why);
    }
    Cluster::at(&folder).ok_or_else(|| ended_again(machine, &folder, "it ended right after it was ready").into())
}

fn interrupted() -> Unproven {
    NotRun::new("interrupted", "run it again").into()
}

fn ended_again(machine: &Machine, folder: &Path, why: &str) -> NotRun {
    let logs = machine.shown(&folder.join("logs"));
    NotRun::new(format!("the cluster did not come up: {why}"), format!("look into `{logs}`"))
}

async fn wait(process: &mut Detached, folder: &Path, say: &(dyn Fn(&str) + Send + Sync)) -> Result<(), Unproven> {
    let (begun, mut said) = (Instant::now(), String::new());
    let logs = folder.join("logs").display().to_string();
    let not_up = |why: String| {
        Unproven::from(NotRun::new(format!("the cluster did not come up: {why}"), format!("look into `{logs}`")))
    };
    loop {
        let state = State::read(folder);
        match state.map(|state| state.phase) {
            Some(Phase::Ready) => return Ok(()),
            Some(Phase::Ended(why)) => return Err(not_up(why)),
            Some(Phase::Starting(what)) if what != said => {
                say(&what);
                said = what;
            }
            _ => {}
        }
        if let Some(exit) = process.ended() {
            let log = std::fs::read_to_string(folder.join("logs/supervisor.log")).unwrap_or_default();
            let words = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
            return Err(not_up(format!("its supervisor ended with {exit}: {words}")));
        }
        if begun.elapsed() > UP_WITHIN {
            return Err(not_up(format!("after {} s it still waits for: {said}", UP_WITHIN.as_secs())));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether the cluster in `folder` is whole and its node ready; what is wrong otherwise.
pub async fn is_healthy(folder: &Path) -> Result<State, Vec<String>> {
    let Some(state) = State::read(folder) else { return Err(vec!["no cluster is up".to_owned()]) };
    let mut troubles = state.troubles();
    if let (Phase::Starting(what), true) = (&state.phase, troubles.is_empty()) {
        troubles.push(format!("it is being brought up: {what}"));
    }
    if troubles.is_empty() {
        match Api::new(&state.place(folder)) {
            Ok(api) => {
                if let Err(why) = supervisor::node_ready(&api).await {
                    troubles.push(format!("the node: {why}"));
                }
            }
            Err(error) => troubles.push(format!("{error:#}")),
        }
    }
    if troubles.is_empty() { Ok(state) } else { Err(troubles) }
}
