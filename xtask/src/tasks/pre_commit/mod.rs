//! `pre-commit`: the hooks of `.pre-commit-config.yaml`, run by prek or pre-commit on every file.
//!
//! The hooks are local and use the programs that our lock file installed; a hook that would take
//! anything else does not run. Work is counted in hooks that ran.

mod install;
mod output;

use std::path::PathBuf;

use anyhow::Context as _;
use serde::Deserialize;

use super::{Subject, Task, UNLISTED};
use crate::config::Hooks;
use crate::context::Ctx;
use crate::disk::write_atomically;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::command::Command;
use crate::tools::environment::{Environment, Spec};
use crate::tools::proc::Exit;
use crate::verdict::{Evidence, Finding, Outcome, Severity, Unproven, Work};

pub use install::install;
use output::Status;

/// Part of `ci`.
pub const TASK: Task = Task {
    name: "pre-commit",
    subjects: &[Subject {
        table: "hooks",
        declared: |config| config.hooks.is_some(),
        markers: &[".pre-commit-config.yaml"],
        within: &[],
        listed: UNLISTED,
    }],
    plan,
};

/// Programs that run hooks, the faster one first; which of them is there, the lock says.
const RUNNERS: &[&str] = &["prek", "pre-commit"];

/// One gate.
fn plan(ctx: &Ctx) -> Vec<Gate> {
    let Some(hooks) = &ctx.config.hooks else { return vec![] };
    let spec = Spec::tools(&ctx.config);
    let hooks = hooks.clone();
    vec![Gate {
        id: "pre-commit".to_owned(),
        unit: "hooks",
        tool: ("prek", spec.lock.clone()),
        inputs: Inputs {
            files: vec![".".to_owned()],
            settings: format!("{hooks:?}"),
            path_tools: vec!["uv"],
            ..Inputs::default()
        },
        environments: vec![spec.clone()],
        steps: vec![command(ctx, &spec, "prek", &hooks)],
        again: "cargo xtask pre-commit".to_owned(),
        action: action(move |session| run(session, spec.clone(), hooks.clone())),
        ..Gate::default()
    }]
}

/// Where the hooks find the list of files: every tracked and untracked one.
fn list(ctx: &Ctx) -> PathBuf {
    ctx.store.join("pre-commit-files")
}

fn command(ctx: &Ctx, spec: &Spec, runner: &str, hooks: &Hooks) -> Command {
    let bin = spec.folder(ctx).join("bin");
    let command =
        Command::new(bin.join(runner), &ctx.root).args(["run", "--color=never", "--config"]).arg(&hooks.config);
    let command = match runner {
        "prek" => command.arg("--no-progress").arg("--files0-from").arg(list(ctx)),
        _ => command.arg("--all-files"),
    };
    command
        .path_first(&bin)
        .env("PREK_HOME", ctx.store.join("prek"))
        .env("PRE_COMMIT_HOME", ctx.store.join("pre-commit"))
        .env("RUFF_CACHE_DIR", ctx.store.join("ruff"))
        .env("MYPY_CACHE_DIR", ctx.store.join("mypy"))
        .env("PYTHONPYCACHEPREFIX", ctx.store.join("pycache/hooks"))
        .timeout(hooks.timeout)
}

async fn run(session: Session, spec: Spec, hooks: Hooks) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let declared = declared_hooks(ctx, &hooks).map_err(|why| session.not_run(why))?;
    if declared.is_empty() {
        return Err(session.not_run(format!("did no work: `{}` declares no hook", hooks.config)).into());
    }
    let environment = session.environment(&spec).await?;
    let runner = RUNNERS.iter().copied().find(|runner| environment.bin(runner).is_file());
    let Some(runner) = runner else {
        return Err(session.not_run(format!("`{}` installs neither prek nor pre-commit", spec.lock)).into());
    };
    let unpinned = unpinned(&session, &environment, &declared).map_err(|why| session.not_run(why))?;
    write_list(&session).await?;
    let ended = session.step(&command(ctx, &spec, runner, &hooks)).await?;
    // Both runners: 0 all passed, 1 some failed; anything else is their own failure.
    if !matches!(ended.exit, Exit::Code(0 | 1)) {
        return Err(session.not_run(format!("{runner} {}", ended.failure())).into());
    }
    let results = output::read(&ended.stdout);
    if results.len() != declared.len() {
        let reason =
            format!("{} of the {} declared hooks were reported: {}", results.len(), declared.len(), ended.failure());
        return Err(session.not_run(reason).into());
    }
    if let Some(broken) = results.iter().find(|result| result.could_not_start()) {
        return Err(session.not_run(format!("hook `{}`: {}", broken.name, broken.first_line())).into());
    }
    let failed = results.iter().any(|result| result.status == Status::Failed);
    if failed == ended.is_success() {
        return Err(session.not_run(format!("{runner} {}, which its output contradicts", ended.exit)).into());
    }
    let idle = declared
        .iter()
        .zip(&results)
        .find(|(hook, result)| result.status == Status::Skipped && !hooks.may_be_idle.contains(&hook.id));
    if let Some((hook, _)) = idle {
        return Err(session.not_run(format!("hook `{}` had no file to look at", hook.id)).into());
    }
    let ran = results.iter().filter(|result| result.status != Status::Skipped).count();
    let mut findings: Vec<Finding> =
        results.iter().flat_map(|result| result.findings(|path| known(ctx, path))).collect();
    findings.extend(unpinned);
    Ok(Outcome::Ran(Evidence {
        work: Work::new(ran as u64, "hooks"),
        declared: None,
        findings,
        artifacts: vec![],
        fix: "mend the findings, then `cargo xtask pre-commit`".to_owned(),
    }))
}

