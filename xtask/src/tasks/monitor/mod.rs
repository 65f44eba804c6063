//! `monitor ENV`: is what was released still well? The same gates as everywhere, asked of what runs.
//!
//! It changes nothing. Each check is a gate `monitor/KIND/CHECK` with a report that is complete in itself, for an incident
//! is about one of them.

mod door;
mod health;
mod performance;
mod probing;
mod security;

use std::sync::Arc;

use anyhow::Result;

use crate::config::{Environment, Release};
use crate::context::Ctx;
use crate::engine::gate::{Action, Gate};
use crate::engine::run::Options;
use crate::event::{Event, Events};
use crate::exit::{Code, UsageError};
use crate::tasks::checks::{self, Checks, Done};
use crate::tasks::incidents;
use crate::tools::cancel::Cancel;
use crate::tools::command::Command;
use crate::verdict::{Severity, Verdict};
use door::Door;

/// The task's name.
const TASK: &str = "monitor";

/// Options of `monitor`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The environment: staging, production (or prod)
    #[arg(value_name = "ENV")]
    pub environment: String,
    /// What is looked at
    #[arg(value_enum, default_value = "all")]
    pub kind: Kind,
    /// Whether those who have to know are told, by [alerts] of the environment's file; auto: in GitHub Actions
    #[arg(long, value_enum, value_name = "WHEN", default_value = "auto")]
    pub tell: Tell,
}

/// Whether incidents are opened, escalated and closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Tell {
    /// In GitHub Actions, and not on a laptop.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Endpoints, pods, the autoscaler, the certificate
    Health,
    /// The load that it has to bear
    Performance,
    /// Signatures, vulnerabilities, secrets in live configuration, and whether what runs is what was released
    Security,
    /// All of it
    #[default]
    All,
}

impl Kind {
    /// As the command line has it.
    fn name(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Performance => "performance",
            Self::Security => "security",
            Self::All => "all",
        }
    }

    fn has(self, kind: Self) -> bool {
        self == kind || self == Self::All
    }
}

/// An environment that is looked at, and the way into its cluster.
pub struct Watched {
    /// Its file.
    environment: Environment,
    /// Its cluster.
    door: Door,
}

impl Watched {
    /// The command that asks a kind of it again.
    fn again(&self, kind: Kind) -> String {
        format!("cargo xtask monitor {} {}", self.environment.name, kind.name())
    }

    /// How it is released, where it has a cluster that can be asked.
    fn release(&self) -> Option<&Release> {
        self.environment.release.as_ref().filter(|_| self.environment.cluster.is_some())
    }

    /// The command that asks the cluster for one path, as a person would type it.
    fn raw(&self, ctx: &Ctx, path: &str) -> Option<Command> {
        let context = self.environment.cluster.as_ref()?.context.clone();
        Some(Command::new("kubectl", &ctx.root).args(["--context", &context, "get", "--raw", path]))
    }
}

/// The gates of the command line; nothing is asked yet.
pub fn gates(ctx: &Ctx, args: &Args) -> Result<Vec<Gate>> {
    let environment = Environment::load(&ctx.config_dir, &args.environment)?;
    let told = told(ctx, args, &environment);
    let looks = plan(ctx, args.kind, &Arc::new(Watched { environment, door: Door::default() }))?;
    Ok(looks.into_iter().chain(told.ok()).collect())
}

/// The gate that tells what was seen; else the gates that are left out.
fn told(ctx: &Ctx, args: &Args, environment: &Environment) -> Result<Gate, Vec<String>> {
    let gate = incidents::gate(environment).ok_or_else(Vec::new)?;
    let is_asked = match args.tell {
        Tell::Auto => ctx.in_actions(),
        Tell::On => true,
        Tell::Off => false,
    };
    if is_asked { Ok(gate) } else { Err(vec![gate.id]) }
}

fn plan(ctx: &Ctx, kind: Kind, watched: &Arc<Watched>) -> Result<Vec<Gate>> {
    let mut gates = Vec::new();
    if kind.has(Kind::Health) {
        gates.extend(health::plan(ctx, watched)?);
    }
    if kind.has(Kind::Performance) {
        gates.extend(performance::plan(ctx, watched));
    }
    if kind.has(Kind::Security) {
        gates.extend(security::plan(ctx, watched));
    }
    if gates.is_empty() {
        let (name, kind) = (&watched.environment.name, kind.name());
        return Err(UsageError(format!("`{name}.toml` declares nothing that `{kind}` could look at")).into());
    }
    Ok(gates)
}

