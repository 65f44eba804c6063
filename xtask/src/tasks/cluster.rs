//! `cluster up|down|status`: a real Kubernetes of one node, for the tests of releases and for rehearsals.
//!
//! Each is a gate: `up` counts the parts that run once the node is ready and a pod was answered a name, `status` those
//! that run now, `down` the places where it looked for something left.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::exit::UsageError;
use crate::services::cluster::parts::{self, Programs};
use crate::services::cluster::place::Place;
use crate::services::cluster::{Cluster, State, end, folder, start};
use crate::tools::cancel::Cancel;
use crate::tools::command::Command;
use crate::tools::machine::Machine;
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: Action,
    /// A cluster beside the usual one, with a folder, networks and processes of its own
    #[arg(long, global = true, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub name: String,
}

/// What can be done with a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Subcommand)]
pub enum Action {
    /// Bring it up, or find it up: the node is ready, and a pod on it is answered a name
    Up,
    /// Take it down; nothing of it is left
    Down,
    /// Say what runs, in which version, and where
    Status,
    /// Be the process that owns all parts (`up` starts it)
    #[command(hide = true)]
    Serve,
}

impl Args {
    /// A name becomes part of a folder's.
    pub fn checked(&self) -> Result<&Self, UsageError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.len() <= 20 && self.name.chars().all(plain) {
            return Ok(self);
        }
        Err(UsageError(format!("`{}` is no name of a cluster: up to 20 of a-z, 0-9 and -", self.name)))
    }

    fn again(&self, action: &str) -> String {
        let name = if self.name.is_empty() { String::new() } else { format!(" --name {}", self.name) };
        format!("cargo xtask cluster {action}{name}")
    }
}

/// The gate of a command; nothing is looked at.
pub fn plan(ctx: &Ctx, args: &Args) -> Result<Vec<Gate>> {
    let args = args.checked()?.clone();
    let (id, unit, steps) = match args.command {
        Action::Up => ("up", "parts", commands(&folder(&ctx.store, &args.name))),
        Action::Down => ("down", "places", vec![]),
        Action::Status => ("status", "parts", vec![]),
        Action::Serve => return Ok(vec![]),
    };
    Ok(vec![Gate {
        id: format!("cluster/{id}"),
        unit,
        programs: if args.command == Action::Up { start::OF_CATALOG.to_vec() } else { vec![] },
        tool: ("xtask", String::new()),
        fresh: true,
        steps,
        again: args.again(id),
        action: action(move |session| run(session, args.clone())),
        ..Gate::default()
    }])
}

/// The commands of all parts, as a machine with the number 0 free would run them.
fn commands(folder: &Path) -> Vec<Command> {
    let programs = Programs {
        kubernetes: "kubernetes".into(),
        etcd: "etcd".into(),
        coredns: "coredns".into(),
        pause: "pause".into(),
        containerd: "containerd".into(),
        runc: "runc".into(),
        registry: "docker-registry".into(),
        cni: "/usr/lib/cni".into(),
    };
    let place = Place { folder: folder.to_owned(), slot: 0, registry: 0 };
    let parts = parts::parts(&place, &programs);
    parts.into_iter().map(|part| Command::new(part.program, folder).args(part.args)).collect()
}

async fn run(session: Session, args: Args) -> Result<Outcome, Unproven> {
    let folder = folder(&session.ctx().store, &args.name);
    match args.command {
        Action::Up => up(&session, &args, &folder).await,
        Action::Down => down(&session, &args, &folder).await,
        Action::Status | Action::Serve => status(&session, &args, &folder).await,
    }
}

async fn up(session: &Session, args: &Args, folder: &Path) -> Result<Outcome, Unproven> {
    let say = |what: &str| session.doing(what);
    let _up: Cluster = start::up(&session.machine, session.runner(), &args.name, &say).await?;
    status(session, args, folder).await
}

async fn status(session: &Session, args: &Args, folder: &Path) -> Result<Outcome, Unproven> {
    let fix = args.again("up");
    let Some(state) = State::read(folder) else {
        return Err(NotRun::new("no cluster is up", fix).into());
    };
    let healthy = start::is_healthy(folder).await;
    let mut findings = told(session, &state, if healthy.is_ok() { "ready" } else { "not ready" });
    let troubles = healthy.err().unwrap_or_default();
    findings.extend(troubles.into_iter().map(|trouble| Finding::new("cluster", Severity::High, trouble)));
    let Some(parts) = state.looked_at() else {
        let why = state.troubles().into_iter().next().unwrap_or_default();
        return Err(NotRun { findings, ..NotRun::new(format!("no cluster is up: {why}"), fix) }.into());
    };
    let logs = session.machine.shown(&folder.join("logs"));
    let fix = format!("look into `{logs}`; `{}` brings it up anew", args.again("up"));
    // What a start that is not over has not yet started is missing from the count.
    let declared = if state.kind.is_some() { parts } else { commands(folder).len() as u64 };
    let work = Work::new(parts, "parts");
    Ok(Outcome::Ran(Evidence { work, declared: Some(declared), findings, artifacts: vec![], fix }))
}

/// What a person wants to know, as findings that break nothing.
fn told(session: &Session, state: &State, how: &str) -> Vec<Finding> {
    let machine = &session.machine;
    let mut findings = vec![Finding::new(
        "cluster",
        Severity::Info,
        format!(
            "Kubernetes {} at {}, {how}: `kubectl --kubeconfig {} --context {}`; images go to `{}/…`",
            state.version,
            state.api,
            machine.shown(&state.kubeconfig),
            state.context,
            state.registry
        ),
    )];
    for part in &state.parts {
        let pid = part.process.as_ref().map_or_else(|| "not running".to_owned(), |one| format!("pid {}", one.pid));
        let again = match (part.restarts, &part.ended) {
            (0, _) => String::new(),
            (times, why) => format!(", started again {times}×, last after {}", why.as_deref().unwrap_or("its end")),
        };
        findings.push(Finding::new(part.name.clone(), Severity::Info, format!("{}: {pid}{again}", part.name)));
    }
    findings
}

async fn down(session: &Session, args: &Args, folder: &Path) -> Result<Outcome, Unproven> {
    session.doing(format!("taking down what is up in `{}`", session.machine.shown(folder)));
    let left = end::down(&session.machine, session.runner(), folder).await?;
    let findings = left.into_iter().map(|what| Finding::new("left", Severity::High, what)).collect();
    Ok(Outcome::Ran(Evidence {
        work: Work::new(end::PLACES, "places"),
        declared: Some(end::PLACES),
        findings,
        artifacts: vec![],
        fix: format!("end what holds it, then `{}`", args.again("down")),
    }))
}

/// Is the supervisor, until it is told to end.
pub async fn serve(ctx: &Arc<Ctx>, cancel: &Cancel, args: &Args) -> Result<()> {
    let machine = Machine::new(ctx.clone(), cancel.clone());
    match start::serve(&machine, &args.checked()?.name).await {
        Ok(()) => Ok(()),
        Err(Unproven::NotRun(why)) => Err(anyhow::anyhow!("{}; {}", why.reason, why.fix)),
        Err(Unproven::Defect(error)) => Err(error).context("the cluster is over"),
    }
}
