//! `scan`: secrets, dangerous source, vulnerable dependencies, weak configuration.
//!
//! One file a scanner: its commands, and how its own report becomes findings and a count of work. What is
//! common to all stands here: the policy is applied to whatever a scanner found, and configuration or allow
//! comments of the tree that is scanned never count, only ours does.

mod actionlint;
mod bandit;
pub mod deps;
mod dockerfile;
mod manifests;
mod ruff;
pub mod secrets;
mod shell;
mod workflows;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::de::DeserializeOwned;

use super::{Subject, Task, UNLISTED, generate};
use crate::context::Ctx;
use crate::disk::write_atomically;
use crate::engine::gate::{Gate, action};
use crate::engine::session::Session;
use crate::policy;
use crate::tools::proc::Ended;
use crate::verdict::{Evidence, Finding, NotRun, Outcome, Severity, Unproven, Work};

/// Part of `ci`.
pub const TASK: Task = Task {
    name: "scan",
    subjects: &[
        Subject::new("secrets", |config| config.secrets.is_some()),
        Subject {
            table: "sast",
            declared: |config| config.sast.is_some(),
            markers: &[],
            within: &["*.py"],
            listed: |config| config.sast.as_ref().map(bandit::all),
        },
        Subject::new("dependencies", |config| config.dependencies.is_some()),
        Subject::new("locks", |config| config.locks.is_some()),
        Subject {
            table: "dockerfile",
            declared: |config| config.dockerfile.is_some(),
            markers: &[
                "Dockerfile",
                "Dockerfile.*",
                "Dockerfile-*",
                "*.Dockerfile",
                "*.dockerfile",
                "Containerfile",
                "Containerfile.*",
            ],
            within: &[],
            listed: |config| Some(config.dockerfile.as_ref()?.files.clone()),
        },
        Subject {
            table: "workflows",
            declared: |config| config.workflows.is_some(),
            markers: &[".github/workflows/"],
            within: &[],
            listed: UNLISTED,
        },
        Subject {
            table: "manifests",
            declared: |config| config.manifests.is_some(),
            markers: &["kustomization.yaml", "kustomization.yml", "Kustomization"],
            within: &[],
            listed: UNLISTED,
        },
        Subject {
            table: "shell",
            declared: |config| config.shell.is_some(),
            markers: &["*.sh"],
            within: &[],
            listed: |config| Some(config.shell.as_ref()?.files.clone()),
        },
        Subject {
            table: "generated",
            declared: |config| config.generated.is_some(),
            markers: &["catalog-info.yaml"],
            within: &[],
            listed: |config| Some(config.generated.as_ref()?.places()),
        },
    ],
    plan: |ctx| plan(ctx, &[]),
};

/// What the command line says.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// What to look for [default: everything]
    #[arg(value_enum)]
    pub parts: Vec<Part>,
    /// Only secrets in what is staged, as the hook before a commit does
    #[arg(long)]
    pub staged: bool,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Secrets in the working tree and in the history
    Secrets,
    /// Dangerous source: bandit, ruff's security rules
    Sast,
    /// Known vulnerabilities of dependencies, and lock files that do not fit
    Deps,
    /// Dockerfiles, workflows, Kubernetes manifests, shell scripts, files that were generated
    Config,
}

/// The gates that the command line asks for.
pub fn gates(ctx: &Ctx, args: &Args) -> Vec<Gate> {
    if args.staged {
        return secrets::staged(ctx).into_iter().map(|gate| under_policy(ctx, gate)).collect();
    }
    plan(ctx, &args.parts)
}

/// The gates of these parts; of all where none is named.
pub fn plan(ctx: &Ctx, parts: &[Part]) -> Vec<Gate> {
    let wanted = |part: Part| parts.is_empty() || parts.contains(&part);
    let all = [
        (Part::Secrets, secrets::plan(ctx)),
        (Part::Sast, bandit::plan(ctx)),
        (Part::Sast, ruff::plan(ctx)),
        (Part::Deps, deps::plan(ctx)),
        (Part::Config, dockerfile::plan(ctx)),
        (Part::Config, workflows::plan(ctx)),
        (Part::Config, actionlint::plan(ctx)),
        (Part::Config, manifests::plan(ctx)),
        (Part::Config, shell::plan(ctx)),
        (Part::Config, generate::plan(ctx)),
    ];
    let gates = all.into_iter().filter(|(part, _)| wanted(*part)).flat_map(|(_, gates)| gates);
    gates.map(|gate| under_policy(ctx, gate)).collect()
}

/// The gate that finds generated files that differ, alone.
pub fn generated(ctx: &Ctx) -> Vec<Gate> {
    generate::plan(ctx).into_iter().map(|gate| under_policy(ctx, gate)).collect()
}

/// GitGuardian's service, where secrets are looked for without it.
pub fn not_configured(ctx: &Ctx) -> Option<String> {
    let key = secrets::GITGUARDIAN_KEY;
    let wanted = ctx.config.secrets.is_some() && ctx.var(key).is_none_or(str::is_empty);
    wanted.then(|| format!("ggshield ({key} is not set)"))
}