/// What the environment's file and pipeline.toml leave undeclared, so that nothing is planned for it.
fn not_configured(ctx: &Ctx, watched: &Watched) -> Vec<String> {
    let (environment, config) = (&watched.environment, &ctx.config);
    let has_cluster = watched.release().is_some();
    let checked = environment.release.as_ref().is_some_and(|release| release.checked);
    let declared = [
        ("cluster and release", has_cluster),
        ("monitor.autoscaler", environment.monitor.autoscaler),
        ("monitor.load", !environment.monitor.load.is_empty()),
        ("an https address", environment.addresses().any(|address| address.starts_with("https://"))),
        ("signing, with release.checked", config.signing.is_some() && checked),
        ("secrets", config.secrets.is_some()),
    ];
    let missing = declared.into_iter().filter(|(_, is_there)| !is_there);
    missing.map(|(what, _)| format!("{}: {what}", environment.name)).collect()
}

/// A gate of ours as it is planned: asked anew each time.
fn gate(id: &str, unit: &'static str, tool: &'static str, again: String) -> Gate {
    Gate {
        id: format!("{TASK}/{id}"),
        unit,
        tool: (tool, "Cargo.lock".to_owned()),
        fresh: true,
        breaks_at: Severity::Low,
        again,
        ..Gate::default()
    }
}

/// Asks, and tells what it saw. Another cluster than the environment's is a mistake of the configuration, and is asked for
/// nothing but its id (R41): what needs no cluster is looked at, and the rest did not run, which is told. Nobody would hear of
/// a run that leaves at once.
pub async fn run(ctx: &Arc<Ctx>, cancel: &Cancel, events: &Events, args: &Args) -> Result<Done> {
    let environment = Environment::load(&ctx.config_dir, &args.environment)?;
    let (told, left_out) = match told(ctx, args, &environment) {
        Ok(gate) => (Some(gate), vec![]),
        Err(left_out) => (None, left_out),
    };
    let watched = Arc::new(Watched { environment, door: Door::default() });
    let looks = plan(ctx, args.kind, &watched)?;
    let gates = looks.iter().cloned().chain(told.clone()).collect();
    let options = Options { cache: false, ..Options::default() };
    let checks = Checks { task: TASK, gates, left_out, options };
    let mut begun = checks::open(ctx, cancel, events, &checks).await?;
    begun.report.not_configured = not_configured(ctx, &watched);
    let other = watched.door.find(&begun.machine, &watched.environment).await.err();
    if let Some(error) = &other {
        events.send(Event::Warning(format!("{error:#}")));
    }
    let mut code = begun.run(ctx, cancel, events, &Checks { gates: looks, ..checks.clone() }).await?;
    // A run that was stopped has seen nothing that anybody has to know.
    if let Some(told) = told.filter(|_| !cancel.is_cancelled()) {
        let seen = Arc::new(begun.report.clone());
        let tell: Action = Arc::new(move |session| {
            let (watched, seen) = (watched.clone(), seen.clone());
            Box::pin(async move { incidents::run(session, &watched.environment, &seen).await })
        });
        let last =
            begun.run(ctx, cancel, events, &Checks { gates: vec![Gate { action: tell, ..told }], ..checks }).await?;
        // The second code is that of all gates.
        code = if code == Code::Defect { code } else { last };
    }
    if let Some(error) = other {
        code = without_cluster(&error, code);
        // What passed says nothing of an environment whose file is wrong.
        if begun.report.verdict == Verdict::Pass {
            begun.report.verdict = Verdict::DidNotRun;
        }
    }
    Ok(begun.close(events, code))
}

/// What a run ends with that did not get to the environment's cluster because of `error`, whatever its gates came to. Pure.
fn without_cluster(error: &anyhow::Error, gates: Code) -> Code {
    match gates {
        Code::Defect | Code::Interrupted => gates,
        _ if error.is::<UsageError>() => Code::Usage,
        _ => Code::Defect,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_cluster_is_a_mistake_of_the_configuration_whatever_else_was_seen() {
        let other = anyhow::Error::from(UsageError("the context leads to another cluster".to_owned()));
        let defect = anyhow::anyhow!("cannot write the kubeconfig");
        for (error, gates, expected) in [
            (&other, Code::Passed, Code::Usage),
            (&other, Code::DidNotRun, Code::Usage),
            (&other, Code::Failed, Code::Usage),
            (&other, Code::Interrupted, Code::Interrupted),
            (&other, Code::Defect, Code::Defect),
            (&defect, Code::DidNotRun, Code::Defect),
            (&defect, Code::Interrupted, Code::Interrupted),
        ] {
            assert_eq!(without_cluster(error, gates), expected, "{error} {gates:?}");
        }
    }
}