/// A path of a hook's output, if it is one of ours.
fn known(ctx: &Ctx, path: &str) -> Option<String> {
    let relative = ctx.relative(path.as_ref())?;
    ctx.root.join(&relative).is_file().then_some(relative)
}

async fn write_list(session: &Session) -> Result<(), Unproven> {
    let ctx = session.ctx();
    let snapshot = session.machine.snapshot().await?;
    let files: Vec<&str> = snapshot.paths().filter(|path| ctx.root.join(path).is_file()).collect();
    let text = files.join("\0");
    write_atomically(&list(ctx), text.as_bytes()).context("cannot write the list of files for the hooks")?;
    Ok(())
}

/// What is read of the hooks' configuration; the rest is the runner's.
#[derive(Debug, Deserialize)]
struct HooksFile {
    repos: Vec<Repo>,
}

#[derive(Debug, Deserialize)]
struct Repo {
    repo: String,
    hooks: Vec<Hook>,
}

#[derive(Debug, Deserialize)]
struct Hook {
    id: String,
    #[serde(default)]
    entry: String,
    #[serde(default)]
    language: String,
    #[serde(default)]
    stages: Vec<String>,
}

/// A hook that runs before a commit, and where it comes from.
#[derive(Debug)]
struct Declared {
    id: String,
    repo: String,
    language: String,
    program: String,
}

fn declared_hooks(ctx: &Ctx, hooks: &Hooks) -> Result<Vec<Declared>, String> {
    let text = std::fs::read_to_string(ctx.root.join(&hooks.config))
        .map_err(|e| format!("`{}` cannot be read: {e}", hooks.config))?;
    parse_hooks(&text).map_err(|why| format!("`{}` cannot be read: {why}", hooks.config))
}

fn parse_hooks(text: &str) -> Result<Vec<Declared>, String> {
    let file: HooksFile =
        serde_saphyr::from_str(text).map_err(|e| e.to_string().lines().next().unwrap_or_default().to_owned())?;
    let mut declared = Vec::new();
    for repo in file.repos {
        for hook in repo.hooks {
            let before_commit = |stage: &String| stage == "pre-commit" || stage == "commit";
            if hook.stages.is_empty() || hook.stages.iter().any(before_commit) {
                let program = hook.entry.split_whitespace().next().unwrap_or_default().to_owned();
                declared.push(Declared { id: hook.id, repo: repo.repo.clone(), language: hook.language, program });
            }
        }
    }
    Ok(declared)
}

/// Hooks that would take something else than what our lock installed.
///
/// One whose program is nowhere is the reason why the gate does not run; one that comes from somewhere
/// else is a finding.
fn unpinned(session: &Session, environment: &Environment, declared: &[Declared]) -> Result<Vec<Finding>, String> {
    let mut findings = Vec::new();
    for hook in declared {
        let language = hook.language.as_str();
        // The runner searches by itself; it needs no program.
        if hook.repo == "local" && language == "pygrep" {
            continue;
        }
        if hook.repo != "local" || !matches!(language, "system" | "unsupported") {
            let message =
                format!("hook `{}` does not use what our lock installs (repo: local, language: system)", hook.id);
            let config = session.ctx().config.hooks.as_ref().map(|hooks| hooks.config.clone());
            findings.push(Finding::new("unpinned-hook", Severity::Medium, message).at(config, None));
        } else if !environment.bin(&hook.program).is_file() {
            // Whatever the profile: a program from PATH would be in no key of this gate.
            return Err(format!("hook `{}`: our lock does not install `{}`", hook.id, hook.program));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_of_other_stages_are_not_expected() {
        let text = "repos:\n- repo: local\n  hooks:\n  - {id: ruff, name: r, entry: ruff check, language: system}\n  \
                    - {id: push, name: p, entry: x, language: system, stages: [pre-push]}\n  \
                    - {id: both, name: b, entry: y, language: system, stages: [pre-commit, manual]}\n";
        let declared = parse_hooks(text).unwrap();
        let seen: Vec<(&str, &str)> = declared.iter().map(|hook| (hook.id.as_str(), hook.program.as_str())).collect();
        assert_eq!(seen, [("ruff", "ruff"), ("both", "y")]);
        for broken in ["repos: [", "hooks: []", ""] {
            assert!(parse_hooks(broken).is_err(), "{broken:?}");
        }
    }
}
