//! Packages that a newer version exists of: a report, which breaks nothing.

use serde::Deserialize;

use crate::config::Sbom;
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::command::Command;
use crate::tools::environment::Spec;
use crate::verdict::{Evidence, Finding, Outcome, Severity, Unproven, Work};

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    latest_version: Option<String>,
}

/// One gate.
pub fn plan(ctx: &Ctx, sbom: &Sbom) -> Gate {
    let spec = Spec::runtime(&ctx.config, sbom);
    let steps = vec![list(ctx, &spec), list(ctx, &spec).args(["--outdated"]), update(ctx, sbom)];
    let (sbom, cargo) = (sbom.clone(), sbom.cargo.clone());
    Gate {
        id: "sbom/outdated".to_owned(),
        unit: "packages",
        tool: ("uv", ctx.config.python.tools_lock.clone()),
        inputs: Inputs {
            files: vec![sbom.lock.clone()],
            optional: cargo.iter().cloned().chain(["Cargo.lock".to_owned()]).collect(),
            path_tools: vec!["uv"],
            remote: true,
            ..Inputs::default()
        },
        environments: vec![spec.clone()],
        steps,
        again: "cargo xtask sbom".to_owned(),
        action: action(move |session| run(session, spec.clone(), sbom.clone())),
        ..Gate::default()
    }
}

fn list(ctx: &Ctx, spec: &Spec) -> Command {
    Command::new("uv", &ctx.root).args(["pip", "list", "--format", "json", "--python"]).arg(spec.python(ctx))
}

fn update(ctx: &Ctx, sbom: &Sbom) -> Command {
    let manifest = sbom.cargo.clone().unwrap_or_default();
    Command::new("cargo", &ctx.root).args([
        "update",
        "--dry-run",
        "--verbose",
        "--color",
        "never",
        "--manifest-path",
        &manifest,
    ])
}

async fn run(session: Session, spec: Spec, sbom: Sbom) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    session.environment(&spec).await?;
    let uv = session.machine.uv(&session.machine.quiet()).await?;
    let mut lists = Vec::new();
    for step in [list(ctx, &spec), list(ctx, &spec).args(["--outdated"])] {
        let step = Command { program: uv.program.to_string_lossy().into_owned(), ..step };
        let ended = session.step(&step).await?;
        if !ended.is_success() {
            return Err(session.not_run(format!("`uv pip list` ended with {}", ended.failure())).into());
        }
        let packages: Vec<Package> = serde_json::from_str(&ended.stdout)
            .map_err(|e| session.not_run(format!("uv's answer cannot be read: {e}")))?;
        lists.push(packages);
    }
    let (behind, all) = (lists.pop().unwrap_or_default(), lists.pop().unwrap_or_default());
    let mut findings: Vec<Finding> = behind
        .into_iter()
        .map(|package| newer(&sbom.lock, &package.name, &package.version, package.latest_version.as_deref()))
        .collect();
    if sbom.cargo.is_some() {
        let ended = session.step(&update(ctx, &sbom)).await?;
        if !ended.is_success() {
            return Err(session.not_run(format!("`cargo update --dry-run` ended with {}", ended.failure())).into());
        }
        findings.extend(ended.stderr.lines().filter_map(newer_crate));
    }
    Ok(Outcome::Ran(Evidence {
        work: Work::new(all.len() as u64, "packages"),
        declared: None,
        findings,
        artifacts: vec![],
        fix: "cargo xtask sbom".to_owned(),
    }))
}

fn newer(lock: &str, name: &str, version: &str, latest: Option<&str>) -> Finding {
    let message = format!("{name} {version}: {} is out", latest.unwrap_or("a newer version"));
    Finding::new("outdated", Severity::Info, message).at(lock.to_owned(), None)
}

/// `Unchanged x v1.0.0 (available: v2.0.0)`, and `Updating x v1.0.0 -> v1.0.1`.
fn newer_crate(line: &str) -> Option<Finding> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (name, version, latest) = match words.as_slice() {
        ["Unchanged", name, version, "(available:", latest, ..] => (name, version, latest.trim_end_matches([')', ','])),
        ["Updating", name, version, "->", latest, ..] => (name, version, *latest),
        _ => return None,
    };
    Some(newer("Cargo.lock", name, version.trim_start_matches('v'), Some(latest.trim_start_matches('v'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_lines_are_read() {
        for (line, message) in [
            ("   Unchanged generic-array v0.14.7 (available: v0.14.9)", Some("generic-array 0.14.7: 0.14.9 is out")),
            ("    Updating tokio v1.52.0 -> v1.52.1", Some("tokio 1.52.0: 1.52.1 is out")),
            ("    Updating crates.io index", None),
            ("     Locking 3 packages to latest compatible versions", None),
        ] {
            assert_eq!(newer_crate(line).map(|found| found.message).as_deref(), message, "{line}");
        }
    }
}
