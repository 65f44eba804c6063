//! `doctor`: what the pipeline needs, whether this machine has it, and the one command that gets what is missing.
//!
//! Each thing is a gate, so that the report and the exit code say it as everywhere. With `--github` it is the
//! repository's settings that are looked at, and nothing of the machine.

mod github;

use anyhow::Result;

use crate::context::Ctx;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::tools::catalog::{Program, Source};
use crate::tools::command::Command;
use crate::tools::environment::Spec;
use crate::tools::{containers, golang, program, redis};
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};

/// `cargo xtask doctor`
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    /// Hold the settings of the repository on GitHub against [github] of pipeline.toml instead: protection of branches,
    /// environments, the required check, what a job's token may do. Needs GITHUB_TOKEN or GH_TOKEN, of somebody who may
    /// read them (administration)
    #[arg(long)]
    github: bool,
}

/// The gates that were asked for. None of them is ever taken from the cache.
pub fn plan(ctx: &Ctx, args: Args) -> Result<Vec<Gate>> {
    if args.github { github::plan(ctx) } else { Ok(machine(ctx)) }
}

/// One gate for each thing that some declared subject needs.
fn machine(ctx: &Ctx) -> Vec<Gate> {
    let config = &ctx.config;
    let mut gates = vec![
        gate("git", "programs", |session| async move {
            program(session, "git", "install git from your system's packages").await
        }),
        gate("uv", "programs", |session| async move {
            let uv = session.machine.uv(&session.machine.quiet()).await?;
            let place = session.machine.shown(&uv.program);
            found_here(&session, &format!("uv {} at `{place}`", uv.tool.version))
        }),
    ];
    let mut pythons = config.python.versions.clone();
    if !pythons.contains(&config.python.tools) {
        pythons.push(config.python.tools.clone());
    }
    for python in pythons {
        gates.push(gate(&format!("python-{python}"), "interpreters", move |session| {
            let python = python.clone();
            async move {
                let interpreter = session.machine.interpreter(&python).await?;
                let place = interpreter.executable.display();
                found(&session, "interpreters", &format!("Python {} at `{place}`", interpreter.version))
            }
        }));
    }
    for spec in specs(ctx) {
        gates.push(gate(&format!("environment-{}", spec.name), "environments", move |session| {
            let spec = spec.clone();
            async move {
                let environment = session.environment(&spec).await?;
                let place = session.machine.shown(&environment.folder);
                found(&session, "environments", &format!("`{}` installed into `{place}`", spec.lock))
            }
        }));
    }
    if let (Some(_), Some(spec)) = (&config.redis, test_spec(ctx)) {
        gates.push(gate("redis", "programs", move |session| {
            let spec = spec.clone();
            async move {
                let environment = session.environment(&spec).await?;
                let program = redis::find(&session.machine, &environment)?;
                redis::start(&session.machine, &session.machine.quiet(), &program).await?;
                found_here(&session, &format!("`{}` starts and answers", session.machine.shown(&program)))
            }
        }));
    }
    if config.container.is_some() {
        gates.push(gate("engine", "programs", |session| async move {
            let engine = containers::find(&session.machine, &session.machine.quiet()).await?;
            let (name, version, builder) = (engine.name, &engine.version, engine.builder.name());
            found_here(&session, &format!("{name} {version} answers; images are built by {builder}"))
        }));
    }
    for program in super::tools::needed(&super::ci::all_gates(ctx)) {
        gates.push(gate(program.name, "programs", move |session| async move { known(&session, program) }));
    }
    gates
}

/// A program of the catalogue that is there, or that can be had here; nothing is installed.
fn known(session: &Session, program: &'static Program) -> Result<Outcome, Unproven> {
    let (machine, ctx) = (&session.machine, session.ctx());
    if let Some(found) = program::installed(machine, program)? {
        let place = machine.shown(&found.path);
        return found_here(session, &format!("{} {} at `{place}`", program.name, found.tool.version));
    }
    let can_be_had = |source: &Source| match source {
        Source::Go { .. } | Source::Ours { .. } => machine.on_path("go").is_some(),
        _ => program::pinned(ctx, program, *source).is_some(),
    };
    let Some(source) = program::allowed(ctx, program).find(can_be_had) else {
        let builds = program.sources.iter().any(|source| matches!(source, Source::Go { .. } | Source::Ours { .. }));
        let fix = if builds { golang::INSTALL } else { "cargo xtask tools list" };
        return Err(NotRun::new(format!("`{}` cannot be had here", program.name), fix).into());
    };
    let version = program::pinned(ctx, program, source).unwrap_or_default();
    let from = program::label(source);
    found_here(session, &format!("{} {version} is not installed yet; from {from}, on first use", program.name))
}

fn specs(ctx: &Ctx) -> Vec<Spec> {
    std::iter::once(Spec::tools(&ctx.config)).chain(test_spec(ctx)).collect()
}

fn test_spec(ctx: &Ctx) -> Option<Spec> {
    Some(Spec::tests(ctx.config.tests.as_ref()?, ctx.config.python.versions.last()?))
}

fn gate<F, P>(name: &str, unit: &'static str, look: F) -> Gate
where
    F: Fn(Session) -> P + Send + Sync + 'static,
    P: Future<Output = Result<Outcome, Unproven>> + Send + 'static,
{
    Gate {
        id: format!("doctor/{name}"),
        unit,
        tool: ("xtask", String::new()),
        again: "cargo xtask doctor".to_owned(),
        action: action(look),
        ..Gate::default()
    }
}

async fn program(session: Session, name: &str, fix: &str) -> Result<Outcome, Unproven> {
    let Some(path) = session.machine.on_path(name) else {
        return Err(NotRun::new(format!("`{name}` is not on PATH"), fix).into());
    };
    let ended = session.step(&Command::new(&path, &session.ctx().root).arg("--version")).await?;
    if !ended.is_success() {
        return Err(NotRun::new(format!("`{} --version` {}", path.display(), ended.failure()), fix).into());
    }
    found_here(&session, &format!("{} at `{}`", ended.stdout.trim(), path.display()))
}

fn found_here(session: &Session, what: &str) -> Result<Outcome, Unproven> {
    found(session, "programs", what)
}

/// One thing that is there, told as a finding that breaks nothing.
fn found(session: &Session, unit: &str, what: &str) -> Result<Outcome, Unproven> {
    let finding = Finding::new(session.gate.clone(), Severity::Info, what);
    Ok(Outcome::Ran(Evidence {
        work: Work::new(1, unit),
        declared: Some(1),
        findings: vec![finding],
        artifacts: vec![],
        fix: String::new(),
    }))
}
