//! zizmor at its strictest: weaknesses of workflows. Its own configuration and ignore comments in the tree do
//! not count.

use serde::Deserialize;

use super::{files, parse, place, ran, severity};
use crate::context::Ctx;
use crate::engine::gate::{Gate, Inputs, action};
use crate::engine::session::Session;
use crate::tools::catalog::ZIZMOR;
use crate::tools::command::Command;
use crate::tools::proc::Exit;
use crate::verdict::{Finding, Outcome, Unproven};

#[derive(Debug, Deserialize)]
struct Issue {
    ident: String,
    desc: String,
    determinations: Determinations,
    locations: Vec<Location>,
}

#[derive(Debug, Deserialize)]
struct Determinations {
    severity: String,
}

#[derive(Debug, Deserialize)]
struct Location {
    symbolic: Symbolic,
    concrete: Concrete,
}

#[derive(Debug, Deserialize)]
struct Symbolic {
    key: serde_json::Value,
    annotation: String,
    kind: String,
}

#[derive(Debug, Deserialize)]
struct Concrete {
    location: Span,
}

#[derive(Debug, Deserialize)]
struct Span {
    start_point: Point,
}

#[derive(Debug, Deserialize)]
struct Point {
    /// Counted from 0.
    row: u32,
}

/// One gate.
pub fn plan(ctx: &Ctx) -> Vec<Gate> {
    let Some(workflows) = &ctx.config.workflows else { return vec![] };
    let folder = workflows.directory.clone();
    let step = Command::new(ZIZMOR.name, &ctx.root)
        .args(["--offline", "--no-progress", "--color", "never", "--persona", "auditor", "--strict-collection"])
        .args(["--no-config", "--no-ignores", "--collect", "all", "--format", "json"])
        .args([folder.clone()]);
    vec![Gate {
        id: "scan/workflows".to_owned(),
        unit: "files",
        programs: vec![&ZIZMOR],
        inputs: Inputs { files: vec![folder.clone()], settings: folder.clone(), ..Inputs::default() },
        steps: vec![step.clone()],
        again: "cargo xtask scan config".to_owned(),
        action: action(move |session| run(session, folder.clone(), step.clone())),
        ..Gate::default()
    }]
}

/// Whether a path is one of a workflow.
pub fn is_workflow(path: &str) -> bool {
    path.contains("workflows/") && (path.ends_with(".yml") || path.ends_with(".yaml"))
}

/// Whether zizmor audits it: workflows, actions of our own, and what Dependabot does.
fn is_audited(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    is_workflow(path) || ["action.yml", "action.yaml", "dependabot.yml", "dependabot.yaml"].contains(&name)
}

async fn run(session: Session, folder: String, step: Command) -> Result<Outcome, Unproven> {
    let ctx = session.ctx();
    let declared = files(&session, std::slice::from_ref(&folder), is_audited).await?;
    let ended = session.tool(&ZIZMOR, &step).await?;
    // 11 to 14 name the worst severity; everything else but 0 is a failure of its own.
    if !matches!(ended.exit, Exit::Code(0 | 11..=14)) {
        return Err(session.not_run(format!("zizmor {}", ended.failure())).into());
    }
    let issues: Vec<Issue> = parse(&session, &ended, &ended.stdout)?;
    if issues.is_empty() != ended.is_success() {
        return Err(session.not_run(format!("zizmor {}, which its report contradicts", ended.exit)).into());
    }
    let audited = ended.stderr.lines().filter(|line| line.contains(" completed ")).count();
    let findings = issues.into_iter().map(|issue| finding(ctx, issue)).collect();
    Ok(ran(audited, "files", declared.len(), findings, "mend the workflow, then `cargo xtask scan config`"))
}

fn finding(ctx: &Ctx, issue: Issue) -> Finding {
    let primary = issue.locations.iter().find(|location| location.symbolic.kind == "Primary");
    let primary = primary.or(issue.locations.first());
    let annotation = primary.map_or("", |location| location.symbolic.annotation.as_str());
    let path = primary.and_then(|location| location.symbolic.key["Local"]["verbatim_path"].as_str());
    let line = primary.map(|location| location.concrete.location.start_point.row + 1);
    Finding::new(issue.ident, severity(&issue.determinations.severity), format!("{}: {annotation}", issue.desc))
        .at(path.and_then(|path| place(ctx, path)), line)
}