/// The gate, with the policy applied to what it finds.
pub fn under_policy(ctx: &Ctx, gate: Gate) -> Gate {
    let (id, inner) = (gate.id.clone(), gate.action.clone());
    let mut inputs = gate.inputs.clone();
    let about: Vec<_> = ctx.config.ignore.iter().filter(|ignore| ignore.is_about(&id)).cloned().collect();
    inputs.dated |= !about.is_empty();
    inputs.settings = format!("{}\n{about:?}\n{:?}", inputs.settings, ctx.config.policy);
    let judged = action(move |session: Session| {
        let (id, inner) = (id.clone(), inner.clone());
        async move {
            let outcome = inner(session.clone()).await?;
            Ok(match outcome {
                Outcome::Ran(evidence) => {
                    let findings = judge(session.ctx(), &id, evidence.findings)?;
                    Outcome::Ran(Evidence { findings, ..evidence })
                }
                not_run => not_run,
            })
        }
    });
    Gate { inputs, breaks_at: policy::breaks_at(&ctx.config.policy, &gate.id), action: judged, ..gate }
}

fn judge(ctx: &Ctx, id: &str, findings: Vec<Finding>) -> anyhow::Result<Vec<Finding>> {
    let file = ctx.config_dir.join("pipeline.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let shown = ctx.relative(&file).unwrap_or_else(|| "pipeline.toml".to_owned());
    let mut findings = policy::judge(&ctx.config.ignore, (&shown, &text), id, ctx.started.date(), findings);
    findings.sort_by(|a, b| {
        let place = |f: &Finding| (f.path.clone(), f.line, f.rule.clone(), f.message.clone());
        b.severity.cmp(&a.severity).then_with(|| place(a).cmp(&place(b)))
    });
    findings.dedup();
    Ok(findings)
}

/// A file of ours that a scanner reads in place of what lies in the tree.
pub(super) fn own_config(ctx: &Ctx, name: &str) -> PathBuf {
    ctx.store.join("scan").join(name)
}

/// A folder that is gone with the value.
fn scratch(ctx: &Ctx) -> anyhow::Result<tempfile::TempDir> {
    let parent = ctx.store.join("scan");
    let cannot = || format!("cannot make a folder in `{}`", parent.display());
    std::fs::create_dir_all(&parent).with_context(cannot)?;
    remove_left_over(&parent);
    tempfile::tempdir_in(&parent).with_context(cannot)
}

/// Folders of runs that were killed: copies of the tree lie in them. No run is as long as that.
fn remove_left_over(parent: &Path) {
    let old = |path: &PathBuf| {
        let changed = path.metadata().and_then(|meta| meta.modified()).ok();
        changed.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > Duration::from_secs(2 * 3600))
    };
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries.filter(|path| path.is_dir() && old(path)) {
        let _gone = std::fs::remove_dir_all(path);
    }
}

pub(super) fn write_own_config(ctx: &Ctx, name: &str, text: &str) -> anyhow::Result<()> {
    write_atomically(&own_config(ctx, name), text.as_bytes())
}

/// What was found without what was planted: `canary` is a file of ours with a weakness. A scanner that counts nothing
/// proves by it that it looked at all; an empty report would otherwise be that of a clean file.
fn without_canary<T>(session: &Session, canary: &str, found: Vec<T>, file: fn(&T) -> &str) -> Result<Vec<T>, NotRun> {
    let planted = own_config(session.ctx(), canary);
    let all = found.len();
    let rest: Vec<T> = found.into_iter().filter(|found| Path::new(file(found)) != planted).collect();
    if rest.len() < all {
        return Ok(rest);
    }
    Err(session.not_run("its report lacks the weakness that was planted for it: it looked at nothing"))
}

/// A scanner's report as its own type, or the reason why the gate did not run.
pub(super) fn parse<T: DeserializeOwned>(session: &Session, ended: &Ended, report: &str) -> Result<T, Unproven> {
    let read = serde_json::from_str(report);
    read.map_err(|e| session.not_run(format!("its report cannot be read ({e}); {}", ended.failure())).into())
}

/// The usual end of a scan.
fn ran(count: usize, unit: &str, declared: usize, findings: Vec<Finding>, fix: &str) -> Outcome {
    Outcome::Ran(Evidence {
        work: Work::new(count as u64, unit),
        declared: Some(declared as u64),
        findings,
        artifacts: vec![],
        fix: fix.to_owned(),
    })
}

/// The files that git knows at or below `inputs`, as far as they are there and `wanted`.
async fn files(session: &Session, inputs: &[String], wanted: fn(&str) -> bool) -> anyhow::Result<Vec<String>> {
    let snapshot = session.machine.snapshot().await?;
    let root = &session.ctx().root;
    let found = snapshot.files(inputs)?.into_keys();
    Ok(found.filter(|path| wanted(path) && root.join(path).is_file()).collect())
}

/// A path of a scanner's report: relative to the repository, or nothing where it lies outside (R38).
fn place(ctx: &Ctx, path: &str) -> Option<String> {
    ctx.relative(path.as_ref())
}

/// Words that scanners have for how bad something is.
pub(super) fn severity(word: &str) -> Severity {
    match word.to_ascii_lowercase().as_str() {
        "critical" => Severity::Critical,
        "high" | "error" => Severity::High,
        "medium" | "moderate" | "warning" | "warn" => Severity::Medium,
        "low" | "note" | "info" => Severity::Low,
        "informational" | "style" | "none" => Severity::Info,
        // Not knowing how bad is no reason to let it pass.
        _ => Severity::High,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_nobody_knows_is_high() {
        for (word, expected) in [("LOW", Severity::Low), ("Moderate", Severity::Medium), ("??", Severity::High)] {
            assert_eq!(severity(word), expected);
        }
    }
}
