//! `cluster up|down|status|test`: a real Kubernetes of one node, for the tests of releases and for rehearsals.
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

/// How long all tests of releases may take.
const TESTS: std::time::Duration = std::time::Duration::from_secs(2 * 3600);

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
    /// Run every test of releases on it, the long ones too: all signals at all steps, outages of a minute
    Test,
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
        Action::Test => ("test", "tests", vec![tests(ctx, &args)]),
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
        Action::Test => test(&session, &args, &folder).await,
        Action::Status | Action::Serve => status(&session, &args, &folder).await,
    }
}

/// The tests of releases, those that an ordinary run leaves out too.
fn tests(ctx: &Ctx, args: &Args) -> Command {
    let args_of_cargo = ["test", "--locked", "--package", "xtask", "--test", "it", "--", "release::"];
    Command::new("cargo", &ctx.root)
        .args(args_of_cargo)
        .args(["--include-ignored", "--nocapture", "--test-threads", "2"])
        .env("XTASK_CLUSTER", folder(&ctx.store, &args.name))
        .timeout(TESTS)
}

/// Runs them on the cluster that is up. A test that was not run is no test.
async fn test(session: &Session, args: &Args, folder: &Path) -> Result<Outcome, Unproven> {
    if Cluster::at(folder).is_none() {
        return Err(NotRun::new("no cluster is up", args.again("up")).into());
    }
    let ended = session.step(&tests(session.ctx(), args)).await?;
    let said = format!("{}\n{}", ended.stdout, ended.stderr);
    let Some(counted) = counted(&said) else {
        return Err(session.not_run(format!("the tests did not end: {}", ended.failure())).into());
    };
    if let Some(untested) = said.lines().find(|line| line.starts_with("NOT TESTED")) {
        return Err(session.not_run(untested.to_owned()).into());
    }
    let red = |line: &&str| line.starts_with("test ") && line.ends_with("FAILED");
    let failed = said.lines().filter(red).map(|line| Finding::new("test", Severity::High, line.to_owned()));
    let mut findings: Vec<Finding> = failed.collect();
    if findings.is_empty() && (counted.failed > 0 || !ended.is_success()) {
        let message = format!("{} tests failed: {}", counted.failed, ended.failure());
        findings.push(Finding::new("test", Severity::High, message));
    }
    let figures = said.lines().filter_map(|line| Some(line.split_once("FIGURE | ")?.1.trim_end_matches(" |")));
    findings.extend(figures.map(|figure| Finding::new("figure", Severity::Info, figure.to_owned())));
    Ok(Outcome::Ran(Evidence {
        work: Work::new(counted.passed + counted.failed, "tests"),
        declared: None,
        findings,
        artifacts: vec![],
        fix: args.again("test"),
    }))
}

/// How many tests passed and failed.
struct Counted {
    passed: u64,
    failed: u64,
}

/// `test result: ok. 24 passed; 0 failed; …`
fn counted(said: &str) -> Option<Counted> {
    let line = said.lines().find_map(|line| line.split_once("test result: ").map(|(_, rest)| rest))?;
    let number = |what: &str| -> Option<u64> {
        let before = line.split(what).next()?.trim_end();
        before.rsplit([' ', '.', ';']).next()?.parse().ok()
    };
    Some(Counted { passed: number("passed")?, failed: number("failed")? })
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

#[cfg(test)]
mod tests_of_output {
    use super::*;

    #[test]
    fn what_cargo_says_is_counted() {
        let found =
            counted("running 3 tests\ntest result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured\n").unwrap();
        assert_eq!((found.passed, found.failed), (2, 1));
        assert!(counted("error: could not compile").is_none());
    }
}
